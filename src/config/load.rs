//! Puts the sources of settings on top of each other and reads the result into [`Settings`].
//!
//! Order, the later wins: `config/default.toml`, `config/dev.toml` where asked for, files, environment, command line.
//! Every key that exists stands in `config/default.toml`, so a key that is not there is unknown, whatever the source.
//! Sections are merged key by key; lists are replaced as a whole.

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{ConfigError, Origin, Problem, Settings};

/// All keys with their defaults and their documentation.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// What `waypost dev` changes.
pub const DEV_TOML: &str = include_str!("../../config/dev.toml");

/// Environment variables that begin so are settings; `__` stands between sections.
pub const ENV_PREFIX: &str = "WAYPOST__";

/// One value from the command line.
#[derive(Clone, Debug)]
pub struct Override {
    /// `edge.listen`
    pub key: String,
    /// Text as it was typed; read like the value of an environment variable.
    pub value: String,
    /// The option as it was typed, for messages.
    pub option: String,
}

/// Where settings come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Whether `config/dev.toml` applies.
    pub dev: bool,
    /// TOML files, the later wins.
    pub files: Vec<PathBuf>,
    /// Variables of the process; those without [`ENV_PREFIX`] are passed over.
    pub environment: Vec<(OsString, OsString)>,
    pub overrides: Vec<Override>,
}

/// Settings that are whole and valid.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Keys that some source has set, with the source that won. All others have their default.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads all sources and validates.
///
/// # Errors
/// All unknown keys, or the first value of a wrong type, or all values that break a rule.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let known: Table = parse(DEFAULT_TOML, &Origin::Default)?;
    let mut layers = Layers { merged: known.clone(), known, origins: BTreeMap::new(), problems: Vec::new() };
    if sources.dev {
        layers.add(parse(DEV_TOML, &Origin::Dev)?, &Origin::Dev);
    }
    for path in &sources.files {
        let origin = Origin::File(path.clone());
        let text = fs::read_to_string(path).map_err(|error| Problem {
            key: None,
            origin: origin.clone(),
            message: format!("the file of settings cannot be read: {error}"),
        })?;
        layers.add(parse(&text, &origin)?, &origin);
    }
    layers.add_environment(&sources.environment);
    for given in &sources.overrides {
        let path: Vec<String> = given.key.split('.').map(str::to_owned).collect();
        layers.add_text(&path, &given.value, Origin::CommandLine(given.option.clone()));
    }
    layers.finish()
}

/// The position is said, the line is not: it may hold a secret.
fn parse(text: &str, origin: &Origin) -> Result<Table, Problem> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Problem {
            key: None,
            origin: origin.clone(),
            message: format!("line {line} is not TOML: {}", error.message()),
        }
    })
}

