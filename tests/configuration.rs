//! The samples in `config/`, the types that read them and `docs/configuration.md` say the same.
//!
//! `UPDATE_DOCS=1 cargo test --test configuration` writes the page anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stop at the unexpected, as tests do")]

#[path = "support/page.rs"]
mod docs_page;

use std::{collections::BTreeSet, fmt::Write, path::PathBuf};

use toml::{Table, Value};
use waypost::config::{self, DEFAULT_TOML, DEV_TOML, RANGES, Settings, Sources};

const PRODUCTION_TOML: &str = include_str!("../config/production.toml");

/// One key of `config/default.toml` with the comment above it.
struct Key {
    path: String,
    default: String,
    text: String,
    /// What follows `Value:`, without the full stop.
    value: String,
}

struct Section {
    name: String,
    text: String,
    keys: Vec<Key>,
}

/// Reads the file line by line: a comment belongs to the key or section right below it.
fn sections() -> Vec<Section> {
    let mut sections = vec![Section { name: String::new(), text: String::new(), keys: Vec::new() }];
    let mut comment = Vec::new();
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section { name: name.to_owned(), text: comment.join(" "), keys: Vec::new() });
            comment.clear();
        } else if let Some((name, default)) = line.split_once(" = ") {
            let section = sections.last_mut().unwrap();
            let path =
                if section.name.is_empty() { name.to_owned() } else { format!("{}.{name}", section.name) };
            let value = comment.pop().and_then(|last| last.strip_prefix("Value: "));
            let value = value.and_then(|value| value.strip_suffix('.'));
            let value = value
                .unwrap_or_else(|| panic!("the comment of {path} must end with `Value: … .`"))
                .to_owned();
            assert!(!comment.is_empty(), "{path} has no explanation");
            let text = comment.join(" ");
            section.keys.push(Key { path, default: default.to_owned(), text, value });
            comment.clear();
        } else {
            assert_eq!(line, "", "neither comment, section nor key");
            comment.clear();
        }
    }
    sections
}

/// Every key that is no section: `edge.listen`.
fn leaves(table: &Table, prefix: &str, into: &mut BTreeSet<String>) {
    for (name, value) in table {
        match value {
            Value::Table(inner) => leaves(inner, &format!("{prefix}{name}."), into),
            _ => {
                into.insert(format!("{prefix}{name}"));
            }
        }
    }
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    leaves(&text.parse().unwrap(), "", &mut keys);
    keys
}

/// A file of the repository, loaded as `--config` does.
fn load(name: &str) -> Settings {
    let files = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)];
    let secret = "0123456789abcdef".repeat(4);
    let keys = format!("[{{ id = 1, state = \"active\", secret = \"{secret}\" }}]");
    let environment = [
        ("WAYPOST__TOKEN__KEYS", keys),
        ("WAYPOST__VISITOR__HASH_SECRET", secret.clone()),
        ("WAYPOST__SECRETS__KEYS", format!("[\"{secret}\"]")),
        ("WAYPOST__KAFKA__PASSWORD", "password".to_owned()),
        ("WAYPOST__REDIS__URL", "rediss://waypost:password@redis.internal:6379".to_owned()),
        ("WAYPOST__STORE__URL", "postgres://waypost:password@postgres.internal:5432/waypost".to_owned()),
    ];
    let shared = name == "production.toml";
    let environment = environment.into_iter().filter(|_| shared);
    let environment = environment.map(|(name, value)| (name.into(), value.into())).collect();
    config::load(&Sources { files, environment, ..Sources::default() }).unwrap().settings
}

#[test]
fn every_key_that_is_read_is_in_the_defaults_and_the_reverse() {
    let read = Table::try_from(Settings::default()).unwrap();
    let mut fields = BTreeSet::new();
    leaves(&read, "", &mut fields);
    assert_eq!(keys_of(DEFAULT_TOML), fields);
    let documented: BTreeSet<String> =
        sections().into_iter().flat_map(|section| section.keys).map(|key| key.path).collect();
    assert_eq!(documented, fields);
    for field in ["id", "state", "secret"] {
        assert!(DEFAULT_TOML.contains(&format!("{field} = ")), "token.keys does not show {field}");
    }
}

