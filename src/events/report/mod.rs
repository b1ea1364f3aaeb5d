//! Leads, sales and refunds as senders write them, over REST or as a pixel.
//!
//! Whoever takes a report judges the shape of a value: its type, its length, its characters. What a value means
//! (whether the program exists, the amount is not negative, the coupon is valid) is the ledger's to say: it alone has
//! the state of that moment in the order.

mod event_id;
mod fields;
mod repair;

use serde_json::value::RawValue;
use uuid::Uuid;

pub use fields::Unreadable;
pub(crate) use fields::{Fields, MAX_ID};
pub use repair::{RepairError, repaired};

use super::{Authority, Body, Channel, CommissionEntry, Conversion, Refund};
use crate::domain::{
    amount::DecimalText,
    ids::{AccountId, Prefix},
    reason::ConversionKind,
    token::TOKEN_CHARS,
};

/// Characters of a coupon, a commission type, a program group.
const MAX_NAME: usize = 64;
/// Characters of a comment or a reason.
const MAX_COMMENT: usize = 500;
/// Parts of one conversion.
const MAX_COMMISSIONS: usize = 50;

/// Reads a conversion. Its `fingerprint` covers what is read here and nothing that the edge adds later.
///
/// # Errors
/// The first field that cannot be read, or that is unknown.
pub(crate) fn conversion(
    mut fields: Fields<'_>,
    account: AccountId,
    kind: ConversionKind,
    channel: Channel,
    authority: Authority,
) -> Result<Conversion, Unreadable> {
    let mut conversion = Conversion {
        account,
        kind,
        channel: Channel::Rest,
        authority: Authority::Secret,
        fingerprint: String::new(),
        program: fields.slug("program")?,
        program_group: fields.text("program_group", MAX_NAME)?,
        external_id: fields.text("external_id", MAX_ID)?,
        amount: fields.decimal("amount")?,
        currency: currency(&mut fields)?,
        customer_id: fields.text("customer_id", MAX_ID)?,
        coupon: fields.text("coupon", MAX_NAME)?,
        referral_code: fields.code("referral_code")?,
        click_id: fields.checked("click_id", check_click_id)?,
        asset_id: fields.text("asset_id", MAX_ID)?,
        source_id: fields.text("source_id", MAX_ID)?,
        tracking_id: fields.text("tracking_id", MAX_ID)?,
        commission_type: fields.text("commission_type", MAX_NAME)?,
        commissions: commissions(&mut fields)?,
        occurred_at: fields.time("occurred_at")?,
        sub_ids: fields.sub_ids()?,
        meta_data: fields.meta_data()?,
    };
    fields.finish()?;
    // The same report by another way, or under another key, is the same report.
    conversion.fingerprint = fingerprint(&conversion);
    conversion.channel = channel;
    conversion.authority = authority;
    Ok(conversion)
}

/// Reads a refund.
///
/// # Errors
/// As of a conversion; also when it does not name one conversion.
pub(crate) fn refund(mut fields: Fields<'_>, account: AccountId) -> Result<Refund, Unreadable> {
    let mut refund = Refund {
        account,
        fingerprint: String::new(),
        external_id: fields.text("external_id", MAX_ID)?,
        conversion_id: fields.checked("conversion_id", |text| match Prefix::Conversion.parse(text) {
            Some(_) => Ok(()),
            None => Err("must be the id of a conversion, cnv_ and 32 hex digits"),
        })?,
        program: fields.slug("program")?,
        kind: match fields.text("kind", MAX_NAME)? {
            None => None,
            Some(kind) => Some(kind_named(&kind).ok_or_else(|| Unreadable::field("kind", KINDS))?),
        },
        conversion_external_id: fields.text("conversion_external_id", MAX_ID)?,
        amount: fields.decimal("amount")?,
        currency: currency(&mut fields)?,
        reason: fields.text("reason", MAX_COMMENT)?,
        meta_data: fields.meta_data()?,
    };
    fields.finish()?;
    match (&refund.conversion_id, &refund.conversion_external_id) {
        (Some(_), None) => {}
        (None, Some(_)) if refund.program.is_some() => {}
        (None, Some(_)) => {
            return Err(Unreadable::field("program", "must be given with conversion_external_id"));
        }
        (None, None) => {
            return Err(Unreadable::field("conversion_id", "must be given, or conversion_external_id"));
        }
        (Some(_), Some(_)) => {
            return Err(Unreadable::field(
                "conversion_id",
                "must not be given beside conversion_external_id",
            ));
        }
    }
    refund.fingerprint = fingerprint(&refund);
    Ok(refund)
}

