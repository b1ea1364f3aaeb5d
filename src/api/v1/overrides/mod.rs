//! Overrides: prices of one affiliate or one group, before those of a program's commission types and levels.

mod input;
mod view;

use axum::{Json, extract::State, http::StatusCode, response::Response};
pub use input::OverrideInput;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;
use view::identity;
pub use view::{Override, OverrideVersion};

use super::{
    convert,
    lookup::{self, Names, Refs},
    programs,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        fields::Given,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        ids::{AccountId, Prefix, ProgramId},
        price::Target,
        time::Timestamp,
    },
    ledger::{Command, PutOverride, Whose, override_subject},
    store::entities::{override_rule, override_version, program},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, delete))
        .routes(routes!(list_versions))
}

/// List a program's overrides
#[utoipa::path(get, path = "/v1/programs/{program}/overrides", tag = "Overrides",
    params(PageParams,
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("group" = Option<String>, Query, description = "Only of this group")),
    responses((status = 200, body = Page<Override>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<Override>>, ApiError> {
    use override_rule::Column;
    let db = api.store.reader();
    let program = lookup::program(db, caller.account, &slug).await?;
    let affiliate = lookup::affiliate_filter(db, caller.account, &mut query.fields).await?;
    let group = query.fields.given("group", values::id(Prefix::Group));
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = override_rule::Entity::find()
        .filter(Column::ProgramId.eq(program.id))
        .filter(Column::Rule.ne(Value::Null));
    if let Some(affiliate) = affiliate {
        find = find.filter(Column::AffiliateId.eq(affiliate));
    }
    if let Given::Is(group) = group {
        find = find.filter(Column::GroupId.eq(group));
    }
    let mut rows = page.of(find, Column::Id).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    let data = view::views(db, caller.account, &program, rows).await?;
    Ok(Json(Page { data, next_cursor }))
}

/// Create an override
///
/// It counts from now on, or from `effective_from`, for the conversions that happen from then on.
#[utoipa::path(post, path = "/v1/programs/{program}/overrides", tag = "Overrides", request_body = OverrideInput,
    responses((status = 201, body = Override)))]
async fn create(
    State(api): State<Api>,
    Segment(slug): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let program = lookup::program(&change.tx, change.account, &slug).await?;
    let mut fields = request.fields()?;
    let from = fields.optional("effective_from", None, values::past_time(change.at));
    let whose = input::whose(&change.tx, change.account, &mut fields).await?;
    let types = programs::types_of(&change.tx, &program, from).await?;
    let target = input::target(&mut fields, &types);
    let of_level = matches!(target, Some(Target::Level(_)));
    let rule = input::rule(&mut fields, of_level, convert::currency(&program.currency)?);
    let (Some(whose), Some(target), Some(rule)) = (whose, target, rule) else {
        fields.finish()?;
        return Err(ApiError::internal("no override"));
    };
    let id = match before(&change, &program, whose, &target).await? {
        None => Uuid::now_v7(),
        Some((row, _)) if !row.rule.is_null() => {
            let field = if of_level { "level" } else { "commission_type" };
            let message = format!("has this override already: {}", Prefix::Override.format(row.id));
            return Err(ApiError::Conflict { field: field.to_owned(), message });
        }
        Some((row, removed)) => {
            if from.is_some_and(|from| from < removed) {
                let message = format!("must not be before {removed}, when the one before was removed");
                fields.wrong("effective_from", message);
            }
            row.id
        }
    };
    fields.finish()?;
    let put = PutOverride { id, program: ProgramId(program.id), whose, target, rule: Some(rule), from };
    change.apply(&Command::PutOverride(Box::new(put))).await?;
    answer(change, &program, id, StatusCode::CREATED).await
}

