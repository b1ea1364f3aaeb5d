//! The data folder: who holds it, and what lies in it.
//!
//! | file | what it is |
//! |---|---|
//! | `store.db` | the embedded store |
//! | `spool.db` | the embedded event log |
//! | `spool.db.reserve` | room on the disk for that to forget |
//! | `spool.db.lock` | one process appends to that |
//! | `catalog.snapshot` | what an edge knows, where the catalog comes by Kafka |
//! | `secrets.toml` | see [`super::secrets`] |
//! | `replay-PID.db` | the store of a `waypost replay` under way |
//! | `edge.lock`, `settle.lock`, `api.lock` | one process per role; the text in it says which |
//!
//! A lock is the kernel's: it ends with its process, however that ends, so a lock file that is left behind means
//! nothing.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
};

use clap::CommandFactory;

use super::{
    cli::Cli,
    exit::{Code, Failure},
};
use crate::config::Settings;

/// A part that may run once per data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Edge,
    Settle,
    Api,
}

impl Role {
    /// `waypost dev` is all of them.
    pub const ALL: [Self; 3] = [Self::Edge, Self::Settle, Self::Api];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Settle => "settle",
            Self::Api => "api",
        }
    }
}

/// A data folder that is there, with the roles that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Kept open: closing a file ends its lock.
    _locks: Vec<File>,
}

impl DataDir {
    /// Takes `roles` in the folder, which is created (mode 0700) when it is not there.
    ///
    /// # Errors
    /// The folder cannot be created, read or written; or another process has one of the roles
    /// ([`Code::TempFail`]), and then the message says which.
    pub fn open(path: &Path, roles: &[Role]) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Failure::io("create the data folder", path, &error))?;
        fs::read_dir(path).map_err(|error| Failure::io("read the data folder", path, &error))?;
        let locks = roles.iter().map(|role| lock(path, *role)).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), _locks: locks })
    }

    /// A folder that must be there already, for commands that look into it. Takes no role.
    ///
    /// # Errors
    /// There is no such folder ([`Code::NoInput`]), or it cannot be read.
    pub fn existing(path: &Path) -> Result<Self, Failure> {
        match fs::read_dir(path) {
            Ok(_) => Ok(Self { path: path.to_owned(), _locks: Vec::new() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no data folder at {}", path.display());
                Err(Failure::new(Code::NoInput, message).with_hint(
                    "Name the folder with --data-dir, or make one: `waypost dev` and `waypost migrate` do.",
                ))
            }
            Err(error) => Err(Failure::io("read the data folder", path, &error)),
        }
    }

    /// The folder of a command that works with the store alone: with PostgreSQL it needs none.
    ///
    /// # Errors
    /// The store is a file and the folder is not there, or cannot be read.
    pub fn of_store(settings: &Settings) -> Result<Self, Failure> {
        if settings.store.is_postgres() {
            return Ok(Self { path: settings.data_dir.clone(), _locks: Vec::new() });
        }
        Self::existing(&settings.data_dir)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file of the store: the one of the settings, or `store.db`.
    pub fn store_path(&self, settings: &Settings) -> PathBuf {
        match settings.store.url.strip_prefix("sqlite:") {
            Some(path) => PathBuf::from(path.strip_prefix("//").unwrap_or(path)),
            None => self.path.join("store.db"),
        }
    }

    /// The file of the embedded event log: the one of the settings, or `spool.db`.
    pub fn spool_path(&self, settings: &Settings) -> PathBuf {
        let path = &settings.spool.path;
        if path.as_os_str().is_empty() { self.path.join("spool.db") } else { path.clone() }
    }

    /// The snapshot of the catalog: the one of the settings, or `catalog.snapshot`.
    pub fn snapshot_path(&self, settings: &Settings) -> PathBuf {
        let path = &settings.catalog.snapshot;
        if path.as_os_str().is_empty() { self.path.join("catalog.snapshot") } else { path.clone() }
    }
}

fn lock(folder: &Path, role: Role) -> Result<File, Failure> {
    let path = folder.join(format!("{}.lock", role.as_str()));
    let failed = |error: &io::Error| Failure::io("write the lock file", &path, error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(folder, role, &mut file)),
        Err(TryLockError::Error(error)) => return Err(Failure::io("lock", &path, &error)),
    }
    let holder = format!("process {}, `{}`\n", process::id(), command_in(std::env::args_os()));
    file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(|error| failed(&error))?;
    Ok(file)
}

