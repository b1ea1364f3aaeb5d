//! A report that was not taken, with what its sender corrected.

use std::collections::BTreeMap;

use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::{Fields, Unreadable, conversion, id_of, kind, refund};
use crate::{
    domain::time::Timestamp,
    events::{Body, Event},
};

/// Why a report cannot be corrected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("only conversions and refunds can be corrected")]
    NotAReport,
}

/// The event with the fields of `correction` in the place of its own: what is not given stays, null clears. Who sent it
/// and how far they are believed stays too.
///
/// # Errors
/// A field that cannot be read or is not known, as when it is sent first.
pub fn repaired(event: &Event, correction: &RawValue) -> Result<Event, RepairError> {
    // A name that is given twice is refused before one of them is taken.
    Fields::of_json(correction, String::new())?;
    let given: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(correction.get()).map_err(|_| Unreadable::field("body", "must be an object"))?;
    let mut said = match &event.body {
        Body::Conversion(conversion) => said(conversion)?,
        Body::Refund(refund) => said(refund)?,
        Body::Click(_) | Body::End => return Err(RepairError::NotAReport),
    };
    said.extend(given);
    let json = to_raw_value(&said).map_err(unreadable)?;
    let mut fields = Fields::of_json(&json, String::new())?;
    let body = match &event.body {
        Body::Conversion(old) => {
            let kind = kind(&mut fields)?;
            Body::Conversion(Box::new(conversion(fields, old.account, kind, old.channel, old.authority)?))
        }
        Body::Refund(old) => Body::Refund(Box::new(refund(fields, old.account)?)),
        Body::Click(_) | Body::End => return Err(RepairError::NotAReport),
    };
    let id = id_of(&body, None).unwrap_or(event.id);
    Ok(Event { id, body, ..event.clone() })
}

/// What a sender said, in the words of a sender.
fn said(report: &impl serde::Serialize) -> Result<BTreeMap<String, Box<RawValue>>, Unreadable> {
    let Value::Object(mut said) = serde_json::to_value(report).map_err(unreadable)? else {
        return Ok(BTreeMap::new());
    };
    for ours in ["account", "fingerprint", "channel", "authority"] {
        said.remove(ours);
    }
    if let Some(Value::Array(ids)) = said.remove("sub_ids") {
        let names = ["sub1", "sub2", "sub3", "sub4", "sub5"].map(str::to_owned);
        said.extend(names.into_iter().zip(ids));
    }
    if let Some(at) = said.get("occurred_at").and_then(Value::as_i64) {
        said.insert("occurred_at".to_owned(), Value::String(Timestamp(at).to_string()));
    }
    raw(said)
}

/// From here on numbers are their text: a correction's never become floats.
fn raw(values: Map<String, Value>) -> Result<BTreeMap<String, Box<RawValue>>, Unreadable> {
    values.into_iter().map(|(name, value)| Ok((name, to_raw_value(&value).map_err(unreadable)?))).collect()
}

fn unreadable(error: serde_json::Error) -> Unreadable {
    Unreadable::Json(error.to_string())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::ids::AccountId,
        events::{Authority, Channel, Origin, VERSION},
    };

    fn event(json: &str) -> Event {
        let fields = Fields::of_json(serde_json::from_str(json).unwrap(), String::new()).unwrap();
        let kind = crate::domain::reason::ConversionKind::Lead;
        let read = conversion(fields, AccountId(7), kind, Channel::Pixel, Authority::OpenPixel).unwrap();
        let origin = Origin { edge: "e".into(), boot: Uuid::nil(), stream: "conversions/0".into(), n: 3 };
        let body = Body::Conversion(Box::new(read));
        Event { v: VERSION, id: Uuid::from_u128(1), origin, received_at: Timestamp(5), body }
    }

    fn repair(event: &Event, correction: &str) -> Result<Event, RepairError> {
        repaired(event, serde_json::from_str(correction).unwrap())
    }

    const SAID: &str = r#"{"external_id": "o-1", "amount": "1.50", "coupon": "X", "sub2": "b",
        "occurred_at": "2026-01-31T12:00:00.005Z", "commissions": [{"sub_amount": 1.10}], "meta_data": {"a": [1]}}"#;

    #[test]
    fn nothing_changes_but_what_is_corrected() {
        let sent = event(SAID);
        assert_eq!(repair(&sent, "{}").unwrap(), sent);
        let right =
            repair(&sent, r#"{"coupon": null, "referral_code": "jane", "amount": 0.100000000000000005551}"#);
        let Body::Conversion(right) = right.unwrap().body else { panic!("another kind") };
        let Body::Conversion(old) = sent.body else { panic!("another kind") };
        assert_eq!(right.amount.as_ref().unwrap().as_str(), "0.100000000000000005551");
        assert_ne!(right.fingerprint, old.fingerprint);
        let expected = crate::events::Conversion {
            coupon: None,
            referral_code: Some("jane".to_owned()),
            amount: right.amount.clone(),
            fingerprint: right.fingerprint.clone(),
            ..*old
        };
        assert_eq!(*right, expected);
    }

    #[test]
    fn a_name_makes_the_id_that_goes_with_it() {
        let sent = event(SAID);
        let named = repair(&sent, r#"{"program": "shop"}"#).unwrap();
        assert_ne!(named.id, sent.id);
        assert_eq!(Some(named.id), id_of(&named.body, None));
    }

    #[test]
    fn corrections_are_read_as_reports_are() {
        let sent = event(SAID);
        for (correction, field) in [
            (r#"{"amount": "x"}"#, "amount"),
            (r#"{"what": 1}"#, "what"),
            (r#"{"authority": "secret"}"#, "authority"),
            (r#"{"kind": "gift"}"#, "kind"),
            (r#"{"commissions": [{}]}"#, "commissions[0].sub_amount"),
        ] {
            match repair(&sent, correction) {
                Err(RepairError::Unreadable(Unreadable::Field { field: named, .. })) => {
                    assert_eq!(named, field)
                }
                other => panic!("{correction}: {other:?}"),
            }
        }
        assert!(matches!(
            repair(&sent, r#"{"amount": 1, "amount": 2}"#),
            Err(RepairError::Unreadable(Unreadable::Json(_)))
        ));
        let end = Event { body: Body::End, ..sent };
        assert_eq!(repair(&end, "{}"), Err(RepairError::NotAReport));
    }
}
