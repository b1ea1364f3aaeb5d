//! The catalog's topic: compacted, one writer at a time, read from the beginning or from where a snapshot stands.
//!
//! | key | partition | value |
//! |---|---|---|
//! | `link/42`, `program/7`, … | by murmur2 of the key | a version of the record, as JSON |
//! | the same | the same | null, with the header `version` (decimal): removed; compaction forgets it in the end |
//! | `meta/topic` | 0 | `{"id": "<uuid>"}`: the first record there ever was; another id is another topic |
//! | `meta/position` | 0 | `{"version": 9, "whole": true}`: the last of each transaction |
//!
//! Kafka's own id of a topic is not to be had from the client library, so the topic carries one itself: the first
//! publisher writes it before anything else. It stays the first record of partition 0 as long as the topic lives,
//! since nobody writes that key again, and so it is found by reading one record. With the cluster's id before it, a
//! copy of the topic in another cluster, where offsets differ, is another topic too.
//!
//! Each batch is a transaction under one transactional id. A new publisher's first act ends what its predecessor has
//! open and shuts it out, so a process that was paused meanwhile cannot leave an older version as the last one of a
//! key. Readers take what is committed alone.

mod producer;
mod reader;

pub use producer::{CatalogProducer, Outgoing, PublishError};
pub use reader::{CatalogReader, Incoming, ReadError, TopicIdentity};
use serde::{Deserialize, Serialize};

/// Keys with this beginning are about the topic, not records.
pub const META: &str = "meta/";

const IDENTITY_KEY: &str = "meta/topic";
const POSITION_KEY: &str = "meta/position";
const VERSION_HEADER: &str = "version";

#[derive(Serialize, Deserialize)]
struct Identity {
    id: String,
}

/// How far the publisher had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPosition {
    /// Every version up to this one is on the topic, or was replaced by a later one.
    pub version: i64,
    /// Everything that the store had was published at least once. Before that a reader knows a part only.
    pub whole: bool,
}
