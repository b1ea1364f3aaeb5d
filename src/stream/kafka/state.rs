//! Where a lane stands, and what makes it change.

use std::{collections::VecDeque, fmt, sync::Arc};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{batch::Batch, producer::Producer};

/// Where new records go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    Direct,
    #[default]
    Spooling,
    Joining,
}

/// Why records do not go to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No acknowledgement in `spool_after_ms`.
    Late,
    /// More is under way than the settings allow.
    NoRoom,
    Failed(String),
    Fatal(String),
    /// The replay has not been answered for long.
    Stuck,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no acknowledgement in time"),
            Self::NoRoom => f.write_str("too much is under way"),
            Self::Failed(why) | Self::Fatal(why) => f.write_str(why),
            Self::Stuck => f.write_str("the replay is not answered"),
        }
    }
}

/// What the thread of a lane does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The producer was given up.
    Replace,
    End,
}

/// What a lane's lock guards.
#[derive(Default)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// What was handed over and may have no outcome yet, in order.
    pub(super) under_way: VecDeque<Arc<Batch>>,
    pub(super) replaying: Option<Arc<Batch>>,
    pub(super) producer: Option<Arc<Producer>>,
    pub(super) producers: u64,
    pub(super) closed: bool,
    pub(super) ended: bool,
}

impl State {
    /// Whether it is the producer in use, not one that was given up.
    pub(super) fn is_current(&self, number: u64) -> bool {
        self.producer.as_ref().is_some_and(|producer| producer.number == number)
    }
}

/// What an error of a producer means.
pub(super) fn trouble(error: &KafkaError) -> Trouble {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => Trouble::NoRoom,
        Some(RDKafkaErrorCode::Fatal) => Trouble::Fatal(error.to_string()),
        _ => Trouble::Failed(error.to_string()),
    }
}
