//! A batch as its taker sees it: decoded events, those seen before told apart.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{DatabaseTransaction, DbErr};

use crate::{
    domain::{reason::Outcome, time::Timestamp},
    events::{DecodeError, Event},
    ledger::{LedgerError, intake::stream_of},
    store::{
        self,
        streams::{self, Counts, StreamKey},
    },
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
    /// The same event came by two partitions at once. The one that is later sees it the next time.
    #[error("another consumer takes the same event now")]
    SeenMeanwhile,
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
            Self::Ledger(_) | Self::NewerVersion(_) | Self::NotOwner | Self::SeenMeanwhile => None,
        }
    }

    /// Somebody was in the way: the same batch may succeed if it is simply taken again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(LedgerError::Store(error)) => store::is_transient(error),
            Self::SeenMeanwhile => true,
            Self::Ledger(_) | Self::NewerVersion(_) | Self::NotOwner => false,
        }
    }
}

/// What a batch comes to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Added to the metrics once the batch is committed.
    pub outcomes: HashMap<Outcome, u64>,
    pub redelivered: u64,
    /// Receipt of the last event.
    pub last_received: Option<Timestamp>,
    /// What the store's counts of outcomes get at the end of the transaction.
    pub counts: Counts,
    /// The numbers that are new.
    seen: BTreeMap<StreamKey, Vec<u64>>,
}

impl Tally {
    /// An event of a stream ended.
    pub fn end(&mut self, stream: &StreamKey, outcome: Outcome) {
        self.counts.add(stream, outcome, 1);
        self.add(outcome);
    }

    /// For the metrics alone.
    pub fn add(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Writes what streams have in common between consumers; nothing but the commit follows.
    pub async fn write(&mut self, tx: &DatabaseTransaction, at: Timestamp) -> Result<(), BatchError> {
        for (stream, numbers) in std::mem::take(&mut self.seen) {
            if !streams::note(tx, &stream, &numbers, at).await? {
                return Err(BatchError::SeenMeanwhile);
            }
        }
        Ok(std::mem::take(&mut self.counts).write(tx, at).await?)
    }
}

/// A record that could be read, or what it is instead.
pub(super) enum Read {
    Event { event: Box<Event>, partition: i32 },
    Unreadable { text: String, detail: String },
}

/// Decodes a batch; a newer version fails it whole.
pub(super) fn decode(deliveries: &[Delivery]) -> Result<Vec<Read>, BatchError> {
    deliveries
        .iter()
        .map(|delivery| match Event::decode(&delivery.payload) {
            Ok(event) => Ok(Read::Event { event: Box::new(event), partition: delivery.partition }),
            Err(DecodeError::NewerVersion(version)) => Err(BatchError::NewerVersion(version)),
            Err(DecodeError::Malformed(detail)) => {
                let text = String::from_utf8_lossy(&delivery.payload);
                Ok(Read::Unreadable { text: without_nul(&text), detail: without_nul(&detail) })
            }
        })
        .collect()
}

/// PostgreSQL keeps no text with a NUL in it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Tells the events that are new, in order, and the unreadable ones from those that were seen before. Markers are
/// counted here and go no further.
pub(super) async fn see(
    tx: &DatabaseTransaction,
    batch: Vec<Read>,
    tally: &mut Tally,
) -> Result<Vec<Read>, BatchError> {
    let mut streams: BTreeMap<StreamKey, Vec<u64>> = BTreeMap::new();
    for read in &batch {
        if let Read::Event { event, .. } = read {
            streams.entry(stream_of(event)).or_default().push(event.origin.n);
        }
    }
    let mut fresh: HashMap<StreamKey, std::vec::IntoIter<bool>> = HashMap::new();
    for (stream, numbers) in streams {
        let unseen = streams::unseen(tx, &stream, &numbers).await?;
        fresh.insert(stream, unseen.into_iter());
    }
    let mut new = Vec::with_capacity(batch.len());
    for read in batch {
        let Read::Event { event, .. } = &read else {
            new.push(read);
            continue;
        };
        tally.last_received = Some(event.received_at);
        let stream = stream_of(event);
        if fresh.get_mut(&stream).and_then(Iterator::next) != Some(true) {
            tally.redelivered += 1;
            continue;
        }
        let is_marker = event.account().is_none();
        if is_marker {
            tally.end(&stream, Outcome::Marker);
        }
        tally.seen.entry(stream).or_default().push(event.origin.n);
        if !is_marker {
            new.push(read);
        }
    }
    Ok(new)
}