struct Layers {
    /// The defaults: the shape that every source must keep to.
    known: Table,
    merged: Table,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Layers {
    fn add(&mut self, layer: Table, origin: &Origin) {
        let Self { known, merged, origins, problems } = self;
        Merge { origin, origins, problems }.table("", known, merged, layer);
    }

    fn add_environment(&mut self, environment: &[(OsString, OsString)]) {
        let mut variables: Vec<_> = environment
            .iter()
            .filter_map(|(name, value)| {
                let name = name.to_string_lossy();
                let path = name.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase();
                Some((path, name.into_owned(), value))
            })
            .collect();
        // A section given as a whole comes before its single keys.
        variables.sort();
        for (path, name, value) in variables {
            let path: Vec<String> = path.split("__").map(str::to_owned).collect();
            let origin = Origin::Environment(name);
            match value.to_str() {
                Some(text) => self.add_text(&path, text, origin),
                None => self.problems.push(Problem {
                    key: Some(path.join(".")),
                    origin,
                    message: "is not UTF-8".to_owned(),
                }),
            }
        }
    }

    /// Adds one value that came as text. What the default is says how the text is read.
    fn add_text(&mut self, path: &[String], text: &str, origin: Origin) {
        let value = match self.default_of(path) {
            Some(Value::String(_)) | None => Value::String(text.to_owned()),
            Some(default) => match (text.trim().parse::<Value>(), default) {
                (Ok(value), _) => value,
                // The text may hold a secret and is not repeated.
                (Err(_), Value::Array(_) | Value::Table(_)) => {
                    self.problems.push(Problem {
                        key: Some(path.join(".")),
                        origin,
                        message: "is not a list or table as TOML writes it, such as [\"a\", \"b\"]"
                            .to_owned(),
                    });
                    return;
                }
                (Err(_), _) => Value::String(text.to_owned()),
            },
        };
        let nested = path.iter().rev().fold(value, |inner, key| {
            let mut table = Table::new();
            table.insert(key.clone(), inner);
            Value::Table(table)
        });
        if let Value::Table(layer) = nested {
            self.add(layer, &origin);
        }
    }

    fn default_of(&self, path: &[String]) -> Option<&Value> {
        let (last, sections) = path.split_last()?;
        let mut table = &self.known;
        for section in sections {
            table = table.get(section)?.as_table()?;
        }
        table.get(last)
    }

    fn finish(self) -> Result<Loaded, ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError { problems: self.problems });
        }
        let origins = self.origins;
        let settings = typed(Value::Table(self.merged)).map_err(|(key, message)| Problem {
            origin: origin_of(&origins, &key),
            key: Some(key),
            message,
        })?;
        let problems: Vec<Problem> = settings
            .validate()
            .into_iter()
            .map(|(key, message)| Problem { origin: origin_of(&origins, &key), key: Some(key), message })
            .collect();
        if problems.is_empty() { Ok(Loaded { settings, origins }) } else { Err(ConfigError { problems }) }
    }
}

/// The settings, or the key and what is wrong with it.
fn typed(merged: Value) -> Result<Settings, (String, String)> {
    let mut track = serde_path_to_error::Track::new();
    Settings::deserialize(serde_path_to_error::Deserializer::new(merged, &mut track)).map_err(|error| {
        let key = track.path().to_string();
        let secret = ["secret", "password", "url"].iter().any(|word| key.contains(word));
        let message =
            if secret { "expected text in quotes".to_owned() } else { in_plain_words(error.message()) };
        (key, format!("cannot be used: {message}"))
    })
}

/// Names of Rust's types mean nothing to who writes settings.
fn in_plain_words(message: &str) -> String {
    ["expected usize", "expected u64", "expected u32", "expected u8"]
        .iter()
        .fold(message.to_owned(), |text, name| text.replace(name, "expected a whole number"))
}

/// The source of `key`, which may be a part of a list: `token.keys[0].id`.
fn origin_of(origins: &BTreeMap<String, Origin>, key: &str) -> Origin {
    let mut key = key;
    loop {
        if let Some(origin) = origins.get(key) {
            return origin.clone();
        }
        match key.rfind(['.', '[']) {
            Some(at) => key = &key[..at],
            None => return Origin::Default,
        }
    }
}

/// Lays one source over what there is.
struct Merge<'a> {
    origin: &'a Origin,
    origins: &'a mut BTreeMap<String, Origin>,
    problems: &'a mut Vec<Problem>,
}

impl Merge<'_> {
    fn table(&mut self, prefix: &str, known: &Table, merged: &mut Table, layer: Table) {
        for (name, value) in layer {
            let key = format!("{prefix}{name}");
            match (known.get(&name), merged.get_mut(&name), value) {
                (None, ..) => {
                    let message = unknown(prefix, known, &name);
                    self.problem(key, message);
                }
                (Some(Value::Table(known)), Some(Value::Table(merged)), Value::Table(layer)) => {
                    self.table(&format!("{key}."), known, merged, layer);
                }
                (Some(Value::Table(_)), ..) => {
                    self.problem(key, "is a section, not a single value".to_owned());
                }
                (Some(_), _, value) => {
                    merged.insert(name, value);
                    self.origins.insert(key, self.origin.clone());
                }
            }
        }
    }

    fn problem(&mut self, key: String, message: String) {
        self.problems.push(Problem { key: Some(key), origin: self.origin.clone(), message });
    }
}

