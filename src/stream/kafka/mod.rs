//! Kafka as the event log between machines, and as the catalog's way to the edges.

pub mod catalog;
pub mod client;
