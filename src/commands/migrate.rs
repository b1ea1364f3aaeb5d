//! `waypost migrate`: makes the store or brings its schema up to date.

use super::{data_dir::DataDir, exit::Failure, output::say, parts, process};
use crate::config::Settings;

pub fn run(settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(migrate(settings))
}

async fn migrate(settings: &Settings) -> Result<(), Failure> {
    let folder = DataDir::open(&settings.data_dir, &[])?;
    let path = folder.store_path(settings);
    let store = parts::connect(&path).await?;
    let pending = store.pending_migrations().await.map_err(parts::store_failed)?;
    store.migrate().await.map_err(parts::store_failed)?;
    store.close().await.map_err(parts::store_failed)?;
    if pending.is_empty() {
        say(&format!("{} is up to date", path.display()))
    } else {
        say(&format!("{} was brought up to date: {}", path.display(), pending.join(", ")))
    }
}
