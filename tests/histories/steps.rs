//! Random steps of a history. They name what they mean by small numbers, so that each can be left out when a history
//! that fails is made smaller.

use proptest::{option, prelude::*, sample::select};
use waypost::domain::{
    bonuses::{BonusInterval, BonusSettings},
    price::OverrideRule,
    program::ProgramSettings,
    reason::{CustomerTrack, Standing},
};

use crate::{
    model::{DAY, Ms},
    rules,
};

pub const PROGRAMS: usize = 3;
pub const AFFILIATES: usize = 5;
pub const GROUPS: usize = 2;
pub const CLICKS: usize = 8;
pub const CURRENCIES: [&str; 5] = ["USD", "EUR", "JPY", "BHD", "GBP"];
pub const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "America/Santiago", "Asia/Kolkata"];

#[derive(Clone, Debug)]
pub struct History {
    pub zone: &'static str,
    pub begins: Ms,
    pub programs: Vec<(usize, bool, ProgramSettings)>,
    /// The parent of each affiliate but the first, among those before it.
    pub parents: Vec<Option<usize>>,
    pub groups: Vec<Option<usize>>,
    /// What a euro is in the other currencies when it begins, times 10^8; from day to day it is a little more or less.
    /// None: there is only what steps load, and most of what needs a rate waits.
    pub rates: Option<[i64; CURRENCIES.len()]>,
    /// In force from the beginning, or from before it.
    pub bonuses: Vec<PutBonus>,
    pub steps: Vec<Step>,
    /// How many commands one transaction takes, over and over.
    pub batches: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub wait: Ms,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Sale(Box<Sale>),
    Refund {
        of: usize,
        by_id: bool,
        order: Option<u8>,
        permille: Option<i64>,
        id: Option<u8>,
    },
    /// The n-th event again: the same, or as one with another id.
    Repeat(usize, bool),
    Click(usize),
    /// So many days before now; rates times 10^8.
    Rates(Vec<(usize, usize, i32, i64)>),
    Expire,
    Accept(usize),
    Decline(usize),
    Approve(usize),
    ApproveAll,
    Disapprove(usize),
    Reopen(usize),
    EditLine(usize, i64),
    Adjust {
        affiliate: usize,
        program: Option<usize>,
        currency: usize,
        amount: i64,
    },
    EditConversion(usize, i64),
    Recalculate(usize, bool),
    Delete(usize),
    Program {
        program: usize,
        settings: Box<ProgramSettings>,
        back: Option<Ms>,
    },
    /// Other rules for the time of a conversion, of one in a foreign currency if there is any, and its recalculation.
    Reprice {
        of: usize,
        settings: Box<ProgramSettings>,
        current: bool,
    },
    Suspend(usize, bool),
    Standing(usize, usize, Standing),
    Group(usize, Option<usize>),
    Parent(usize, Option<usize>),
    Override {
        program: usize,
        holder: usize,
        target: usize,
        rule: Option<OverrideRule>,
        back: Option<Ms>,
    },
    Bonus(PutBonus),
    DeleteBonus(usize),
    /// A closed interval of one of its program's conversions, for everybody; after everything was approved or not.
    Award {
        bonus: usize,
        of: usize,
        review: bool,
    },
    Customer {
        program: usize,
        customer: u8,
        affiliate: usize,
        track: CustomerTrack,
    },
    Move(usize, usize),
    Cancel(usize, bool),
    Pay(Who, i64),
    CancelPayment(usize),
    Payout(Who, i64),
    EndPayout(usize, usize),
    Minimum(usize, Option<i64>),
}

#[derive(Clone, Debug)]
pub struct PutBonus {
    pub bonus: usize,
    pub settings: BonusSettings,
    pub back: Option<Ms>,
}

/// Affiliate and currency of a payment.
#[derive(Clone, Debug)]
pub enum Who {
    Anybody(usize),
    /// The n-th of those who have something.
    Rich(usize),
}

#[derive(Clone, Debug)]
pub struct Sale {
    pub program: usize,
    pub affiliate: usize,
    pub named: bool,
    pub grouped: bool,
    pub order: Option<u8>,
    pub lead: bool,
    pub held: bool,
    pub customer: Option<u8>,
    pub inputs: Inputs,
    pub amount: Option<i64>,
    /// A digit more than the currency has.
    pub odd: u8,
    pub currency: Option<usize>,
    pub parts: Vec<(i64, Option<usize>)>,
    pub commission_type: Option<usize>,
    /// How long ago it happened; below 0: in the future.
    pub ago: Option<Ms>,
}

#[derive(Clone, Debug)]
pub struct Inputs {
    pub coupon: bool,
    pub code: bool,
    pub click: Option<usize>,
    pub asset: bool,
    pub tracking: Option<usize>,
    /// The other inputs name somebody else.
    pub others: usize,
}

fn wait() -> impl Strategy<Value = Ms> {
    select(vec![
        0,
        1,
        1_000,
        60_000,
        3_600_000,
        3_600_000,
        5 * 3_600_000,
        DAY / 2,
        DAY,
        3 * DAY,
        8 * DAY,
        31 * DAY,
    ])
}