/// Says that there is no such key, and the nearest that there is.
fn unknown(prefix: &str, known: &Table, name: &str) -> String {
    /// Further apart, a name is another name and not a slip.
    const ALIKE: f64 = 0.75;
    let (likeness, near) = known
        .keys()
        .map(|key| (strsim::jaro_winkler(name, key), key))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unzip();
    match (likeness, near) {
        (Some(likeness), Some(near)) if likeness > ALIKE => {
            format!("is not a setting; did you mean `{prefix}{near}`?")
        }
        _ => "is not a setting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Sources {
        let environment = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Sources { environment, ..Sources::default() }
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let sources = Sources { files: vec![file.path().to_owned()], ..Sources::default() };
        (file, sources)
    }

    fn refused(sources: &Sources) -> String {
        load(sources).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid_and_come_from_nowhere_else() {
        let loaded = load(&Sources::default()).unwrap();
        assert_eq!(loaded.settings.edge.listen.port(), 8080);
        assert!(loaded.origins.is_empty());
        let dev = load(&Sources { dev: true, ..Sources::default() }).unwrap();
        assert_eq!(dev.settings.edge.default_account, "demo");
        assert_eq!(dev.origins["edge.default_account"], Origin::Dev);
    }

    #[test]
    fn later_sources_win() {
        let (first, _) = file("[edge]\nname = \"a\"\ncores = 1\n[log]\nfilter = \"debug\"");
        let (second, _) = file("[edge]\nname = \"b\"");
        let sources = Sources {
            dev: true,
            files: vec![first.path().to_owned(), second.path().to_owned()],
            environment: vec![
                ("WAYPOST__EDGE__CORES".into(), "2".into()),
                ("WAYPOST__API__LISTEN".into(), "127.0.0.1:1".into()),
                ("PATH".into(), "/bin".into()),
            ],
            overrides: vec![Override {
                key: "api.listen".into(),
                value: "127.0.0.1:2".into(),
                option: "--api-listen".into(),
            }],
        };
        let Loaded { settings, origins } = load(&sources).unwrap();
        assert_eq!((settings.edge.name.as_str(), settings.edge.cores), ("b", 2));
        assert_eq!(settings.log.filter, "debug");
        assert_eq!(settings.api.listen.port(), 2);
        assert_eq!(origins["edge.name"], Origin::File(second.path().to_owned()));
        assert_eq!(origins["log.filter"], Origin::File(first.path().to_owned()));
        assert_eq!(origins["edge.cores"], Origin::Environment("WAYPOST__EDGE__CORES".into()));
        assert_eq!(origins["api.listen"], Origin::CommandLine("--api-listen".into()));
    }

    #[test]
    fn lists_and_tables_come_through_the_environment() {
        let secret = "0123456789abcdef".repeat(4);
        let keys = format!("[{{ id = 3, state = \"active\", secret = \"{secret}\" }}]");
        let sources = environment(&[
            ("WAYPOST__EDGE__TRUSTED_PROXIES", "[\"10.0.0.0/8\", \"fd00::/8\"]"),
            ("WAYPOST__GEOIP", "{ asn = \"asn.mmdb\", hosting_networks = [14061, 1] }"),
            ("WAYPOST__GEOIP__HOSTING_NETWORKS", "[2]"),
            ("WAYPOST__TOKEN__KEYS", &keys),
            ("WAYPOST__EDGE__NAME", "7"),
        ]);
        let settings = load(&sources).unwrap().settings;
        assert_eq!(settings.edge.trusted_proxies.len(), 2);
        assert_eq!(settings.geoip.hosting_networks, [2]);
        assert_eq!(settings.token.keys[0].id, 3);
        assert_eq!(settings.edge.name, "7", "text stays text");
    }

    #[test]
    fn unknown_keys_are_refused_all_at_once_and_named() {
        let (held, mut sources) = file("[edge]\nlistne = \"x\"\n[nowhere]\na = 1");
        sources.environment = vec![("WAYPOST__SPOOL__MAXBYTES".into(), "1".into())];
        let text = refused(&sources);
        let path = held.path().display();
        assert!(
            text.contains(&format!(
                "`edge.listne` is not a setting; did you mean `edge.listen`? (from {path})"
            ))
        );
        assert!(text.contains("`nowhere` is not a setting (from"), "{text}");
        assert!(
            text.contains("`spool.maxbytes` is not a setting; did you mean `spool.max_bytes`?"),
            "{text}"
        );
        assert!(text.contains("WAYPOST__SPOOL__MAXBYTES"), "{text}");
    }

    #[test]
    fn wrong_types_name_the_key_and_the_source() {
        for (name, value, key) in [
            ("WAYPOST__EDGE__CORES", "many", "`edge.cores`"),
            ("WAYPOST__EDGE__CORES", "-1", "`edge.cores`"),
            ("WAYPOST__EDGE__LISTEN", "localhost", "`edge.listen`"),
            ("WAYPOST__EDGE__TRUSTED_PROXIES", "[\"10.0.0.0/33\"]", "`edge.trusted_proxies[0]`"),
            ("WAYPOST__EDGE__TRUSTED_PROXIES", "[10]", "`edge.trusted_proxies[0]`"),
            ("WAYPOST__EDGE__TRUSTED_PROXIES", "10.0.0.0/8", "`edge.trusted_proxies`"),
            ("WAYPOST__TOKEN__KEYS", "[{ id = 1, sate = 2 }]", "`token.keys[0].sate`"),
            ("WAYPOST__LOG__FORMAT", "xml", "`log.format`"),
            ("WAYPOST__EDGE", "1", "`edge`"),
            ("WAYPOST__DATA_DIR__X", "1", "`data_dir"),
        ] {
            let text = refused(&environment(&[(name, value)]));
            assert!(text.starts_with(key) && text.contains(name) && !text.contains("usize"), "{text}");
        }
    }

    #[test]
    fn a_wrong_network_is_told_with_what_one_looks_like() {
        for network in ["10.0.0.0/33", "10.0.0.1", "fd00::/129", "10.0.0/8", "load-balancer"] {
            let list = format!("[\"::1/128\", \"{network}\"]");
            let text = refused(&environment(&[("WAYPOST__EDGE__TRUSTED_PROXIES", &list)]));
            let told = format!("\"{network}\" is not a network such as 10.0.0.0/8");
            assert!(text.starts_with("`edge.trusted_proxies[1]` ") && text.contains(&told), "{text}");
        }
    }

    #[test]
    fn no_secret_is_repeated() {
        let mut texts = Vec::new();
        for value in ["[{ id = 1, state = \"active\", secret = 777777 }]", "[{ 777777 ]"] {
            texts.push(refused(&environment(&[("WAYPOST__TOKEN__KEYS", value)])));
        }
        texts.push(refused(&environment(&[("WAYPOST__VISITOR__HASH_SECRET", "777777")])));
        texts.push(refused(&file("[visitor]\nhash_secret = 777777 8").1));
        for text in texts {
            assert!(!text.contains("777777"), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_broken_is_named() {
        let missing = Sources { files: vec!["/nowhere/waypost.toml".into()], ..Sources::default() };
        assert!(refused(&missing).contains("/nowhere/waypost.toml"));
        let (held, sources) = file("[edge]\nlisten =");
        let text = refused(&sources);
        assert!(
            text.starts_with("line 2 is not TOML") && text.contains(held.path().to_str().unwrap()),
            "{text}"
        );
    }
}
