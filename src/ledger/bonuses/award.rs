//! Awards: everything is looked at again at the command's place in the order, and what is paid becomes a line.

use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect, Set, sea_query::OnConflict,
};
use uuid::Uuid;

use super::{
    counting::{self, Selection},
    intervals,
    versions::{self, Bonus, InForce},
};
use crate::{
    domain::{
        bonuses::{Award, Awarded, BonusPricing, Counted},
        calendar::{Period, Span},
        ids::AffiliateId,
        measures::Subject,
        postings,
        rates::Fraction,
        reason::{LineKind, LineStatus, Standing, Waits},
        review,
        time::Timestamp,
    },
    ledger::{Applied, Effect, LedgerError, journal::Entry, measures, posting::post, status},
    store::entities::{affiliate, bonus, bonus_award, commission_line, conversion},
};

/// Awards an affiliate for the intervals of a bonus that began at `start`, as far as they have closed, nothing holds
/// them up and they were not awarded: there may be one of each kind, where versions differ in it.
pub(in crate::ledger) async fn award(
    entry: &mut Entry<'_>,
    id: Uuid,
    affiliate: AffiliateId,
    start: Timestamp,
) -> Result<Applied, LedgerError> {
    let row = bonus::Entity::find_by_id(id)
        .filter(bonus::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("bonus"))?;
    affiliate::Entity::find_by_id(affiliate.0)
        .filter(affiliate::Column::AccountId.eq(entry.account.0))
        .one(entry.tx)
        .await?
        .ok_or(LedgerError::NotFound("affiliate"))?;
    let bonus = versions::with_versions(entry.tx, &row).await?;
    let mut lines = Vec::new();
    let mut changed = false;
    for kind in bonus.kinds() {
        let span = kind.span(start, &entry.zone);
        let Some(version) = bonus.deciding(kind, span) else { continue };
        if span.start == start && span.end <= entry.at {
            let paid = award_interval(entry, &bonus, version, affiliate, span).await?;
            changed |= paid.is_some();
            lines.extend(paid.and_then(|paid| paid.line));
        }
    }
    Ok(Applied { effect: Effect::Awarded { lines }, changed })
}

async fn award_interval(
    entry: &mut Entry<'_>,
    bonus: &Bonus,
    version: InForce<'_>,
    affiliate: AffiliateId,
    span: Span,
) -> Result<Option<Paid>, LedgerError> {
    let Some(counted_span) = version.settings.counted_span(span, &entry.zone) else { return Ok(None) };
    if awarded(entry, bonus.id, affiliate, span).await?.is_some()
        || is_suspended(entry, bonus, affiliate).await?
        || is_held_up(entry, bonus, affiliate, span).await?
    {
        return Ok(None);
    }
    let counted = count(entry, bonus, version, affiliate, counted_span).await?;
    let Some(award) = version.settings.award(&counted, None) else { return Ok(None) };
    let made = Made { bonus, version, affiliate, span, counted_span, counted, award };
    write(entry, made).await.map(Some)
}

/// Tests a bonus that counts from ever; any other is passed over.
pub(super) async fn test_all_time(
    entry: &mut Entry<'_>,
    bonus: &Bonus,
    affiliate: AffiliateId,
) -> Result<(), LedgerError> {
    let Some(version) = bonus.all_time_at(entry.at) else { return Ok(()) };
    let span = Span::ALWAYS;
    let Some(counted_span) = version.settings.counted_span(span, &entry.zone) else { return Ok(()) };
    let is_kept = bonus.all_time().is_some_and(|kept| kept.number == version.number);
    let counted = if is_kept {
        let subject = Subject::Bonus(bonus.id);
        let kept = measures::read(entry, bonus.program, affiliate, &subject, Period::Lifetime, span).await?;
        kept.counted()?
    } else {
        // The clock was set back: the measure is that of the version to come.
        count(entry, bonus, version, affiliate, counted_span).await?
    };
    if version.settings.reached(&counted).is_none() || is_suspended(entry, bonus, affiliate).await? {
        return Ok(());
    }
    let before = awarded(entry, bonus.id, affiliate, span).await?;
    let Some(award) = version.settings.award(&counted, before) else { return Ok(()) };
    let made = Made { bonus, version, affiliate, span, counted_span, counted, award };
    write(entry, made).await.map(|_| ())
}

async fn count(
    entry: &Entry<'_>,
    bonus: &Bonus,
    version: InForce<'_>,
    affiliate: AffiliateId,
    span: Span,
) -> Result<Counted, LedgerError> {
    let selection =
        Selection { account: entry.account, program: bonus.program, affiliate: Some(affiliate), span };
    let mut sums = counting::sums(entry.tx, selection, version.settings.measure).await?;
    counting::counted(&sums.remove(&affiliate).unwrap_or_default())
}

async fn awarded(
    entry: &Entry<'_>,
    bonus: Uuid,
    affiliate: AffiliateId,
    span: Span,
) -> Result<Option<Awarded>, LedgerError> {
    let row = intervals::awards(bonus, span)
        .filter(bonus_award::Column::AffiliateId.eq(affiliate.0))
        .one(entry.tx)
        .await?;
    Ok(row.map(|row| Awarded { target: row.target, amount: row.amount }))
}

/// Here or everywhere, now. Who was deleted is suspended everywhere.
async fn is_suspended(entry: &Entry<'_>, bonus: &Bonus, affiliate: AffiliateId) -> Result<bool, LedgerError> {
    let (here, everywhere) = entry.standings(bonus.program, affiliate, entry.at).await?;
    Ok([here, everywhere].contains(&Some(Standing::Suspended)))
}

