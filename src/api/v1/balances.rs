//! Balances of affiliates, and the postings that add up to them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use axum::{Json, extract::State};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    convert,
    lookup::{self, Names, Refs},
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        ids::{AccountId, Prefix},
        reason::{LedgerAccount, LedgerEvent},
        time::Timestamp,
    },
    ledger,
    store::entities::{balance, posting},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read)).routes(routes!(list_postings))
}

/// What an affiliate has, in one currency.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    #[schema(example = "jane")]
    pub affiliate: String,
    #[schema(example = "USD")]
    pub currency: String,
    /// Approved and not paid yet.
    #[schema(example = "14.97")]
    pub balance: String,
    /// The part of the balance that is final: it may be withdrawn now.
    #[schema(example = "4.99")]
    pub available: String,
    /// Earned and waiting for review.
    #[schema(example = "0.00")]
    pub accrued: String,
    /// In payouts under way.
    #[schema(example = "0.00")]
    pub reserved: String,
}

/// An affiliate's balances, one for each currency in which it has earned.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Balances {
    #[schema(example = "jane")]
    pub affiliate: String,
    pub balances: Vec<Balance>,
}

/// A place in the list of balances.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    affiliate: i64,
    currency: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.affiliate, self.currency)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (affiliate, currency) = text.split_once('/').ok_or(())?;
        Ok(Self { affiliate: affiliate.parse().map_err(|_| ())?, currency: currency.to_owned() })
    }
}

/// The balances at the given places, in their order.
async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    places: Vec<Place>,
) -> Result<Vec<Balance>, ApiError> {
    let affiliates: Vec<i64> = places.iter().map(|place| place.affiliate).collect();
    let refs = Refs { affiliates: affiliates.iter().copied().collect(), ..Refs::default() };
    let names = Names::load(db, account, refs).await?;
    let rows = balance::Entity::find()
        .filter(balance::Column::AccountId.eq(account.0))
        .filter(balance::Column::AffiliateId.is_in(affiliates.iter().copied()))
        .all(db)
        .await?;
    let mut sums: BTreeMap<(i64, String, String), i64> = BTreeMap::new();
    for row in rows {
        // Debits are above zero; what is owed to the affiliate is a credit.
        sums.insert((row.affiliate_id, row.currency, row.ledger_account), -row.amount);
    }
    let not_final = ledger::not_final(db, account, &affiliates, Timestamp::now()).await?;
    let view = |place: Place| {
        let of = |ledger_account: LedgerAccount| {
            let key = (place.affiliate, place.currency.clone(), ledger_account.as_str().to_owned());
            sums.get(&key).copied().unwrap_or(0)
        };
        let money = |minor| convert::money(minor, &place.currency);
        let payable = of(LedgerAccount::Payable);
        let waiting = not_final.get(&(place.affiliate, place.currency.clone())).copied().unwrap_or(0);
        Ok(Balance {
            affiliate: names.affiliate(place.affiliate)?,
            balance: money(payable)?,
            available: money(payable - waiting)?,
            accrued: money(of(LedgerAccount::Accrued))?,
            reserved: money(of(LedgerAccount::Reserved))?,
            currency: place.currency.clone(),
        })
    };
    places.into_iter().map(view).collect()
}