/// `waypost spool replay`: the words of the command alone. What is given to options may be a secret.
fn command_in(arguments: impl IntoIterator<Item = OsString>) -> String {
    let mut words = vec!["waypost"];
    let matches = Cli::command().try_get_matches_from(arguments).ok();
    let mut matches = matches.as_ref();
    while let Some((word, below)) = matches.and_then(clap::ArgMatches::subcommand) {
        words.push(word);
        matches = Some(below);
    }
    words.join(" ")
}

/// Says who holds a role. The text in the lock file is a courtesy; the lock itself is what counts.
fn held(folder: &Path, role: Role, file: &mut File) -> Failure {
    let mut holder = String::new();
    let known = file.read_to_string(&mut holder).is_ok_and(|bytes| bytes > 0);
    let holder = if known { holder.trim_end() } else { "another process" };
    let message =
        format!("the data folder {} is in use: {holder} runs its {}", folder.display(), role.as_str());
    Failure::new(Code::TempFail, message)
        .with_hint("Stop that process, or give this one a folder of its own with --data-dir.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_made_for_its_owner_alone_and_opens_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        for _ in 0..2 {
            let folder = DataDir::open(&path, &Role::ALL).unwrap();
            assert_eq!(folder.store_path(&Settings::default()), path.join("store.db"));
            assert_eq!(folder.spool_path(&Settings::default()), path.join("spool.db"));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn paths_of_the_settings_win() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataDir::existing(parent.path()).unwrap();
        let mut settings = Settings::default();
        settings.spool.path = "/else/spool.db".into();
        assert_eq!(folder.spool_path(&settings), Path::new("/else/spool.db"));
        for url in ["sqlite:/else/store.db", "sqlite:///else/store.db"] {
            settings.store.url = url.to_owned();
            assert_eq!(folder.store_path(&settings), Path::new("/else/store.db"));
        }
    }

    #[test]
    fn a_role_is_held_once_and_the_holder_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let edge = DataDir::open(parent.path(), &[Role::Edge]).unwrap();
        DataDir::open(parent.path(), &[Role::Settle]).unwrap();
        // A lock belongs to the open file, so a second one in the same process meets it like another process.
        let failure = DataDir::open(parent.path(), &Role::ALL).unwrap_err();
        assert_eq!(failure.code, Code::TempFail);
        assert!(failure.message.contains(&format!("process {}, `", process::id())), "{failure}");
        assert!(failure.message.ends_with("runs its edge"), "{failure}");
        drop(edge);
        DataDir::open(parent.path(), &Role::ALL).unwrap();
    }

    #[test]
    fn only_the_words_of_the_command_are_told() {
        for (arguments, told) in [
            ("waypost dev", "waypost dev"),
            ("/opt/waypost --set redis.url=redis://u:777777@h edge --config 777777", "waypost edge"),
            ("waypost spool --data-dir 777777 replay --patience 7", "waypost spool replay"),
            ("waypost --no-such-option", "waypost"),
        ] {
            assert_eq!(command_in(arguments.split(' ').map(OsString::from)), told);
        }
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("below")] {
            let failure = DataDir::open(&path, &[]).unwrap_err();
            assert_eq!(failure.code, Code::CantCreate, "{failure}");
        }
        let failure = DataDir::existing(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(failure.code, Code::NoInput);
    }
}
