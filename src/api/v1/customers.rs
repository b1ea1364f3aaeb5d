//! Customers: buyers as the merchant knows them, each bound to an affiliate in a program.

use std::collections::{BTreeSet, HashMap};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    convert,
    lookup::{self, Names, Refs},
    reports,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{Change, ChangeRequest, begin},
        error::ApiError,
        fields::{Fields, Given, Input},
        page::{Page, PageParams, Query},
        values,
    },
    domain::{
        customers::CustomerState,
        ids::{AccountId, AffiliateId, LinkId, Prefix, ProgramId},
        reason::{ConversionKind, CustomerStatus, CustomerTrack},
        time::Timestamp,
    },
    events::{Authority, Channel, Conversion},
    ledger::{self, Command, Effect},
    store::entities::{customer, customer_count, link, program},
};

/// Characters of an id from another system.
const MAX_ID: usize = 255;
/// Characters of a coupon or a program group.
const MAX_NAME: usize = 64;
/// The count that the `recurring_cap` looks at.
const CAP: &str = "cap";

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(read, update))
        .routes(routes!(cancel))
        .routes(routes!(uncancel))
}

/// A customer to create before the first conversion. At least one input must say whose it is.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"program": "summer", "customer_id": "c-1001", "coupon": "JANE10", "status": "trial"}))]
pub struct CustomerInput {
    /// Your id of the customer, unique in the program.
    #[schema(max_length = 255)]
    pub customer_id: String,
    /// The program, where the input should not decide it.
    pub program: Option<String>,
    pub program_group: Option<String>,
    #[schema(max_length = 64)]
    pub coupon: Option<String>,
    pub referral_code: Option<String>,
    /// A click token, or the id of a click.
    pub click_id: Option<String>,
    pub asset_id: Option<String>,
    pub source_id: Option<String>,
    pub tracking_id: Option<String>,
    /// Where the customer begins: `trial`, `lead` or `new` (the default).
    pub status: Option<String>,
}

