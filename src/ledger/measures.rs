//! The measures that tiers and caps ask for (MONEY 5, 6), kept along with the lines that they come from.
//!
//! A program keeps a measure from the moment on when one of its rules asks for it; what came before is added up then,
//! once. Asking for one reads a row for each rate that its amounts have, however many conversions there were.

use std::collections::BTreeMap;

use num_rational::BigRational;
use num_traits::Zero;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{LedgerError, journal::Entry, lines, programs::ProgramThen, status};
use crate::{
    domain::{
        bonuses,
        calendar::{Period, Span, Zone},
        ids::{AccountId, AffiliateId, ProgramId},
        measures::{Added, Counted, CountedLine, EVERYBODY, Kept, Subject, Sum, added_by, difference},
        pricing::in_program_currency,
        rates::{Fraction, StoredRate},
        reason::LineKind,
        time::Timestamp,
    },
    store::{
        INSERT_ROWS, bulk,
        entities::{commission_line, conversion, measure, program},
    },
};

/// Conversions that are read at once when a measure is added up.
const PAGE: u64 = 1_000;

/// Whose measure of which period, and in which currency: a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub program: ProgramId,
    pub owner: AffiliateId,
    pub subject: String,
    pub period: Period,
    pub starts_at: Timestamp,
    pub rate: String,
    pub account: AccountId,
}

impl Key {
    /// What an affiliate brought for a bonus that counts from ever.
    pub fn of_bonus(
        account: AccountId,
        program: ProgramId,
        affiliate: AffiliateId,
        bonus: Uuid,
        rate: &str,
    ) -> Self {
        Self {
            program,
            owner: affiliate,
            subject: Subject::Bonus(bonus).to_string(),
            period: Period::Lifetime,
            starts_at: Span::ALWAYS.start,
            rate: rate.to_owned(),
            account,
        }
    }
}

/// What the commands of a transaction have added, written at its end.
pub(super) type Moved = BTreeMap<Key, Sum>;

/// A measure, by the factor of its amounts' currency.
#[derive(Clone, Debug, Default)]
pub(super) struct Measure(BTreeMap<String, Sum>);

impl Measure {
    /// Lines or conversions.
    pub fn count(&self) -> BigRational {
        BigRational::from(
            self.0.values().map(|sum| num_bigint::BigInt::from(sum.count)).sum::<num_bigint::BigInt>(),
        )
    }

    /// Minor units of the program's currency, exactly.
    pub fn amount(&self) -> Result<BigRational, LedgerError> {
        self.0.iter().try_fold(BigRational::zero(), |total, (rate, sum)| {
            let factor: Fraction = rate.parse().map_err(|error| LedgerError::damaged("rate", error))?;
            Ok(total + in_program_currency(sum.amount, Some(&factor)))
        })
    }

    /// As bonuses count.
    pub fn counted(&self) -> Result<bonuses::Counted, LedgerError> {
        let mut counted = bonuses::Counted::default();
        for (rate, sum) in &self.0 {
            let factor: Fraction = rate.parse().map_err(|error| LedgerError::damaged("rate", error))?;
            counted.add(sum.count, sum.amount, Some(&factor));
        }
        Ok(counted)
    }

    fn add(&mut self, rate: &str, sum: Sum) {
        *self.0.entry(rate.to_owned()).or_default() += sum;
    }
}

/// A measure as it stands now: of all conversions that have settled.
pub(super) async fn read(
    entry: &Entry<'_>,
    program: ProgramId,
    owner: AffiliateId,
    subject: &Subject,
    period: Period,
    span: Span,
) -> Result<Measure, LedgerError> {
    use measure::Column;
    let subject = subject.to_string();
    let rows = measure::Entity::find()
        .filter(Column::ProgramId.eq(program.0))
        .filter(Column::AffiliateId.eq(owner.0))
        .filter(Column::Subject.eq(subject.as_str()))
        .filter(Column::Period.eq(period.as_str()))
        .filter(Column::StartsAt.eq(span.start.0))
        .all(entry.tx)
        .await?;
    let mut measure = Measure::default();
    for row in rows {
        measure.add(&row.rate, Sum { count: row.count, amount: row.amount });
    }
    let first = Key {
        program,
        owner,
        subject,
        period,
        starts_at: span.start,
        rate: String::new(),
        account: AccountId(i64::MIN),
    };
    let same = |key: &Key| {
        (key.program, key.owner, key.period, key.starts_at) == (program, owner, period, span.start)
            && key.subject == first.subject
    };
    for (key, sum) in entry.ends.measures.range(first.clone()..) {
        if !same(key) {
            break;
        }
        measure.add(&key.rate, *sum);
    }
    Ok(measure)
}

