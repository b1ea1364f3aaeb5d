//! What travels on the event log: one JSON object per event, with its version in `v`.
//!
//! Readers take what they know and refuse what they do not: a consumer that meets a version above
//! [`VERSION`] stalls and says so, so consumers are deployed before producers. Fields are only ever added.
//! `docs/events.schema.json` is the same contract for readers in other languages; a test holds the two together.

mod body;
pub mod report;

pub use body::{Authority, Body, Channel, Click, CommissionEntry, Conversion, Refund};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

use crate::domain::{ids::AccountId, time::Timestamp};

/// The version that this build writes, and the highest that it reads.
pub const VERSION: u16 = 1;

/// Where an event was taken: without gaps in `n`, so that a missing one shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The edge's name.
    pub edge: Arc<str>,
    /// One run of that edge.
    pub boot: Uuid,
    /// `clicks/0`, `conversions/0`: the kind and the core.
    pub stream: Arc<str>,
    /// 1, 2, 3, … in this stream of this boot.
    pub n: u64,
}

impl Origin {
    /// Whether an edge took the event; its name is never empty. What was asked over the management API has no edge
    /// and is in no stream's sum.
    pub fn is_edge(&self) -> bool {
        !self.edge.is_empty()
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub v: u16,
    /// Of a click: the click id. Of a conversion or refund: the id that makes a repeat known.
    pub id: Uuid,
    pub origin: Origin,
    pub received_at: Timestamp,
    pub body: Body,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Deploy a newer consumer; the record is fine.
    #[error("event version {0} is newer than this build reads ({VERSION})")]
    NewerVersion(u16),
    #[error("not an event: {0}")]
    Malformed(String),
}

impl Event {
    pub fn encode(&self) -> Vec<u8> {
        // The types hold no map with non-text keys and no float: serialisation cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record. The version is looked at first, so that a newer event is not mistaken for a broken one.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u16,
        }
        match serde_json::from_slice::<Self>(payload) {
            Ok(event) if event.v == VERSION => Ok(event),
            read => match (serde_json::from_slice::<Versioned>(payload), read) {
                (Ok(Versioned { v }), _) if v > VERSION => Err(DecodeError::NewerVersion(v)),
                (_, Err(error)) => Err(DecodeError::Malformed(error.to_string())),
                (_, Ok(event)) => {
                    Err(DecodeError::Malformed(format!("version {} was never in use", event.v)))
                }
            },
        }
    }

    /// The first field, if any, that has the character U+0000 in it: no PostgreSQL stores that. `payload`: the record
    /// that this event was read from.
    pub fn nul_field(&self, payload: &[u8]) -> Option<String> {
        // JSON has no other way to write it.
        let suspicious = payload.windows(6).any(|bytes| bytes == b"\\u0000");
        if !suspicious {
            return None;
        }
        nul_in(&serde_json::to_value(self).ok()?)
    }

    /// Whose event it is; markers are nobody's.
    pub fn account(&self) -> Option<AccountId> {
        match &self.body {
            Body::Click(click) => Some(click.account),
            Body::Conversion(conversion) => Some(conversion.account),
            Body::Refund(refund) => Some(refund.account),
            Body::End => None,
        }
    }
}

/// The account whose order a record keeps: of conversions and refunds. Reads no more of it than that, whatever its
/// version.
pub fn order_key(payload: &[u8]) -> Option<AccountId> {
    #[derive(Deserialize)]
    struct Envelope {
        body: Kept,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kept {
        Conversion(Owned),
        Refund(Owned),
    }
    #[derive(Deserialize)]
    struct Owned {
        account: AccountId,
    }
    match serde_json::from_slice::<Envelope>(payload).ok()?.body {
        Kept::Conversion(owned) | Kept::Refund(owned) => Some(owned.account),
    }
}

/// Where in a value U+0000 is, as a path: `body.conversion.meta_data.note`. Empty: the value itself.
fn nul_in(value: &Value) -> Option<String> {
    let below = |name: String, value: &Value| {
        let path = nul_in(value)?;
        Some(if path.is_empty() { name } else { format!("{name}.{path}") })
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(values) => {
            values.iter().enumerate().find_map(|(at, value)| below(at.to_string(), value))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                return Some(name.replace('\0', "\u{fffd}"));
            }
            below(name.clone(), value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_is_that_of_an_account() {
        let of = |body: &str| order_key(format!(r#"{{"v":7,"new":[],"body":{body}}}"#).as_bytes());
        assert_eq!(of(r#"{"conversion":{"kind":"lead","account":5,"x":{}}}"#), Some(AccountId(5)));
        assert_eq!(of(r#"{"refund":{"account":6}}"#), Some(AccountId(6)));
        for body in [r#"{"click":{"account":7}}"#, r#""end""#, r#"{"other":{"account":7}}"#, "7"] {
            assert_eq!(of(body), None, "{body}");
        }
        assert_eq!(order_key(b"no event"), None);
    }

    #[test]
    fn the_key_of_a_written_event_is_its_account() {
        let refund = Refund {
            account: AccountId(42),
            fingerprint: String::new(),
            external_id: None,
            conversion_id: None,
            program: None,
            kind: None,
            conversion_external_id: None,
            amount: None,
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        };
        let origin = Origin { edge: "e".into(), boot: Uuid::nil(), stream: "conversions/0".into(), n: 1 };
        let body = Body::Refund(Box::new(refund));
        let event = Event { v: VERSION, id: Uuid::nil(), origin, received_at: Timestamp(0), body };
        assert_eq!(order_key(&event.encode()), event.account());
    }

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        let value = json!({"a": {"b": ["x", {"c": "y\0"}]}, "d": 1});
        assert_eq!(nul_in(&value).as_deref(), Some("a.b.1.c"));
        assert_eq!(nul_in(&json!({"a\0": 1})).as_deref(), Some("a\u{fffd}"));
        assert_eq!(nul_in(&json!({"a": "\\u0000"})), None);
    }
}