fn back() -> impl Strategy<Value = Option<Ms>> {
    option::weighted(0.4, select(vec![0, 1, 3_600_000, DAY, 10 * DAY, 100 * DAY]))
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![1 => Just(0), 6 => 1..=20_000_i64, 2 => (1..=200_i64).prop_map(|value| value * 100), 1 => 1..=9_i64]
}

fn sale() -> impl Strategy<Value = What> {
    let inputs = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.75),
        option::weighted(0.15, 0..CLICKS),
        prop::bool::weighted(0.15),
        option::weighted(0.1, 0..3_usize),
        prop_oneof![9 => Just(0_usize), 1 => 1..AFFILIATES],
    )
        .prop_map(|(coupon, code, click, asset, tracking, others)| Inputs {
            coupon,
            code,
            click,
            asset,
            tracking,
            others,
        });
    // Most are of one program and two affiliates, so that something adds up.
    let program = prop_oneof![3 => Just(0), 2 => 0..PROGRAMS];
    let affiliate = prop_oneof![1 => 0..2_usize, 1 => 0..AFFILIATES];
    let whose = (program, affiliate, prop::bool::weighted(0.5), prop::bool::weighted(0.05));
    let which = (option::weighted(0.6, 0..8_u8), prop::bool::weighted(0.15), prop::bool::weighted(0.08));
    let worth = (
        option::weighted(0.9, amount()),
        prop_oneof![8 => Just(0_u8), 1 => 1..10_u8],
        option::weighted(0.3, 0..CURRENCIES.len()),
        prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::collection::vec((amount(), option::of(0..rules::TYPES.len())), 1..=4)
        ],
        option::weighted(0.3, 0..rules::TYPES.len()),
    );
    let ago = option::weighted(
        0.3,
        prop_oneof![
            0..DAY,
            0..29 * DAY,
            select(vec![-60_000, 0, DAY, 2 * DAY, 7 * DAY, 40 * DAY, -(6 * 60_000)]),
        ],
    );
    (whose, which, option::weighted(0.6, 0..4_u8), inputs, worth, ago).prop_map(
        |((program, affiliate, named, grouped), (order, lead, held), customer, inputs, worth, ago)| {
            let (amount, odd, currency, parts, commission_type) = worth;
            What::Sale(Box::new(Sale {
                program,
                affiliate,
                named: named || held,
                grouped: grouped && !named,
                order,
                lead,
                held,
                customer,
                inputs,
                amount,
                odd,
                currency,
                parts,
                commission_type,
                ago,
            }))
        },
    )
}

fn refund() -> impl Strategy<Value = What> {
    let permille =
        option::weighted(0.75, prop_oneof![6 => 1..=1_000_i64, 1 => Just(0), 1 => 1_001..=1_100_i64]);
    (0..12_usize, any::<bool>(), option::weighted(0.25, 0..8_u8), permille, option::weighted(0.4, 0..6_u8))
        .prop_map(|(of, by_id, order, permille, id)| What::Refund { of, by_id, order, permille, id })
}

fn rate() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 50_000_000..=200_000_000_i64,
        1 => 500_000..=2_000_000_i64,
        1 => 5_000_000_000..=20_000_000_000_i64,
        1 => 1..=99_999_999_999_i64,
    ]
}

fn rates() -> impl Strategy<Value = What> {
    let row = (0..CURRENCIES.len(), 0..CURRENCIES.len(), 0..9_i32, rate());
    prop::collection::vec(row, 1..=5).prop_map(What::Rates)
}

fn override_step() -> impl Strategy<Value = What> {
    (0..PROGRAMS, 0..AFFILIATES + GROUPS, 0..rules::TYPES.len() + 2, back()).prop_flat_map(
        |(program, holder, target, back)| {
            let rule = option::weighted(0.85, rules::override_rule(target >= rules::TYPES.len()));
            rule.prop_map(move |rule| What::Override { program, holder, target, rule, back })
        },
    )
}

/// The interval of a bonus stays.
const BONUSES: [BonusInterval; 9] = [
    BonusInterval::AllTime,
    BonusInterval::Day,
    BonusInterval::Week,
    BonusInterval::Month,
    BonusInterval::AllTime,
    BonusInterval::Day,
    BonusInterval::Quarter,
    BonusInterval::Month,
    BonusInterval::Year,
];

fn put_bonus() -> impl Strategy<Value = PutBonus> {
    (0..BONUSES.len(), back()).prop_flat_map(|(bonus, back)| {
        rules::bonus(BONUSES[bonus]).prop_map(move |settings| PutBonus { bonus, settings, back })
    })
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![1 => (0..25_usize).prop_map(Who::Anybody), 6 => (0..6_usize).prop_map(Who::Rich)]
}

