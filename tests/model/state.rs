//! What has happened so far, and the commands that let something happen.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use uuid::Uuid;
use waypost::{
    domain::{
        amount::Currency,
        bonuses::BonusSettings,
        price::{OverrideRule, Target},
        program::ProgramSettings,
        reason::{ConversionKind, CustomerTrack, LineKind, LineStatus, Rejection, Standing, Stop, Waits},
    },
    events::Event,
};

use super::{Ms, number::Q};

/// Something that is asked of the ledger.
#[derive(Clone, Debug)]
pub enum Act {
    PutProgram {
        program: i64,
        slug: String,
        currency: Currency,
        settings: Box<ProgramSettings>,
        from: Option<Ms>,
    },
    PutAffiliate {
        affiliate: i64,
        suspended: bool,
    },
    SetStanding {
        program: i64,
        affiliate: i64,
        standing: Standing,
    },
    PutLink(Link),
    PutCoupon(Coupon),
    StoreClick(Click),
    LoadRates(Vec<Rate>),
    Receive(Box<Event>),
    /// Time has passed: what waited long enough waits no longer.
    Expire,
    Accept(usize),
    Decline(usize),
    Approve(LineKey),
    Disapprove(LineKey),
    Reopen(LineKey),
    EditLine(LineKey, i64),
    Adjust {
        id: Uuid,
        affiliate: i64,
        program: Option<i64>,
        currency: Currency,
        amount: i64,
    },
    EditConversion(usize, i64),
    /// With today's rules, or those of the time when it happened.
    Recalculate(usize, bool),
    Delete(usize),
    PutGroup(Uuid),
    SetGroup {
        affiliate: i64,
        group: Option<Uuid>,
    },
    SetParent {
        affiliate: i64,
        parent: Option<i64>,
    },
    PutOverride {
        program: i64,
        whose: Holder,
        target: Target,
        rule: Option<OverrideRule>,
        from: Option<Ms>,
    },
    PutBonus {
        bonus: Uuid,
        program: i64,
        settings: BonusSettings,
        from: Option<Ms>,
    },
    DeleteBonus(Uuid),
    /// The interval that began then, for this affiliate.
    Award {
        bonus: Uuid,
        affiliate: i64,
        interval: Ms,
    },
    CreateCustomer {
        program: i64,
        customer: String,
        code: String,
        track: CustomerTrack,
    },
    MoveCustomer {
        customer: usize,
        affiliate: i64,
    },
    SetCanceled {
        customer: usize,
        canceled: bool,
    },
    RecordPayment(Payment),
    CancelPayment(Uuid),
    CreatePayout(Payment),
    EndPayout(Uuid, PaymentState),
    SetMinimum(Currency, Option<i64>),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Settled,
    Duplicate,
    Pending(Waits),
    Held,
    Declined,
    Rejected(Rejection),
    /// The state of things does not allow it.
    Refused,
}

/// Which line is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineKey {
    /// Of a conversion, by its number from 1.
    Of(usize, i32),
    /// The n-th that is of no conversion.
    Loose(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Affiliate(i64),
    Group(Uuid),
}

#[derive(Clone, Debug)]
pub struct Link {
    pub id: i64,
    pub program: i64,
    pub affiliate: i64,
    pub code: String,
    pub asset: String,
    pub source: String,
}

#[derive(Clone, Debug)]
pub struct Coupon {
    pub id: Uuid,
    pub program: i64,
    pub affiliate: i64,
    pub code: String,
    pub starts_at: Option<Ms>,
    pub ends_at: Option<Ms>,
}

#[derive(Clone, Debug)]
pub struct Click {
    pub id: Uuid,
    pub link: i64,
    pub at: Ms,
    pub attributable: bool,
    pub review: bool,
    pub tracking_id: Option<String>,
    /// As text where a token proves it: it need not be stored.
    pub token: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub base: Currency,
    pub quote: Currency,
    pub day: i32,
    /// Times 10^8.
    pub rate: i64,
}

#[derive(Clone, Debug)]
pub struct Payment {
    pub id: Uuid,
    pub affiliate: i64,
    pub currency: Currency,
    pub amount: i64,
    pub is_payout: bool,
    pub state: PaymentState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    Recorded,
    /// Of a payout.
    Created,
    Paid,
    Failed,
    Cancelled,
}

#[derive(Debug)]
pub struct Program {
    pub slug: String,
    pub currency: Currency,
    pub versions: Vec<(Ms, ProgramSettings)>,
}

#[derive(Debug, Default)]
pub struct Affiliate {
    pub suspended: Vec<(Ms, bool)>,
    pub groups: Vec<(Ms, Option<Uuid>)>,
    pub parents: Vec<(Ms, Option<i64>)>,
}

