//! Bonuses: what reaching a target pays.

mod settings;
mod view;

use std::{fmt, num::ParseIntError, str::FromStr};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
pub use settings::BonusInput;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;
pub use view::{Bonus, BonusAward, BonusVersion};

use self::view::settings_of;
use super::{convert, lookup};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        fields::{Given, Input},
        page::{Page, PageParams, Query},
    },
    domain::ids::{AccountId, Prefix, ProgramId},
    ledger::{Command, PutBonus},
    store::entities::{bonus, bonus_award, bonus_version, program},
};

/// Of one program, so that every command knows them all.
const MAX_BONUSES: u64 = 100;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, update, delete))
        .routes(routes!(versions))
        .routes(routes!(awards))
}

fn of_account(account: AccountId) -> Select<bonus::Entity> {
    bonus::Entity::find()
        .filter(bonus::Column::AccountId.eq(account.0))
        .filter(bonus::Column::DeletedAt.is_null())
}

/// A bonus that is not deleted, with its program.
async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<(bonus::Model, program::Model), ApiError> {
    let id = lookup::id(Prefix::Bonus, "bonus", id)?;
    let row = of_account(account).filter(bonus::Column::Id.eq(id)).one(db).await?;
    let row = row.ok_or(ApiError::NotFound("bonus"))?;
    let program = program::Entity::find_by_id(row.program_id).one(db).await?;
    Ok((row, program.ok_or_else(|| ApiError::internal("a bonus without a program"))?))
}

/// List a program's bonuses
#[utoipa::path(get, path = "/v1/programs/{program}/bonuses", tag = "Bonuses", params(PageParams),
    responses((status = 200, body = Page<Bonus>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<Bonus>>, ApiError> {
    let db = api.store.reader();
    let program = lookup::program(db, caller.account, &slug).await?;
    let page = query.page::<Uuid>();
    query.finish()?;
    let find = of_account(caller.account).filter(bonus::Column::ProgramId.eq(program.id));
    let mut rows = page.of(find, bonus::Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    let data = rows.into_iter().map(|row| Bonus::of(row, &program)).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// Create a bonus
///
/// It pays for intervals that end from now on; `from` brings it into force earlier.
#[utoipa::path(post, path = "/v1/programs/{program}/bonuses", tag = "Bonuses", request_body = BonusInput,
    responses((status = 201, body = Bonus)))]
async fn create(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let program = lookup::program(&change.tx, change.account, &slug).await?;
    let currency = convert::currency(&program.currency)?;
    let mut fields = request.fields()?;
    let read = settings::read(&mut fields, None, currency, change.at);
    fields.finish()?;
    let (settings, from) = read.ok_or_else(|| ApiError::internal("no settings"))?;
    let known = of_account(change.account).filter(bonus::Column::ProgramId.eq(program.id));
    if known.count(&change.tx).await? >= MAX_BONUSES {
        let message = format!("a program may have {MAX_BONUSES} bonuses at most");
        return Err(ApiError::NotPossible { code: "too_many_bonuses", message });
    }
    let put = PutBonus { id: Uuid::now_v7(), program: ProgramId(program.id), settings, from };
    put_bonus(change, put, StatusCode::CREATED).await
}

async fn put_bonus(change: Change, put: PutBonus, status: StatusCode) -> Result<Response, ApiError> {
    let id = put.id;
    change.apply(&Command::PutBonus(Box::new(put))).await?;
    answer(change, id, status).await
}

async fn answer(change: Change, id: Uuid, status: StatusCode) -> Result<Response, ApiError> {
    let (row, program) = find(&change.tx, change.account, &Prefix::Bonus.format(id)).await?;
    let view = Bonus::of(row, &program)?;
    change.answer(status, &view).await
}

/// Read a bonus
#[utoipa::path(get, path = "/v1/bonuses/{bonus}", tag = "Bonuses", responses((status = 200, body = Bonus)))]
async fn read(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Result<Json<Bonus>, ApiError> {
    let (row, program) = find(api.store.reader(), caller.account, &id).await?;
    Bonus::of(row, &program).map(Json)
}

/// Replace a bonus
///
/// Settings that are not given return to their defaults.
#[utoipa::path(put, path = "/v1/bonuses/{bonus}", tag = "Bonuses", request_body = BonusInput,
    responses((status = 200, body = Bonus)))]
async fn replace(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    put(&api, &id, request, true).await
}

/// Change a bonus
///
/// Settings that are not given stay. A new version is in force from now on, or from `from`; what was awarded stays.
#[utoipa::path(patch, path = "/v1/bonuses/{bonus}", tag = "Bonuses", request_body = BonusInput,
    responses((status = 200, body = Bonus)))]
async fn update(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    put(&api, &id, request, false).await
}

