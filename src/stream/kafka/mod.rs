//! Kafka as the event log between machines, and as the catalog's way to the edges.

use bytes::Bytes;

pub mod admin;
mod batch;
pub mod catalog;
pub mod client;
mod group;
mod lane;
pub mod logs;
mod membership;
mod producer;
mod replay;
pub mod sink;
mod source;
mod state;
pub mod topics;

pub use sink::{KafkaSink, KafkaSinkError};
pub use source::{KafkaEnd, KafkaSource, Left};

use crate::domain::ids::AccountId;

/// Finds the key of a record in its payload.
pub type KeyOf = fn(&Bytes) -> Option<AccountId>;
