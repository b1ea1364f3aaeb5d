//! Whatever happens in whatever order: the books add up after every step, the journal makes the same store again, and
//! refunds that add up to the whole leave nothing.

use proptest::prelude::*;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use tokio::runtime::Builder;
use uuid::Uuid;
use waypost::{
    domain::{
        amount::Currency,
        explanation::StepKind,
        ids::{AffiliateId, LinkId},
        price::{Price, Recurrence},
        program::{CommissionType, ProgramSettings},
        reason::Standing,
        time::{MS_PER_DAY, Timestamp},
    },
    events::{Authority, CommissionEntry, Conversion, Refund},
    ledger::{self, Command, LedgerError},
    store::entities::{commission_line, conversion, refund},
};

use crate::fixtures::*;

const JOE: AffiliateId = AffiliateId(2);

#[derive(Clone, Debug)]
enum Step {
    /// A sale of order `0`, in this way, for so many cents, in these parts.
    Sale {
        order: u8,
        way: Way,
        cents: i64,
        parts: Vec<i64>,
        held: bool,
        named: bool,
        customer: Option<u8>,
    },
    Refund {
        order: u8,
        cents: Option<i64>,
        id: Option<u8>,
    },
    /// The n-th line that there is.
    Approve(usize),
    Disapprove(usize),
    /// The n-th that is held.
    Accept(usize),
    Decline(usize),
    /// The n-th that waits for its click: it arrives, or the time is over.
    Click(usize),
    WaitOut(usize),
    GiveUp(usize),
    Rules {
        fixed: bool,
        value: i64,
        auto_approve: bool,
    },
    Joe(Standing),
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Jane,
    Joe,
    Coupon,
    Click,
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let way = prop::sample::select(vec![Way::Jane, Way::Joe, Way::Coupon, Way::Click, Way::Nothing]);
    let parts = prop::collection::vec(0..5_000_i64, 0..4);
    let customer = prop::option::of(0..3_u8);
    let sale = (0..4_u8, way, 0..10_000_i64, parts, prop::bool::weighted(0.2), any::<bool>(), customer)
        .prop_map(|(order, way, cents, parts, held, named, customer)| Step::Sale {
            order,
            way,
            cents,
            parts,
            held,
            named,
            customer,
        });
    let refund = (0..4_u8, prop::option::weighted(0.8, 0..4_000_i64), prop::option::of(0..3_u8))
        .prop_map(|(order, cents, id)| Step::Refund { order, cents, id });
    let rules = (any::<bool>(), 0..3_000_i64, any::<bool>())
        .prop_map(|(fixed, value, auto_approve)| Step::Rules { fixed, value, auto_approve });
    let step = prop_oneof![
        6 => sale,
        4 => refund,
        2 => (0..8_usize).prop_map(Step::Approve),
        2 => (0..8_usize).prop_map(Step::Disapprove),
        2 => (0..4_usize).prop_map(Step::Accept),
        1 => (0..4_usize).prop_map(Step::Decline),
        1 => (0..4_usize).prop_map(Step::Click),
        1 => (0..4_usize).prop_map(Step::WaitOut),
        1 => (0..4_usize).prop_map(Step::GiveUp),
        1 => rules,
        1 => prop::sample::select(Standing::ALL).prop_map(Step::Joe),
    ];
    prop::collection::vec(step, 1..24)
}

fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn sale(shop: &Shop, step: &Step) -> Option<Conversion> {
    let Step::Sale { order, way, cents, parts, held, named, customer } = step else { return None };
    let code = |code: &str| Some(code.to_owned());
    let mut sale = Conversion {
        external_id: Some(format!("o-{order}")),
        program: named.then(|| "shop".to_owned()),
        customer_id: customer.map(|id| format!("c-{id}")),
        authority: if *held { Authority::HeldPixel } else { Authority::Secret },
        ..shop.sale(&decimal(*cents))
    };
    match way {
        Way::Jane => sale.referral_code = code("jane"),
        Way::Joe => sale.referral_code = code("joe"),
        Way::Coupon => sale.coupon = code("jane10"),
        Way::Click => sale.click_id = Some(click_id(Timestamp(NOW.0 - MS_PER_DAY)).to_string()),
        Way::Nothing => {}
    }
    sale.commissions = parts
        .iter()
        .map(|cents| CommissionEntry {
            sub_amount: decimal(*cents).parse().unwrap(),
            commission_type: None,
            comment: None,
        })
        .collect();
    Some(sale)
}

fn rules(fixed: bool, value: i64, auto_approve_commissions: bool) -> ProgramSettings {
    let price = if fixed {
        Price::Fixed { value }
    } else {
        // Hundredths of a percent.
        Price::Percentage { value: serde_json::from_value((value * 1_000_000).into()).unwrap() }
    };
    let standard = CommissionType {
        identifier: "standard".to_owned(),
        title: "now".to_owned(),
        price,
        first_payment: None,
        recurrence: Recurrence::Forever,
        count_towards_cap: true,
    };
    ProgramSettings { commission_types: vec![standard], auto_approve_commissions, ..settings() }
}