async fn put(api: &Api, id: &str, request: ChangeRequest, whole: bool) -> Result<Response, ApiError> {
    let change = begin!(request, *api);
    let (row, program) = find(&change.tx, change.account, id).await?;
    let currency = convert::currency(&program.currency)?;
    let old = settings_of(row.settings)?;
    let mut fields = request.fields()?;
    let read = settings::read(&mut fields, (!whole).then_some(&old), currency, change.at);
    fields.finish()?;
    let (settings, from) = read.ok_or_else(|| ApiError::internal("no settings"))?;
    // A version that says what the last one says would only lengthen the history.
    if settings == old && from.is_none() {
        return answer(change, row.id, StatusCode::OK).await;
    }
    let put = PutBonus { id: row.id, program: ProgramId(row.program_id), settings, from };
    put_bonus(change, put, StatusCode::OK).await
}

/// Delete a bonus
///
/// It pays nothing for intervals that end from now on. What was awarded stays.
#[utoipa::path(delete, path = "/v1/bonuses/{bonus}", tag = "Bonuses", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let (row, _) = find(&change.tx, change.account, &id).await?;
    change.apply(&Command::DeleteBonus { bonus: row.id }).await?;
    change.done().await
}

/// List the versions of a bonus
#[utoipa::path(get, path = "/v1/bonuses/{bonus}/versions", tag = "Bonuses", params(PageParams),
    responses((status = 200, body = Page<BonusVersion>)))]
async fn versions(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    mut query: Query,
) -> Result<Json<Page<BonusVersion>>, ApiError> {
    let db = api.store.reader();
    let (row, program) = find(db, caller.account, &id).await?;
    let page = query.page::<i32>();
    query.finish()?;
    let find = bonus_version::Entity::find().filter(bonus_version::Column::BonusId.eq(row.id));
    let mut rows = page.of(find, bonus_version::Column::Version).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.version);
    let currency = convert::currency(&program.currency)?;
    let data = rows.into_iter().map(|row| BonusVersion::of(row, currency)).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// The place of an award in the list of its bonus: the later first, those of one moment by affiliate and interval.
#[derive(Clone, Copy, Debug)]
struct Place([i64; 4]);

impl Place {
    fn of(row: &bonus_award::Model) -> Self {
        Self([row.seq, row.affiliate_id, row.interval_start, row.interval_end])
    }

    /// What comes after it.
    fn followed(self) -> Condition {
        use bonus_award::Column;
        let Self([seq, affiliate, start, end]) = self;
        let same_start = Column::IntervalStart.eq(start).and(Column::IntervalEnd.gt(end));
        let by_interval = Column::IntervalStart.gt(start).or(same_start);
        let same_affiliate = Column::AffiliateId.eq(affiliate).and(by_interval);
        let by_affiliate = Column::AffiliateId.gt(affiliate).or(same_affiliate);
        Condition::any().add(Column::Seq.lt(seq)).add(Column::Seq.eq(seq).and(by_affiliate))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([seq, affiliate, start, end]) = self;
        write!(f, "{seq} {affiliate} {start} {end}")
    }
}

impl FromStr for Place {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let mut parts = text.split(' ').map(str::parse);
        let mut next = || parts.next().unwrap_or_else(|| "".parse());
        Ok(Self([next()?, next()?, next()?, next()?]))
    }
}

/// List what a bonus has awarded
///
/// One for each affiliate and interval, the latest first.
#[utoipa::path(get, path = "/v1/bonuses/{bonus}/awards", tag = "Bonuses",
    params(PageParams, ("affiliate" = Option<String>, Query, description = "Only of this affiliate")),
    responses((status = 200, body = Page<BonusAward>)))]
async fn awards(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    mut query: Query,
) -> Result<Json<Page<BonusAward>>, ApiError> {
    use bonus_award::Column;
    let db = api.store.reader();
    let (row, program) = find(db, caller.account, &id).await?;
    let mut find = bonus_award::Entity::find().filter(Column::BonusId.eq(row.id));
    if let Given::Is(slug) = query.fields.given("affiliate", Input::text) {
        match lookup::any_affiliate(db, caller.account, &slug).await {
            Ok(affiliate) => find = find.filter(Column::AffiliateId.eq(affiliate.id)),
            Err(ApiError::NotFound(what)) => {
                query.fields.wrong("affiliate", format!("there is no such {what}"));
            }
            Err(other) => return Err(other),
        }
    }
    let page = query.page::<Place>();
    query.finish()?;
    if let Some(after) = page.after {
        find = find.filter(after.followed());
    }
    let find = find
        .order_by_desc(Column::Seq)
        .order_by_asc(Column::AffiliateId)
        .order_by_asc(Column::IntervalStart)
        .order_by_asc(Column::IntervalEnd);
    let mut rows = find.limit(page.fetch()).all(db).await?;
    let next_cursor = page.cut(&mut rows, Place::of);
    let currency = convert::currency(&program.currency)?;
    let data = view::awards(db, caller.account, &row, currency, rows).await?;
    Ok(Json(Page { data, next_cursor }))
}
