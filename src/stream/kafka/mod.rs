//! Kafka as the event log between machines, and as the catalog's way to the edges.

pub mod client;
mod group;
mod logs;
mod source;

pub use source::{KafkaSource, Left};
