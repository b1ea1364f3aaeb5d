//! The affiliate behind a contact: a customer by the merchant's own id.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    affiliates::Affiliate,
    customers::{self, Customer},
    lookup::{self, Names, Refs},
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        change::{ChangeRequest, begin},
        error::ApiError,
        fields::{Fields, Given, Input},
        page::Query,
    },
    domain::{
        ids::{AccountId, AffiliateId},
        time::Timestamp,
    },
    ledger::Command,
    store::entities::{affiliate, customer},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(read, link))
}

/// Whose a contact is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ContactAffiliate {
    /// The id that was asked for.
    #[schema(example = "c-1001")]
    pub contact: String,
    pub affiliate: Affiliate,
    pub customer: Customer,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({"affiliate": "june"}))]
pub struct ContactAffiliateInput {
    /// The affiliate must be enrolled in the contact's program, approved or pending.
    pub affiliate: String,
    /// Needed where several programs know the contact.
    pub program: Option<String>,
}

/// The customer that a contact is: in the program that `fields` name, or in the only one that knows it.
async fn find(
    db: &impl ConnectionTrait,
    account: AccountId,
    contact: &str,
    fields: &mut Fields,
) -> Result<customer::Model, ApiError> {
    let mut rows = customer::Entity::find()
        .filter(customer::Column::AccountId.eq(account.0))
        .filter(customer::Column::CustomerId.eq(contact))
        .order_by_asc(customer::Column::ProgramId)
        .all(db)
        .await?;
    if let Given::Is(slug) = fields.given("program", Input::text) {
        match lookup::program(db, account, &slug).await {
            Ok(program) => rows.retain(|row| row.program_id == program.id),
            Err(ApiError::NotFound(_)) => fields.wrong("program", "there is no such program"),
            Err(other) => return Err(other),
        }
    } else if rows.len() > 1 {
        let programs = rows.iter().map(|row| row.program_id).collect();
        let names = Names::load(db, account, Refs { programs, ..Refs::default() }).await?;
        let known: Vec<String> =
            rows.iter().map(|row| names.program(row.program_id)).collect::<Result<_, _>>()?;
        fields.wrong("program", format!("is required: the contact is known in {}", known.join(", ")));
    }
    rows.pop().ok_or(ApiError::NotFound("contact"))
}

async fn view(
    db: &impl ConnectionTrait,
    row: customer::Model,
    at: Timestamp,
) -> Result<ContactAffiliate, ApiError> {
    let account = AccountId(row.account_id);
    let affiliate = affiliate::Entity::find_by_id(row.affiliate_id)
        .filter(affiliate::Column::AccountId.eq(account.0))
        .one(db)
        .await?;
    let affiliate = Affiliate::of(affiliate.ok_or(ApiError::NotFound("contact"))?);
    let contact = row.customer_id.clone();
    let customer = customers::views(db, account, vec![row], at).await?.pop();
    Ok(ContactAffiliate { contact, affiliate, customer: customer.ok_or(ApiError::NotFound("contact"))? })
}

/// Read the affiliate of a contact
///
/// `contact` is the `customer_id` under which you report conversions.
#[utoipa::path(get, path = "/v1/contacts/{contact}/affiliate", tag = "Customers",
    params(("program" = Option<String>, Query, description = "Needed where several programs know the contact")),
    responses((status = 200, body = ContactAffiliate)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Segment(contact): Segment,
    mut query: Query,
) -> Result<Json<ContactAffiliate>, ApiError> {
    let db = api.store.snapshot().await?;
    let row = find(&db, caller.account, &contact, &mut query.fields).await?;
    query.finish()?;
    view(&db, row, Timestamp::now()).await.map(Json)
}

/// Link a contact to an affiliate
///
/// By hand, whatever attributed it: conversions from now on are theirs, what has settled stays. `contact` is the
/// `customer_id` under which you report conversions; one that is not known yet is made by `POST /v1/customers`.
#[utoipa::path(post, path = "/v1/contacts/{contact}/affiliate", tag = "Customers",
    request_body = ContactAffiliateInput, responses((status = 200, body = ContactAffiliate)))]
async fn link(
    State(api): State<Api>,
    Segment(contact): Segment,
    request: ChangeRequest,
) -> Result<Response, ApiError> {
    let change = begin!(request, api);
    let mut fields = request.fields()?;
    let row = find(&change.tx, change.account, &contact, &mut fields).await?;
    let slug = fields.required("affiliate", None, Input::text);
    let affiliate = match slug {
        Some(slug) => lookup::affiliate_of_field(&change.tx, change.account, &slug, &mut fields).await?,
        None => None,
    };
    fields.finish()?;
    let affiliate = affiliate.ok_or_else(|| ApiError::internal("no affiliate"))?;
    if affiliate != AffiliateId(row.affiliate_id) {
        change.apply(&Command::MoveCustomer { customer: row.id, affiliate, link: None }).await?;
    }
    let row = customer::Entity::find_by_id(row.id).one(&change.tx).await?;
    let view = view(&change.tx, row.ok_or(ApiError::NotFound("contact"))?, change.at).await?;
    change.answer(StatusCode::OK, &view).await
}