const KINDS: &str = "must be lead, appointment, conversion or purchase";

/// The kind by its name; `purchase` is another word for `conversion`.
pub(crate) fn kind_named(name: &str) -> Option<ConversionKind> {
    if name == "purchase" { Some(ConversionKind::Conversion) } else { ConversionKind::parse(name) }
}

/// Reads the kind of a conversion where nothing but `kind` says it: a sale unless said otherwise.
///
/// # Errors
/// Another word.
pub(crate) fn kind(fields: &mut Fields<'_>) -> Result<ConversionKind, Unreadable> {
    match fields.text("kind", MAX_NAME)? {
        None => Ok(ConversionKind::Conversion),
        Some(kind) => kind_named(&kind).ok_or_else(|| Unreadable::field("kind", KINDS)),
    }
}

/// Reads a pixel's `kind`.
///
/// # Errors
/// Another word.
pub(crate) fn pixel_kind(name: &str) -> Result<ConversionKind, Unreadable> {
    if name.is_empty() {
        return Ok(ConversionKind::Conversion);
    }
    kind_named(name).ok_or_else(|| Unreadable::field("kind", KINDS))
}

/// The shape of a code; whether there is such a currency, and whether the program takes it, is settlement's to say.
fn currency(fields: &mut Fields<'_>) -> Result<Option<String>, Unreadable> {
    fields.checked("currency", |text| {
        let code = text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphabetic());
        if code { Ok(()) } else { Err("must be three letters of ISO 4217") }
    })
}

/// A token, a UUID or `clk_…`, by their characters alone: a forged one is settlement's to name.
fn check_click_id(text: &str) -> Result<(), &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if text.len() <= TOKEN_CHARS && text.bytes().all(fits) {
        Ok(())
    } else {
        Err("must be a click token or the id of a click")
    }
}

fn commissions(fields: &mut Fields<'_>) -> Result<Vec<CommissionEntry>, Unreadable> {
    const NAME: &str = "commissions";
    let Some(json) = fields.json(NAME) else { return Ok(Vec::new()) };
    let items: Vec<&RawValue> =
        serde_json::from_str(&json).map_err(|_| Unreadable::field(NAME, "must be an array"))?;
    if items.len() > MAX_COMMISSIONS {
        return Err(Unreadable::field(NAME, format!("may have {MAX_COMMISSIONS} entries at most")));
    }
    items.into_iter().enumerate().map(|(n, item)| commission(item, format!("{NAME}[{n}]."))).collect()
}

fn commission(item: &RawValue, path: String) -> Result<CommissionEntry, Unreadable> {
    let mut fields = Fields::of_json(item, path)?;
    let sub_amount: Option<DecimalText> = fields.decimal("sub_amount")?;
    let entry = CommissionEntry {
        sub_amount: fields.need("sub_amount", sub_amount)?,
        commission_type: fields.text("commission_type", MAX_NAME)?,
        comment: fields.text("comment", MAX_COMMENT)?,
    };
    fields.finish()?;
    Ok(entry)
}