/// List balances
///
/// Of all affiliates that have ever earned, one entry for each currency; the newest affiliate first.
#[utoipa::path(get, path = "/v1/balances", tag = "Balances",
    params(PageParams, ("currency" = Option<String>, Query, description = "Only of this currency")),
    responses((status = 200, body = Page<Balance>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Balance>>, ApiError> {
    let currency = query.fields.optional("currency", None, values::currency);
    let page = query.page::<Place>();
    query.finish()?;
    let mut find = balance::Entity::find()
        .select_only()
        .column(balance::Column::AffiliateId)
        .column(balance::Column::Currency)
        .distinct()
        .filter(balance::Column::AccountId.eq(caller.account.0))
        // 0 is the account's own.
        .filter(balance::Column::AffiliateId.gt(0));
    if let Some(currency) = currency {
        find = find.filter(balance::Column::Currency.eq(currency.code()));
    }
    if let Some(after) = &page.after {
        let same = balance::Column::AffiliateId
            .eq(after.affiliate)
            .and(balance::Column::Currency.lt(after.currency.as_str()));
        find = find.filter(Condition::any().add(balance::Column::AffiliateId.lt(after.affiliate)).add(same));
    }
    let find = find
        .order_by_desc(balance::Column::AffiliateId)
        .order_by_desc(balance::Column::Currency)
        .limit(page.fetch());
    let db = api.store.snapshot().await?;
    let rows: Vec<(i64, String)> = find.into_tuple().all(&db).await?;
    let mut places: Vec<Place> =
        rows.into_iter().map(|(affiliate, currency)| Place { affiliate, currency }).collect();
    let next_cursor = page.cut(&mut places, Place::clone);
    Ok(Json(Page { data: views(&db, caller.account, places).await?, next_cursor }))
}

/// Read an affiliate's balances
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/balance", tag = "Balances",
    responses((status = 200, body = Balances)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
) -> Result<Json<Balances>, ApiError> {
    let db = api.store.snapshot().await?;
    let row = lookup::any_affiliate(&db, caller.account, &slug).await?;
    let currencies: Vec<String> = balance::Entity::find()
        .select_only()
        .column(balance::Column::Currency)
        .distinct()
        .filter(balance::Column::AccountId.eq(caller.account.0))
        .filter(balance::Column::AffiliateId.eq(row.id))
        .order_by_asc(balance::Column::Currency)
        .into_tuple()
        .all(&db)
        .await?;
    let places = currencies.into_iter().map(|currency| Place { affiliate: row.id, currency }).collect();
    let balances = views(&db, caller.account, places).await?;
    Ok(Json(Balances { affiliate: row.slug, balances }))
}

/// One side of a double entry, as it stands in the affiliate's accounts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Posting {
    /// Place in the account's journal; the postings of one number add up to zero, those of the account's own
    /// `expense` and `cash` included.
    pub seq: i64,
    /// Place in its `seq`, from 1.
    pub number: i32,
    /// `accrued`, `payable` or `reserved`.
    #[schema(example = "payable")]
    pub ledger_account: String,
    /// `debit` or `credit`: a credit is owed to the affiliate.
    #[schema(example = "credit")]
    pub side: String,
    #[schema(example = "4.99")]
    pub amount: String,
    #[schema(example = "USD")]
    pub currency: String,
    #[schema(example = "com_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub commission: Option<String>,
    /// The payment or payout.
    #[schema(example = json!(null))]
    pub payment: Option<String>,
    /// `earned`, `approved`, `refunded`, `payment_recorded`, `payout_created`, …
    #[schema(example = "approved")]
    pub event: String,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub at: String,
}

impl Posting {
    fn of(row: posting::Model) -> Result<Self, ApiError> {
        use LedgerEvent::{PayoutCreated, PayoutPaid, PayoutReturned};
        let event = LedgerEvent::parse(&row.event);
        let is_payout = matches!(event, Some(PayoutCreated | PayoutPaid | PayoutReturned));
        let prefix = if is_payout { Prefix::Payout } else { Prefix::Payment };
        Ok(Self {
            seq: row.seq,
            number: row.number,
            ledger_account: row.ledger_account,
            side: if row.amount < 0 { "credit" } else { "debit" }.to_owned(),
            amount: convert::money(row.amount.saturating_abs(), &row.currency)?,
            currency: row.currency,
            commission: row.line_id.map(|id| Prefix::Commission.format(id)),
            payment: row.payment_id.map(|id| prefix.format(id)),
            event: row.event,
            at: convert::time(row.at),
        })
    }
}

/// A place in the list of postings.
#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: i64,
    number: i32,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.seq, self.number)
    }
}

impl FromStr for Entry {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (seq, number) = text.split_once('/').ok_or(())?;
        Ok(Self { seq: seq.parse().map_err(|_| ())?, number: number.parse().map_err(|_| ())? })
    }
}

/// List an affiliate's postings
///
/// Their sum, by currency and ledger account, is the balance: credits less debits.
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}/postings", tag = "Balances",
    params(PageParams,
        ("currency" = Option<String>, Query, description = "Only of this currency"),
        ("ledger_account" = Option<String>, Query, description = "Only of this ledger account")),
    responses((status = 200, body = Page<Posting>)))]
async fn list_postings(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<Posting>>, ApiError> {
    let db = api.store.reader();
    let affiliate = lookup::any_affiliate(db, caller.account, &slug).await?;
    let currency = query.fields.optional("currency", None, values::currency);
    let ledger_account = query.fields.optional(
        "ledger_account",
        None,
        values::one_of(LedgerAccount::ALL, LedgerAccount::as_str),
    );
    let page = query.page::<Entry>();
    query.finish()?;
    let mut find = posting::Entity::find()
        .filter(posting::Column::AccountId.eq(caller.account.0))
        .filter(posting::Column::AffiliateId.eq(affiliate.id));
    if let Some(currency) = currency {
        find = find.filter(posting::Column::Currency.eq(currency.code()));
    }
    if let Some(ledger_account) = ledger_account {
        find = find.filter(posting::Column::LedgerAccount.eq(ledger_account.as_str()));
    }
    if let Some(after) = page.after {
        let same = posting::Column::Seq.eq(after.seq).and(posting::Column::Number.lt(after.number));
        find = find.filter(Condition::any().add(posting::Column::Seq.lt(after.seq)).add(same));
    }
    let find =
        find.order_by_desc(posting::Column::Seq).order_by_desc(posting::Column::Number).limit(page.fetch());
    let mut rows = find.all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| Entry { seq: row.seq, number: row.number });
    let data = rows.into_iter().map(Posting::of).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}
