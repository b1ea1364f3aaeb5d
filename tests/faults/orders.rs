//! Orders as shops report them, in all the ways in which one may be reported.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    chance::Chance,
    diary::{By, Click, Order, Refund, Sent, Way},
    market::{Affiliate, Market, Program},
    world::now,
};

/// Where an order belongs.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub visitor: usize,
    pub number: usize,
    pub account: usize,
    pub program: Program,
    pub is_batch: bool,
}

/// A new order of somebody who came by a click.
pub fn new(chance: &mut Chance, wish: Wish, market: &Market, affiliate: &Affiliate, click: &Click) -> Order {
    let Wish { visitor, number, account, program, is_batch } = wish;
    let name = format!("{visitor}-{number}");
    let amount = i64::try_from(100 + chance.below(50_000)).unwrap();
    let by = match chance.below(20) {
        0..=8 => By::Token(click.id),
        9..=11 => By::Bare(click.id),
        12..=14 => By::Coupon,
        15 => By::Code,
        16..=18 => By::Customer(click.id, format!("customer-{}-{}", affiliate.slug, chance.below(10))),
        _ => By::Nothing,
    };
    let by_external_id = is_batch || !chance.percent(15);
    // A customer is known in a program; so the program is named.
    let named = is_batch || !by_external_id || matches!(by, By::Customer(..)) || chance.percent(70);
    let way = if named && by_external_id && !is_batch && chance.percent(12) { Way::Pixel } else { Way::Rest };
    let key = way == Way::Rest && !is_batch && (!by_external_id || chance.percent(40));
    let external_id = by_external_id.then(|| format!("order-{name}"));
    // Backdated, within the five minutes that a conversion may be earlier than its click.
    let occurred_at = (affiliate.since < now() - 20_000 && chance.percent(8))
        .then(|| now() - i64::try_from(chance.below(15_000)).unwrap());
    let mut body = json!({"amount": decimal(amount), "currency": "USD", "meta_data": {"order": name}});
    if named && way == Way::Rest {
        body["program"] = json!(program.slug());
    }
    if let Some(id) = &external_id {
        body["external_id"] = json!(id);
    }
    if let Some(at) = occurred_at {
        body["occurred_at"] = json!(waypost::domain::time::Timestamp(at).to_string());
    }
    match &by {
        By::Token(_) => body["click_id"] = json!(click.token),
        By::Bare(id) => body["click_id"] = json!(format!("clk_{}", id.simple())),
        By::Coupon => body["coupon"] = json!(affiliate.coupon(program).to_lowercase()),
        By::Code => body["referral_code"] = json!(affiliate.link(program)),
        By::Customer(_, customer) => {
            body["click_id"] = json!(click.token);
            body["customer_id"] = json!(customer);
        }
        By::Nothing => {}
    }
    let may_be_refunded = named && by_external_id && by != By::Nothing;
    let rival = (may_be_refunded && way == Way::Rest && !is_batch && chance.percent(5))
        .then(|| (amount + 1, Sent::default()));
    let refunds = if may_be_refunded && rival.is_none() && chance.percent(25) {
        refunds(chance, &name, market[account].slug, program, amount)
    } else {
        Vec::new()
    };
    Order {
        key: key.then(|| format!("key-{name}")),
        affiliate: affiliate.slug.clone(),
        sent: Sent::default(),
        event_ids: Default::default(),
        name,
        account,
        program,
        external_id,
        by,
        way,
        amount,
        occurred_at,
        body,
        rival,
        refunds,
    }
}

/// A part, two parts, or all of it.
fn refunds(chance: &mut Chance, order: &str, account: &str, program: Program, amount: i64) -> Vec<Refund> {
    let part = amount * i64::try_from(1 + chance.below(60)).unwrap() / 100;
    let amounts: &[Option<i64>] = match chance.below(4) {
        0 => &[None],
        1 => &[Some(amount)],
        2 => &[Some(part.max(1))],
        _ => &[Some(part.max(1)), Some((amount - part.max(1)) / 2)],
    };
    let refund = |(number, amount): (usize, &Option<i64>)| {
        let name = format!("refund-{account}-{order}-{number}");
        let body = json!({
            "program": program.slug(), "external_id": name, "conversion_external_id": format!("order-{order}"),
            "amount": amount.map(decimal), "meta_data": {"order": name},
        });
        Refund { name, amount: *amount, body, sent: Sent::default() }
    };
    amounts.iter().enumerate().map(refund).collect()
}

/// Minor units of a currency with two digits, as text.
pub fn decimal(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// A report as the query of a pixel.
pub fn query(body: &Value) -> String {
    let pairs = body.as_object().into_iter().flatten().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", utf8_percent_encode(&text, NON_ALPHANUMERIC))
    });
    pairs.collect::<Vec<_>>().join("&")
}