/// The same of the conversions before a place in the order, as they are now: added up from their lines.
pub(super) async fn read_before(
    entry: &Entry<'_>,
    program: &ProgramThen,
    owner: AffiliateId,
    subject: &Subject,
    span: Span,
    seq: i64,
) -> Result<Measure, LedgerError> {
    let mut find = conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(entry.account.0))
        .filter(conversion::Column::ProgramId.eq(program.id.0))
        .filter(conversion::Column::Status.eq(status::SETTLED))
        .filter(conversion::Column::Seq.lt(seq))
        .filter(conversion::Column::OccurredAt.gte(span.start.0))
        .filter(conversion::Column::OccurredAt.lt(span.end.0));
    if owner != EVERYBODY {
        find = find.filter(conversion::Column::AffiliateId.eq(owner.0));
    }
    let mut measure = Measure::default();
    let mut after = None;
    loop {
        let page = page_of(entry.tx, find.clone(), program, &mut after).await?;
        let Some(page) = page else { return Ok(measure) };
        for (_, added) in page {
            for ((of, rate), sum) in added {
                if of == *subject {
                    measure.add(&rate, sum);
                }
            }
        }
    }
}

/// What each of the next conversions of a selection adds; none at its end. In the order of ids, after `after`.
async fn page_of(
    db: &impl ConnectionTrait,
    find: sea_orm::Select<conversion::Entity>,
    program: &ProgramThen,
    after: &mut Option<Uuid>,
) -> Result<Option<Vec<(conversion::Model, Added)>>, LedgerError> {
    let mut find = find.order_by_asc(conversion::Column::Id).limit(PAGE);
    if let Some(after) = *after {
        find = find.filter(conversion::Column::Id.gt(after));
    }
    let rows = find.all(db).await?;
    let Some(last) = rows.last() else { return Ok(None) };
    *after = Some(last.id);
    let mut lines: BTreeMap<Uuid, Vec<commission_line::Model>> = BTreeMap::new();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    for ids in ids.chunks(INSERT_ROWS) {
        let found = commission_line::Entity::find()
            .filter(commission_line::Column::ConversionId.is_in(ids.iter().copied()))
            .all(db)
            .await?;
        for line in found {
            if let Some(conversion) = line.conversion_id {
                lines.entry(conversion).or_default().push(line);
            }
        }
    }
    let added = rows.into_iter().map(|row| {
        let added = added(&row, lines.get(&row.id).map_or(&[], Vec::as_slice), program)?;
        Ok((row, added))
    });
    added.collect::<Result<Vec<_>, LedgerError>>().map(Some)
}

/// What a conversion with these lines adds.
pub(super) fn added(
    row: &conversion::Model,
    lines: &[commission_line::Model],
    program: &ProgramThen,
) -> Result<Added, LedgerError> {
    let factor = factor_of(row)?;
    let regular = lines.iter().filter(|line| line.kind == LineKind::Regular.as_str());
    let lines = regular
        .map(|line| {
            let currency = line.currency.parse().map_err(|e| LedgerError::damaged("currency", e))?;
            Ok(CountedLine {
                commission_type: &line.commission_type,
                sub_amount: line.sub_amount,
                amount: line.amount,
                currency,
                earned: line.earned,
                status: lines::status_of(line)?,
            })
        })
        .collect::<Result<Vec<_>, LedgerError>>()?;
    Ok(added_by(&Counted {
        deleted: row.status != status::SETTLED,
        refunded_whole: row.refunded_whole,
        factor: factor.as_ref(),
        program_currency: program.currency,
        lines,
    }))
}