/// A customer's affiliate to change.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"affiliate": "june"}))]
pub struct CustomerMoveChange {
    /// The affiliate must be enrolled in the customer's program, approved or pending.
    pub affiliate: Option<String>,
    /// A link of the affiliate in the customer's program; null: none.
    pub link: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Customer {
    #[schema(example = "cus_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f")]
    pub id: String,
    /// The merchant's id.
    #[schema(example = "c-1001")]
    pub customer_id: String,
    #[schema(example = "summer")]
    pub program: String,
    #[schema(example = "jane")]
    pub affiliate: String,
    pub link: Option<String>,
    /// `trial`, then `paying`; `lead`, then `won`; `new`, then `active`: the first conversion with an amount above 0
    /// moves it on. `capped` while the program's `recurring_cap` is reached, `canceled` until that is taken back.
    #[schema(example = "active")]
    pub status: String,
    /// When the first of its conversions that settled happened.
    pub first_conversion_at: Option<String>,
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
}

fn of_account(account: AccountId) -> Select<customer::Entity> {
    customer::Entity::find().filter(customer::Column::AccountId.eq(account.0))
}

pub(super) async fn views(
    db: &impl ConnectionTrait,
    account: AccountId,
    rows: Vec<customer::Model>,
    at: Timestamp,
) -> Result<Vec<Customer>, ApiError> {
    let refs = Refs {
        programs: rows.iter().map(|row| row.program_id).collect(),
        affiliates: rows.iter().map(|row| row.affiliate_id).collect(),
        links: rows.iter().filter_map(|row| row.link_id).collect(),
    };
    let caps = caps(db, account, &refs.programs, at).await?;
    let names = Names::load(db, account, refs).await?;
    let counts = customer_count::Entity::find()
        .filter(customer_count::Column::CustomerId.is_in(rows.iter().map(|row| row.id)))
        .filter(customer_count::Column::Subject.eq(CAP))
        .all(db)
        .await?;
    let counts: HashMap<Uuid, i64> =
        counts.into_iter().map(|count| (count.customer_id, count.conversions)).collect();
    let view = |row: customer::Model| {
        let track = CustomerTrack::parse(&row.track);
        let state = CustomerState {
            track: track.ok_or_else(|| ApiError::internal(format!("stored track {}", row.track)))?,
            moved_on: row.moved_on,
            canceled: row.canceled,
            counted: counts.get(&row.id).copied().unwrap_or(0),
        };
        Ok(Customer {
            id: Prefix::Customer.format(row.id),
            customer_id: row.customer_id,
            program: names.program(row.program_id)?,
            affiliate: names.affiliate(row.affiliate_id)?,
            link: row.link_id.map(|id| names.link(id)).transpose()?,
            status: state.status(caps.get(&row.program_id).copied()).as_str().to_owned(),
            first_conversion_at: row.first_at.map(convert::time),
            created_at: convert::time(row.created_at),
        })
    };
    rows.into_iter().map(view).collect()
}

/// The `recurring_cap` now in force of each program that has one.
async fn caps(
    db: &impl ConnectionTrait,
    account: AccountId,
    programs: &BTreeSet<i64>,
    at: Timestamp,
) -> Result<HashMap<i64, u32>, ApiError> {
    let mut caps = HashMap::new();
    for program in programs {
        if let Some(cap) = ledger::recurring_cap(db, account, ProgramId(*program), at).await? {
            caps.insert(*program, cap);
        }
    }
    Ok(caps)
}

/// Those of one status, in one program or in all.
async fn of_status(
    db: &impl ConnectionTrait,
    account: AccountId,
    status: CustomerStatus,
    program: Option<i64>,
) -> Result<Condition, ApiError> {
    use customer::Column;
    if status == CustomerStatus::Canceled {
        return Ok(Condition::all().add(Column::Canceled.eq(true)));
    }
    let programs = match program {
        Some(program) => [program].into(),
        None => {
            let ids = program::Entity::find()
                .select_only()
                .column(program::Column::Id)
                .filter(program::Column::AccountId.eq(account.0));
            ids.into_tuple::<i64>().all(db).await?.into_iter().collect()
        }
    };
    let caps = caps(db, account, &programs, Timestamp::now()).await?;
    // Never true, so that there is always something to add to.
    let mut capped = Condition::any().add(Column::ProgramId.is_in([0_i64; 0]));
    for (program, cap) in caps {
        let reached = customer_count::Entity::find()
            .select_only()
            .column(customer_count::Column::CustomerId)
            .filter(customer_count::Column::AccountId.eq(account.0))
            .filter(customer_count::Column::Subject.eq(CAP))
            .filter(customer_count::Column::Conversions.gte(i64::from(cap)))
            .into_query();
        let mut here = Condition::all().add(Column::ProgramId.eq(program));
        if cap > 0 {
            here = here.add(Column::Id.in_subquery(reached));
        }
        capped = capped.add(here);
    }
    let open = Condition::all().add(Column::Canceled.eq(false));
    Ok(match status.place() {
        None => open.add(capped),
        Some((track, moved_on)) => {
            open.add(Column::Track.eq(track.as_str())).add(Column::MovedOn.eq(moved_on)).add(capped.not())
        }
    })
}

/// List customers
#[utoipa::path(get, path = "/v1/customers", tag = "Customers",
    params(PageParams,
        ("program" = Option<String>, Query, description = "Only of this program"),
        ("affiliate" = Option<String>, Query, description = "Only of this affiliate"),
        ("customer_id" = Option<String>, Query, description = "Only of this id of yours"),
        ("status" = Option<String>, Query, description = "Only of this status")),
    responses((status = 200, body = Page<Customer>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Customer>>, ApiError> {
    let db = api.store.snapshot().await?;
    let of = lookup::filters(&db, caller.account, &mut query.fields).await?;
    let customer_id = query.fields.optional("customer_id", None, Input::text);
    let status =
        query.fields.optional("status", None, values::one_of(CustomerStatus::ALL, CustomerStatus::as_str));
    let page = query.page::<Uuid>();
    query.finish()?;
    let mut find = of_account(caller.account);
    if let Some(program) = of.program {
        find = find.filter(customer::Column::ProgramId.eq(program));
    }
    if let Some(affiliate) = of.affiliate {
        find = find.filter(customer::Column::AffiliateId.eq(affiliate));
    }
    if let Some(customer_id) = customer_id {
        find = find.filter(customer::Column::CustomerId.eq(customer_id));
    }
    if let Some(status) = status {
        find = find.filter(of_status(&db, caller.account, status, of.program).await?);
    }
    let mut rows = page.of(find, customer::Column::Id).all(&db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok(Json(Page { data: views(&db, caller.account, rows, Timestamp::now()).await?, next_cursor }))
}

const TRACKS: &[(&str, CustomerTrack)] =
    &[("trial", CustomerTrack::Trial), ("lead", CustomerTrack::Lead), ("new", CustomerTrack::New)];

/// What attributes a customer, as a conversion that has not happened.
fn inputs(fields: &mut Fields, account: AccountId) -> Conversion {
    let customer_id = fields.required("customer_id", None, values::text(MAX_ID));
    let mut text = |name, max| fields.optional(name, None, values::text(max));
    Conversion {
        account,
        kind: ConversionKind::Conversion,
        channel: Channel::Rest,
        authority: Authority::Secret,
        fingerprint: String::new(),
        program: text("program", MAX_ID),
        program_group: text("program_group", MAX_NAME),
        external_id: None,
        amount: None,
        currency: None,
        customer_id,
        coupon: text("coupon", MAX_NAME),
        referral_code: text("referral_code", MAX_ID),
        click_id: text("click_id", MAX_ID),
        asset_id: text("asset_id", MAX_ID),
        source_id: text("source_id", MAX_ID),
        tracking_id: text("tracking_id", MAX_ID),
        commission_type: None,
        commissions: Vec::new(),
        occurred_at: None,
        sub_ids: Default::default(),
        meta_data: serde_json::Map::new(),
    }
}

/// Create a customer
///
/// Attributed now, by the same inputs as a conversion, so that later conversions need nothing but `customer_id`. Where
/// no input resolves it is refused, with the reason of each in `warnings`; a click that is not stored yet is passed
/// over.
#[utoipa::path(post, path = "/v1/customers", tag = "Customers", request_body = CustomerInput,
    responses((status = 201, body = Customer)))]
async fn create(State(api): State<Api>, request: ChangeRequest) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let inputs = inputs(&mut fields, request.caller.account);
    let track = fields.or("status", CustomerTrack::New, values::word(TRACKS));
    fields.finish()?;
    let change = begin!(request, api);
    let evidence = Box::new(api.intake.gather(&change.tx, &inputs, change.at).await?);
    let id = Uuid::now_v7();
    let command = Command::CreateCustomer { id, inputs: Box::new(inputs.clone()), track, evidence };
    if let Effect::Rejected { reason, detail, passed_over } = change.apply(&command).await? {
        let field = reports::field_of_conversion(reason, detail.as_deref(), &inputs);
        return Err(ApiError::Rejected { reason, detail, field, passed_over });
    }
    answer(change, id, StatusCode::CREATED).await
}

async fn answer(change: Change, id: Uuid, status: StatusCode) -> Result<Response, ApiError> {
    let row = of_account(change.account).filter(customer::Column::Id.eq(id)).one(&change.tx).await?;
    let row = row.ok_or(ApiError::NotFound("customer"))?;
    let view = views(&change.tx, change.account, vec![row], change.at).await?.pop();
    change.answer(status, &view).await
}

async fn find(db: &impl ConnectionTrait, account: AccountId, id: &str) -> Result<customer::Model, ApiError> {
    let id = lookup::id(Prefix::Customer, "customer", id)?;
    let row = of_account(account).filter(customer::Column::Id.eq(id)).one(db).await?;
    row.ok_or(ApiError::NotFound("customer"))
}

/// Read a customer
#[utoipa::path(get, path = "/v1/customers/{customer}", tag = "Customers",
    responses((status = 200, body = Customer)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<Customer>, ApiError> {
    let db = api.store.snapshot().await?;
    let row = find(&db, caller.account, &id).await?;
    let view = views(&db, caller.account, vec![row], Timestamp::now()).await?.pop();
    view.map(Json).ok_or(ApiError::NotFound("customer"))
}

/// Move a customer
///
/// To another affiliate, or to another link of the same. Conversions from now on are theirs; what has settled stays.
#[utoipa::path(patch, path = "/v1/customers/{customer}", tag = "Customers", request_body = CustomerMoveChange,
    responses((status = 200, body = Customer)))]
