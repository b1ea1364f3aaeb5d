//! What a sender reported, as it is shown: without what only serves this side.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::convert;
use crate::{api::error::ApiError, domain::ids::Prefix, ledger::Effect, store::entities::refund};

/// The fields of a stored report. `account` and `fingerprint` are ours; times become RFC 3339.
pub fn shown(input: Value) -> Value {
    let Value::Object(mut fields) = input else { return input };
    fields.remove("account");
    fields.remove("fingerprint");
    if let Some(at) = fields.get("occurred_at").and_then(Value::as_i64) {
        fields.insert("occurred_at".to_owned(), Value::String(convert::time(at)));
    }
    Value::Object(fields)
}

/// The report inside a stored event; what could not be read at all stays as it came.
pub fn of_event(event: Value) -> Value {
    let Value::Object(mut event) = event else { return event };
    match event.remove("body") {
        Some(Value::Object(body)) => {
            body.into_iter().next().map(|(_, input)| shown(input)).unwrap_or_default()
        }
        Some(Value::String(word)) => Value::String(word),
        _ => Value::Object(Map::new()),
    }
}

/// What became of an event that was looked at again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// `settled`, `duplicate`, `pending`, `held`, `declined` or `rejected`.
    #[schema(example = "settled")]
    pub outcome: String,
    /// The conversion (`cnv_`) or refund (`rfd_`) that it is now, or of which it is a repeat.
    #[schema(example = "cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: Option<String>,
    /// What a pending one waits for, or why one was rejected.
    pub reason: Option<String>,
    pub detail: Option<String>,
    /// Why inputs were passed over.
    pub warnings: Vec<String>,
}

impl Outcome {
    pub async fn of(db: &impl ConnectionTrait, effect: Effect) -> Result<Self, ApiError> {
        let mut outcome = Self {
            outcome: crate::ledger::intake::outcome(&effect).as_str().to_owned(),
            id: None,
            reason: None,
            detail: None,
            warnings: Vec::new(),
        };
        let id = match effect {
            Effect::Done | Effect::Awarded { .. } => None,
            Effect::Settled { id, .. } | Effect::Held { id } | Effect::Declined { id } => Some(id),
            Effect::Duplicate { of } => Some(of),
            Effect::Pending { id, waits } => {
                outcome.reason = Some(waits.as_str().to_owned());
                Some(id)
            }
            Effect::Rejected { reason, detail, passed_over } => {
                outcome.reason = Some(reason.as_str().to_owned());
                outcome.detail = detail;
                outcome.warnings = passed_over.iter().map(|one| one.warning.as_str().to_owned()).collect();
                None
            }
        };
        if let Some(id) = id {
            let prefix = if is_refund(db, id).await? { Prefix::Refund } else { Prefix::Conversion };
            outcome.id = Some(prefix.format(id));
        }
        Ok(outcome)
    }
}

async fn is_refund(db: &impl ConnectionTrait, id: Uuid) -> Result<bool, ApiError> {
    let found = refund::Entity::find().filter(refund::Column::Id.eq(id)).one(db).await?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_reported_is_shown() {
        let event = json!({
            "v": 1, "id": "x", "origin": {"edge": "a"}, "received_at": 5,
            "body": {"conversion": {"account": 7, "fingerprint": "f", "amount": "1.50", "occurred_at": 1000}},
        });
        let expected = json!({"amount": "1.50", "occurred_at": "1970-01-01T00:00:01.000Z"});
        assert_eq!(of_event(event), expected);
        assert_eq!(of_event(json!("not an event")), json!("not an event"));
    }
}
