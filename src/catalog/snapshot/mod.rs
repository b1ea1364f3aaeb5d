//! The catalog as a file, so that an edge starts fast, and without Kafka.
//!
//! ```text
//! "wpcatlg" | format: 1
//! chunks, each: kind: 1 | length: 4 | length when decompressed: 4 | check: 16 | LZ4 block
//! ```
//! Little-endian. The check is the beginning of BLAKE3 over the chunk's number (8), its kind, its lengths and its bytes,
//! so that no chunk can be altered, left out or moved. Kind `H` comes first: JSON of a [`TopicPlace`]. Kinds `R` hold
//! records, each `1 | version: 8 | length: 4 | block of a link`, `2 | version: 8 | id: 8` (a link that is gone) or
//! `3 | length: 4 | JSON of a version`. Kind `E` ends the file with the number of records (8).
//!
//! The place in the topic is noted before the first record is read, so that whatever changes meanwhile comes again from
//! the topic, where versions make the repeat harmless. What is known to be gone is in the file too: nothing that comes
//! late brings it back.
//!
//! **A build that adds a field to a record raises the format**: in an older snapshot the field would be missing, and the
//! topic would not send it again.

mod read;
mod write;

use std::{collections::BTreeMap, io};

pub use read::{Wanted, read};
use serde::{Deserialize, Serialize};
pub use write::{Written, write};

use crate::domain::time::Timestamp;

const MAGIC: [u8; 7] = *b"wpcatlg";
const FORMAT: u8 = 1;
const HEAD: u8 = b'H';
const RECORDS: u8 = b'R';
const END: u8 = b'E';
const LINK: u8 = 1;
const REMOVED_LINK: u8 = 2;
const OTHER: u8 = 3;
const CHECK_BYTES: usize = 16;

/// Where a chunk is closed; large enough to compress well, small enough to never count.
const CHUNK: usize = 1 << 20;

/// No chunk is larger: a record has a few kilobytes.
const MAX_CHUNK: u32 = 64 << 20;

/// What the clocks of two starts may differ.
const CLOCK_MS: i64 = 60_000;

/// Where in the topic a catalog stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPlace {
    /// The topic's name with its prefix.
    pub topic: String,
    /// The cluster's id and the topic's own.
    pub topic_id: String,
    /// The offset that comes next, by partition; one that is not named is read from its beginning.
    pub offsets: BTreeMap<i32, i64>,
    /// The highest version that was applied.
    pub version: i64,
    /// When it was last known that nothing was missing.
    pub current_at: Timestamp,
}

/// Why a snapshot cannot be used. The catalog is read from the topic then.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it is no snapshot of a catalog")]
    NoSnapshot,
    #[error("it has format {0}, this build reads format {FORMAT}")]
    Format(u8),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("it is of the topic {0}")]
    OtherTopic(String),
    #[error("it is {age_s} s old, above the limit of {limit_s} s: what was removed since may be forgotten")]
    TooOld { age_s: i64, limit_s: i64 },
    #[error("it is from the future; check the clock")]
    FromTheFuture,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The check of a chunk.
fn check(number: u64, kind: u8, lengths: [u32; 2], bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(&[kind]);
    for length in lengths {
        hasher.update(&length.to_le_bytes());
    }
    hasher.update(bytes);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests;
