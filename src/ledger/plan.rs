//! Gathers what prices a conversion, and prices it (MONEY 4 to 6): when it settles, and when it is recalculated at its old
//! place in the order.

use num_rational::BigRational;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::{
    LedgerError, Whose, counts, customers,
    journal::Entry,
    measures::{self, Measure},
    overrides, people,
    programs::ProgramThen,
    status,
};
use crate::{
    domain::{
        amount::Currency,
        attribution,
        calendar::Span,
        entries,
        ids::AffiliateId,
        lines::{self, CapBefore, CustomerBefore, EntryPlan, MadeLine, Plan, Upline},
        measures::{EVERYBODY, Subject},
        price::{Cap, CapMeasure, CapScope, Price, Recurrence, Target, TierMeasure},
        pricing::{Rule, RuleSource, Terms},
        program::CommissionType,
        rates::{Fraction, StoredRate},
        reason::{Rejection, Stop},
        time::Timestamp,
    },
    store::entities::{conversion, customer},
};

/// A conversion whose amounts and types are known.
pub(super) struct Priceable<'a> {
    /// The settings by which it is priced.
    pub program: &'a ProgramThen,
    /// As of when types, overrides and levels are looked up: when it happened, or now.
    pub rules_at: Timestamp,
    pub occurred_at: Timestamp,
    pub affiliate: AffiliateId,
    /// As bound, before this conversion.
    pub customer: Option<&'a customer::Model>,
    pub amount: i64,
    pub currency: Currency,
    pub rate: Option<&'a StoredRate>,
    pub entries: &'a [entries::Entry],
    /// One for each entry.
    pub types: &'a [CommissionType],
    pub place: Place,
}

/// Where in the order it is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After all that has settled.
    Last,
    /// Where it settled: only what has a lower `seq` was before.
    At(i64),
}

/// The lines of a conversion, with the full price: refunds come off after.
pub(super) async fn price(entry: &Entry<'_>, of: &Priceable<'_>) -> Result<Vec<MadeLine>, LedgerError> {
    let settings = &of.program.settings;
    let counts = match of.customer {
        Some(customer) if limits(of) => Some(counts_of(entry, customer.id, of.place).await?),
        Some(_) | None => None,
    };
    let counts = counts.unwrap_or_default();
    let customer = match of.customer {
        Some(customer) => Some(customer_before(entry, of, customer, counts.towards_cap()).await?),
        None => None,
    };
    let group = overrides::group_that_counts(entry, of.program.id, of.affiliate, of.occurred_at).await?;
    let factor = of.rate.map(|rate| &rate.factor);
    let mut plans = Vec::with_capacity(of.entries.len());
    for (part, kind) in of.entries.iter().zip(of.types) {
        let target = Target::CommissionType(kind.identifier.clone());
        let own = || Rule {
            source: RuleSource::CommissionType,
            price: kind.price.clone(),
            first_payment: kind.first_payment,
        };
        let rule = overridden(entry, of, of.affiliate, group, &target).await?.unwrap_or_else(own);
        let tier = tier(entry, of, &kind.identifier, &rule.price).await?;
        plans.push(EntryPlan {
            entry: part,
            rule,
            recurrence: kind.recurrence,
            count_towards_cap: kind.count_towards_cap,
            earned_before: counts.of_type(&kind.identifier),
            tier,
        });
    }
    let mut caps = Vec::with_capacity(settings.caps.len());
    for cap in &settings.caps {
        caps.push(cap_before(entry, of, *cap).await?);
    }
    let uplines = uplines(entry, of).await?;
    Ok(lines::make(&Plan {
        terms: Terms {
            program_version: of.program.version,
            program_currency: of.program.currency,
            conversion_amount: of.amount,
            conversion_currency: of.currency,
            factor,
            in_program_currency: settings.settle_in_program_currency,
        },
        occurred_at: of.occurred_at,
        affiliate: of.affiliate,
        customer,
        recurring: settings.recurring,
        recurring_cap: settings.recurring_cap,
        recurring_period_days: settings.recurring_period_days,
        caps: &caps,
        entries: &plans,
        uplines: &uplines,
    }))
}

/// Whether any rule asks how often the customer has earned.
fn limits(of: &Priceable<'_>) -> bool {
    let settings = &of.program.settings;
    !settings.recurring
        || settings.recurring_cap.is_some()
        || of.types.iter().any(|kind| kind.recurrence != Recurrence::Forever)
}

async fn counts_of(entry: &Entry<'_>, customer: Uuid, place: Place) -> Result<counts::Counts, LedgerError> {
    match place {
        Place::Last => counts::read(entry, customer).await,
        Place::At(seq) => counts::read_before(entry, customer, seq).await,
    }
}

async fn customer_before(
    entry: &Entry<'_>,
    of: &Priceable<'_>,
    customer: &customer::Model,
    counted: u32,
) -> Result<CustomerBefore, LedgerError> {
    let canceled = customers::canceled_at(entry, customer, of.occurred_at).await?;
    let (first_at, moved_on) = match of.place {
        Place::Last => (customer.first_at.map(Timestamp), customer.moved_on),
        Place::At(seq) => before_place(entry, customer.id, seq).await?,
    };
    Ok(CustomerBefore { canceled, first_at, moved_on, counted })
}

