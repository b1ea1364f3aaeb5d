//! `waypost catalog republish`: after the store was restored from an older copy.

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    jobs::catalog_republish::{RepublishError, republish},
};

pub fn run(settings: &Settings) -> Result<(), Failure> {
    if !settings.kafka.is_used() {
        return Err(Failure::new(Code::Config, "`kafka.brokers` is not set: edges read the store itself"));
    }
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        let made = republish(&store, &settings.kafka).await.map_err(|error| match error {
            RepublishError::Store(error) => parts::store_failed(error),
            RepublishError::NotPublished => Failure::new(Code::NoInput, error.to_string()),
            other => Failure::new(Code::Unavailable, other.to_string())
                .with_hint("Nothing was changed. Check that the brokers answer, and try again."),
        })?;
        say(&format!(
            "{} records will be published anew, {} that the store does not have will be removed; `waypost settle` \
             does it",
            made.records, made.removed
        ))
    })
}