#[test]
#[cfg_attr(not(feature = "kafka-tls"), ignore = "the sample asks for TLS: test with --features kafka-tls")]
fn every_key_of_the_samples_is_read() {
    let known = keys_of(DEFAULT_TOML);
    for (name, text) in
        [("default.toml", DEFAULT_TOML), ("dev.toml", DEV_TOML), ("production.toml", PRODUCTION_TOML)]
    {
        load(name);
        let unknown: Vec<_> = keys_of(text).difference(&known).cloned().collect();
        assert_eq!(unknown, [""; 0], "{name}");
    }
    // What production leaves out are the secrets.
    let left_out: Vec<_> = known.difference(&keys_of(PRODUCTION_TOML)).cloned().collect();
    let secrets = ["kafka.password", "redis.url", "secrets.keys", "store.url", "token.keys"];
    assert_eq!(left_out, [&secrets[..], &["visitor.hash_secret"]].concat());
}

#[test]
#[cfg_attr(not(feature = "kafka-tls"), ignore = "the sample asks for TLS: test with --features kafka-tls")]
fn a_value_of_a_sample_arrives_in_the_settings() {
    let production = Table::try_from(load("production.toml")).unwrap();
    let sample: Table = PRODUCTION_TOML.parse().unwrap();
    for (section, values) in sample {
        match values {
            Value::Table(values) => {
                for (name, value) in values {
                    assert_eq!(production[&section][&name], value, "{section}.{name}");
                }
            }
            value => assert_eq!(production[&section], value),
        }
    }
}

#[test]
fn every_number_has_its_range_and_unit_in_the_defaults() {
    let keys: Vec<Key> = sections().into_iter().flat_map(|section| section.keys).collect();
    for key in &keys {
        let range = RANGES.iter().find(|range| range.key == key.path);
        let number = key.default.parse::<u64>().is_ok();
        assert_eq!(number, range.is_some(), "{} is a number without a range, or the reverse", key.path);
        if let Some(range) = range {
            let limits = format!(", {} to {}", range.min, range.max);
            assert!(key.value.ends_with(&limits), "{} must say `{limits}`", key.path);
        }
        for (suffix, unit) in [("_ms", "milliseconds"), ("_bytes", "bytes"), ("_days", "days")] {
            assert_eq!(key.path.ends_with(suffix), key.value.starts_with(unit), "the unit of {}", key.path);
        }
    }
}

/// `docs/configuration.md`.
fn page() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Written from config/default.toml by `UPDATE_DOCS=1 cargo test --test configuration`. -->\n\n\
         Waypost runs without a file of settings. Sources, the later wins:\n\n\
         1. the defaults below (`config/default.toml`, compiled in);\n\
         2. for `waypost dev` alone: [what it changes](#what-waypost-dev-changes) (`config/dev.toml`, compiled in);\n\
         3. each `--config FILE`, in the order given;\n\
         4. environment variables: `WAYPOST__EDGE__LISTEN=0.0.0.0:80` is `edge.listen`. Lists and tables are \
         written as in TOML: `WAYPOST__EDGE__TRUSTED_PROXIES='[\"10.0.0.0/8\"]'`;\n\
         5. the command line: `--set edge.cores=2`, and options such as `--data-dir`.\n\n\
         A key that does not exist, a value of the wrong type or out of its range, or two values that do not go \
         together refuse to start: the message names the key and the source, the exit code is 78. \
         `waypost config check` tells the same without starting anything. Files that settings name (certificates, \
         GeoIP databases) are read by the process that needs them, when it starts.\n\n\
         `config/production.toml` is a complete example.\n",
    );
    let anchor = |section: &Section| match section.name.as_str() {
        "" => "General".to_owned(),
        name => format!("`[{name}]`"),
    };
    for section in sections() {
        write!(page, "\n## {}\n\n", anchor(&section)).unwrap();
        if !section.text.is_empty() {
            write!(page, "{}\n\n", section.text).unwrap();
        }
        page.push_str("| key | default | value | what it does |\n|---|---|---|---|\n");
        for key in section.keys {
            let Key { path, default, text, value } = key;
            let value = value.replace('|', "\\|");
            writeln!(page, "| `{path}` | `{default}` | {value} | {text} |").unwrap();
        }
    }
    write!(page, "\n## What `waypost dev` changes\n\n```toml\n").unwrap();
    page.push_str(DEV_TOML.split_once("\n\n").unwrap().1);
    page.push_str("```\n");
    page
}

#[test]
fn the_page_is_up_to_date() {
    docs_page::assert_up_to_date("configuration.md", &page(), "cargo test --test configuration");
}
