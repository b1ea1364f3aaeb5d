//! The id by which a repeated report is known, computed from what the sender said.
//!
//! ```text
//! UUIDv8 of the first 16 bytes of BLAKE3 (key derivation mode, context below) over
//!   space: 1 byte    1 conversion by external id, 2 refund by external id, 3 by Idempotency-Key; +16 when held
//!   parts            each as its length in 8 bytes, little endian, and its bytes
//! ```
//! | space | parts |
//! |---|---|
//! | 1 | account, program, kind, external id |
//! | 2 | account, external id (a refund's is unique in its account) |
//! | 3 | account, Idempotency-Key, index in the batch |
//!
//! Held reports have spaces of their own: what anybody may send from a web page must not take the id that the
//! merchant's own report will have.

use uuid::Uuid;

use crate::domain::{ids::AccountId, reason::ConversionKind};

const CONTEXT: &str = "waypost 2026 event ids v1";
const CONVERSION: u8 = 1;
const REFUND: u8 = 2;
const IDEMPOTENCY_KEY: u8 = 3;
const HELD: u8 = 16;

pub(crate) fn of_conversion(
    account: AccountId,
    held: bool,
    program: &str,
    kind: ConversionKind,
    external_id: &str,
) -> Uuid {
    let parts =
        [&account.0.to_le_bytes()[..], program.as_bytes(), kind.as_str().as_bytes(), external_id.as_bytes()];
    hash(CONVERSION + if held { HELD } else { 0 }, &parts)
}

pub(crate) fn of_refund(account: AccountId, external_id: &str) -> Uuid {
    hash(REFUND, &[&account.0.to_le_bytes(), external_id.as_bytes()])
}

pub(crate) fn of_idempotency_key(account: AccountId, held: bool, key: &str, index: usize) -> Uuid {
    let index = (index as u64).to_le_bytes();
    let space = IDEMPOTENCY_KEY + if held { HELD } else { 0 };
    hash(space, &[&account.0.to_le_bytes(), key.as_bytes(), &index])
}

fn hash(space: u8, parts: &[&[u8]]) -> Uuid {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&[space]);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_stable_and_framed() {
        let id = |program: &str, external: &str| {
            of_conversion(AccountId(1), false, program, ConversionKind::Conversion, external)
        };
        assert_eq!(id("shop", "o-1"), id("shop", "o-1"));
        assert_eq!(id("shop", "o-1").get_version_num(), 8);
        let different: HashSet<Uuid> = [
            id("shop", "o-1"),
            id("sho", "po-1"),
            id("shopo-1", ""),
            of_conversion(AccountId(2), false, "shop", ConversionKind::Conversion, "o-1"),
            of_conversion(AccountId(1), true, "shop", ConversionKind::Conversion, "o-1"),
            of_conversion(AccountId(1), false, "shop", ConversionKind::Lead, "o-1"),
            of_refund(AccountId(1), "o-1"),
            of_idempotency_key(AccountId(1), false, "o-1", 0),
            of_idempotency_key(AccountId(1), false, "o-1", 1),
            of_idempotency_key(AccountId(1), true, "o-1", 0),
        ]
        .into();
        assert_eq!(different.len(), 10);
    }

    #[test]
    fn ids_never_change_between_versions() {
        let id = of_conversion(AccountId(1), false, "shop", ConversionKind::Conversion, "o-1");
        assert_eq!(id.to_string(), "d28f9421-5b8f-832a-9bd5-0b70974b8394");
    }
}