async fn line(shop: &Shop, n: usize) -> Option<Uuid> {
    let rows = lines(shop).await;
    rows.get(n).map(|row| row.id)
}

async fn lines(shop: &Shop) -> Vec<commission_line::Model> {
    use commission_line::Column;
    let lines = commission_line::Entity::find().order_by_asc(Column::CreatedSeq).order_by_asc(Column::Number);
    lines.all(shop.store.reader()).await.unwrap()
}

async fn with_status(shop: &Shop, status: &str) -> Vec<conversion::Model> {
    conversion::Entity::find()
        .filter(conversion::Column::Status.eq(status))
        .order_by_asc(conversion::Column::ArrivedSeq)
        .all(shop.store.reader())
        .await
        .unwrap()
}

/// What may be refused without harm.
fn allowed(result: Result<impl Sized, LedgerError>) {
    match result {
        Ok(_) | Err(LedgerError::NotPossible { .. } | LedgerError::Rejected(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn take(shop: &Shop, step: &Step, at: Timestamp) {
    match step {
        Step::Sale { .. } => drop(shop.send_at(sale(shop, step).unwrap(), at).await),
        Step::Refund { order, cents, id } => {
            let refund = Refund {
                external_id: id.map(|id| format!("r-{id}")),
                ..shop.refund_of(&format!("o-{order}"), &cents.map(decimal).unwrap_or_default())
            };
            drop(shop.receive(&shop.refund_event(refund, at)).await);
        }
        Step::Approve(n) => {
            if let Some(line) = line(shop, *n).await {
                allowed(shop.apply(at, Command::ApproveLine { line }).await);
            }
        }
        Step::Disapprove(n) => {
            if let Some(line) = line(shop, *n).await {
                allowed(shop.apply(at, Command::DisapproveLine { line }).await);
            }
        }
        Step::Accept(n) => {
            if let Some(row) = with_status(shop, "held").await.get(*n) {
                allowed(shop.accept(row.id).await);
            }
        }
        Step::Decline(n) => {
            if let Some(row) = with_status(shop, "held").await.get(*n) {
                allowed(shop.decline(row.id).await);
            }
        }
        Step::Click(n) => {
            if let Some(row) = with_status(shop, "pending").await.get(*n) {
                let click = row.input["click_id"].as_str().unwrap().parse().unwrap();
                shop.store_click(click, true, None).await;
                shop.retry(row.id, false, at).await.unwrap();
            }
        }
        Step::WaitOut(n) => {
            if let Some(row) = with_status(shop, "pending").await.get(*n) {
                shop.retry(row.id, true, at).await.unwrap();
            }
        }
        Step::GiveUp(n) => {
            let refunds = refund::Entity::find()
                .filter(refund::Column::WaitsUntil.is_not_null())
                .order_by_asc(refund::Column::ArrivedSeq)
                .all(shop.store.reader())
                .await
                .unwrap();
            if let Some(row) = refunds.get(*n) {
                shop.give_up(row.id, at).await;
            }
        }
        Step::Rules { fixed, value, auto_approve } => {
            let rules = rules(*fixed, *value, *auto_approve);
            shop.must(at, put_program(SHOP, "shop", "USD", rules)).await;
        }
        Step::Joe(now) => drop(shop.must(at, standing(SHOP, JOE, *now)).await),
    }
}

/// What comes out of every line's explanation is what is stored.
async fn assert_explained(shop: &Shop) {
    for line in lines(shop).await {
        let steps = ledger::explain(shop.store.reader(), shop.account, line.id).await.unwrap();
        let currency: Currency = line.currency.parse().unwrap();
        let last = steps.iter().rfind(|step| step.step == StepKind::Result).unwrap();
        assert_eq!(last.data["amount"].as_str(), Some(&*currency.format(line.amount)));
        assert_eq!(last.data["status"].as_str(), Some(&*line.status));
    }
}

async fn run(steps: &[Step]) {
    let shop = Shop::open().await;
    shop.must(OPENED, put_affiliate(JOE, "joe", false)).await;
    shop.must(OPENED, standing(SHOP, JOE, Standing::Approved)).await;
    shop.must(OPENED, put_link(LinkId(2), SHOP, JOE, "joe")).await;
    for (step, second) in steps.iter().zip(1..) {
        take(&shop, step, Timestamp(NOW.0 + second * 1_000)).await;
        shop.assert_verified().await;
    }
    shop.assert_sound().await;
    assert_explained(&shop).await;
    for row in with_status(&shop, "settled").await {
        // A conversion of nothing is refunded whole once, the others up to what they are.
        if row.refunded < row.amount || row.amount == 0 {
            drop(shop.refund(shop.refund_by_id(row.id, "")).await);
        }
        assert!(shop.amounts(row.id).await.iter().all(|amount| *amount == 0), "{row:?}");
    }
    assert!(shop.balances().await.is_empty());
    shop.assert_sound().await;
    assert_explained(&shop).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_books_add_up(steps in steps()) {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(run(&steps));
    }
}
