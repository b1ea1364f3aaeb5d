//! `waypost config check`: says whether the settings can be used, and what they come to.
//!
//! Settings are loaded before any command runs, so a wrong one has ended the process before this is reached.

use std::{
    io::{self, Write},
    path::Path,
};

use toml::{Table, Value};

use super::{
    cli::ConfigCheckArgs,
    exit::{Code, Failure},
};
use crate::config::{Loaded, Origin};

/// Writes the settings that differ from the defaults, or all of them, with where each came from.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &ConfigCheckArgs, loaded: &Loaded) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(Code::Software, format!("cannot show the settings: {why}"));
    let all = Table::try_from(&loaded.settings).map_err(|error| failed(error.to_string()))?;
    let mut lines = Vec::new();
    list(&all, "", &mut lines);
    let mut text = String::from("The settings are valid.\n");
    for (key, value) in lines {
        match loaded.origins.get(&key) {
            Some(origin) => text.push_str(&format!("{key} = {value}  # from {origin}\n")),
            None if args.all => text.push_str(&format!("{key} = {value}  # from {}\n", Origin::Default)),
            None => {}
        }
    }
    if loaded.origins.is_empty() && !args.all {
        text.push_str("Every setting has its default; `waypost config check --all` lists them.\n");
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::io("write to", Path::new("standard output"), &error))
}

/// Keys with their values as TOML; secrets are only said to be there.
fn list(table: &Table, prefix: &str, lines: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match (key.as_str(), value) {
            (_, Value::Table(inner)) => list(inner, &format!("{key}."), lines),
            ("token.keys", Value::Array(keys)) if !keys.is_empty() => {
                lines.push((key, format!("({} keys, not shown)", keys.len())));
            }
            ("visitor.hash_secret", Value::String(secret)) if !secret.is_empty() => {
                lines.push((key, "(not shown)".to_owned()));
            }
            ("secrets.keys", Value::Array(keys)) if !keys.is_empty() => {
                lines.push((key, format!("({} keys, not shown)", keys.len())));
            }
            ("kafka.password", Value::String(secret)) if !secret.is_empty() => {
                lines.push((key, "(not shown)".to_owned()));
            }
            // They may have a password in them.
            ("store.url" | "redis.url", Value::String(url)) if url.contains('@') => {
                lines.push((key, "(has a password, not shown)".to_owned()));
            }
            (_, value) => lines.push((key, value.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Settings, TokenKeySettings},
        domain::token::KeyState,
    };

    #[test]
    fn secrets_are_not_shown() {
        let secret = "0123456789abcdef".repeat(4);
        let mut settings = Settings::default();
        settings.visitor.hash_secret = secret.clone();
        settings.secrets.keys = vec![secret.clone()];
        settings.kafka.password = secret.clone();
        settings.store.url = format!("postgres://waypost:{secret}@127.0.0.1/waypost");
        settings.redis.url = format!("redis://:{secret}@127.0.0.1");
        settings.token.keys =
            vec![TokenKeySettings { id: 1, state: KeyState::Active, secret: secret.clone() }];
        let mut lines = Vec::new();
        list(&Table::try_from(&settings).unwrap(), "", &mut lines);
        assert!(lines.iter().all(|(_, value)| !value.contains(&secret)));
        assert!(lines.contains(&("edge.listen".to_owned(), "\"127.0.0.1:8080\"".to_owned())));
    }
}