#[derive(Debug)]
pub struct Override {
    pub program: i64,
    pub whose: Holder,
    pub target: Target,
    pub versions: Vec<(Ms, Option<OverrideRule>)>,
}

#[derive(Debug)]
pub struct Bonus {
    pub program: i64,
    pub versions: Vec<(Ms, BonusSettings)>,
    pub deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Award {
    pub target: i64,
    pub amount: i64,
}

#[derive(Debug)]
pub struct Customer {
    pub program: i64,
    pub name: String,
    pub affiliate: i64,
    pub link: Option<i64>,
    pub track: CustomerTrack,
    pub cancellations: Vec<(Ms, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionState {
    Settled,
    Deleted,
    Pending(Waits),
    Held,
    /// Declined, replaced, or rejected after waiting: it counts nowhere.
    Gone,
}

#[derive(Clone, Debug)]
pub struct Part {
    pub sub_amount: i64,
    pub commission_type: String,
}

#[derive(Debug)]
pub struct Conversion {
    pub event: Event,
    pub state: ConversionState,
    /// The end of its time.
    pub waits_until: Ms,
    /// Its time is over.
    pub waited_out: bool,
    /// The program whose space its external id is claimed in.
    pub claimed_in: Option<i64>,
    /// The program and the affiliate that it came to when it was last tried and had no rate.
    pub found: Option<(i64, i64)>,
    /// None until it settles; so are all that follow.
    pub seq: Option<i64>,
    pub program: i64,
    pub affiliate: i64,
    pub customer: Option<usize>,
    pub currency: Option<Currency>,
    pub amount: i64,
    pub refunded: i64,
    pub refunds: usize,
    pub occurred_at: Ms,
    /// Before any refund.
    pub parts: Vec<Part>,
    /// Given as `commissions`.
    pub given_parts: bool,
    /// Minor units of the program's currency for one of its own.
    pub factor: Q,
    pub review: bool,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub kind: LineKind,
    pub program: Option<i64>,
    pub affiliate: i64,
    /// Order of making: the command and the number.
    pub made: (i64, i32),
    pub entry: usize,
    pub level: u32,
    pub commission_type: String,
    pub sub_amount: i64,
    pub amount: i64,
    pub currency: Currency,
    pub status: LineStatus,
    pub reason: Option<Stop>,
    pub earned: bool,
    pub counts_towards_cap: bool,
    pub final_at: Option<Ms>,
    /// From when on the payout delay counts: when its conversion happened, or when it was awarded.
    pub dated: Ms,
    pub priced: Priced,
    /// Set by hand or by an edit: the amount, and what was left of the conversion.
    pub set: Option<(i64, i64)>,
}

/// How a line's amount follows from its sub amount.
#[derive(Clone, Debug)]
pub struct Priced {
    pub form: Form,
    /// To the program's currency; 1 in it.
    pub factor: Q,
    /// Whether the line is in the program's currency although the conversion is not.
    pub converted: bool,
    /// What a cap left of it.
    pub rest: Option<i64>,
}

#[derive(Clone, Debug)]
pub enum Form {
    /// Minor units of the program's currency, for the whole conversion.
    Fixed(i64),
    /// A share of the sub amount.
    Share(Q),
    /// From this measure on, by brackets: minor units of the program's currency and shares.
    Marginal { before: Q, brackets: Vec<(Q, Q)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    Settled,
    Pending,
    Gone,
}

#[derive(Debug)]
pub struct Refund {
    pub event: Event,
    pub state: RefundState,
    pub waits_until: Ms,
    /// The conversion by its id.
    pub of: Option<usize>,
    /// Or by program, kind and external id.
    pub named: Option<(i64, ConversionKind, String)>,
    pub amount: i64,
}

#[derive(Debug)]
pub struct Model {
    pub zone: TimeZone,
    /// How long an event waits.
    pub pending_time: Ms,
    pub seq: i64,
    pub programs: BTreeMap<i64, Program>,
    pub affiliates: BTreeMap<i64, Affiliate>,
    /// Program, affiliate.
    pub standings: BTreeMap<(i64, i64), Vec<(Ms, Standing)>>,
    pub links: Vec<Link>,
    pub coupons: Vec<Coupon>,
    pub clicks: Vec<Click>,
    pub rates: Vec<Rate>,
    pub overrides: Vec<Override>,
    pub bonuses: BTreeMap<Uuid, Bonus>,
    /// Bonus, affiliate, beginning of the interval.
    pub awards: BTreeMap<(Uuid, i64, Ms), Award>,
    pub customers: Vec<Customer>,
    pub conversions: Vec<Conversion>,
    pub refunds: Vec<Refund>,
    /// Bonuses and adjustments.
    pub loose: Vec<Line>,
    pub payments: Vec<Payment>,
    pub minimums: Vec<(Currency, i64)>,
}
