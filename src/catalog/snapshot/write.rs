//! Writes a snapshot beside the old one, syncs it and takes its place.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{CHUNK, END, FORMAT, HEAD, LINK, MAGIC, OTHER, RECORDS, REMOVED_LINK, TopicPlace, check};
use crate::catalog::{Catalog, table::Known};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub records: u64,
    pub bytes: u64,
}

/// Writes what the catalog knows, as of `place` or later. Whatever happens meanwhile, the file at `path` is the old one
/// or the new one, whole, and its owner's alone: it has the hashes of keys. Takes a few megabytes of memory.
///
/// # Errors
/// The file cannot be written; the old one is as it was.
pub fn write(path: &Path, catalog: &Catalog, place: &TopicPlace) -> io::Result<Written> {
    let beside = path.with_added_extension("new");
    let written = write_whole(&beside, catalog, place).and_then(|written| {
        fs::rename(&beside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(written)
    });
    if written.is_err() {
        // A disk that is full is not to stay full of what nobody reads.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_whole(path: &Path, catalog: &Catalog, place: &TopicPlace) -> io::Result<Written> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut chunks = Chunks { out: BufWriter::with_capacity(CHUNK, file), number: 0, bytes: 0 };
    chunks.out.write_all(&MAGIC)?;
    chunks.out.write_all(&[FORMAT])?;
    chunks.put(HEAD, &serde_json::to_vec(place)?)?;
    let mut records = 0_u64;
    let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 4);
    catalog.each(|known| {
        records += 1;
        add(&mut chunk, known)?;
        if chunk.len() >= CHUNK {
            chunks.put(RECORDS, &chunk)?;
            chunk.clear();
        }
        Ok::<_, io::Error>(())
    })?;
    if !chunk.is_empty() {
        chunks.put(RECORDS, &chunk)?;
    }
    chunks.put(END, &records.to_le_bytes())?;
    let file = chunks.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(Written { records, bytes: chunks.bytes + MAGIC.len() as u64 + 1 })
}

fn add(chunk: &mut Vec<u8>, known: Known<'_>) -> io::Result<()> {
    match known {
        Known::Link(version, entry) => {
            chunk.push(LINK);
            chunk.extend_from_slice(&version.to_le_bytes());
            sized(chunk, entry.as_bytes())
        }
        Known::RemovedLink(version, id) => {
            chunk.push(REMOVED_LINK);
            chunk.extend_from_slice(&version.to_le_bytes());
            chunk.extend_from_slice(&id.0.to_le_bytes());
            Ok(())
        }
        Known::Other(versioned) => {
            chunk.push(OTHER);
            sized(chunk, &serde_json::to_vec(&versioned)?)
        }
    }
}

fn sized(chunk: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    chunk.extend_from_slice(&length.to_le_bytes());
    chunk.extend_from_slice(bytes);
    Ok(())
}

struct Chunks {
    out: BufWriter<File>,
    number: u64,
    bytes: u64,
}

impl Chunks {
    fn put(&mut self, kind: u8, raw: &[u8]) -> io::Result<()> {
        let packed = lz4_flex::block::compress(raw);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let lengths = [length(&packed)?, length(raw)?];
        let check = check(self.number, kind, lengths, &packed);
        self.out.write_all(&[kind])?;
        for length in lengths {
            self.out.write_all(&length.to_le_bytes())?;
        }
        self.out.write_all(&check)?;
        self.out.write_all(&packed)?;
        self.number += 1;
        self.bytes += (1 + 8 + check.len() + packed.len()) as u64;
        Ok(())
    }
}
