//! `waypost migrate`: makes the store or brings its schema up to date.

use super::{data_dir::DataDir, exit::Failure, output::say, parts, process};
use crate::config::Settings;

pub fn run(settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(migrate(settings))
}

async fn migrate(settings: &Settings) -> Result<(), Failure> {
    let folder = if settings.store.is_postgres() {
        DataDir::of_store(settings)?
    } else {
        DataDir::open(&settings.data_dir, &[])?
    };
    let place = parts::StorePlace::new(&folder, settings);
    let store = place.connect().await?;
    let applied = store.migrate().await.map_err(|error| place.failed(error))?;
    store.close().await.map_err(parts::store_failed)?;
    if applied.is_empty() {
        say(&format!("{place} is up to date"))
    } else {
        say(&format!("{place} was brought up to date: {}", applied.join(", ")))
    }
}