/// The override of the same owner for the same target, removed or not, and since when it is as it is.
async fn before(
    change: &Change,
    program: &program::Model,
    whose: Whose,
    target: &Target,
) -> Result<Option<(override_rule::Model, Timestamp)>, ApiError> {
    let row = override_rule::Entity::find()
        .filter(override_rule::Column::ProgramId.eq(program.id))
        .filter(override_rule::Column::Subject.eq(override_subject(whose, target)))
        .one(&change.tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let version = override_version::Entity::find_by_id((row.id, row.version)).one(&change.tx).await?;
    let version = version.ok_or_else(|| ApiError::internal("an override without a version"))?;
    Ok(Some((row, Timestamp(version.starts_at))))
}

async fn answer(
    change: Change,
    program: &program::Model,
    id: Uuid,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let row = override_rule::Entity::find_by_id(id).one(&change.tx).await?;
    let rows = row.into_iter().collect();
    let view = view::views(&change.tx, change.account, program, rows).await?.pop();
    change.answer(status, &view.ok_or(ApiError::NotFound("override"))?).await
}

/// An override of the account and its program, removed or not.
async fn find_any(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<(override_rule::Model, program::Model), ApiError> {
    let id = lookup::id(Prefix::Override, "override", id)?;
    let row = override_rule::Entity::find_by_id(id)
        .filter(override_rule::Column::AccountId.eq(account.0))
        .one(db)
        .await?
        .ok_or(ApiError::NotFound("override"))?;
    let program = program::Entity::find_by_id(row.program_id)
        .filter(program::Column::DeletedAt.is_null())
        .one(db)
        .await?;
    Ok((row, program.ok_or(ApiError::NotFound("override"))?))
}

async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    id: &str,
) -> Result<(override_rule::Model, program::Model), ApiError> {
    let found = find_any(db, account, id).await?;
    if found.0.rule.is_null() { Err(ApiError::NotFound("override")) } else { Ok(found) }
}

/// Read an override
#[utoipa::path(get, path = "/v1/overrides/{override}", tag = "Overrides",
    responses((status = 200, body = Override)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Override>, ApiError> {
    let db = api.store.reader();
    let (row, program) = find(db, caller.account, &id).await?;
    let view = view::views(db, caller.account, &program, vec![row]).await?.pop();
    view.map(Json).ok_or(ApiError::NotFound("override"))
}

/// Replace what an override pays
///
/// From now on, or from `effective_from` until the version that began after it. Whose it is and what it is for stay.
#[utoipa::path(put, path = "/v1/overrides/{override}", tag = "Overrides", request_body = OverrideInput,
    responses((status = 200, body = Override)))]
async fn replace(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let (row, program) = find(&change.tx, change.account, &id).await?;
    let (whose, target) = identity(&row)?;
    let affiliates = row.affiliate_id.into_iter().collect();
    let names = Names::load(&change.tx, change.account, Refs { affiliates, ..Refs::default() }).await?;
    let mut fields = request.fields()?;
    let affiliate = row.affiliate_id.map(|id| names.affiliate(id)).transpose()?;
    fields.unchanging("affiliate", &affiliate.unwrap_or_default());
    fields.unchanging("group", &row.group_id.map(|id| Prefix::Group.format(id)).unwrap_or_default());
    fields.unchanging("commission_type", &row.commission_type.clone().unwrap_or_default());
    if let Given::Is(level) = fields.given("level", values::integer(0..=u32::MAX))
        && target != Target::Level(level)
    {
        fields.wrong("level", "cannot be changed");
    }
    let from = fields.optional("effective_from", None, values::past_time(change.at));
    let of_level = matches!(target, Target::Level(_));
    let rule = input::rule(&mut fields, of_level, convert::currency(&program.currency)?);
    fields.finish()?;
    let rule = rule.ok_or_else(|| ApiError::internal("no rule"))?;
    let json = serde_json::to_value(&rule).map_err(ApiError::internal)?;
    // A version that says what the one before it says would only lengthen the history.
    if from.is_some() || json != row.rule {
        let put =
            PutOverride { id: row.id, program: ProgramId(program.id), whose, target, rule: Some(rule), from };
        change.apply(&Command::PutOverride(Box::new(put))).await?;
    }
    answer(change, &program, row.id, StatusCode::OK).await
}

/// Remove an override
///
/// From now on the rule below it counts: the group's override, else the commission type or level.
#[utoipa::path(delete, path = "/v1/overrides/{override}", tag = "Overrides", responses((status = 204)))]
async fn delete(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let (row, program) = find(&change.tx, change.account, &id).await?;
    let (whose, target) = identity(&row)?;
    let put =
        PutOverride { id: row.id, program: ProgramId(program.id), whose, target, rule: None, from: None };
    change.apply(&Command::PutOverride(Box::new(put))).await?;
    change.done().await
}

/// List the versions of an override
///
/// Newest first, as they were written; also of one that was removed.
#[utoipa::path(get, path = "/v1/overrides/{override}/versions", tag = "Overrides", params(PageParams),
    responses((status = 200, body = Page<OverrideVersion>)))]
async fn list_versions(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    mut query: Query,
) -> Result<Json<Page<OverrideVersion>>, ApiError> {
    let db = api.store.reader();
    let (row, program) = find_any(db, caller.account, &id).await?;
    let page = query.page::<i32>();
    query.finish()?;
    let find = override_version::Entity::find().filter(override_version::Column::OverrideId.eq(row.id));
    let mut rows = page.of(find, override_version::Column::Version).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.version);
    let view = |version| OverrideVersion::of(version, row.version, &program);
    let data = rows.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}
