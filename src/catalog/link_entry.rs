//! A link as an edge keeps it: one small block of bytes.
//!
//! ```text
//! flags: 1 | length of the code: C | lengths of those of destination, source, asset that there are: L each
//! | id, account, program, affiliate: N each | expiry in ms: 8, only with its flag
//! | code | destination | source | asset
//! ```
//! Little-endian. C, L and N are 1, 2 and 4, or all are 8 (flag `WIDE`) where a number or a length needs it: codes
//! are short, and ids of one deployment small for long. The version is not in here; whoever keeps entries knows it.

use std::ops::Range;

use crate::domain::{
    ids::{AccountId, AffiliateId, LinkId, ProgramId},
    time::Timestamp,
};

use super::LinkRecord;

const WIDE: u8 = 1;
// The flag of the text with index n is the bit n.
const DESTINATION: u8 = 1 << 1;
const SOURCE: u8 = 1 << 2;
const ASSET: u8 = 1 << 3;
const EXPIRES: u8 = 1 << 4;

/// A live link. Its texts and numbers are read out of the block as they are asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkEntry(Box<[u8]>);

impl LinkEntry {
    /// Packs a record.
    pub fn pack(link: &LinkRecord) -> Self {
        let numbers = [link.id.0, link.account.0, link.program.0, link.affiliate.0];
        let texts = [
            link.code.as_str(),
            link.destination.as_deref().unwrap_or_default(),
            link.source_id.as_deref().unwrap_or_default(),
            link.asset_id.as_deref().unwrap_or_default(),
        ];
        let narrow = numbers.iter().all(|number| u32::try_from(*number).is_ok())
            && texts.iter().all(|text| u16::try_from(text.len()).is_ok())
            && u8::try_from(link.code.len()).is_ok();
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(!narrow, WIDE)
            | flag(link.destination.is_some(), DESTINATION)
            | flag(link.source_id.is_some(), SOURCE)
            | flag(link.asset_id.is_some(), ASSET)
            | flag(link.expires_at.is_some(), EXPIRES);

        let shape = Shape(flags);
        let size = shape.texts() + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(size);
        bytes.push(flags);
        for (index, text) in texts.iter().enumerate().filter(|(index, _)| shape.has(*index)) {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes()[..shape.length_of(index).len()]);
        }
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes()[..shape.number_width()]);
        }
        if let Some(at) = link.expires_at {
            bytes.extend_from_slice(&at.0.to_le_bytes());
        }
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes.into_boxed_slice())
    }

    /// The block, to be kept and read back by [`Self::from_bytes`].
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A block as [`Self::pack`] makes it; `None`: it is not one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let shape = Shape(*bytes.first()?);
        if shape.0 & !(WIDE | DESTINATION | SOURCE | ASSET | EXPIRES) != 0 || bytes.len() < shape.texts() {
            return None;
        }
        let entry = Self(bytes.into());
        let mut begins = shape.texts();
        for index in 0..4 {
            let ends = begins.checked_add(entry.length(index))?;
            std::str::from_utf8(bytes.get(begins..ends)?).ok()?;
            begins = ends;
        }
        (begins == bytes.len()).then_some(entry)
    }

    pub fn id(&self) -> LinkId {
        LinkId(self.number(0))
    }

    pub fn account(&self) -> AccountId {
        AccountId(self.number(1))
    }

    pub fn program(&self) -> ProgramId {
        ProgramId(self.number(2))
    }

    pub fn affiliate(&self) -> AffiliateId {
        AffiliateId(self.number(3))
    }

    /// Case matters.
    pub fn code(&self) -> &str {
        self.text(0)
    }

    /// None: the program's.
    pub fn destination(&self) -> Option<&str> {
        self.shape().has(1).then(|| self.text(1))
    }

    pub fn source_id(&self) -> Option<&str> {
        self.shape().has(2).then(|| self.text(2))
    }

    pub fn asset_id(&self) -> Option<&str> {
        self.shape().has(3).then(|| self.text(3))
    }

    /// From then on clicks redirect unattributed.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let shape = self.shape();
        shape.is(EXPIRES).then(|| Timestamp(self.read(shape.expiry()..shape.expiry() + 8)))
    }

    pub(super) fn is_of(&self, account: AccountId, code: &str) -> bool {
        self.code_bytes() == code.as_bytes() && self.account() == account
    }

    fn shape(&self) -> Shape {
        Shape(self.0.first().copied().unwrap_or_default())
    }

    fn number(&self, index: usize) -> i64 {
        let shape = self.shape();
        let begins = shape.numbers() + index * shape.number_width();
        self.read(begins..begins + shape.number_width())
    }

    /// A little-endian number; narrow ones are never negative.
    fn read(&self, range: Range<usize>) -> i64 {
        let mut number = [0; 8];
        let width = range.len();
        if let (Some(from), Some(to)) = (self.0.get(range), number.get_mut(..width)) {
            to.copy_from_slice(from);
        }
        i64::from_le_bytes(number)
    }

    fn length(&self, index: usize) -> usize {
        let shape = self.shape();
        if !shape.has(index) {
            return 0;
        }
        usize::try_from(self.read(shape.length_of(index))).unwrap_or_default()
    }

    fn code_bytes(&self) -> &[u8] {
        let begins = self.shape().texts();
        self.0.get(begins..begins + self.length(0)).unwrap_or_default()
    }

    fn text(&self, index: usize) -> &str {
        let begins = self.shape().texts() + (0..index).map(|before| self.length(before)).sum::<usize>();
        let bytes = self.0.get(begins..begins + self.length(index)).unwrap_or_default();
        // Packed from a `str`, so this never falls back.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl std::fmt::Debug for LinkEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkEntry")
            .field("id", &self.id())
            .field("account", &self.account())
            .field("code", &self.code())
            .field("program", &self.program())
            .field("affiliate", &self.affiliate())
            .field("destination", &self.destination())
            .field("source_id", &self.source_id())
            .field("asset_id", &self.asset_id())
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

/// Where things are in a block, by its flags. Texts are counted code, destination, source, asset.
#[derive(Clone, Copy)]
struct Shape(u8);

impl Shape {
    const fn is(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// Whether there is a text of that index; the code always is.
    const fn has(self, text: usize) -> bool {
        text == 0 || self.0 & (WIDE << text) != 0
    }

    const fn code_length_width(self) -> usize {
        if self.is(WIDE) { 8 } else { 1 }
    }

    const fn length_width(self) -> usize {
        if self.is(WIDE) { 8 } else { 2 }
    }

    const fn number_width(self) -> usize {
        if self.is(WIDE) { 8 } else { 4 }
    }

    /// How many of destination, source and asset there are before that text.
    const fn texts_before(self, text: usize) -> usize {
        let before = (1_u8 << text).wrapping_sub(1) & !WIDE;
        (self.0 & before).count_ones() as usize
    }

    const fn length_of(self, text: usize) -> Range<usize> {
        if text == 0 {
            return 1..1 + self.code_length_width();
        }
        let begins = 1 + self.code_length_width() + self.texts_before(text) * self.length_width();
        begins..begins + self.length_width()
    }

    const fn numbers(self) -> usize {
        1 + self.code_length_width() + self.texts_before(4) * self.length_width()
    }

    const fn expiry(self) -> usize {
        self.numbers() + 4 * self.number_width()
    }

    const fn texts(self) -> usize {
        self.expiry() + if self.is(EXPIRES) { 8 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![4 => "\\PC{0,40}", 1 => (65_530_usize..65_545).prop_map(|length| "x".repeat(length))]
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![0..10_i64, i64::from(u32::MAX) - 2..i64::from(u32::MAX) + 3, any::<i64>()]
    }

    prop_compose! {
        fn link()(
            id in number(),
            account in number(),
            program in number(),
            affiliate in number(),
            code in text(),
            destination in proptest::option::of(text()),
            source_id in proptest::option::of(text()),
            asset_id in proptest::option::of(text()),
            expires_at in proptest::option::of(any::<i64>().prop_map(Timestamp)),
        ) -> LinkRecord {
            LinkRecord {
                id: LinkId(id),
                account: AccountId(account),
                code,
                program: ProgramId(program),
                affiliate: AffiliateId(affiliate),
                destination,
                source_id,
                asset_id,
                expires_at,
                deleted: false,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_again(link in link()) {
            let entry = LinkEntry::pack(&link);
            let read = LinkRecord {
                id: entry.id(),
                account: entry.account(),
                code: entry.code().into(),
                program: entry.program(),
                affiliate: entry.affiliate(),
                destination: entry.destination().map(Into::into),
                source_id: entry.source_id().map(Into::into),
                asset_id: entry.asset_id().map(Into::into),
                expires_at: entry.expires_at(),
                deleted: false,
            };
            let again = LinkEntry::from_bytes(entry.as_bytes());
            prop_assert_eq!(again.as_ref(), Some(&entry));
            let bytes = entry.as_bytes();
            prop_assert_eq!(LinkEntry::from_bytes(&bytes[..bytes.len() - 1]), None);
            prop_assert_eq!(LinkEntry::from_bytes(&[bytes, b"x"].concat()), None);
            prop_assert!(entry.is_of(link.account, &link.code));
            prop_assert!(!entry.is_of(AccountId(!link.account.0), &link.code));
            let longer = format!("{}.", link.code);
            prop_assert!(!entry.is_of(link.account, &longer));
            prop_assert_eq!(read, link);
        }
    }

    proptest! {
        #[test]
        fn other_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(entry) = LinkEntry::from_bytes(&bytes) {
                let texts = entry.code().len()
                    + [entry.destination(), entry.source_id(), entry.asset_id()]
                        .into_iter()
                        .map(|text| text.map_or(0, str::len))
                        .sum::<usize>();
                prop_assert!(texts <= bytes.len());
            }
        }
    }

    #[test]
    fn an_ordinary_link_is_small() {
        let link = LinkRecord {
            id: LinkId(1),
            account: AccountId(2),
            code: "jane2024".into(),
            program: ProgramId(3),
            affiliate: AffiliateId(4),
            destination: None,
            source_id: None,
            asset_id: None,
            expires_at: None,
            deleted: false,
        };
        assert_eq!(LinkEntry::pack(&link).0.len(), 1 + 1 + 4 * 4 + "jane2024".len());
    }
}
