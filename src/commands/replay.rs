//! `waypost replay`: applies the journal to an empty store and compares.
//!
//! The new store is `replay-PID.db` in the data folder, or in the one for temporary files, and goes away at the end.
//! Its process holds a lock on `replay-PID.db.lock`; the lock ends with the process, however that ends, and the next
//! run removes what one that was killed has left there.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::{
    cli::ReplayArgs,
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    ledger::replay::{Replay, replay},
    store::Store,
};

pub fn run(args: &ReplayArgs, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let original = parts::existing_store(&folder, settings).await?;
        let (path, lock) = target(args, &folder)?;
        let copy = Store::open(&Store::sqlite_url(&path)).await.map_err(|error| {
            Failure::new(Code::CantCreate, format!("the copy at {} cannot be made: {error}", path.display()))
        })?;
        let snapshot = original.long_snapshot().await.map_err(parts::store_failed)?;
        let replayed = replay(&snapshot, &copy).await;
        copy.close().await.map_err(parts::store_failed)?;
        if lock.is_some() {
            remove(&path);
        }
        tell(&replayed.map_err(parts::ledger_failed)?)
    })
}

/// The file of the new store, and its lock where it does not stay.
fn target(args: &ReplayArgs, folder: &DataDir) -> Result<(PathBuf, Option<File>), Failure> {
    match &args.into {
        Some(path) if path.exists() => {
            Err(Failure::new(Code::CantCreate, format!("{} is there already", path.display()))
                .with_hint("Name a file that is not there yet: the journal is applied to an empty store."))
        }
        Some(path) => Ok((path.clone(), None)),
        None => {
            let here = folder.path().is_dir().then(|| folder.path().to_owned());
            let here = here.unwrap_or_else(std::env::temp_dir);
            remove_left_behind(&here);
            let path = here.join(format!("replay-{}.db", std::process::id()));
            remove(&path);
            let of_lock = beside(&path, LOCK);
            let lock = File::create_new(&of_lock).and_then(|file| file.lock().map(|()| file));
            let lock = lock.map_err(|error| Failure::io("write the lock file", &of_lock, &error))?;
            Ok((path, Some(lock)))
        }
    }
}

/// Ends the name of the file that is locked while the store is in use.
const LOCK: &str = ".lock";

/// Removes the stores of runs that were killed.
fn remove_left_behind(folder: &Path) {
    // What cannot be read or removed is in nobody's way.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let store = name.to_str().and_then(|name| name.strip_suffix(LOCK));
        let Some(store) = store.filter(|name| is_copy(name)) else { continue };
        // Its lock is free: the process is gone. It is held until all is removed.
        if let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            remove(&folder.join(store));
        }
    }
}

/// `replay-PID.db`
fn is_copy(name: &str) -> bool {
    let id = name.strip_prefix("replay-").and_then(|name| name.strip_suffix(".db"));
    id.is_some_and(|id| id.parse::<u32>().is_ok())
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", LOCK] {
        // It may well not be there.
        let _ = fs::remove_file(beside(path, suffix));
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn tell(found: &Replay) -> Result<(), Failure> {
    for difference in &found.differences {
        say(&format!("DIFFERENCE  {difference}"))?;
    }
    say(&format!(
        "{} commands of {} accounts replayed, {} rows compared, {} differ",
        found.commands, found.accounts, found.rows, found.differing
    ))?;
    if found.differing == 0 {
        return Ok(());
    }
    let message = format!("{} rows do not follow from the journal", found.differing);
    Err(Failure::new(Code::Difference, message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_killed_run_left_behind_goes_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            // Of a run that was killed.
            "replay-7.db",
            "replay-7.db-wal",
            "replay-7.db-shm",
            "replay-7.db.lock",
            // Of one that is under way.
            "replay-8.db",
            "replay-8.db.lock",
            // Somebody's own.
            "replay-mine.db",
            "replay-mine.db.lock",
            "replay-9.db",
            "store.db",
            "edge.lock",
        ];
        for file in files {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let running = File::open(folder.path().join("replay-8.db.lock")).unwrap();
        running.lock().unwrap();
        let kept: BTreeSet<String> = files[4..].iter().map(|name| (*name).to_owned()).collect();

        let here = DataDir::existing(folder.path()).unwrap();
        let (path, lock) = target(&ReplayArgs { into: None }, &here).unwrap();
        fs::write(&path, "").unwrap();
        let mine = path.file_name().unwrap().to_str().unwrap();
        let with_mine = [mine.to_owned(), format!("{mine}{LOCK}")].into_iter().chain(kept.clone());
        assert_eq!(names(folder.path()), with_mine.collect());
        remove_left_behind(folder.path());
        assert!(path.exists(), "its process runs");
        drop(lock);
        remove_left_behind(folder.path());
        assert_eq!(names(folder.path()), kept);
    }
}