/// Of a conversion's currency to its program's; none where they are the same.
pub(super) fn factor_of(row: &conversion::Model) -> Result<Option<Fraction>, LedgerError> {
    let rate: Option<StoredRate> =
        serde_json::from_value(row.rate.clone()).map_err(|error| LedgerError::damaged("rate", error))?;
    Ok(rate.map(|rate| rate.factor))
}

/// What a conversion adds before a command changes it: handed to [`follow`] when it has. None: its program keeps no
/// measures and has no bonus.
#[must_use = "the measures have to follow the change"]
pub(super) struct Before(Option<(Added, super::bonuses::Before)>);

/// See [`Before`].
pub(super) async fn before(entry: &Entry<'_>, conversion: &conversion::Model) -> Result<Before, LedgerError> {
    let program = program_of(entry, conversion).await?;
    if program.measured.is_empty() && entry.bonuses(program.id).await?.is_empty() {
        return Ok(Before(None));
    }
    let lines = lines::of_conversion(entry, conversion.id).await?;
    let bonuses = super::bonuses::before(entry, conversion, &lines).await?;
    Ok(Before(Some((added(conversion, &lines, &program)?, bonuses))))
}

/// Moves the measures to what a conversion adds now.
pub(super) async fn follow(
    entry: &mut Entry<'_>,
    conversion: Uuid,
    before: Before,
) -> Result<(), LedgerError> {
    let Before(Some((before, bonuses))) = before else { return Ok(()) };
    let row = conversion::Entity::find_by_id(conversion).one(entry.tx).await?;
    let row = row.ok_or(LedgerError::NotFound("conversion"))?;
    let program = program_of(entry, &row).await?;
    let lines = lines::of_conversion(entry, conversion).await?;
    let after = added(&row, &lines, &program)?;
    let Some(affiliate) = row.affiliate_id.map(AffiliateId) else { return Ok(()) };
    note(entry, &program, affiliate, Timestamp(row.occurred_at), &difference(&before, &after));
    super::bonuses::follow(entry, &row, &lines, bonuses).await
}

/// Notes what an affiliate brought more for a bonus that counts from ever.
pub(super) fn note_bonus(
    entry: &mut Entry<'_>,
    program: ProgramId,
    affiliate: AffiliateId,
    bonus: Uuid,
    rate: &str,
    sum: Sum,
) {
    let key = Key::of_bonus(entry.account, program, affiliate, bonus, rate);
    *entry.ends.measures.entry(key).or_default() += sum;
}

/// Forgets what was counted for a bonus: it is added up anew, or no more.
pub(super) async fn forget_bonus(
    entry: &mut Entry<'_>,
    program: ProgramId,
    bonus: Uuid,
) -> Result<(), LedgerError> {
    let subject = Subject::Bonus(bonus).to_string();
    entry.ends.measures.retain(|key, _| key.subject != subject);
    measure::Entity::delete_many()
        .filter(measure::Column::ProgramId.eq(program.0))
        .filter(measure::Column::Subject.eq(subject))
        .exec(entry.tx)
        .await?;
    Ok(())
}

async fn program_of(entry: &Entry<'_>, conversion: &conversion::Model) -> Result<ProgramThen, LedgerError> {
    let id = conversion.program_id.ok_or_else(|| LedgerError::damaged("conversion", "it has no program"))?;
    let program = entry.program_at(ProgramId(id), Timestamp(conversion.occurred_at)).await?;
    program.ok_or(LedgerError::NotFound("program"))
}

/// Notes what a conversion of an affiliate adds to the measures that its program keeps.
pub(super) fn note(
    entry: &mut Entry<'_>,
    program: &ProgramThen,
    affiliate: AffiliateId,
    occurred_at: Timestamp,
    added: &Added,
) {
    for kept in &program.measured {
        add(
            &mut entry.ends.measures,
            entry.account,
            &entry.zone,
            program.id,
            kept,
            affiliate,
            occurred_at,
            added,
        );
    }
}

