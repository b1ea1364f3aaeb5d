//! A batch as its taker sees it: decoded events, those seen before told apart.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{DatabaseTransaction, DbErr};

use crate::{
    domain::{
        reason::{Outcome, Rejection},
        time::Timestamp,
    },
    events::{DecodeError, Event},
    ledger::{LedgerError, intake::stream_of},
    store::{
        self,
        streams::{self, Counts, Numbers, StreamKey},
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
    /// Another partition brought the same events, and another instance was quicker with them.
    #[error("another consumer has taken some of these events meanwhile")]
    SeenMeanwhile,
    /// It panicked. Deploy a build that does not.
    #[error("a defect of this program: {0}")]
    Defect(String),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbErr> for BatchError {
    fn from(error: DbErr) -> Self {
        Self::Ledger(LedgerError::Store(error))
    }
}

impl BatchError {
    /// The fault of the event itself; `None`: anything else may be at fault.
    pub fn blames_the_event(&self) -> Option<Fault> {
        match self {
            Self::Ledger(LedgerError::Rejected(reason)) => Some(Fault { reason: *reason, detail: None }),
            Self::Ledger(error @ LedgerError::NotFound(_)) => Some(Fault::malformed(error.to_string())),
            Self::Ledger(LedgerError::Store(error)) => {
                let value = store::refused_value(error)?;
                Some(Fault { reason: value.reason(), detail: Some(value.to_string()) })
            }
            Self::Ledger(_)
            | Self::NewerVersion(_)
            | Self::NotOwner
            | Self::SeenMeanwhile
            | Self::Defect(_) => None,
        }
    }

    /// Somebody was in the way: the same batch may succeed if it is simply taken again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(LedgerError::Store(error)) => store::is_transient(error),
            Self::SeenMeanwhile => true,
            Self::Ledger(_) | Self::NewerVersion(_) | Self::NotOwner | Self::Defect(_) => false,
        }
    }

    /// This event fails on this build whenever it is taken, and the others need not.
    pub fn needs_a_newer_build(&self) -> bool {
        matches!(self, Self::NewerVersion(_) | Self::Defect(_))
    }
}

/// Why an event cannot take effect, as its row among the rejected tells it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub reason: Rejection,
    /// A sentence.
    pub detail: Option<String>,
}

impl Fault {
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self { reason: Rejection::Malformed, detail: Some(detail.into()) }
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
    Event {
        event: Box<Event>,
        partition: i32,
    },
    /// It can be read and counted, but holds what no store can.
    Refused {
        event: Box<Event>,
        detail: String,
    },
    Unreadable {
        text: String,
        detail: String,
    },
}

/// Decodes a batch; a newer version fails it whole.
pub(super) fn decode(deliveries: &[Delivery]) -> Result<Vec<Read>, BatchError> {
    deliveries
        .iter()
        .map(|delivery| match Event::decode(&delivery.payload) {
            Ok(event) => Ok(judge(delivery, event)),
            Err(DecodeError::NewerVersion(version)) => Err(BatchError::NewerVersion(version)),
            Err(DecodeError::Malformed(detail)) => Ok(unreadable(delivery, detail)),
        })
        .collect()
}

fn judge(delivery: &Delivery, event: Event) -> Read {
    let Some(field) = event.nul_field(&delivery.payload) else {
        return Read::Event { event: Box::new(event), partition: delivery.partition };
    };
    let detail = format!("{field} has the character U+0000, which cannot be stored");
    // Without its stream it cannot be counted.
    if field.starts_with("origin") {
        return unreadable(delivery, detail);
    }
    Read::Refused { event: Box::new(event), detail }
}

fn unreadable(delivery: &Delivery, detail: String) -> Read {
    // It may repeat a word of the record, and PostgreSQL keeps no text with a NUL in it.
    let detail = detail.replace('\0', "\u{fffd}");
    Read::Unreadable { text: String::from_utf8_lossy(&delivery.payload).into_owned(), detail }
}

/// What is written at the end of a batch's transaction: the numbers that it saw, and how their events ended.
///
/// At the end, because other instances may wait for it: events of one stream come in all partitions.
#[derive(Default)]
#[must_use = "the events are not seen before this is written"]
pub(super) struct Notes {
    numbers: Numbers,
    pub counts: Counts,
}

impl Notes {
    pub async fn write(self, tx: &DatabaseTransaction, at: Timestamp) -> Result<(), BatchError> {
        if !streams::see(tx, &self.numbers).await? {
            return Err(BatchError::SeenMeanwhile);
        }
        Ok(self.counts.write(tx, at).await?)
    }
}

/// Answers the events that are new, in order, and the unreadable ones; markers are counted here and go no further.
pub(super) async fn fresh(
    tx: &DatabaseTransaction,
    batch: Vec<Read>,
    tally: &mut Tally,
) -> Result<(Vec<Read>, Notes), BatchError> {
    let mut numbers = Numbers::new();
    for event in batch.iter().filter_map(event_of) {
        numbers.entry(stream_of(event)).or_default().push(number_of(event));
    }
    let flags = streams::fresh(tx, &numbers).await?;
    let mut flags: BTreeMap<StreamKey, std::vec::IntoIter<bool>> =
        flags.into_iter().map(|(stream, flags)| (stream, flags.into_iter())).collect();
    let mut notes = Notes::default();
    let mut new = Vec::with_capacity(batch.len());
    for read in batch {
        let Some(event) = event_of(&read) else {
            new.push(read);
            continue;
        };
        tally.last_received = Some(event.received_at);
        let stream = stream_of(event);
        if flags.get_mut(&stream).and_then(Iterator::next) != Some(true) {
            tally.redelivered += 1;
            continue;
        }
        notes.numbers.entry(stream.clone()).or_default().push(number_of(event));
        if event.account().is_none() {
            notes.counts.add(&stream, Outcome::Marker, 1);
            tally.add(Outcome::Marker, 1);
        } else {
            new.push(read);
        }
    }
    Ok((new, notes))
}

fn event_of(read: &Read) -> Option<&Event> {
    match read {
        Read::Event { event, .. } | Read::Refused { event, .. } => Some(event),
        Read::Unreadable { .. } => None,
    }
}

fn number_of(event: &Event) -> i64 {
    i64::try_from(event.origin.n).unwrap_or(i64::MAX)
}
