//! A link as an edge keeps it: one small block of bytes.
//!
//! ```text
//! flags: 1 | lengths of code, destination, source, asset: 4 x L | id, account, program, affiliate: 4 x N
//! | expiry in ms: 8, only with its flag | code | destination | source | asset
//! ```
//! Little-endian. N is 4 and L is 2, or both are 8 (flag `WIDE`) where a number or a length needs it: ids of one
//! deployment are small for long. An absent text has length 0 and no flag. The version is not in here; whoever
//! keeps entries knows it.

use crate::domain::{
    ids::{AccountId, AffiliateId, LinkId, ProgramId},
    time::Timestamp,
};

use super::LinkRecord;

const WIDE: u8 = 1;
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
            && texts.iter().all(|text| u16::try_from(text.len()).is_ok());
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(!narrow, WIDE)
            | flag(link.destination.is_some(), DESTINATION)
            | flag(link.source_id.is_some(), SOURCE)
            | flag(link.asset_id.is_some(), ASSET)
            | flag(link.expires_at.is_some(), EXPIRES);

        let shape = Shape::of(flags);
        let size = shape.texts() + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(size);
        bytes.push(flags);
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes()[..shape.length]);
        }
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes()[..shape.number]);
        }
        if let Some(at) = link.expires_at {
            bytes.extend_from_slice(&at.0.to_le_bytes());
        }
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes.into_boxed_slice())
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
        self.has(DESTINATION).then(|| self.text(1))
    }

    pub fn source_id(&self) -> Option<&str> {
        self.has(SOURCE).then(|| self.text(2))
    }

    pub fn asset_id(&self) -> Option<&str> {
        self.has(ASSET).then(|| self.text(3))
    }

    /// From then on clicks redirect unattributed.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let shape = self.shape();
        self.has(EXPIRES).then(|| Timestamp(self.read(shape.expiry(), 8)))
    }

    pub(super) fn is_of(&self, account: AccountId, code: &str) -> bool {
        self.code_bytes() == code.as_bytes() && self.account() == account
    }

    fn shape(&self) -> Shape {
        Shape::of(self.0.first().copied().unwrap_or_default())
    }

    fn has(&self, flag: u8) -> bool {
        self.0.first().is_some_and(|flags| flags & flag != 0)
    }

    fn number(&self, index: usize) -> i64 {
        let shape = self.shape();
        self.read(shape.numbers() + index * shape.number, shape.number)
    }

    /// A little-endian number of `width` bytes; narrow ones are never negative.
    fn read(&self, at: usize, width: usize) -> i64 {
        let mut number = [0; 8];
        if let (Some(from), Some(to)) = (self.0.get(at..at + width), number.get_mut(..width)) {
            to.copy_from_slice(from);
        }
        i64::from_le_bytes(number)
    }

    fn length(&self, index: usize) -> usize {
        let shape = self.shape();
        usize::try_from(self.read(1 + index * shape.length, shape.length)).unwrap_or_default()
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

/// Where things are in a block.
#[derive(Clone, Copy)]
struct Shape {
    length: usize,
    number: usize,
    expires: bool,
}

impl Shape {
    const fn of(flags: u8) -> Self {
        let (length, number) = if flags & WIDE == 0 { (2, 4) } else { (8, 8) };
        Self { length, number, expires: flags & EXPIRES != 0 }
    }

    const fn numbers(self) -> usize {
        1 + 4 * self.length
    }

    const fn expiry(self) -> usize {
        self.numbers() + 4 * self.number
    }

    const fn texts(self) -> usize {
        self.expiry() + if self.expires { 8 } else { 0 }
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
            prop_assert!(entry.is_of(link.account, &link.code));
            prop_assert!(!entry.is_of(AccountId(!link.account.0), &link.code));
            let longer = format!("{}.", link.code);
            prop_assert!(!entry.is_of(link.account, &longer));
            prop_assert_eq!(read, link);
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
        assert_eq!(LinkEntry::pack(&link).0.len(), 1 + 4 * 2 + 4 * 4 + "jane2024".len());
    }
}
