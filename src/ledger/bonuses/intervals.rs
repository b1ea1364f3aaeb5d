//! The notebook of closed intervals: which of them somebody has to look at.
//!
//! A command that touches a conversion opens the intervals in which it happened. The job asks of each that has closed
//! who reached a target, and notes that it is decided; if a command opened it again meanwhile, it stays open. No money
//! depends on the notebook: what is awarded is decided by the ledger alone.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{
    counting::{self, Selection},
    versions::{self, Bonus},
};
use crate::{
    domain::{
        calendar::{Span, Zone},
        ids::{AccountId, AffiliateId, ProgramId},
        time::Timestamp,
    },
    ledger::{LedgerError, journal::Entry},
    store::entities::{account, bonus, bonus_award, bonus_interval},
};

/// A closed interval that is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenInterval {
    pub bonus: Uuid,
    pub span: Span,
    opened_seq: i64,
}

/// Opens the intervals of a bonus in which something happened at `time`.
pub(super) async fn open(entry: &mut Entry<'_>, bonus: &Bonus, time: Timestamp) -> Result<(), LedgerError> {
    for kind in bonus.kinds() {
        let span = kind.span(time, &entry.zone);
        if bonus.deciding(kind, span).is_some() && entry.note_opened(bonus.id, span) {
            write(entry, bonus, span).await?;
        }
    }
    Ok(())
}

async fn write(entry: &Entry<'_>, bonus: &Bonus, span: Span) -> Result<(), LedgerError> {
    use bonus_interval::Column;
    let row = bonus_interval::ActiveModel {
        bonus_id: Set(bonus.id),
        interval_start: Set(span.start.0),
        interval_end: Set(span.end.0),
        program_id: Set(bonus.program.0),
        decided: Set(false),
        opened_seq: Set(entry.seq),
    };
    let key = [Column::BonusId, Column::IntervalStart, Column::IntervalEnd];
    bonus_interval::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).update_columns([Column::Decided, Column::OpenedSeq]).to_owned())
        .exec_without_returning(entry.tx)
        .await?;
    Ok(())
}

/// Forgets the intervals of a bonus, and opens those in which there are conversions.
pub(super) async fn open_anew(entry: &Entry<'_>, bonus: &Bonus) -> Result<(), LedgerError> {
    forget(entry, bonus.id).await?;
    for kind in bonus.kinds() {
        let mut from = kind.span(bonus.first_from(), &entry.zone).start;
        while let Some(at) = counting::next_conversion(entry.tx, entry.account, bonus.program, from).await? {
            let span = kind.span(at, &entry.zone);
            if bonus.deciding(kind, span).is_some() {
                write(entry, bonus, span).await?;
            }
            if span.end <= from {
                break;
            }
            from = span.end;
        }
    }
    Ok(())
}

async fn forget(entry: &Entry<'_>, bonus: Uuid) -> Result<(), LedgerError> {
    bonus_interval::Entity::delete_many()
        .filter(bonus_interval::Column::BonusId.eq(bonus))
        .exec(entry.tx)
        .await?;
    Ok(())
}

/// Opens all intervals of these programs: an affiliate was let in again, who may have reached a target in any.
pub(super) async fn open_all(entry: &Entry<'_>, programs: &[ProgramId]) -> Result<(), LedgerError> {
    use bonus_interval::Column;
    bonus_interval::Entity::update_many()
        .col_expr(Column::Decided, Expr::value(false))
        .col_expr(Column::OpenedSeq, Expr::value(entry.seq))
        .filter(Column::ProgramId.is_in(programs.iter().map(|program| program.0)))
        .exec(entry.tx)
        .await?;
    Ok(())
}

