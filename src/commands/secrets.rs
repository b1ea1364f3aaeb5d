//! Secrets that nobody configured: made at the first start and kept in `secrets.toml` in the data folder.
//!
//! The file has the shape of a file of settings with `token.keys`, `visitor.hash_secret` and `secrets.keys`, mode 0600.
//! It is written to a temporary file, synced and renamed, under a lock: processes that start together agree on one file, and a crash
//! leaves the whole file or none. Back it up: without it, click ids that are out there prove nothing, and the secrets
//! that sign pixels cannot be read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
};
use crate::{
    config::{Secret, SecretsSettings, Settings, TokenKeySettings, TokenSettings, parse_secret},
    domain::{
        sealed::SealingKeys,
        token::{KeyRing, KeyState},
    },
};

/// What a process needs to sign, verify, hash and seal.
#[derive(Clone)]
pub struct Secrets {
    pub tokens: KeyRing,
    /// Keys the visitor hash.
    pub visitor_hash: Secret,
    /// Seals the secrets of programs.
    pub sealing: SealingKeys,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// `secrets.toml`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsFile {
    token: TokenSettings,
    visitor: VisitorSecret,
    /// Empty in a file from a time before secrets were sealed: then a key is added.
    #[serde(default = "no_keys")]
    secrets: SecretsSettings,
}

