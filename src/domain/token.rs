//! The click token: a click id that proves itself (DESIGN section 5).
//!
//! ```text
//! base64url without padding of
//!   0      version (high 2 bits, 0b01) and key id (low 6 bits)
//!   1      flags: bit 0 attributable, bit 1 conversions go to review, the rest 0
//!   2..18  click id, a UUIDv7 with the time of the click
//!   18..26 link id, big endian
//!   26..38 first 12 bytes of keyed BLAKE3 over bytes 0..26
//! ```
//! 38 bytes, 51 characters. The tag is compared in constant time; nothing of an altered token is believed.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{ids::LinkId, time::Timestamp};

/// Characters of a token.
pub const TOKEN_CHARS: usize = 51;

const BYTES: usize = 38;
const SIGNED: usize = 26;
const VERSION: u8 = 0b0100_0000;
const KEY_MASK: u8 = 0b0011_1111;
const ATTRIBUTABLE: u8 = 1;
const REVIEW: u8 = 2;

/// What a token says once its tag is found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClickToken {
    pub click_id: Uuid,
    pub link: LinkId,
    /// Whether a conversion may be attributed to this click.
    pub attributable: bool,
    /// Whether conversions by this click go to review.
    pub review: bool,
}

impl ClickToken {
    /// When the link was followed.
    pub fn clicked_at(&self) -> Option<Timestamp> {
        Timestamp::of_uuid(self.click_id)
    }
}

/// Why a text is not a token that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not a click token")]
    Malformed,
    /// The key may reach this process later: wait, do not refuse.
    #[error("signed by key {0}, which is not known here")]
    UnknownKey(u8),
    /// The stored click is needed as proof.
    #[error("signed by key {0}, which was revoked")]
    RevokedKey(u8),
    #[error("the signature does not match")]
    Forged,
}

/// The life of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Known everywhere, not signing yet.
    Verify,
    /// Signs; exactly one key does.
    Active,
    /// Verifies until the longest window has passed.
    Retired,
    /// Proves nothing any more.
    Revoked,
}

/// A signing key: id 0 to 63 and 32 secret bytes.
#[derive(Clone)]
pub struct TokenKey {
    pub id: u8,
    pub state: KeyState,
    pub secret: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Why a set of keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    #[error("key id {0} is above 63")]
    IdTooLarge(u8),
    #[error("key id {0} is given twice")]
    Repeated(u8),
    #[error("exactly one key must be active, {0} are")]
    Active(usize),
}

/// All keys that a process knows.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<TokenKey>,
    active: usize,
}

impl KeyRing {
    pub fn new(keys: Vec<TokenKey>) -> Result<Self, KeyRingError> {
        for (n, key) in keys.iter().enumerate() {
            if key.id > KEY_MASK {
                return Err(KeyRingError::IdTooLarge(key.id));
            }
            if keys[..n].iter().any(|other| other.id == key.id) {
                return Err(KeyRingError::Repeated(key.id));
            }
        }
        let is_active = |key: &TokenKey| key.state == KeyState::Active;
        let count = keys.iter().filter(|key| is_active(key)).count();
        match keys.iter().position(is_active) {
            Some(active) if count == 1 => Ok(Self { keys, active }),
            _ => Err(KeyRingError::Active(count)),
        }
    }

    /// Signs with the active key. The text stands in a URL and a cookie as it is.
    pub fn sign(&self, token: &ClickToken) -> String {
        let mut text = String::with_capacity(TOKEN_CHARS);
        self.sign_into(token, &mut text);
        text
    }

    /// Appends the signed token to `out`.
    pub fn sign_into(&self, token: &ClickToken, out: &mut String) {
        let key = &self.keys[self.active];
        let mut bytes = [0_u8; BYTES];
        bytes[0] = VERSION | key.id;
        bytes[1] = u8::from(token.attributable) * ATTRIBUTABLE + u8::from(token.review) * REVIEW;
        bytes[2..18].copy_from_slice(token.click_id.as_bytes());
        bytes[18..SIGNED].copy_from_slice(&token.link.0.to_be_bytes());
        let tag = tag(&key.secret, &bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(&tag);
        BASE64URL_NOPAD.encode_append(&bytes, out);
    }

    /// Reads and proves a token.
    pub fn verify(&self, text: &str) -> Result<ClickToken, TokenError> {
        let bytes = decode(text).ok_or(TokenError::Malformed)?;
        let id = bytes[0] & KEY_MASK;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(TokenError::UnknownKey(id))?;
        if key.state == KeyState::Revoked {
            return Err(TokenError::RevokedKey(id));
        }
        let right = tag(&key.secret, &bytes[..SIGNED]).ct_eq(&bytes[SIGNED..]);
        if !bool::from(right) {
            return Err(TokenError::Forged);
        }
        Ok(read(&bytes))
    }

    /// What a token says without any proof: only to look up the stored click, which is the proof.
    pub fn read_unproven(&self, text: &str) -> Option<ClickToken> {
        decode(text).as_ref().map(read)
    }
}

fn decode(text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    let read = text.len() == TOKEN_CHARS
        && matches!(BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut bytes), Ok(BYTES))
        && bytes[0] & !KEY_MASK == VERSION;
    read.then_some(bytes)
}

