//! The same commands in other transactions, and with an end of the process among them, lead to the same rows.

use std::{collections::BTreeSet, fmt::Debug};

use sea_orm::{EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use waypost::store::entities::{
    balance, bonus, bonus_award, bonus_version, cancellation, claim, commission_line, conversion, customer,
    customer_count, journal_entry, line_change, measure, membership, override_rule, override_version,
    payment, payout_minimum, posting, program_version, refund, standing, upline,
};

use crate::drive::Engine;

async fn rows<E>(engine: &Engine) -> Vec<E::Model>
where
    E: EntityTrait,
    E::Model: Sync,
{
    let of_account = Expr::col("account_id").eq(engine.account.0);
    E::find().filter(of_account).all(engine.reader()).await.unwrap()
}

/// Whole rows: both engines give out the same ids.
async fn same<E>(what: &str, one: &Engine, other: &Engine, differences: &mut String)
where
    E: EntityTrait,
    E::Model: Debug + Sync,
{
    let texts = |rows: Vec<E::Model>| rows.iter().map(|row| format!("{row:?}")).collect::<BTreeSet<_>>();
    compare(what, &texts(rows::<E>(one).await), &texts(rows::<E>(other).await), differences);
}

fn compare(what: &str, one: &BTreeSet<String>, other: &BTreeSet<String>, differences: &mut String) {
    for (whose, row) in
        one.difference(other).map(|row| ("once", row)).chain(other.difference(one).map(|row| ("again", row)))
    {
        *differences += &format!("{what}, {whose} only: {row}\n");
    }
}

pub async fn identical(one: &Engine, other: &Engine) -> Result<(), String> {
    if one.account != other.account {
        return Err(format!("accounts {:?} and {:?} cannot be compared", one.account, other.account));
    }
    let mut all = String::new();
    same::<journal_entry::Entity>("journal", one, other, &mut all).await;
    same::<conversion::Entity>("conversion", one, other, &mut all).await;
    same::<claim::Entity>("claim", one, other, &mut all).await;
    same::<refund::Entity>("refund", one, other, &mut all).await;
    same::<commission_line::Entity>("line", one, other, &mut all).await;
    same::<line_change::Entity>("change", one, other, &mut all).await;
    same::<posting::Entity>("posting", one, other, &mut all).await;
    same::<balance::Entity>("balance", one, other, &mut all).await;
    same::<customer::Entity>("customer", one, other, &mut all).await;
    same::<customer_count::Entity>("count", one, other, &mut all).await;
    same::<cancellation::Entity>("cancellation", one, other, &mut all).await;
    same::<payment::Entity>("payment", one, other, &mut all).await;
    same::<payout_minimum::Entity>("minimum", one, other, &mut all).await;
    same::<bonus::Entity>("bonus", one, other, &mut all).await;
    same::<bonus_version::Entity>("bonus version", one, other, &mut all).await;
    same::<bonus_award::Entity>("award", one, other, &mut all).await;
    same::<program_version::Entity>("program version", one, other, &mut all).await;
    same::<override_rule::Entity>("override", one, other, &mut all).await;
    same::<override_version::Entity>("override version", one, other, &mut all).await;
    same::<standing::Entity>("standing", one, other, &mut all).await;
    same::<membership::Entity>("membership", one, other, &mut all).await;
    same::<upline::Entity>("upline", one, other, &mut all).await;
    compare("measure", &measures(one).await, &measures(other).await, &mut all);
    if all.is_empty() { Ok(()) } else { Err(all) }
}

/// What came to nothing within a transaction is not written.
async fn measures(engine: &Engine) -> BTreeSet<String> {
    let rows = rows::<measure::Entity>(engine).await.into_iter();
    rows.filter(|row| (row.count, row.amount) != (0, 0)).map(|row| format!("{row:?}")).collect()
}
