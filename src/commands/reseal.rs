//! `waypost secrets reseal`: every secret in the store under the key that seals now.

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
    secrets::Secrets,
};
use crate::{
    config::Settings,
    store::{Store, pixel_secrets},
};

pub fn run(settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::existing(&settings.data_dir)?;
        let secrets = folder.secrets(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        let done =
            pixel_secrets::reseal(&store, &secrets.sealing, false).await.map_err(parts::store_failed)?;
        say(&format!("{} secrets sealed anew", done.sealed))?;
        if done.unreadable == 0 {
            return Ok(());
        }
        let message = format!("{} secrets cannot be opened by any of `secrets.keys`", done.unreadable);
        Err(Failure::new(Code::Difference, message)
            .with_hint("Give the missing key back, or rotate the pixel secrets of their programs."))
    })
}

/// Seals what a build from before secrets were sealed has left in clear text.
pub async fn clear_text(store: &Store, secrets: &Secrets) -> Result<(), Failure> {
    let done = pixel_secrets::reseal(store, &secrets.sealing, true).await.map_err(parts::store_failed)?;
    if done.sealed > 0 {
        tracing::info!(programs = done.sealed, "sealed secrets that were in clear text");
    }
    Ok(())
}
