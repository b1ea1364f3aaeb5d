//! Lists cut to a time.

use utoipa::IntoParams;
use uuid::{Builder, Uuid};

use crate::{
    api::{fields::Fields, values},
    domain::time::Timestamp,
};

/// The parameters of a time range.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes the parameters; `read` reads them")]
pub struct RangeParams {
    /// From then on, included (RFC 3339).
    from: Option<String>,
    /// Until then, excluded (RFC 3339).
    to: Option<String>,
}

/// From when, included, until when, excluded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// Reads `from` and `to`.
pub fn read(fields: &mut Fields) -> Range {
    let from = fields.optional("from", None, values::time);
    let to = fields.optional("to", None, values::time);
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        fields.wrong("to", "must be later than from");
    }
    Range { from, to }
}

/// The lowest UUIDv7 of a moment: ids of that kind are in the order of their time.
pub fn first_id(at: Timestamp) -> Uuid {
    Builder::from_unix_timestamp_millis(u64::try_from(at.0).unwrap_or(0), &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_moment_is_below_all_of_it() {
        let id = Uuid::now_v7();
        let at = Timestamp::of_uuid(id).unwrap();
        assert!(first_id(at) <= id && id < first_id(at + 1));
    }
}
