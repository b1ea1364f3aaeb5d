//! A batch as its taker sees it: decoded events, those seen before told apart.

use std::collections::HashMap;

use sea_orm::{DatabaseTransaction, DbErr};

use crate::{
    domain::{reason::Outcome, time::Timestamp},
    events::{DecodeError, Event},
    ledger::{LedgerError, intake::stream_of},
    store::streams::{self, StreamKey},
    stream::Delivery,
};

/// Why a batch did not take effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    /// Deploy a newer build; the events are fine.
    #[error("event version {0} is newer than this build reads")]
    NewerVersion(u16),
    /// Another instance has moved the position.
    #[error("another consumer owns the partition now")]
    NotOwner,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbErr> for BatchError {
    fn from(error: DbErr) -> Self {
        Self::Ledger(LedgerError::Store(error))
    }
}

impl BatchError {
    /// The fault of the event itself, as a sentence; `None`: anything else may be at fault.
    pub fn blames_the_event(&self) -> Option<String> {
        match self {
            Self::Ledger(error @ LedgerError::NotFound(_)) => Some(error.to_string()),
            Self::Ledger(_) | Self::NewerVersion(_) | Self::NotOwner => None,
        }
    }
}

/// Outcomes of a batch, added to the metrics once it is committed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub outcomes: HashMap<Outcome, u64>,
    pub redelivered: u64,
    /// Receipt of the last event.
    pub last_received: Option<Timestamp>,
}

impl Tally {
    pub fn add(&mut self, outcome: Outcome, events: u64) {
        *self.outcomes.entry(outcome).or_default() += events;
    }
}

/// A record that could be read, or what it is instead.
pub(super) enum Read {
    Event(Box<Event>),
    Unreadable { text: String, detail: String },
}

/// Decodes a batch; a newer version fails it whole.
pub(super) fn decode(deliveries: &[Delivery]) -> Result<Vec<Read>, BatchError> {
    deliveries
        .iter()
        .map(|delivery| match Event::decode(&delivery.payload) {
            Ok(event) => Ok(Read::Event(Box::new(event))),
            Err(DecodeError::NewerVersion(version)) => Err(BatchError::NewerVersion(version)),
            Err(DecodeError::Malformed(detail)) => {
                let text = String::from_utf8_lossy(&delivery.payload).into_owned();
                Ok(Read::Unreadable { text, detail })
            }
        })
        .collect()
}

/// Notes the numbers of all events as seen. Answers the events that are new, in order, and the unreadable ones;
/// markers are counted here and go no further.
pub(super) async fn see(
    tx: &DatabaseTransaction,
    batch: Vec<Read>,
    at: Timestamp,
    tally: &mut Tally,
) -> Result<Vec<Read>, BatchError> {
    let mut streams: HashMap<StreamKey, Vec<u64>> = HashMap::new();
    for read in &batch {
        if let Read::Event(event) = read {
            streams.entry(stream_of(event)).or_default().push(event.origin.n);
        }
    }
    let mut fresh: HashMap<StreamKey, std::vec::IntoIter<bool>> = HashMap::new();
    for (stream, numbers) in streams {
        let seen = streams::see(tx, &stream, &numbers).await?;
        fresh.insert(stream, seen.into_iter());
    }
    let mut new = Vec::with_capacity(batch.len());
    for read in batch {
        let Read::Event(event) = &read else {
            new.push(read);
            continue;
        };
        tally.last_received = Some(event.received_at);
        let stream = stream_of(event);
        if fresh.get_mut(&stream).and_then(Iterator::next) != Some(true) {
            tally.redelivered += 1;
        } else if event.account().is_none() {
            streams::count(tx, &stream, Outcome::Marker, 1, at).await?;
            tally.add(Outcome::Marker, 1);
        } else {
            new.push(read);
        }
    }
    Ok(new)
}
