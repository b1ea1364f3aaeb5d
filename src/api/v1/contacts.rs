//! The affiliate behind a contact: a customer by the merchant's own id.

use axum::{Json, extract::State};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    affiliates::Affiliate,
    customers::{self, Customer},
    lookup,
};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        error::ApiError,
        fields::{Given, Input},
        page::Query,
    },
    domain::time::Timestamp,
    store::entities::{affiliate, customer},
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(read))
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
    let mut find = customer::Entity::find()
        .filter(customer::Column::AccountId.eq(caller.account.0))
        .filter(customer::Column::CustomerId.eq(contact.as_str()));
    if let Given::Is(slug) = query.fields.given("program", Input::text) {
        match lookup::program(&db, caller.account, &slug).await {
            Ok(program) => find = find.filter(customer::Column::ProgramId.eq(program.id)),
            Err(ApiError::NotFound(_)) => query.fields.wrong("program", "there is no such program"),
            Err(other) => return Err(other),
        }
    }
    query.finish()?;
    let rows = find.order_by_asc(customer::Column::ProgramId).all(&db).await?;
    let mut known = customers::views(&db, caller.account, rows.clone(), Timestamp::now()).await?;
    let (Some(customer), Some(row)) = (known.pop(), rows.last()) else {
        return Err(ApiError::NotFound("contact"));
    };
    if !known.is_empty() {
        let programs: Vec<&str> = known.iter().chain([&customer]).map(|one| one.program.as_str()).collect();
        let message = format!("is required: the contact is known in {}", programs.join(", "));
        return Err(ApiError::field("program", message));
    }
    let affiliate = affiliate::Entity::find_by_id(row.affiliate_id)
        .filter(affiliate::Column::AccountId.eq(caller.account.0))
        .one(&db)
        .await?;
    let affiliate = Affiliate::of(affiliate.ok_or(ApiError::NotFound("contact"))?);
    Ok(Json(ContactAffiliate { contact, affiliate, customer }))
}
