//! The bytes of one stored batch: a header, and the events of one topic in the order of their offsets, compressed.
//!
//! ```text
//!   0..4    "WPB1"
//!   4..8    CRC-32 (IEEE) of all bytes after it
//!   8       topic: 0 clicks, 1 conversions
//!   9..12   zero
//!   12..20  offset of the first event
//!   20..24  number of events, at least 1
//!   24..28  bytes of the body before compression
//!   28..    the body as an LZ4 block
//! body: per event its length (4 bytes) and its payload
//! ```
//! Numbers are little endian. The topic and the offset are under the checksum too, so a batch that turns up in
//! another's place is noticed. What passes the checksum is still read strictly: every byte has to be accounted for.

use bytes::Bytes;
use lz4_flex::block;

use crate::stream::Topic;

const MAGIC: [u8; 4] = *b"WPB1";
const CHECKED_FROM: usize = 8;
const HEADER: usize = 28;
const LENGTH: usize = 4;

/// Bytes that a batch of one record set with `payload_bytes` in `records` records takes at most, whatever it holds.
///
/// LZ4 grows what it cannot compress by one byte in 255 and 16; one append makes at most one batch per topic.
pub(super) const fn most_bytes(records: usize, payload_bytes: usize) -> u64 {
    let body = payload_bytes + records * LENGTH;
    (body + body / 255 + Topic::ALL.len() * (HEADER + 20)) as u64
}

/// A batch that has its events and not yet its place in the log.
#[derive(Debug)]
pub(super) struct Unsealed {
    topic: Topic,
    events: u32,
    bytes: Vec<u8>,
}

impl Unsealed {
    /// Compresses `payloads`. `None` when there are none, or more than the format can count: 4 GiB.
    pub(super) fn new<'a>(topic: Topic, payloads: impl Iterator<Item = &'a Bytes>) -> Option<Self> {
        let mut body = Vec::new();
        let mut events = 0_u32;
        for payload in payloads {
            body.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
            body.extend_from_slice(payload);
            events = events.checked_add(1)?;
        }
        let body_bytes = u32::try_from(body.len()).ok()?;
        if events == 0 {
            return None;
        }
        let mut bytes = vec![0; HEADER + block::get_maximum_output_size(body.len())];
        let packed = block::compress_into(&body, &mut bytes[HEADER..]).ok()?;
        bytes.truncate(HEADER + packed);
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8] = topic.index() as u8;
        bytes[20..24].copy_from_slice(&events.to_le_bytes());
        bytes[24..28].copy_from_slice(&body_bytes.to_le_bytes());
        Some(Self { topic, events, bytes })
    }

    pub(super) fn topic(&self) -> Topic {
        self.topic
    }

    pub(super) fn events(&self) -> u32 {
        self.events
    }

    /// Bytes of the frame.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Gives the batch its place, and the checksum over all of it. It may be sealed again at another place.
    pub(super) fn seal(&mut self, first_offset: i64) -> &[u8] {
        self.bytes[12..20].copy_from_slice(&first_offset.to_le_bytes());
        let sum = crc32fast::hash(&self.bytes[CHECKED_FROM..]);
        self.bytes[4..CHECKED_FROM].copy_from_slice(&sum.to_le_bytes());
        &self.bytes
    }
}

/// Why stored bytes are not the batch that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    #[error("the batch is cut off")]
    Short,
    #[error("the batch does not begin as one")]
    Magic,
    #[error("the checksum does not match")]
    Checksum,
    #[error("the batch belongs to another place")]
    Place,
    #[error("the events of the batch do not add up")]
    Body,
}

