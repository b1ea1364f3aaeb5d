//! What payments and payouts share: how they are asked for, found and listed.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};
use uuid::Uuid;

use super::{
    convert,
    lookup::{self, Names, Refs},
    range::{self, Range},
};
use crate::{
    api::{
        Api,
        auth::Caller,
        change::Change,
        error::ApiError,
        fields::{Fields, Input},
        page::{Page, Query},
        values,
    },
    domain::{
        amount::{AmountError, Currency, DecimalText},
        ids::{AccountId, AffiliateId, Prefix},
        reason::{PaymentKind, PaymentStatus},
    },
    ledger::Pay,
    store::entities::payment,
};

/// Characters of a comment at most.
const MAX_COMMENT: usize = 500;

/// A comment. It stays in the journal.
pub fn comment(input: &Input) -> Result<String, String> {
    values::text(MAX_COMMENT)(input)
}

/// Reads `amount` and `currency`. The amount must be exact in the currency and not 0.
pub fn money(
    fields: &mut Fields,
    default: Option<Currency>,
    read: fn(&DecimalText, Currency) -> Result<i64, AmountError>,
) -> Option<(i64, Currency)> {
    let amount = fields.required("amount", None, values::decimal);
    let currency = fields.required("currency", default, values::currency);
    let (amount, currency) = (amount?, currency?);
    exact(fields, &amount, currency, read).map(|amount| (amount, currency))
}

/// The amount in minor units of its currency; 0 is none.
pub fn exact(
    fields: &mut Fields,
    amount: &DecimalText,
    currency: Currency,
    read: fn(&DecimalText, Currency) -> Result<i64, AmountError>,
) -> Option<i64> {
    match read(amount, currency) {
        Ok(0) => fields.wrong("amount", "must not be zero"),
        Ok(minor) => return Some(minor),
        Err(error) => fields.wrong("amount", error),
    }
    None
}

/// A payment or payout as a client asks for it.
#[derive(Debug)]
pub struct Asked {
    affiliate: String,
    currency: Currency,
    amount: i64,
    comment: Option<String>,
}

impl Asked {
    pub fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let affiliate = fields.required("affiliate", None, Input::text);
        let money = money(&mut fields, None, DecimalText::to_minor_exact);
        let comment = fields.optional("comment", None, comment);
        fields.finish()?;
        match (affiliate, money) {
            (Some(affiliate), Some((amount, currency))) => Ok(Self { affiliate, currency, amount, comment }),
            (None, _) | (_, None) => Err(ApiError::internal("a payment without its fields")),
        }
    }

    /// With a new id. The affiliate may be deleted: what becomes of that is for the ledger to say.
    pub async fn pay(self, change: &Change) -> Result<Pay, ApiError> {
        let row = match lookup::any_affiliate(&change.tx, change.account, &self.affiliate).await {
            Err(ApiError::NotFound(what)) => {
                return Err(ApiError::field("affiliate", format!("there is no such {what}")));
            }
            found => found?,
        };
        Ok(Pay {
            id: Uuid::now_v7(),
            affiliate: AffiliateId(row.id),
            currency: self.currency,
            amount: self.amount,
            comment: self.comment,
        })
    }
}

/// One as it is shown.
#[derive(Debug)]
pub struct Shown {
    pub id: String,
    pub affiliate: String,
    pub amount: String,
    pub currency: String,
    pub status: String,
    pub comment: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

fn of_account(account: AccountId, kind: PaymentKind) -> Select<payment::Entity> {
    payment::Entity::find()
        .filter(payment::Column::AccountId.eq(account.0))
        .filter(payment::Column::Kind.eq(kind.as_str()))
}

fn prefix(kind: PaymentKind) -> Prefix {
    match kind {
        PaymentKind::Payment => Prefix::Payment,
        PaymentKind::Payout => Prefix::Payout,
    }
}

async fn shown(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: PaymentKind,
    rows: Vec<payment::Model>,
) -> Result<Vec<Shown>, ApiError> {
    let refs = Refs { affiliates: rows.iter().map(|row| row.affiliate_id).collect(), ..Refs::default() };
    let names = Names::load(db, account, refs).await?;
    let show = |row: payment::Model| {
        Ok(Shown {
            id: prefix(kind).format(row.id),
            affiliate: names.affiliate(row.affiliate_id)?,
            amount: convert::money(row.amount, &row.currency)?,
            currency: row.currency,
            status: row.status,
            comment: row.comment,
            created_at: convert::time(row.created_at),
            updated_at: convert::time(row.updated_at),
        })
    };
    rows.into_iter().map(show).collect()
}

/// The row of a path's id.
pub async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: PaymentKind,
    id: &str,
) -> Result<payment::Model, ApiError> {
    let id = lookup::id(prefix(kind), kind.as_str(), id)?;
    let row = of_account(account, kind).filter(payment::Column::Id.eq(id)).one(db).await?;
    row.ok_or(ApiError::NotFound(kind.as_str()))
}

/// One, as it is now.
pub async fn read<T: From<Shown>>(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: PaymentKind,
    id: &str,
) -> Result<T, ApiError> {
    let row = find(db, account, kind, id).await?;
    let one = shown(db, account, kind, vec![row]).await?.pop();
    one.map(T::from).ok_or(ApiError::NotFound(kind.as_str()))
}

/// One that was made or changed just now.
pub async fn read_again<T: From<Shown>>(change: &Change, kind: PaymentKind, id: Uuid) -> Result<T, ApiError> {
    read(&change.tx, change.account, kind, &prefix(kind).format(id)).await
}

/// A page of those that the query asks for, the newest first.
pub async fn list<T: From<Shown>>(
    api: &Api,
    caller: &Caller,
    kind: PaymentKind,
    statuses: &'static [PaymentStatus],
    mut query: Query,
) -> Result<Page<T>, ApiError> {
    use payment::Column;
    let db = api.store.reader();
    let affiliate = lookup::affiliate_filter(db, caller.account, &mut query.fields).await?;
    let status = query.fields.optional("status", None, values::one_of(statuses, PaymentStatus::as_str));
    let currency = query.fields.optional("currency", None, values::currency);
    let Range { from, to } = range::read(&mut query.fields);
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = of_account(caller.account, kind);
    if let Some(affiliate) = affiliate {
        find = find.filter(Column::AffiliateId.eq(affiliate));
    }
    if let Some(status) = status {
        find = find.filter(Column::Status.eq(status.as_str()));
    }
    if let Some(currency) = currency {
        find = find.filter(Column::Currency.eq(currency.code()));
    }
    if let Some(from) = from {
        find = find.filter(Column::CreatedAt.gte(from.0));
    }
    if let Some(to) = to {
        find = find.filter(Column::CreatedAt.lt(to.0));
    }
    let mut rows = page.of(find, Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    let data = shown(db, caller.account, kind, rows).await?;
    Ok(Page { data: data.into_iter().map(T::from).collect(), next_cursor })
}
