//! Secrets that must be read again, such as a program's pixel secret, as they stand in the store and the catalog.
//!
//! ```text
//! "wps1." base64url without padding of
//!   0..4   key id: first bytes of BLAKE3 of the key
//!   4..28  nonce, random
//!   28..   XChaCha20-Poly1305 of the text and its tag; what the secret belongs to is the associated data
//! ```
//! Nothing of an altered text, of one that belongs elsewhere or of an unknown key is believed. Keys roll without a gap:
//! a new key is added behind the others everywhere, then moved to the front, and the old one is removed once every
//! secret was sealed anew.

use std::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::ids::ProgramId;

/// Bytes of a nonce: enough for random ones to never repeat.
pub const NONCE_BYTES: usize = 24;

const MARK: &str = "wps1.";
const KEY_ID_BYTES: usize = 4;

/// A secret that only the keys can read; safe to store and to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// What was stored; whether it can be opened shows when it is.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_text(self) -> String {
        self.0
    }

    /// There is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has the form of a sealed text; else it is from a time before secrets were sealed.
    pub fn has_form(&self) -> bool {
        self.0.starts_with(MARK)
    }
}

/// Why a secret cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("there is no secret")]
    Empty,
    #[error("it is not a sealed secret")]
    Malformed,
    /// The key may have been removed too early, or not have reached this process.
    #[error("it was sealed with a key that is not in `secrets.keys`")]
    UnknownKey,
    #[error("it was altered, or belongs elsewhere")]
    Forged,
}

/// No key was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key to seal secrets with")]
pub struct NoKey;

#[derive(Clone)]
struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    cipher: XChaCha20Poly1305,
}

/// The keys of `secrets.keys`: the first seals, all open.
#[derive(Clone)]
pub struct SealingKeys {
    first: SealingKey,
    others: Vec<SealingKey>,
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys").field("keys", &(1 + self.others.len())).finish()
    }
}

impl SealingKey {
    fn new(secret: &[u8; 32]) -> Self {
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&blake3::hash(secret).as_bytes()[..KEY_ID_BYTES]);
        Self { id, cipher: XChaCha20Poly1305::new(secret.into()) }
    }
}

impl SealingKeys {
    /// The first of `secrets` seals.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(secrets: &[[u8; 32]]) -> Result<Self, NoKey> {
        let mut keys = secrets.iter().map(SealingKey::new);
        Ok(Self { first: keys.next().ok_or(NoKey)?, others: keys.collect() })
    }

    /// Seals `text`, which belongs to `owner`. The nonce must be fresh random bytes.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], owner: &str, text: &str) -> Sealed {
        let payload = Payload { msg: text.as_bytes(), aad: owner.as_bytes() };
        // Fails for texts of more than 256 GB alone.
        let sealed = self.first.cipher.encrypt(&XNonce::from(*nonce), payload).unwrap_or_default();
        let bytes = [&self.first.id[..], nonce, &sealed].concat();
        Sealed(format!("{MARK}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// Reads what was sealed for `owner`.
    ///
    /// # Errors
    /// There is nothing to read, the key is not known, or the text is not the one that was sealed.
    pub fn open(&self, sealed: &Sealed, owner: &str) -> Result<String, OpenError> {
        if sealed.is_empty() {
            return Err(OpenError::Empty);
        }
        let (id, nonce, bytes) = parts(sealed).ok_or(OpenError::Malformed)?;
        let mut known =
            std::iter::once(&self.first).chain(&self.others).filter(|key| key.id == id).peekable();
        if known.peek().is_none() {
            return Err(OpenError::UnknownKey);
        }
        let payload = || Payload { msg: &bytes, aad: owner.as_bytes() };
        let opened = known.find_map(|key| key.cipher.decrypt(&XNonce::from(nonce), payload()).ok());
        String::from_utf8(opened.ok_or(OpenError::Forged)?).map_err(|_| OpenError::Malformed)
    }

    /// Whether the key that seals now has sealed it.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        parts(sealed).is_some_and(|(id, _, _)| id == self.first.id)
    }
}

fn parts(sealed: &Sealed) -> Option<([u8; KEY_ID_BYTES], [u8; NONCE_BYTES], Vec<u8>)> {
    let bytes = BASE64URL_NOPAD.decode(sealed.0.strip_prefix(MARK)?.as_bytes()).ok()?;
    let (id, rest) = bytes.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk()?;
    Some((*id, *nonce, rest.to_vec()))
}

/// What a program's pixel secret belongs to.
pub fn pixel_secret_of(program: ProgramId) -> String {
    format!("program/{program}/pixel_secret")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(secrets: &[u8]) -> SealingKeys {
        SealingKeys::new(&secrets.iter().map(|byte| [*byte; 32]).collect::<Vec<_>>()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_by_its_key_and_owner_alone(
            text in "\\PC{0,80}",
            owner in "[a-z/0-9]{1,20}",
            nonce in any::<[u8; NONCE_BYTES]>(),
        ) {
            let sealed = keys(&[1]).seal(&nonce, &owner, &text);
            prop_assert!(sealed.has_form());
            prop_assert!(text.len() < 4 || !sealed.as_str().contains(&text));
            prop_assert_eq!(keys(&[1]).open(&sealed, &owner), Ok(text.clone()));
            prop_assert_eq!(keys(&[2, 1]).open(&sealed, &owner), Ok(text));
            prop_assert_eq!(keys(&[2]).open(&sealed, &owner), Err(OpenError::UnknownKey));
            let other = format!("{owner}0");
            prop_assert_eq!(keys(&[1]).open(&sealed, &other), Err(OpenError::Forged));
        }

        #[test]
        fn nothing_of_an_altered_text_is_believed(at in 5_usize..200, with in "[A-Za-z0-9_.~-]{1}") {
            let sealed = keys(&[1]).seal(&[7; NONCE_BYTES], "owner", "the secret of a shop");
            let at = at % (sealed.as_str().len() - 5) + 5;
            let mut text = sealed.as_str().to_owned();
            text.replace_range(at..=at, &with);
            prop_assume!(text != sealed.as_str());
            prop_assert!(keys(&[1]).open(&Sealed::from_text(text), "owner").is_err());
        }
    }

    #[test]
    fn what_was_never_sealed_is_refused() {
        for (text, error) in [
            ("", OpenError::Empty),
            ("in clear text", OpenError::Malformed),
            ("wps1.", OpenError::Malformed),
            ("wps1.!", OpenError::Malformed),
            ("wps1.AAAA", OpenError::Malformed),
        ] {
            assert_eq!(keys(&[1]).open(&Sealed::from_text(text), "owner"), Err(error), "{text}");
        }
        assert_eq!(SealingKeys::new(&[]).unwrap_err(), NoKey);
    }

    #[test]
    fn the_first_key_seals() {
        let old = keys(&[1]).seal(&[7; NONCE_BYTES], "owner", "secret");
        let both = keys(&[2, 1]);
        assert!(keys(&[1, 2]).is_current(&old) && !both.is_current(&old));
        let new = both.seal(&[8; NONCE_BYTES], "owner", "secret");
        assert!(both.is_current(&new));
        assert_eq!(keys(&[2]).open(&new, "owner").as_deref(), Ok("secret"));
    }
}