/// Whether a conversion of the interval waits for a rate, or a line above 0 of one for its review. One that waits is
/// whose it was when it was last tried: what becomes of it then opens the interval again.
async fn is_held_up(
    entry: &Entry<'_>,
    bonus: &Bonus,
    affiliate: AffiliateId,
    span: Span,
) -> Result<bool, LedgerError> {
    use commission_line::Column;
    let waits = conversion::Entity::find()
        .filter(conversion::Column::ProgramId.eq(bonus.program.0))
        .filter(conversion::Column::AffiliateId.eq(affiliate.0))
        .filter(conversion::Column::OccurredAt.gte(span.start.0))
        .filter(conversion::Column::OccurredAt.lt(span.end.0))
        .filter(conversion::Column::Status.eq(status::PENDING))
        .filter(conversion::Column::WaitsFor.eq(Waits::RateMissing.as_str()))
        .limit(1)
        .one(entry.tx)
        .await?;
    if waits.is_some() {
        return Ok(true);
    }
    let pending = commission_line::Entity::find()
        .filter(Column::ProgramId.eq(bonus.program.0))
        .filter(Column::AffiliateId.eq(affiliate.0))
        .filter(Column::OccurredAt.gte(span.start.0))
        .filter(Column::OccurredAt.lt(span.end.0))
        .filter(Column::Kind.is_in([LineKind::Regular.as_str(), LineKind::Level.as_str()]))
        .filter(Column::Status.eq(LineStatus::Pending.as_str()))
        .filter(Column::Amount.gt(0))
        .limit(1)
        .one(entry.tx)
        .await?;
    Ok(pending.is_some())
}

/// An award with all that explains it.
struct Made<'a> {
    bonus: &'a Bonus,
    version: InForce<'a>,
    affiliate: AffiliateId,
    span: Span,
    counted_span: Span,
    counted: Counted,
    award: Award,
}

/// What became of an award.
struct Paid {
    /// None: it is worth nothing, and is remembered all the same.
    line: Option<Uuid>,
}

/// Writes the line of an award, posts what it is worth, and remembers it.
async fn write(entry: &mut Entry<'_>, made: Made<'_>) -> Result<Paid, LedgerError> {
    let Made { bonus, version, affiliate, span, counted_span, counted, award } = made;
    if award.amount == 0 {
        remember(entry, bonus.id, affiliate, span, &award, None).await?;
        return Ok(Paid { line: None });
    }
    let program = entry.program_at(bonus.program, entry.at).await?;
    let program = program.ok_or(LedgerError::NotFound("program"))?;
    let status = review::start_status(program.settings.auto_approve_commissions, false, false);
    let approved_at = (status == LineStatus::Approved).then_some(entry.at);
    let final_at = approved_at.map(|at| review::final_at(at, entry.at, program.settings.payout_delay));
    let id = entry.new_id();
    let pricing = BonusPricing {
        bonus: bonus.id,
        version: version.number,
        interval: version.settings.interval,
        span,
        counted_span,
        measure: version.settings.measure,
        number: counted.number,
        amount: Fraction(counted.amount),
        target: award.target,
        exact: award.exact.clone(),
        before: award.before,
    };
    let row = commission_line::Model {
        id,
        account_id: entry.account.0,
        conversion_id: None,
        program_id: bonus.program.0,
        affiliate_id: affiliate.0,
        number: entry.next_award(),
        kind: LineKind::Bonus.as_str().to_owned(),
        commission_type: version.settings.identifier.clone(),
        amount: award.amount,
        sub_amount: 0,
        currency: program.currency.code().to_owned(),
        status: status.as_str().to_owned(),
        reason: None,
        earned: true,
        comment: None,
        pricing: serde_json::to_value(&pricing).map_err(|error| LedgerError::damaged("pricing", error))?,
        occurred_at: entry.at.0,
        approved_at: approved_at.map(|at| at.0),
        final_at: final_at.map(|at| at.0),
        created_at: entry.at.0,
        created_seq: entry.seq,
        entry: 1,
        level: 1,
        counts_towards_cap: false,
        set_amount: None,
        set_left: None,
    };
    commission_line::Entity::insert(row.into_active_model()).exec_without_returning(entry.tx).await?;
    post(entry, &[(id, postings::started(status, affiliate, program.currency, award.amount))]);
    remember(entry, bonus.id, affiliate, span, &award, Some(id)).await?;
    Ok(Paid { line: Some(id) })
}

async fn remember(
    entry: &Entry<'_>,
    bonus: Uuid,
    affiliate: AffiliateId,
    span: Span,
    award: &Award,
    line: Option<Uuid>,
) -> Result<(), LedgerError> {
    use bonus_award::Column;
    let row = bonus_award::ActiveModel {
        bonus_id: Set(bonus),
        affiliate_id: Set(affiliate.0),
        interval_start: Set(span.start.0),
        interval_end: Set(span.end.0),
        account_id: Set(entry.account.0),
        target: Set(award.target.target),
        amount: Set(award.before.saturating_add(award.amount)),
        line_id: Set(line),
        seq: Set(entry.seq),
    };
    let key = [Column::BonusId, Column::AffiliateId, Column::IntervalStart, Column::IntervalEnd];
    let mut higher = vec![Column::Target, Column::Amount, Column::Seq];
    // The line that paid last stays that where nothing is paid now.
    higher.extend(line.map(|_| Column::LineId));
    bonus_award::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).update_columns(higher).to_owned())
        .exec_without_returning(entry.tx)
        .await?;
    Ok(())
}