fn no_keys() -> SecretsSettings {
    SecretsSettings { keys: Vec::new() }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VisitorSecret {
    hash_secret: String,
}

impl DataDir {
    /// The secrets of the settings; those that are empty there come from `secrets.toml`, which is made when it is
    /// not there.
    ///
    /// # Errors
    /// The file is damaged ([`Code::Data`]), others may read it ([`Code::NoPerm`]), it cannot be read or written, or
    /// it is gone although an edge has used it ([`Code::NoInput`]).
    pub fn secrets(&self, settings: &Settings) -> Result<Secrets, Failure> {
        let wrong = |(key, why): (String, String)| Failure::new(Code::Config, format!("`{key}` {why}"));
        let tokens = settings.token.key_ring().map_err(wrong)?;
        let visitor_hash = parse_secret(&settings.visitor.hash_secret);
        let sealing = settings.secrets.sealing_keys().map_err(wrong)?;
        if let (Some(tokens), Some(visitor_hash), Some(sealing)) = (&tokens, visitor_hash, &sealing) {
            return Ok(Secrets { tokens: tokens.clone(), visitor_hash, sealing: sealing.clone() });
        }
        let signs = tokens.is_none() || visitor_hash.is_none();
        let kept = load_or_create(self.path(), signs && self.spool_path(settings).exists())?;
        Ok(Secrets {
            tokens: tokens.unwrap_or(kept.tokens),
            visitor_hash: visitor_hash.unwrap_or(kept.visitor_hash),
            sealing: sealing.unwrap_or(kept.sealing),
        })
    }
}

/// `in_use`: tokens were signed with the file before; another one would make all of them worthless.
fn load_or_create(folder: &Path, in_use: bool) -> Result<Secrets, Failure> {
    let path = folder.join("secrets.toml");
    let guard = folder.join("secrets.lock");
    let _guard = private(&guard, false)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| Failure::io("lock", &guard, &error))?;
    match fs::read_to_string(&path) {
        Ok(text) => {
            check_mode(&path)?;
            match read(&path, &text)? {
                Kept::Whole(secrets) => Ok(secrets),
                Kept::NoSealingKey => {
                    let text = format!("{}\n{}", text.trim_end(), sealing_section()?);
                    write(folder, &path, &text)
                        .map_err(|error| Failure::io("write the secrets", &path, &error))?;
                    tracing::info!(path = %path.display(), "added a key that seals secrets; keep a new copy");
                    read(&path, &text)?.whole(&path)
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && in_use => {
            let message =
                format!("{} is gone: click ids that were given out cannot be proven", path.display());
            Err(Failure::new(Code::NoInput, message).with_hint(
                "Put the copy of secrets.toml back, or set `token.keys` and `visitor.hash_secret`. To give up all \
                 click ids, move spool.db away once `waypost settle` has read it.",
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = generate()?;
            write(folder, &path, &text).map_err(|error| Failure::io("write the secrets", &path, &error))?;
            tracing::info!(path = %path.display(), "made new secrets; keep a copy in a safe place");
            read(&path, &text)?.whole(&path)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged(&path, "it is not UTF-8")),
        Err(error) => Err(Failure::io("read the secrets", &path, &error)),
    }
}

/// Opens a file that only the owner may read.
fn private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

fn check_mode(path: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(path).map_err(|error| Failure::io("read the secrets", path, &error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = path.display();
    let message = format!("other users may read the secrets in {shown} (mode {mode:03o})");
    Err(Failure::new(Code::NoPerm, message).with_hint(format!(
        "Run `chmod 600 {shown}`; if somebody may have read them, roll the keys as well."
    )))
}

/// What a file of secrets has.
enum Kept {
    Whole(Secrets),
    NoSealingKey,
}

impl Kept {
    fn whole(self, path: &Path) -> Result<Secrets, Failure> {
        match self {
            Self::Whole(secrets) => Ok(secrets),
            Self::NoSealingKey => Err(damaged(path, "`secrets.keys` is empty")),
        }
    }
}

/// The text itself is never part of a message.
fn read(path: &Path, text: &str) -> Result<Kept, Failure> {
    let file: SecretsFile =
        toml::from_str(text).map_err(|_| damaged(path, "it does not have the keys it should"))?;
    let tokens = file.token.key_ring().map_err(|(key, why)| damaged(path, &format!("`{key}` {why}")))?;
    let tokens = tokens.ok_or_else(|| damaged(path, "`token.keys` is empty"))?;
    let visitor_hash = parse_secret(&file.visitor.hash_secret)
        .ok_or_else(|| damaged(path, "`visitor.hash_secret` is not 64 hex digits"))?;
    let sealing =
        file.secrets.sealing_keys().map_err(|(key, why)| damaged(path, &format!("`{key}` {why}")))?;
    Ok(match sealing {
        Some(sealing) => Kept::Whole(Secrets { tokens, visitor_hash, sealing }),
        None => Kept::NoSealingKey,
    })
}

fn damaged(path: &Path, why: &str) -> Failure {
    Failure::new(Code::Data, format!("the secrets in {} cannot be used: {why}", path.display())).with_hint(
        "Restore the file from a copy. If there is none, move it away: new secrets are made, and clicks made before \
         attribute only where they are stored.",
    )
}

fn generate() -> Result<String, Failure> {
    let failed = |why: String| Failure::new(Code::Software, format!("cannot make secrets: {why}"));
    let mut random = [0_u8; 97];
    getrandom::fill(&mut random).map_err(|error| failed(error.to_string()))?;
    let key = TokenKeySettings {
        // By chance, so that after a loss of this file older tokens read as signed by an unknown key, which waits,
        // and hardly ever as forged, which is final.
        id: random[96] & 63,
        state: KeyState::Active,
        secret: HEXLOWER.encode(&random[..32]),
    };
    let file = SecretsFile {
        token: TokenSettings { keys: vec![key] },
        visitor: VisitorSecret { hash_secret: HEXLOWER.encode(&random[32..64]) },
        secrets: SecretsSettings { keys: vec![HEXLOWER.encode(&random[64..96])] },
    };
    let toml = toml::to_string(&file).map_err(|error| failed(error.to_string()))?;
    Ok(format!(
        "# Made by waypost at its first start. Whoever reads this file can forge click ids and pixels: keep it to\n\
         # yourself, and keep a copy, for without it the clicks that are out there prove nothing.\n\n{toml}"
    ))
}

/// A key for a file that has none.
fn sealing_section() -> Result<String, Failure> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Code::Software, format!("cannot make secrets: {error}")))?;
    Ok(format!("\n[secrets]\nkeys = [\"{}\"]\n", HEXLOWER.encode(&random)))
}

/// The whole file or none, whenever the machine stops.
fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let temporary: PathBuf = folder.join("secrets.toml.new");
    let mut file = private(&temporary, true)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use uuid::Uuid;

    use super::*;
    use crate::domain::{ids::LinkId, token::ClickToken};

    fn signed(secrets: &Secrets) -> (String, ClickToken) {
        let token =
            ClickToken { click_id: Uuid::now_v7(), link: LinkId(1), attributable: true, review: false };
        (secrets.tokens.sign(&token), token)
    }

    fn refused(text: &[u8], mode: u32) -> Failure {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        DataDir::existing(folder.path()).unwrap().secrets(&Settings::default()).unwrap_err()
    }

    #[test]
    fn are_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataDir::existing(folder.path()).unwrap();
        let first = folder.secrets(&Settings::default()).unwrap();
        let path = folder.path().join("secrets.toml");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!folder.path().join("secrets.toml.new").exists());
        let second = folder.secrets(&Settings::default()).unwrap();
        let (text, token) = signed(&first);
        assert_eq!(second.tokens.verify(&text), Ok(token));
        assert_eq!(first.visitor_hash, second.visitor_hash);
    }

    #[test]
    fn processes_that_start_together_agree() {
        let folder = tempfile::tempdir().unwrap();
        let made: Vec<Secret> = thread::scope(|scope| {
            let secrets = || DataDir::existing(folder.path()).unwrap().secrets(&Settings::default()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(move || secrets().visitor_hash)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn the_file_is_a_file_of_settings_and_settings_win() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataDir::existing(folder.path()).unwrap();
        let made = folder.secrets(&Settings::default()).unwrap();
        let sources =
            crate::config::Sources { files: vec![folder.path().join("secrets.toml")], ..Default::default() };
        let mut settings = crate::config::load(&sources).unwrap().settings;
        let elsewhere = tempfile::tempdir().unwrap();
        let elsewhere = DataDir::existing(elsewhere.path()).unwrap();
        let (text, token) = signed(&made);
        assert_eq!(elsewhere.secrets(&settings).unwrap().tokens.verify(&text), Ok(token));
        assert!(!elsewhere.path().join("secrets.toml").exists(), "nothing was missing");
        settings.visitor.hash_secret = String::new();
        let mixed = elsewhere.secrets(&settings).unwrap();
        assert_eq!(mixed.tokens.verify(&text), Ok(token));
        assert_ne!(mixed.visitor_hash, made.visitor_hash);
    }

    #[test]
    fn a_file_from_before_secrets_were_sealed_gets_a_key_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        let whole = generate().unwrap();
        let (before, _) = whole.split_once("[secrets]").unwrap();
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let folder = DataDir::existing(folder.path()).unwrap();
        let first = folder.secrets(&Settings::default()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(before.trim_end()), "what was there stays");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = first.sealing.seal(&[1; 24], "owner", "secret");
        let second = folder.secrets(&Settings::default()).unwrap();
        assert_eq!(second.sealing.open(&sealed, "owner").as_deref(), Ok("secret"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let failure = refused(generate().unwrap().as_bytes(), 0o640);
        assert_eq!(failure.code, Code::NoPerm);
        assert!(failure.to_string().contains("chmod 600"), "{failure}");
    }

    #[test]
    fn a_damaged_file_is_refused_and_not_shown() {
        let whole = generate().unwrap();
        let empty = "[token]\nkeys = []\n[visitor]\nhash_secret = \"\"";
        for text in [&whole.as_bytes()[..whole.len() / 2], b"\xff", b"", empty.as_bytes()] {
            let failure = refused(text, 0o600);
            assert_eq!(failure.code, Code::Data, "{failure}");
        }
        let failure = refused(whole.replace("hash_secret = \"", "hash_secret = \"x").as_bytes(), 0o600);
        let secret: SecretsFile = toml::from_str(&whole).unwrap();
        assert!(failure.message.contains("`visitor.hash_secret`"), "{failure}");
        assert!(!failure.to_string().contains(&secret.visitor.hash_secret));
    }
}