fn read(bytes: &[u8; BYTES]) -> ClickToken {
    let mut click = [0_u8; 16];
    click.copy_from_slice(&bytes[2..18]);
    let mut link = [0_u8; 8];
    link.copy_from_slice(&bytes[18..SIGNED]);
    ClickToken {
        click_id: Uuid::from_bytes(click),
        link: LinkId(i64::from_be_bytes(link)),
        attributable: bytes[1] & ATTRIBUTABLE != 0,
        review: bytes[1] & REVIEW != 0,
    }
}

fn tag(secret: &[u8; 32], signed: &[u8]) -> [u8; BYTES - SIGNED] {
    let hash = blake3::keyed_hash(secret, signed);
    let mut tag = [0; BYTES - SIGNED];
    tag.copy_from_slice(&hash.as_bytes()[..BYTES - SIGNED]);
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u8, state: KeyState) -> TokenKey {
        TokenKey { id, state, secret: [id; 32] }
    }

    fn ring(keys: Vec<TokenKey>) -> KeyRing {
        KeyRing::new(keys).unwrap()
    }

    fn token() -> ClickToken {
        ClickToken { click_id: Uuid::now_v7(), link: LinkId(77), attributable: true, review: false }
    }

    #[test]
    fn keys_roll_without_a_gap() {
        let old = ring(vec![key(1, KeyState::Active), key(2, KeyState::Verify)]);
        let new = ring(vec![key(1, KeyState::Retired), key(2, KeyState::Active)]);
        let token = token();
        assert_eq!(new.verify(&old.sign(&token)), Ok(token));
        assert_eq!(old.verify(&new.sign(&token)), Ok(token));
    }

    #[test]
    fn unknown_and_revoked_keys_are_told_apart() {
        let signer = ring(vec![key(1, KeyState::Active)]);
        let text = signer.sign(&token());
        let stranger = ring(vec![key(2, KeyState::Active)]);
        let strict = ring(vec![key(1, KeyState::Revoked), key(2, KeyState::Active)]);
        assert_eq!(stranger.verify(&text), Err(TokenError::UnknownKey(1)));
        assert_eq!(strict.verify(&text), Err(TokenError::RevokedKey(1)));
    }

    #[test]
    fn a_ring_has_one_active_key() {
        assert_eq!(KeyRing::new(vec![]).unwrap_err(), KeyRingError::Active(0));
        let two = vec![key(1, KeyState::Active), key(2, KeyState::Active)];
        assert_eq!(KeyRing::new(two).unwrap_err(), KeyRingError::Active(2));
        let twice = vec![key(1, KeyState::Active), key(1, KeyState::Retired)];
        assert_eq!(KeyRing::new(twice).unwrap_err(), KeyRingError::Repeated(1));
    }

    proptest! {
        #[test]
        fn reads_back_what_was_signed(id: u128, link: i64, attributable: bool, review: bool) {
            let ring = ring(vec![key(5, KeyState::Active)]);
            let token = ClickToken { click_id: Uuid::from_u128(id), link: LinkId(link), attributable, review };
            let text = ring.sign(&token);
            prop_assert_eq!(text.len(), TOKEN_CHARS);
            prop_assert_eq!(ring.verify(&text), Ok(token));
        }

        #[test]
        fn any_altered_byte_is_refused(at in 0..BYTES, with in 1_u8..) {
            let ring = ring(vec![key(5, KeyState::Active)]);
            let mut bytes = BASE64URL_NOPAD.decode(ring.sign(&token()).as_bytes()).unwrap();
            bytes[at] ^= with;
            prop_assert!(ring.verify(&BASE64URL_NOPAD.encode(&bytes)).is_err());
        }

        #[test]
        fn any_text_gets_an_answer(text in ".{0,80}") {
            let ring = ring(vec![key(5, KeyState::Active)]);
            prop_assert!(ring.verify(&text).is_err());
        }
    }
}