async fn update(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let row = find(&change.tx, change.account, &id).await?;
    let mut fields = request.fields()?;
    let affiliate = affiliate(&change, &row, &mut fields).await?;
    let link = link(&change, &row, affiliate, &mut fields).await?;
    fields.finish()?;
    if (affiliate.0, link.map(|link| link.0)) != (row.affiliate_id, row.link_id) {
        change.apply(&Command::MoveCustomer { customer: row.id, affiliate, link }).await?;
    }
    answer(change, row.id, StatusCode::OK).await
}

/// Reads the affiliate to whom a customer moves; the present one where none is given.
async fn affiliate(
    change: &Change,
    row: &customer::Model,
    fields: &mut Fields,
) -> Result<AffiliateId, ApiError> {
    let present = AffiliateId(row.affiliate_id);
    let slug = match fields.given("affiliate", Input::text) {
        Given::Is(slug) => slug,
        Given::Absent | Given::Wrong => return Ok(present),
        Given::Null => {
            fields.wrong("affiliate", "must not be null");
            return Ok(present);
        }
    };
    let found = lookup::affiliate_of_field(&change.tx, change.account, &slug, fields).await?;
    Ok(found.unwrap_or(present))
}

/// Reads the link; the present one stays as long as its affiliate does.
async fn link(
    change: &Change,
    row: &customer::Model,
    affiliate: AffiliateId,
    fields: &mut Fields,
) -> Result<Option<LinkId>, ApiError> {
    let uid = match fields.given("link", values::id(Prefix::Link)) {
        Given::Is(uid) => uid,
        Given::Absent if affiliate.0 == row.affiliate_id => return Ok(row.link_id.map(LinkId)),
        Given::Absent | Given::Null | Given::Wrong => return Ok(None),
    };
    let found = link::Entity::find()
        .filter(link::Column::AccountId.eq(change.account.0))
        .filter(link::Column::Uid.eq(uid))
        .filter(link::Column::ProgramId.eq(row.program_id))
        .filter(link::Column::AffiliateId.eq(affiliate.0))
        .filter(link::Column::DeletedAt.is_null())
        .one(&change.tx)
        .await?;
    if found.is_none() {
        fields.wrong("link", "is no link of the affiliate in the customer's program");
    }
    Ok(found.map(|row| LinkId(row.id)))
}

/// Cancel a customer
///
/// What happens from now on earns nothing (`customer_canceled`), until it is taken back.
#[utoipa::path(post, path = "/v1/customers/{customer}/cancel", tag = "Customers",
    responses((status = 200, body = Customer)))]
async fn cancel(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    set_canceled(&api, &id, request, true).await
}

/// Take a cancellation back
///
/// The customer has the status again that it would have had.
#[utoipa::path(post, path = "/v1/customers/{customer}/uncancel", tag = "Customers",
    responses((status = 200, body = Customer)))]
async fn uncancel(
    State(api): State<Api>,
    Segment(id): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    set_canceled(&api, &id, request, false).await
}

async fn set_canceled(
    api: &Api,
    id: &str,
    request: ChangeRequest,
    canceled: bool,
) -> Result<Response, ApiError> {
    let change = begin!(request, *api);
    let row = find(&change.tx, change.account, id).await?;
    request.fields()?.finish()?;
    change.apply(&Command::SetCanceled { customer: row.id, canceled }).await?;
    answer(change, row.id, StatusCode::OK).await
}
