//! How often customers earn, what levels pay and what a program pays at the most, as clients write it.

use utoipa::ToSchema;

use crate::{
    api::{
        fields::{Fields, Given},
        v1::prices::{self, PERIODS},
        values,
    },
    domain::{
        amount::Currency,
        calendar::Period,
        price::{Cap, CapMeasure, CapScope, FlatPrice, Recurrence},
        program::ProgramSettings,
    },
};

/// Conversions of one customer, days after the first: far above what anybody means.
const MAX_RECURRING: u32 = 1_000_000;

/// The first is level 2.
const MAX_LEVELS: usize = 20;

/// The last level that a program can have.
pub const LAST_LEVEL: u32 = 21;

/// Every scope with every period and every measure.
const MAX_CAPS: usize = 24;

pub const SCOPES: &[(&str, CapScope)] = &[("affiliate", CapScope::Affiliate), ("program", CapScope::Program)];
pub const CAP_MEASURES: &[(&str, CapMeasure)] =
    &[("conversions", CapMeasure::Conversions), ("amount", CapMeasure::Amount)];

/// A limit of what a program pays in a period.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"scope": "affiliate", "period": "month", "measure": "amount", "limit": "500"}))]
pub struct CapInput {
    /// `affiliate`, for each by itself, or `program`, for all together.
    pub scope: String,
    /// `day`, `week`, `month`, `quarter`, `year` or `lifetime`, in the account's time zone.
    pub period: String,
    /// `conversions` that earn, or the `amount` that they earn.
    pub measure: String,
    /// Above 0: a whole number, or a decimal of the program's currency.
    pub limit: String,
}

/// Reads the `recurrence` of a commission type, with its `times`.
pub fn recurrence(fields: &mut Fields) -> Option<Recurrence> {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Once,
        Repeating,
        Forever,
    }
    const WORDS: &[(&str, Word)] =
        &[("once", Word::Once), ("repeating", Word::Repeating), ("forever", Word::Forever)];

    let word = fields.or("recurrence", Word::Forever, values::word(WORDS));
    let times = fields.given("times", values::integer(1..=MAX_RECURRING));
    match (word, times) {
        (_, Given::Wrong) => None,
        (Word::Repeating, Given::Is(times)) => Some(Recurrence::Repeating(times)),
        (Word::Repeating, Given::Absent | Given::Null) => {
            fields.wrong("times", "is required with the recurrence repeating");
            None
        }
        (Word::Once | Word::Forever, Given::Is(_)) => {
            fields.wrong("times", "must not be given but with the recurrence repeating");
            None
        }
        (Word::Once, Given::Absent | Given::Null) => Some(Recurrence::Once),
        (Word::Forever, Given::Absent | Given::Null) => Some(Recurrence::Forever),
    }
}

/// The settings of a program that say how often its customers earn.
pub struct Recurring {
    pub recurring: bool,
    pub cap: Option<u32>,
    pub period_days: Option<u32>,
}

impl Recurring {
    pub fn read(fields: &mut Fields, old: Option<&ProgramSettings>) -> Self {
        let within = || values::integer(1..=MAX_RECURRING);
        Self {
            recurring: fields.or("recurring", old.is_none_or(|old| old.recurring), values::boolean),
            cap: fields.optional("recurring_cap", old.and_then(|old| old.recurring_cap), within()),
            period_days: fields.optional(
                "recurring_period_days",
                old.and_then(|old| old.recurring_period_days),
                within(),
            ),
        }
    }
}

/// Reads `levels`; `old` is there only in the same currency, or without amounts.
pub fn levels(fields: &mut Fields, old: Vec<FlatPrice>, currency: Option<Currency>) -> Vec<FlatPrice> {
    match fields.objects("levels", MAX_LEVELS, |entry| prices::flat_price(entry, currency)) {
        Given::Is(levels) => levels,
        Given::Absent => old,
        Given::Null | Given::Wrong => Vec::new(),
    }
}

/// Reads `caps`, no two of the same scope, period and measure.
pub fn caps(fields: &mut Fields, old: Vec<Cap>, currency: Option<Currency>) -> Vec<Cap> {
    let caps = match fields.objects("caps", MAX_CAPS, |entry| cap(entry, currency)) {
        Given::Is(caps) => caps,
        Given::Absent => return old,
        Given::Null | Given::Wrong => return Vec::new(),
    };
    let key = |cap: &Cap| (cap.scope, cap.period, cap.measure);
    for (n, one) in caps.iter().enumerate() {
        if caps[..n].iter().any(|other| key(other) == key(one)) {
            fields.wrong(&format!("caps[{n}]"), "has the scope, period and measure of another");
        }
    }
    caps
}

fn cap(fields: &mut Fields, currency: Option<Currency>) -> Option<Cap> {
    let scope = fields.required("scope", None, values::word(SCOPES));
    let period = fields.required("period", None, values::one_of(PERIODS, Period::as_str));
    let measure = fields.required("measure", None, values::word(CAP_MEASURES));
    let limit = fields.required("limit", None, values::decimal)?;
    let limit = match measure? {
        CapMeasure::Conversions => prices::count(fields, "limit", &limit),
        CapMeasure::Amount => prices::amount(fields, "limit", &limit, currency?),
    };
    if limit == Some(0) {
        fields.wrong("limit", "must be above 0");
    }
    Some(Cap { scope: scope?, period: period?, measure: measure?, limit: limit.filter(|limit| *limit > 0)? })
}