fn what() -> impl Strategy<Value = What> {
    let n = || 0..24_usize;
    let affiliate = || 0..AFFILIATES;
    let program = || 0..PROGRAMS;
    let currency = || 0..CURRENCIES.len();
    let money = || {
        prop_oneof![
            16 => sale(),
            6 => refund(),
            3 => (n(), any::<bool>()).prop_map(|(n, anew)| What::Repeat(n, anew)),
            1 => (0..CLICKS).prop_map(What::Click),
            2 => rates(),
            1 => Just(What::Expire),
            1 => (0..3_usize).prop_map(What::Accept),
            1 => (0..3_usize).prop_map(What::Decline),
        ]
    };
    let review = prop_oneof![
        3 => n().prop_map(What::Approve),
        1 => Just(What::ApproveAll),
        2 => n().prop_map(What::Disapprove),
        1 => n().prop_map(What::Reopen),
        2 => (n(), 0..2_000_i64).prop_map(|(line, amount)| What::EditLine(line, amount)),
        1 => (affiliate(), option::of(program()), currency(), -500..1_000_i64)
            .prop_map(|(affiliate, program, currency, amount)| What::Adjust { affiliate, program, currency, amount }),
        2 => (n(), 1..25_000_i64).prop_map(|(which, amount)| What::EditConversion(which, amount)),
        4 => (n(), any::<bool>()).prop_map(|(which, current)| What::Recalculate(which, current)),
        1 => n().prop_map(What::Delete),
    ];
    let people = prop_oneof![
        3 => (program(), rules::settings(), back()).prop_map(|(program, settings, back)| What::Program {
            program,
            settings: Box::new(settings),
            back
        }),
        4 => (n(), rules::settings(), any::<bool>()).prop_map(|(of, settings, current)| What::Reprice {
            of,
            settings: Box::new(settings),
            current
        }),
        1 => (affiliate(), any::<bool>()).prop_map(|(affiliate, suspended)| What::Suspend(affiliate, suspended)),
        1 => (program(), affiliate(), select(Standing::ALL.to_vec()))
            .prop_map(|(program, affiliate, standing)| What::Standing(program, affiliate, standing)),
        1 => (affiliate(), option::of(0..GROUPS)).prop_map(|(affiliate, group)| What::Group(affiliate, group)),
        1 => (affiliate(), option::of(affiliate())).prop_map(|(affiliate, parent)| What::Parent(affiliate, parent)),
        3 => override_step(),
        3 => put_bonus().prop_map(What::Bonus),
        1 => (0..BONUSES.len()).prop_map(What::DeleteBonus),
        1 => (program(), 0..4_u8, affiliate(), select(CustomerTrack::ALL.to_vec())).prop_map(
            |(program, customer, affiliate, track)| What::Customer { program, customer, affiliate, track }
        ),
        1 => (n(), affiliate()).prop_map(|(customer, affiliate)| What::Move(customer, affiliate)),
        1 => (n(), any::<bool>()).prop_map(|(customer, canceled)| What::Cancel(customer, canceled)),
    ];
    let sent = prop_oneof![
        3 => (who(), 1..1_500_i64).prop_map(|(who, permille)| What::Pay(who, permille)),
        2 => n().prop_map(What::CancelPayment),
        3 => (who(), 1..1_050_i64).prop_map(|(who, permille)| What::Payout(who, permille)),
        3 => (n(), 0..3_usize).prop_map(|(payout, end)| What::EndPayout(payout, end)),
        1 => (currency(), option::of(1..500_i64)).prop_map(|(currency, amount)| What::Minimum(currency, amount)),
    ];
    let award = (0..BONUSES.len(), 0..6_usize, prop::bool::weighted(0.6))
        .prop_map(|(bonus, of, review)| What::Award { bonus, of, review });
    prop_oneof![10 => money(), 5 => review, 4 => people, 3 => sent, 3 => award]
}

pub fn history() -> impl Strategy<Value = History> {
    let programs = prop::collection::vec((0..CURRENCIES.len(), any::<bool>(), rules::settings()), PROGRAMS);
    // Some days before the clocks change in Berlin, New York, Auckland and Santiago.
    let begins = select(vec![
        1_774_310_400_000_i64, // 2026-03-24
        1_772_755_200_000,     // 2026-03-06
        1_792_886_400_000,     // 2026-10-25
        1_798_243_200_000,     // 2026-12-26
        1_788_048_000_000,     // 2026-08-30
    ]);
    let parents = (0..AFFILIATES).map(|n| option::weighted(0.7, 0..n.max(1))).collect::<Vec<_>>();
    let groups = prop::collection::vec(option::of(0..GROUPS), AFFILIATES);
    let rates = option::weighted(0.6, prop::array::uniform(rate()));
    let step = (wait(), what()).prop_map(|(wait, what)| Step { wait, what });
    let bonuses = prop::collection::vec(put_bonus(), 1..5);
    let steps = prop::collection::vec(step, 1..50);
    let batches = prop::collection::vec(1..6_usize, 1..8);
    (select(ZONES.to_vec()), begins, programs, parents, groups, rates, bonuses, steps, batches).prop_map(
        |(zone, begins, programs, parents, groups, rates, bonuses, steps, batches)| History {
            zone,
            begins,
            programs,
            parents,
            groups,
            rates,
            bonuses,
            steps,
            batches,
        },
    )
}