/// Proves a stored batch and takes it apart; the payloads share one buffer.
pub(super) fn open(topic: Topic, first_offset: i64, bytes: &[u8]) -> Result<Vec<Bytes>, FormatError> {
    if bytes.len() < HEADER {
        return Err(FormatError::Short);
    }
    if bytes[..4] != MAGIC {
        return Err(FormatError::Magic);
    }
    if crc32fast::hash(&bytes[CHECKED_FROM..]) != number(bytes, 4) {
        return Err(FormatError::Checksum);
    }
    if usize::from(bytes[8]) != topic.index() || bytes[12..20] != first_offset.to_le_bytes() {
        return Err(FormatError::Place);
    }
    let (events, body_bytes) = (number(bytes, 20) as usize, number(bytes, 24) as usize);
    let body = block::decompress(&bytes[HEADER..], body_bytes).map_err(|_| FormatError::Body)?;
    if body.len() != body_bytes || events == 0 || events > body_bytes / LENGTH {
        return Err(FormatError::Body);
    }
    let mut rest = Bytes::from(body);
    let mut payloads = Vec::with_capacity(events);
    while !rest.is_empty() {
        if rest.len() < LENGTH {
            return Err(FormatError::Body);
        }
        let length = number(&rest.split_to(LENGTH), 0) as usize;
        if length > rest.len() {
            return Err(FormatError::Body);
        }
        payloads.push(rest.split_to(length));
    }
    if payloads.len() == events { Ok(payloads) } else { Err(FormatError::Body) }
}

/// The 4 bytes at `at`; the callers have checked that they are there.
fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn batch(payloads: &[Vec<u8>]) -> Unsealed {
        let payloads: Vec<Bytes> = payloads.iter().cloned().map(Bytes::from).collect();
        Unsealed::new(Topic::Conversions, payloads.iter()).unwrap()
    }

    #[test]
    fn a_batch_has_events() {
        assert!(Unsealed::new(Topic::Clicks, [].iter()).is_none());
    }

    #[test]
    fn a_batch_is_bound_to_its_place() {
        let mut batch = batch(&[b"one".to_vec()]);
        let bytes = batch.seal(7).to_vec();
        assert_eq!(open(Topic::Conversions, 7, &bytes).unwrap(), [Bytes::from("one")]);
        assert_eq!(open(Topic::Conversions, 8, &bytes), Err(FormatError::Place));
        assert_eq!(open(Topic::Clicks, 7, &bytes), Err(FormatError::Place));
    }

    #[test]
    fn what_passes_the_checksum_is_still_read_strictly() {
        let with_events = |events: u32| {
            let mut batch = batch(&[b"one".to_vec(), b"two".to_vec()]);
            batch.bytes[20..24].copy_from_slice(&events.to_le_bytes());
            open(Topic::Conversions, 0, batch.seal(0))
        };
        assert_eq!(with_events(2).unwrap().len(), 2);
        for wrong in [0, 1, 3, u32::MAX] {
            assert_eq!(with_events(wrong), Err(FormatError::Body), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(payloads in vec(vec(any::<u8>(), 0..300), 1..20), offset in 0_i64..) {
            let mut batch = batch(&payloads);
            let bytes = batch.seal(offset).to_vec();
            prop_assert_eq!(open(Topic::Conversions, offset, &bytes).unwrap(), payloads.clone());
            let held: usize = payloads.iter().map(Vec::len).sum();
            prop_assert!(bytes.len() as u64 <= most_bytes(payloads.len(), held));
        }

        #[test]
        fn any_altered_byte_is_noticed(
            payloads in vec(vec(any::<u8>(), 0..100), 1..5),
            at in any::<prop::sample::Index>(),
            with in 1_u8..,
        ) {
            let mut bytes = batch(&payloads).seal(3).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            prop_assert!(open(Topic::Conversions, 3, &bytes).is_err());
        }

        #[test]
        fn any_bytes_get_an_answer(bytes in vec(any::<u8>(), 0..200)) {
            prop_assert!(open(Topic::Clicks, 0, &bytes).is_err());
        }

        #[test]
        fn any_cut_is_noticed(payloads in vec(vec(any::<u8>(), 0..100), 1..5), at in any::<prop::sample::Index>()) {
            let bytes = batch(&payloads).seal(3).to_vec();
            prop_assert!(open(Topic::Conversions, 3, &bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
