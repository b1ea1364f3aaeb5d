//! `waypost replay`: applies the journal to an empty store and compares.

use std::path::PathBuf;

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
        let (path, keep) = target(args, &folder)?;
        let copy = Store::open(&Store::sqlite_url(&path)).await.map_err(|error| {
            Failure::new(Code::CantCreate, format!("the copy at {} cannot be made: {error}", path.display()))
        })?;
        let snapshot = original.long_snapshot().await.map_err(parts::store_failed)?;
        let replayed = replay(&snapshot, &copy).await;
        copy.close().await.map_err(parts::store_failed)?;
        if !keep {
            remove(&path);
        }
        tell(&replayed.map_err(parts::ledger_failed)?)
    })
}

/// The file of the new store, and whether it stays.
fn target(args: &ReplayArgs, folder: &DataDir) -> Result<(PathBuf, bool), Failure> {
    match &args.into {
        Some(path) if path.exists() => {
            Err(Failure::new(Code::CantCreate, format!("{} is there already", path.display()))
                .with_hint("Name a file that is not there yet: the journal is applied to an empty store."))
        }
        Some(path) => Ok((path.clone(), true)),
        None => {
            let here = folder.path().is_dir().then(|| folder.path().to_owned());
            let path =
                here.unwrap_or_else(std::env::temp_dir).join(format!("replay-{}.db", std::process::id()));
            remove(&path);
            Ok((path, false))
        }
    }
}

fn remove(path: &std::path::Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        // It may well not be there.
        let _ = std::fs::remove_file(file);
    }
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
