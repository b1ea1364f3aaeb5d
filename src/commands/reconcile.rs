//! `waypost reconcile`: does every event that was seen have exactly one outcome?

use super::{
    cli::ReconcileArgs,
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    settlement::reconcile::{Reconciliation, StreamReport, reconcile},
    stream::spool,
};

pub fn run(args: &ReconcileArgs, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        let snapshot = store.long_snapshot().await.map_err(parts::store_failed)?;
        let found = reconcile(&snapshot).await.map_err(parts::store_failed)?;
        if args.json {
            let json = serde_json::to_string_pretty(&found)
                .map_err(|error| Failure::new(Code::Software, error.to_string()))?;
            say(&json)?;
        } else {
            tell(&found)?;
            tell_waiting(&folder, settings)?;
        }
        if found.differences.is_empty() {
            return Ok(());
        }
        let message = format!("{} sums do not add up", found.differences.len());
        Err(Failure::new(Code::Difference, message))
    })
}

fn tell(found: &Reconciliation) -> Result<(), Failure> {
    for stream in &found.streams {
        say(&describe(stream))?;
    }
    for difference in &found.differences {
        say(&format!("DIFFERENCE  {difference}"))?;
    }
    let seen: i64 = found.streams.iter().map(|stream| stream.seen).sum();
    let missing: i64 = found.streams.iter().map(StreamReport::missing).sum();
    say(&format!(
        "{seen} events seen in {} streams, {missing} numbers missing between them",
        found.streams.len()
    ))
}

/// What the embedded log still holds is durable and not settled: it is no part of the sums above.
fn tell_waiting(folder: &DataDir, settings: &Settings) -> Result<(), Failure> {
    let Ok(topics) = spool::inspect(&folder.spool_path(settings)) else { return Ok(()) };
    let waiting: u64 = topics.iter().map(|topic| topic.events).sum();
    if waiting == 0 { Ok(()) } else { say(&format!("{waiting} events in the event log are not settled yet")) }
}

fn describe(stream: &StreamReport) -> String {
    let outcomes: Vec<String> =
        stream.outcomes.iter().map(|(outcome, events)| format!("{outcome} {events}")).collect();
    let mut text = format!(
        "edge {}  boot {}  {}: {} seen ({})",
        stream.edge,
        stream.boot,
        stream.stream,
        stream.seen,
        outcomes.join(", ")
    );
    for (first, last) in &stream.gaps {
        text.push_str(&format!("\n    missing {first} to {last}: under way, refused with 503, or lost"));
    }
    if !stream.ended {
        text.push_str(&format!(
            "\n    no marker of its end: what came after {} cannot be known",
            stream.last
        ));
    }
    text
}
