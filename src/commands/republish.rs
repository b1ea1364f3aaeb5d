//! `waypost catalog republish`: after the store was restored from an older copy.

use super::{
    cli::RepublishArgs,
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    jobs::catalog_republish::{RepublishError, republish},
    store::{Store, publications},
};

pub fn run(args: &RepublishArgs, settings: &Settings) -> Result<(), Failure> {
    if !settings.kafka.is_used() {
        return Err(Failure::new(Code::Config, "`kafka.brokers` is not set: edges read the store itself"));
    }
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        let made = match republish(&store, &settings.kafka).await {
            Err(error @ RepublishError::NotPublished) if args.skip_ids > 0 => {
                skip_ids(&store, args.skip_ids).await?;
                return say(&error.to_string());
            }
            made => made.map_err(failure)?,
        };
        if args.skip_ids > 0 {
            skip_ids(&store, args.skip_ids).await?;
        }
        say(&format!(
            "{} records will be published anew, {} that the store does not have will be removed; `waypost settle` \
             does it",
            made.records, made.removed
        ))
    })
}

async fn skip_ids(store: &Store, count: i64) -> Result<(), Failure> {
    publications::skip_ids(store, count).await.map_err(parts::store_failed)?;
    say(&format!("the next {count} ids of each kind will not be given out"))
}

fn failure(error: RepublishError) -> Failure {
    match error {
        RepublishError::Store(error) => parts::store_failed(error),
        RepublishError::NotPublished => Failure::new(Code::NoInput, error.to_string()),
        other => Failure::new(Code::Unavailable, other.to_string())
            .with_hint("Nothing was changed. Check that the brokers answer, and try again."),
    }
}
