//! Amounts that somebody gives or takes by hand (MONEY 7): lines without a conversion, approved and final at once.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set};
use serde_json::json;

use super::{
    LedgerError, command::Adjust, journal::Entry, payments::find_affiliate, posting::post,
    programs::EVERY_PROGRAM,
};
use crate::{
    domain::{
        amount::MAX_MINOR,
        ids::ProgramId,
        postings,
        reason::{LineKind, LineStatus},
    },
    store::entities::{commission_line, program},
};

/// Writes the line of an adjustment. The affiliate may be suspended or deleted: what it is owed can still be put right.
pub(super) async fn adjust(entry: &mut Entry<'_>, adjust: &Adjust) -> Result<(), LedgerError> {
    find_affiliate(entry, adjust.affiliate).await?;
    if let Some(program) = adjust.program {
        find_program(entry, program).await?;
    }
    if adjust.amount == 0 || adjust.amount.unsigned_abs() > MAX_MINOR.unsigned_abs() {
        return Err(LedgerError::NotPossible {
            code: "amount_invalid",
            message: "the amount must not be 0 and at most 10^15 minor units".to_owned(),
        });
    }
    let status = LineStatus::Approved;
    let row = commission_line::ActiveModel {
        id: Set(adjust.id),
        account_id: Set(entry.account.0),
        conversion_id: Set(None),
        program_id: Set(adjust.program.map_or(EVERY_PROGRAM, |program| program.0)),
        affiliate_id: Set(adjust.affiliate.0),
        number: Set(1),
        kind: Set(LineKind::Adjustment.as_str().to_owned()),
        commission_type: Set(String::new()),
        amount: Set(adjust.amount),
        sub_amount: Set(0),
        currency: Set(adjust.currency.code().to_owned()),
        status: Set(status.as_str().to_owned()),
        reason: Set(None),
        earned: Set(false),
        comment: Set(Some(adjust.comment.clone())),
        // No rule priced it.
        pricing: Set(json!({})),
        occurred_at: Set(entry.at.0),
        approved_at: Set(Some(entry.at.0)),
        final_at: Set(Some(entry.at.0)),
        created_at: Set(entry.at.0),
        created_seq: Set(entry.seq),
        entry: Set(1),
        level: Set(1),
        counts_towards_cap: Set(false),
        set_amount: Set(None),
        set_left: Set(None),
    };
    commission_line::Entity::insert(row)
        .exec_without_returning(entry.tx)
        .await
        .map_err(|error| LedgerError::unique("id", error))?;
    let sides = postings::started(status, adjust.affiliate, adjust.currency, adjust.amount);
    post(entry, &[(adjust.id, sides)]);
    Ok(())
}

/// A program of the account, deleted or not.
async fn find_program(entry: &Entry<'_>, id: ProgramId) -> Result<(), LedgerError> {
    let find = program::Entity::find_by_id(id.0).filter(program::Column::AccountId.eq(entry.account.0));
    find.one(entry.tx).await?.map(|_| ()).ok_or(LedgerError::NotFound("program"))
}
