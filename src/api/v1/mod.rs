//! The native API. Each resource has a file with its shapes and its routes; `lookup` keeps every query inside the
//! caller's account.

pub mod affiliates;
pub mod balances;
pub mod clicks;
pub mod commissions;
pub mod conversions;
mod convert;
pub mod coupons;
pub mod domains;
pub mod enrolments;
pub mod links;
mod lookup;
pub mod programs;
mod promotion;
mod range;
pub mod rejected;
mod report;
pub mod statistics;

use utoipa_axum::router::OpenApiRouter;

use super::Api;

/// All routes of `/v1`.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .merge(programs::routes())
        .merge(affiliates::routes())
        .merge(enrolments::routes())
        .merge(links::routes())
        .merge(coupons::routes())
        .merge(domains::routes())
        .merge(clicks::routes())
        .merge(conversions::routes())
        .merge(commissions::routes())
        .merge(balances::routes())
        .merge(statistics::routes())
        .merge(rejected::routes())
}