#[allow(clippy::too_many_arguments, reason = "a key of a row has so many parts")]
fn add(
    moved: &mut Moved,
    account: AccountId,
    zone: &Zone,
    program: ProgramId,
    kept: &Kept,
    affiliate: AffiliateId,
    occurred_at: Timestamp,
    added: &Added,
) {
    let subject = kept.subject();
    let starts_at = kept.period.span(occurred_at, zone).start;
    for ((of, rate), sum) in added.iter().filter(|((of, _), _)| *of == subject) {
        let key = Key {
            program,
            owner: kept.owner(affiliate),
            subject: of.to_string(),
            period: kept.period,
            starts_at,
            rate: rate.clone(),
            account,
        };
        *moved.entry(key).or_default() += *sum;
    }
}

/// Keeps these measures of a program from now on; those that are new are added up from what there is.
pub(super) async fn keep(
    entry: &mut Entry<'_>,
    program: ProgramId,
    asked: &[Kept],
) -> Result<(), LedgerError> {
    let row = program::Entity::find_by_id(program.0).one(entry.tx).await?;
    let row = row.ok_or(LedgerError::NotFound("program"))?;
    let mut kept: Vec<Kept> =
        serde_json::from_value(row.measured.clone()).map_err(|e| LedgerError::damaged("measures", e))?;
    let mut new: Vec<Kept> = asked.iter().filter(|one| !kept.contains(one)).cloned().collect();
    new.sort();
    new.dedup();
    if new.is_empty() {
        return Ok(());
    }
    for (key, sum) in sums(entry.tx, entry.account, &entry.zone, program, &new).await? {
        *entry.ends.measures.entry(key).or_default() += sum;
    }
    kept.extend(new);
    let mut row = row.into_active_model();
    row.measured = Set(serde_json::to_value(kept).map_err(|e| LedgerError::damaged("measures", e))?);
    row.update(entry.tx).await?;
    Ok(())
}

/// What these measures of a program come to, added up from its conversions.
pub(super) async fn sums(
    db: &impl ConnectionTrait,
    account: AccountId,
    zone: &Zone,
    id: ProgramId,
    kept: &[Kept],
) -> Result<Moved, LedgerError> {
    let find = conversion::Entity::find()
        .filter(conversion::Column::AccountId.eq(account.0))
        .filter(conversion::Column::ProgramId.eq(id.0))
        .filter(conversion::Column::Status.eq(status::SETTLED));
    let mut sums = Moved::new();
    // Its currency alone is looked at, which is the same at all times.
    let Some(program) = super::programs::at(db, account, id, Timestamp::MAX).await? else { return Ok(sums) };
    let mut after = None;
    while let Some(page) = page_of(db, find.clone(), &program, &mut after).await? {
        for (row, added) in page {
            let Some(affiliate) = row.affiliate_id.map(AffiliateId) else { continue };
            for kept in kept {
                add(&mut sums, account, zone, id, kept, affiliate, Timestamp(row.occurred_at), &added);
            }
        }
    }
    Ok(sums)
}

/// Writes what was noted, in the order of the keys, as everybody does.
pub(super) async fn write(tx: &DatabaseTransaction, moved: Moved) -> Result<(), LedgerError> {
    use measure::Column;
    // Also what came to nothing in the end: which commands share a transaction makes no difference.
    let rows: Vec<_> = moved
        .into_iter()
        .map(|(key, sum)| measure::ActiveModel {
            program_id: Set(key.program.0),
            affiliate_id: Set(key.owner.0),
            subject: Set(key.subject),
            period: Set(key.period.as_str().to_owned()),
            starts_at: Set(key.starts_at.0),
            rate: Set(key.rate),
            account_id: Set(key.account.0),
            count: Set(sum.count),
            amount: Set(sum.amount),
        })
        .collect();
    let sum = |column| Expr::col((measure::Entity, column)).add(Expr::col(("excluded", column)));
    let key = [
        Column::ProgramId,
        Column::AffiliateId,
        Column::Subject,
        Column::Period,
        Column::StartsAt,
        Column::Rate,
    ];
    for mut insert in bulk::inserts(tx, &rows)? {
        insert.on_conflict(
            OnConflict::columns(key)
                .value(Column::Count, sum(Column::Count))
                .value(Column::Amount, sum(Column::Amount))
                .to_owned(),
        );
        tx.execute(&insert).await?;
    }
    Ok(())
}