/// When the customer's first conversion happened, and whether one was above 0, before a place in the order.
async fn before_place(
    entry: &Entry<'_>,
    customer: Uuid,
    seq: i64,
) -> Result<(Option<Timestamp>, bool), LedgerError> {
    use conversion::Column;
    let earlier = conversion::Entity::find()
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::Seq.lt(seq))
        .filter(Column::Status.is_in([status::SETTLED, status::DELETED]));
    let first = earlier.clone().order_by_asc(Column::Seq).one(entry.tx).await?;
    let above = earlier.filter(Column::Amount.gt(0)).count(entry.tx).await?;
    Ok((first.map(|row| Timestamp(row.occurred_at)), above > 0))
}

/// The override of an affiliate, else of its group.
async fn overridden(
    entry: &Entry<'_>,
    of: &Priceable<'_>,
    affiliate: AffiliateId,
    group: Option<Uuid>,
    target: &Target,
) -> Result<Option<Rule>, LedgerError> {
    let program = of.program.id;
    let whose = Whose::Affiliate(affiliate);
    if let Some((id, version, rule)) =
        overrides::override_at(entry, program, whose, target, of.rules_at).await?
    {
        let source = RuleSource::AffiliateOverride { id, version };
        return Ok(Some(Rule { source, price: rule.price, first_payment: rule.first_payment }));
    }
    let Some(group) = group else { return Ok(None) };
    let whose = Whose::Group(group);
    let found = overrides::override_at(entry, program, whose, target, of.rules_at).await?;
    Ok(found.map(|(id, version, rule)| Rule {
        source: RuleSource::GroupOverride { group, id, version },
        price: rule.price,
        first_payment: rule.first_payment,
    }))
}

/// The measure of a tiered price before the conversion.
async fn tier(
    entry: &Entry<'_>,
    of: &Priceable<'_>,
    commission_type: &str,
    price: &Price,
) -> Result<Option<(Span, BigRational)>, LedgerError> {
    let Price::Tiered(tiers) = price else { return Ok(None) };
    let span = tiers.period.span(of.occurred_at, &entry.zone);
    let subject = Subject::CommissionType(commission_type.to_owned());
    let measure = measure(entry, of, of.affiliate, &subject, tiers.period, span).await?;
    Ok(Some((
        span,
        match tiers.measure {
            TierMeasure::Count => measure.count(),
            TierMeasure::Revenue => measure.amount()?,
        },
    )))
}

async fn cap_before(entry: &Entry<'_>, of: &Priceable<'_>, cap: Cap) -> Result<CapBefore, LedgerError> {
    let span = cap.period.span(of.occurred_at, &entry.zone);
    let owner = match cap.scope {
        CapScope::Affiliate => of.affiliate,
        CapScope::Program => EVERYBODY,
    };
    let measure = measure(entry, of, owner, &Subject::Cap, cap.period, span).await?;
    let before = Fraction(match cap.measure {
        CapMeasure::Conversions => measure.count(),
        CapMeasure::Amount => measure.amount()?,
    });
    Ok(CapBefore { cap, span, before })
}

async fn measure(
    entry: &Entry<'_>,
    of: &Priceable<'_>,
    owner: AffiliateId,
    subject: &Subject,
    period: crate::domain::calendar::Period,
    span: Span,
) -> Result<Measure, LedgerError> {
    match of.place {
        Place::Last => measures::read(entry, of.program.id, owner, subject, period, span).await,
        Place::At(seq) => measures::read_before(entry, of.program, owner, subject, span, seq).await,
    }
}

/// Those above the affiliate when the conversion happened, as far as the program has levels.
async fn uplines(entry: &Entry<'_>, of: &Priceable<'_>) -> Result<Vec<Upline>, LedgerError> {
    let levels = &of.program.settings.levels;
    if levels.is_empty() {
        return Ok(Vec::new());
    }
    let chain = people::parents_at(entry, of.affiliate, of.occurred_at, levels.len()).await?;
    let mut uplines = Vec::with_capacity(chain.len());
    for ((level, affiliate), price) in (2..).zip(chain).zip(levels) {
        let group = overrides::group_that_counts(entry, of.program.id, affiliate, of.occurred_at).await?;
        let target = Target::Level(level);
        let rule = overridden(entry, of, affiliate, group, &target).await?;
        let own = || Rule { source: RuleSource::Level, price: Price::from(*price), first_payment: None };
        let (here, everywhere) = entry.standings(of.program.id, affiliate, of.occurred_at).await?;
        let stopped = match attribution::admit(here, everywhere) {
            Ok(()) => None,
            Err(Rejection::AffiliateSuspended) => Some(Stop::AffiliateSuspended),
            Err(_) => Some(Stop::AffiliateNotApproved),
        };
        uplines.push(Upline { level, affiliate, rule: rule.unwrap_or_else(own), stopped });
    }
    Ok(uplines)
}
