//! The layout of the source holds: which module may know which, no circles, and no file that wants to be two.
//!
//! What is compiled for tests alone may wire what it likes and is left out of the module graph.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stop at the unexpected, as tests do")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Past this, a file is asking to be split by idea.
const MAX_LINES: usize = 600;

/// Each module of the crate with those that it may know. `config` and `telemetry` are known to all that do I/O.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("telemetry", &["domain", "config"]),
    ("events", &["domain"]),
    ("catalog", &["domain", "config", "telemetry"]),
    ("visitor", &["domain", "config", "telemetry"]),
    ("stream", &["domain", "config", "telemetry"]),
    // The store's transactions write the catalog's records to the outbox.
    ("store", &["domain", "config", "telemetry", "catalog"]),
    // A command in the journal holds the event that it settles.
    ("ledger", &["domain", "config", "telemetry", "events", "store"]),
    ("edge", &["domain", "config", "telemetry", "events", "catalog", "visitor", "stream"]),
    ("settlement", &["domain", "config", "telemetry", "events", "stream", "store", "ledger"]),
    (
        "jobs",
        &["domain", "config", "telemetry", "events", "catalog", "stream", "store", "ledger", "settlement"],
    ),
    ("api", &["domain", "config", "telemetry", "events", "catalog", "store", "ledger"]),
    (
        "commands",
        &[
            "domain",
            "config",
            "telemetry",
            "events",
            "catalog",
            "visitor",
            "stream",
            "store",
            "ledger",
            "edge",
            "settlement",
            "jobs",
            "api",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends in one of `ends`.
fn files(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ends));
        } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without comments and without the parts that are compiled for tests alone.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            // The item that follows ends at the first line of its own indentation that closes it.
            let indent = line.len() - line.trim_start().len();
            for line in lines.by_ref() {
                let depth = line.len() - line.trim_start().len();
                if depth == indent && (line.ends_with('}') || line.ends_with(';')) {
                    break;
                }
            }
        } else {
            code.push_str(line.split("//").next().unwrap());
            code.push('\n');
        }
    }
    code
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first names of a path, or of each path of a group: `domain::ids::LinkId`, `{domain::{ids, time}, config}`.
fn heads(text: &str) -> Vec<&str> {
    let Some(group) = text.trim_start().strip_prefix('{') else { return vec![name_at(text.trim_start())] };
    let (mut depth, mut begins, mut heads) = (0_i32, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if c.is_whitespace() => {}
            _ if begins => {
                heads.push(name_at(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

/// How many modules lie between `file` and the root of the crate: `src/edge/router.rs` is two deep.
fn depth(file: &Path) -> usize {
    let below = file.strip_prefix(root().join("src")).unwrap();
    let names = below.components().count();
    if matches!(below.file_name().and_then(|name| name.to_str()), Some("mod.rs" | "lib.rs" | "main.rs")) {
        names - 1
    } else {
        names
    }
}

/// The modules of the crate that `code`, a file `depth` modules deep, names.
fn named(code: &str, depth: usize) -> BTreeSet<&str> {
    let roots = ["crate::".to_owned(), "super::".repeat(depth)];
    let mut named = BTreeSet::new();
    for root in roots.iter().filter(|root| !root.is_empty()) {
        for (at, _) in code.match_indices(root.as_str()) {
            let before = code[..at].chars().next_back();
            let begins = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            if begins {
                named.extend(heads(&code[at + root.len()..]));
            }
        }
    }
    named.retain(|name| MAY_KNOW.iter().any(|(module, _)| module == name));
    named
}

/// Each module with those it names, and the files that do.
fn graph() -> BTreeMap<&'static str, BTreeMap<String, Vec<PathBuf>>> {
    let mut graph = BTreeMap::new();
    for (module, _) in MAY_KNOW {
        let known: &mut BTreeMap<String, Vec<PathBuf>> = graph.entry(*module).or_default();
        let only_tests = |path: &PathBuf| path.file_stem().is_some_and(|name| name == "tests");
        for file in
            files(&root().join("src").join(module), &[".rs"]).into_iter().filter(|path| !only_tests(path))
        {
            let text = code(&fs::read_to_string(&file).unwrap());
            for other in named(&text, depth(&file)).into_iter().filter(|other| other != module) {
                known.entry(other.to_owned()).or_default().push(file.clone());
            }
        }
    }
    graph
}

#[test]
fn every_module_has_its_place() {
    let listed: BTreeSet<String> = MAY_KNOW.iter().map(|(module, _)| (*module).to_owned()).collect();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, listed);
}

#[test]
fn modules_know_only_what_they_may() {
    let graph = graph();
    let mut wrong = Vec::new();
    for (module, may_know) in MAY_KNOW {
        for (other, files) in &graph[module] {
            if !may_know.contains(&other.as_str()) {
                wrong.push(format!("{module} knows {other}: {files:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let commands: Vec<_> = graph["commands"].keys().collect();
    assert!(commands.len() > 2, "the references were not found: {commands:?}");
}

#[test]
fn what_modules_may_know_has_no_circles() {
    let mut left: BTreeMap<_, BTreeSet<_>> =
        MAY_KNOW.iter().map(|(module, known)| (*module, known.iter().copied().collect())).collect();
    while !left.is_empty() {
        let next = left.iter().find(|(_, known)| known.is_empty()).map(|(module, _)| *module);
        let next = next.unwrap_or_else(|| panic!("a circle among {:?}", left.keys()));
        left.remove(next);
        for known in left.values_mut() {
            known.remove(next);
        }
    }
}

#[test]
fn references_are_found_in_every_form() {
    let text = code(
        "use crate::domain::ids::LinkId;\n\
         use crate::{\n    config::{self, Settings},\n    stream::Topic, // crate::jobs\n};\n\
         fn f() -> crate::ledger::Entry { mycrate::api::x() }\n\
         use super::super::store;\n\
         #[cfg(test)]\nmod tests {\n    use crate::edge::x;\n}\n\
         pub(crate) fn after() { crate::visitor::look() }\n",
    );
    let found: Vec<_> = named(&text, 2).into_iter().collect();
    assert_eq!(found, ["config", "domain", "ledger", "store", "stream", "visitor"]);
    assert_eq!(depth(&root().join("src/edge/router.rs")), 2);
    assert_eq!(depth(&root().join("src/edge/mod.rs")), 1);
}

#[test]
fn no_file_is_too_long() {
    let mut sources = Vec::new();
    for folder in ["src", "tests", "benches", "load-tests", "scripts", ".ci"] {
        sources.extend(files(&root().join(folder), &[".rs", ".py", ".lua", ".sh", "run", "test"]));
    }
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    let long: Vec<_> = sources
        .iter()
        .map(|path| (path, fs::read_to_string(path).unwrap()))
        // Data that a script wrote is not read by people.
        .filter(|(_, text)| !text.lines().next().unwrap_or_default().contains("@generated"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let mut missing = Vec::new();
    for document in ["README.md", "docs/architecture.md", "docs/operations.md", "docs/performance.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
        let ours = ["src/", "tests/", "docs/", "k8s/", "config/", "scripts/", "benches/", "load-tests/"];
        for named in quoted.filter(|word| ours.iter().any(|folder| word.starts_with(folder))) {
            if !root().join(named).exists() {
                missing.push(format!("{document} names {named}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
