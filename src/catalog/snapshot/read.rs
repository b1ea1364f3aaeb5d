//! Reads a snapshot into a catalog, chunk by chunk, each checked before anything of it is believed.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{
    CHECK_BYTES, CHUNK, CLOCK_MS, END, FORMAT, HEAD, LINK, MAGIC, MAX_CHUNK, OTHER, RECORDS, REMOVED_LINK,
    SnapshotError, TopicPlace, check,
};
use crate::{
    catalog::{Catalog, CatalogRecord, LinkEntry, RecordKey, Versioned},
    domain::{ids::LinkId, time::Timestamp},
};

/// What a snapshot has to be to be used.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The topic's name with its prefix.
    pub topic: &'a str,
    pub now: Timestamp,
    pub max_age_ms: i64,
}

/// Fills an empty catalog; `None`: there is no snapshot.
///
/// # Errors
/// The snapshot cannot be used; the catalog is empty again.
pub fn read(path: &Path, wanted: Wanted<'_>, catalog: &Catalog) -> Result<Option<TopicPlace>, SnapshotError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let place = fill(file, wanted, catalog);
    if place.is_err() {
        catalog.clear();
    }
    place.map(Some)
}

fn fill(file: File, wanted: Wanted<'_>, catalog: &Catalog) -> Result<TopicPlace, SnapshotError> {
    let mut chunks = Chunks {
        input: BufReader::with_capacity(CHUNK, file),
        number: 0,
        packed: Vec::new(),
        raw: Vec::new(),
    };
    let mut magic = [0; MAGIC.len() + 1];
    chunks.input.read_exact(&mut magic).map_err(cut)?;
    match magic {
        [rest @ .., _] if rest != MAGIC => return Err(SnapshotError::NoSnapshot),
        [.., FORMAT] => {}
        [.., format] => return Err(SnapshotError::Format(format)),
    }
    if chunks.next()? != HEAD {
        return Err(SnapshotError::Damaged("it does not begin with its head"));
    }
    let place: TopicPlace =
        serde_json::from_slice(&chunks.raw).map_err(|_| SnapshotError::Damaged("its head is unreadable"))?;
    is_wanted(&place, wanted)?;
    let mut records = 0_u64;
    loop {
        match chunks.next()? {
            RECORDS => records += apply(&chunks.raw, catalog)?,
            END if chunks.raw == records.to_le_bytes() => break,
            _ => return Err(SnapshotError::Damaged("it does not end as it should")),
        }
    }
    match chunks.input.read(&mut [0])? {
        0 => Ok(place),
        _ => Err(SnapshotError::Damaged("something comes after its end")),
    }
}

fn is_wanted(place: &TopicPlace, wanted: Wanted<'_>) -> Result<(), SnapshotError> {
    if place.topic != wanted.topic {
        return Err(SnapshotError::OtherTopic(place.topic.clone()));
    }
    let age = wanted.now.0.saturating_sub(place.current_at.0);
    if age < -CLOCK_MS {
        return Err(SnapshotError::FromTheFuture);
    }
    if age > wanted.max_age_ms {
        return Err(SnapshotError::TooOld { age_s: age / 1_000, limit_s: wanted.max_age_ms / 1_000 });
    }
    Ok(())
}

fn cut(error: io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Damaged("it is cut off"),
        _ => error.into(),
    }
}

struct Chunks {
    input: BufReader<File>,
    number: u64,
    packed: Vec<u8>,
    /// The chunk that was read last.
    raw: Vec<u8>,
}

impl Chunks {
    /// Reads the next chunk and answers its kind.
    fn next(&mut self) -> Result<u8, SnapshotError> {
        let mut head = [0; 1 + 4 + 4 + CHECK_BYTES];
        self.input.read_exact(&mut head).map_err(cut)?;
        let [kind, head @ ..] = head;
        let (lengths, given) = head.split_at(8);
        let length = |at: usize| lengths.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let lengths = [length(0), length(4)].map(|bytes| bytes.map_or(u32::MAX, u32::from_le_bytes));
        if lengths.iter().any(|length| *length > MAX_CHUNK) {
            return Err(SnapshotError::Damaged("a chunk is too large"));
        }
        self.packed.resize(lengths[0] as usize, 0);
        self.input.read_exact(&mut self.packed).map_err(cut)?;
        if check(self.number, kind, lengths, &self.packed) != given {
            return Err(SnapshotError::Damaged("a checksum is wrong"));
        }
        self.raw.resize(lengths[1] as usize, 0);
        let size = lz4_flex::block::decompress_into(&self.packed, &mut self.raw);
        if size.ok() != Some(self.raw.len()) {
            return Err(SnapshotError::Damaged("a chunk cannot be decompressed"));
        }
        self.number += 1;
        Ok(kind)
    }
}

/// Applies the records of a chunk and answers how many.
fn apply(mut chunk: &[u8], catalog: &Catalog) -> Result<u64, SnapshotError> {
    const DAMAGED: SnapshotError = SnapshotError::Damaged("a record is unreadable");
    let mut records = 0;
    while let Some((kind, rest)) = chunk.split_first() {
        chunk = rest;
        match *kind {
            LINK => {
                let version = number(&mut chunk).ok_or(DAMAGED)?;
                let entry = sized(&mut chunk).and_then(LinkEntry::from_bytes).ok_or(DAMAGED)?;
                catalog.apply_packed(version, entry);
            }
            REMOVED_LINK => {
                let version = number(&mut chunk).ok_or(DAMAGED)?;
                let id = number(&mut chunk).ok_or(DAMAGED)?;
                let record = CatalogRecord::Removed(RecordKey::Link(LinkId(id)));
                catalog.apply(Versioned { version, record });
            }
            OTHER => {
                let bytes = sized(&mut chunk).ok_or(DAMAGED)?;
                catalog.apply(serde_json::from_slice(bytes).map_err(|_| DAMAGED)?);
            }
            _ => return Err(DAMAGED),
        }
        records += 1;
    }
    Ok(records)
}

fn number(chunk: &mut &[u8]) -> Option<i64> {
    let (number, rest) = chunk.split_first_chunk()?;
    *chunk = rest;
    Some(i64::from_le_bytes(*number))
}

fn sized<'a>(chunk: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = chunk.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *chunk = rest;
    Some(bytes)
}