/// The next intervals that have closed by `now` and are not decided, after `after`, in the order of their ends.
pub async fn closed_and_open(
    db: &impl ConnectionTrait,
    now: Timestamp,
    after: Option<OpenInterval>,
    most: u64,
) -> Result<Vec<OpenInterval>, LedgerError> {
    use bonus_interval::Column;
    let mut find = bonus_interval::Entity::find()
        .filter(Column::Decided.eq(false))
        .filter(Column::IntervalEnd.lte(now.0))
        .order_by_asc(Column::IntervalEnd)
        .order_by_asc(Column::BonusId)
        .order_by_asc(Column::IntervalStart)
        .limit(most);
    if let Some(last) = after {
        let same_bonus = Column::BonusId.eq(last.bonus).and(Column::IntervalStart.gt(last.span.start.0));
        let same_end =
            Column::IntervalEnd.eq(last.span.end.0).and(Column::BonusId.gt(last.bonus).or(same_bonus));
        find = find.filter(Column::IntervalEnd.gt(last.span.end.0).or(same_end));
    }
    let open = |row: bonus_interval::Model| OpenInterval {
        bonus: row.bonus_id,
        span: Span { start: Timestamp(row.interval_start), end: Timestamp(row.interval_end) },
        opened_seq: row.opened_seq,
    };
    Ok(find.all(db).await?.into_iter().map(open).collect())
}

/// Who may have reached a target in an interval and was not awarded for it, and in which account.
pub async fn may_have_reached(
    db: &impl ConnectionTrait,
    interval: &OpenInterval,
) -> Result<Option<(AccountId, Vec<AffiliateId>)>, LedgerError> {
    let Some(row) = bonus::Entity::find_by_id(interval.bonus).one(db).await? else { return Ok(None) };
    let account = account::Entity::find_by_id(row.account_id).one(db).await?;
    let account = account.ok_or(LedgerError::NotFound("account"))?;
    let zone = Zone::named(&account.time_zone).map_err(|error| LedgerError::damaged("time zone", error))?;
    let bonus = versions::with_versions(db, &row).await?;
    let Some(version) = bonus.deciding_about(interval.span, &zone) else { return Ok(None) };
    let Some(span) = version.settings.counted_span(interval.span, &zone) else { return Ok(None) };
    let account = AccountId(account.id);
    let selection = Selection { account, program: bonus.program, affiliate: None, span };
    let awarded: Vec<i64> = awards(interval.bonus, interval.span)
        .select_only()
        .column(bonus_award::Column::AffiliateId)
        .into_tuple()
        .all(db)
        .await?;
    let mut affiliates = Vec::new();
    for (affiliate, sums) in counting::sums(db, selection, version.settings.measure).await? {
        let reached = version.settings.reached(&counting::counted(&sums)?).is_some();
        if reached && !awarded.contains(&affiliate.0) {
            affiliates.push(affiliate);
        }
    }
    Ok(Some((account, affiliates)))
}

/// The awards of a bonus for an interval.
pub(super) fn awards(bonus: Uuid, span: Span) -> sea_orm::Select<bonus_award::Entity> {
    use bonus_award::Column;
    bonus_award::Entity::find()
        .filter(Column::BonusId.eq(bonus))
        .filter(Column::IntervalStart.eq(span.start.0))
        .filter(Column::IntervalEnd.eq(span.end.0))
}

/// Notes that an interval is decided, unless it was opened again since it was read.
pub async fn decide(db: &impl ConnectionTrait, interval: &OpenInterval) -> Result<bool, LedgerError> {
    use bonus_interval::Column;
    let done = bonus_interval::Entity::update_many()
        .col_expr(Column::Decided, Expr::value(true))
        .filter(
            Condition::all()
                .add(Column::BonusId.eq(interval.bonus))
                .add(Column::IntervalStart.eq(interval.span.start.0))
                .add(Column::IntervalEnd.eq(interval.span.end.0))
                .add(Column::OpenedSeq.eq(interval.opened_seq)),
        )
        .exec(db)
        .await?;
    Ok(done.rows_affected > 0)
}