/// 32 hex digits of BLAKE3 over the event as JSON, with the same words wherever it came from.
fn fingerprint(said: &impl serde::Serialize) -> String {
    let json = serde_json::to_vec(said).unwrap_or_default();
    let mut bytes = [0; 16];
    blake3::Hasher::new().update(&json).finalize_xof().fill(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}

/// The id of a report, and whether sending it again is safe: then the id is computed from what was sent.
pub(crate) fn id_of(body: &Body, idempotency: Option<(&str, usize)>) -> Option<Uuid> {
    let (account, held, own) = match body {
        Body::Conversion(conversion) => {
            let held = conversion.authority.holds();
            let named = conversion.program.as_deref().zip(conversion.external_id.as_deref());
            let id = named.map(|(program, external_id)| {
                event_id::of_conversion(conversion.account, held, program, conversion.kind, external_id)
            });
            (conversion.account, held, id)
        }
        Body::Refund(refund) => {
            let id = refund.external_id.as_deref().map(|id| event_id::of_refund(refund.account, id));
            (refund.account, false, id)
        }
        // A click's id carries its time and is always new.
        Body::Click(_) | Body::End => return None,
    };
    own.or_else(|| idempotency.map(|(key, index)| event_id::of_idempotency_key(account, held, key, index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, authority: Authority) -> Result<Conversion, Unreadable> {
        let fields = Fields::of_json(serde_json::from_str(json).unwrap(), String::new())?;
        conversion(fields, AccountId(1), ConversionKind::Conversion, Channel::Pixel, authority)
    }

    #[test]
    fn the_fingerprint_is_of_what_was_said() {
        let one =
            read(r#"{"external_id": "a", "amount": 10, "meta_data": {"x": 1, "y": 2}}"#, Authority::Secret);
        let same = read(
            r#"{"meta_data": {"y": 2, "x": 1}, "amount": "10", "external_id": "a"}"#,
            Authority::OpenPixel,
        );
        let other = read(r#"{"external_id": "a", "amount": 11}"#, Authority::Secret);
        let one = one.unwrap();
        assert_eq!(one.fingerprint.len(), 32);
        assert_eq!(one.fingerprint, same.unwrap().fingerprint);
        assert_ne!(one.fingerprint, other.unwrap().fingerprint);
        assert_eq!((one.channel, one.authority), (Channel::Pixel, Authority::Secret));
    }

    #[test]
    fn parts_are_refused_by_their_place() {
        for (json, field) in [
            (r#"{"commissions": {}}"#, "commissions"),
            (r#"{"commissions": [1]}"#, "commissions[0]"),
            (r#"{"commissions": [{"sub_amount": 1}, {}]}"#, "commissions[1].sub_amount"),
            (r#"{"commissions": [{"sub_amount": "x"}]}"#, "commissions[0].sub_amount"),
            (r#"{"commissions": [{"sub_amount": 1, "y": 1}]}"#, "commissions[0].y"),
            (r#"{"currency": "EURO"}"#, "currency"),
            (r#"{"click_id": "a b"}"#, "click_id"),
            (r#"{"occurred_at": "yesterday"}"#, "occurred_at"),
            (r#"{"program": "No Slug"}"#, "program"),
        ] {
            match read(json, Authority::Secret) {
                Err(Unreadable::Field { field: named, .. }) => assert_eq!(named, field, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_refund_names_one_conversion() {
        let read = |json: &str| {
            refund(Fields::of_json(serde_json::from_str(json).unwrap(), String::new())?, AccountId(1))
        };
        let id = Prefix::Conversion.format(Uuid::now_v7());
        assert!(read(&format!(r#"{{"conversion_id": "{id}"}}"#)).is_ok());
        assert!(read(r#"{"conversion_external_id": "o", "program": "shop", "kind": "lead"}"#).is_ok());
        for bad in [
            "{}".to_owned(),
            r#"{"conversion_external_id": "o"}"#.to_owned(),
            r#"{"conversion_id": "o"}"#.to_owned(),
            format!(r#"{{"conversion_id": "{id}", "conversion_external_id": "o", "program": "shop"}}"#),
            format!(r#"{{"conversion_id": "{id}", "kind": "click"}}"#),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_external_id_goes_before_the_key_of_the_request() {
        let conversion = |json: &str| Body::Conversion(Box::new(read(json, Authority::Secret).unwrap()));
        let named = conversion(r#"{"program": "shop", "external_id": "o"}"#);
        assert_eq!(id_of(&named, None), id_of(&named, Some(("key", 1))));
        let unnamed = conversion(r#"{"external_id": "o"}"#);
        assert_eq!(id_of(&unnamed, None), None);
        assert_ne!(id_of(&unnamed, Some(("key", 0))), id_of(&unnamed, Some(("key", 1))));
    }
}
