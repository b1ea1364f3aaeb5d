//! A conversion on its way through the rules, and its row in the store.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set};
use serde_json::json;
use uuid::Uuid;

use super::{
    Evidence, LedgerError, Terms,
    claims::{self, Claim},
    journal,
};
use crate::{
    domain::{attribution, entries::Entry, ids::ProgramId, reason::Rejection, time::Timestamp},
    events::{Authority, Conversion, Origin},
    store::entities::conversion,
};

/// A conversion on its way through the rules.
pub(super) struct Case<'a> {
    pub conversion: &'a Conversion,
    pub event_id: Uuid,
    pub received_at: Timestamp,
    pub origin: Option<&'a Origin>,
    pub evidence: &'a Evidence,
    /// The stored row of one that waited.
    pub waiting: Option<conversion::Model>,
    /// Until when it waits if the rules say so.
    pub waits_until: Timestamp,
    pub waited_out: bool,
}

impl Case<'_> {
    pub fn occurred_at(&self) -> Timestamp {
        self.conversion.occurred_at.unwrap_or(self.received_at)
    }

    pub fn check_occurred_at(&self, terms: Terms) -> Result<(), Rejection> {
        let may_import = self.conversion.authority == Authority::Import;
        let occurred_at = self.occurred_at();
        attribution::check_occurred_at(occurred_at, self.received_at, terms.max_age_days, may_import)
    }

    /// The id of the row that waited does not stand in its own way.
    fn is_self(&self, holder: Uuid) -> bool {
        self.waiting.as_ref().is_some_and(|row| row.id == holder)
    }
}

pub(super) async fn find_waiting(
    entry: &journal::Entry<'_>,
    id: Uuid,
    status: &'static str,
) -> Result<conversion::Model, LedgerError> {
    let row = conversion::Entity::find_by_id(id)
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("conversion"))?;
    if row.status != status {
        let message = format!("the conversion is {}, not {status}", row.status);
        return Err(LedgerError::NotPossible { code: "not_waiting", message });
    }
    Ok(row)
}

pub(super) fn read_input(row: &conversion::Model) -> Result<Conversion, LedgerError> {
    serde_json::from_value(row.input.clone()).map_err(|error| LedgerError::damaged("conversion", error))
}

/// The parts of a conversion, before any refund.
pub(super) fn entries_of(row: &conversion::Model) -> Result<Vec<Entry>, LedgerError> {
    serde_json::from_value(row.entries.clone()).map_err(|error| LedgerError::damaged("entries", error))
}

/// Who holds the external id, if somebody else does.
pub(super) async fn taken(
    entry: &journal::Entry<'_>,
    case: &Case<'_>,
    program: ProgramId,
    external: &str,
) -> Result<Option<Uuid>, LedgerError> {
    let claim = claims::holder(entry, Claim::Conversion(program, case.conversion.kind, external)).await?;
    Ok(claim.map(|claim| claim.holder).filter(|holder| !case.is_self(*holder)))
}

pub(super) fn new_row(
    entry: &journal::Entry<'_>,
    case: &Case<'_>,
    id: Uuid,
    status: &'static str,
) -> Result<conversion::ActiveModel, LedgerError> {
    let input = serde_json::to_value(case.conversion).map_err(|e| LedgerError::damaged("conversion", e))?;
    let origin = case.origin.filter(|origin| origin.is_edge());
    Ok(conversion::ActiveModel {
        id: Set(id),
        account_id: Set(entry.account.0),
        arrived_seq: Set(entry.seq),
        seq: Set(None),
        status: Set(status.to_owned()),
        kind: Set(case.conversion.kind.as_str().to_owned()),
        event_id: Set(case.event_id),
        fingerprint: Set(case.conversion.fingerprint.clone()),
        program_id: Set(None),
        affiliate_id: Set(None),
        link_id: Set(None),
        customer_id: Set(None),
        click_id: Set(None),
        external_id: Set(case.conversion.external_id.clone()),
        amount: Set(0),
        refunded: Set(0),
        currency: Set(None),
        occurred_at: Set(case.occurred_at().0),
        received_at: Set(case.received_at.0),
        settled_at: Set(None),
        waits_for: Set(None),
        waits_until: Set(None),
        resolved_by: Set(None),
        warnings: Set(json!([])),
        review: Set(false),
        attribution: Set(json!(null)),
        input: Set(input),
        edge: Set(origin.map(|origin| origin.edge.to_string())),
        boot: Set(origin.map(|origin| origin.boot)),
        stream: Set(origin.map(|origin| origin.stream.to_string())),
        entries: Set(json!([])),
        rate: Set(json!(null)),
        refunded_whole: Set(false),
        deleted_at: Set(None),
    })
}
