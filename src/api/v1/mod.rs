//! The native API. Each resource has a file with its shapes and its routes; `lookup` keeps every query inside the
//! caller's account.

pub mod adjustments;
pub mod affiliates;
pub mod balances;
pub mod bonuses;
pub mod clicks;
pub mod commissions;
pub mod contacts;
pub mod conversions;
mod convert;
pub mod coupons;
pub mod customers;
pub mod domains;
pub mod enrolments;
pub mod groups;
pub mod links;
mod lookup;
pub mod memberships;
pub mod overrides;
pub mod parents;
pub mod payments;
pub mod payout_minimums;
pub mod payouts;
pub mod preview;
pub mod prices;
pub mod programs;
mod promotion;
mod range;
pub mod rates;
pub mod refunds;
pub mod rejected;
mod report;
pub mod reports;
mod sent;
pub mod statistics;

use utoipa_axum::router::OpenApiRouter;

use super::Api;

/// All routes of `/v1`.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .merge(programs::routes())
        .merge(affiliates::routes())
        .merge(enrolments::routes())
        .merge(groups::routes())
        .merge(memberships::routes())
        .merge(parents::routes())
        .merge(overrides::routes())
        .merge(links::routes())
        .merge(coupons::routes())
        .merge(bonuses::routes())
        .merge(domains::routes())
        .merge(clicks::routes())
        .merge(conversions::routes())
        .merge(reports::routes())
        .merge(refunds::routes())
        .merge(customers::routes())
        .merge(contacts::routes())
        .merge(commissions::routes())
        .merge(preview::routes())
        .merge(adjustments::routes())
        .merge(balances::routes())
        .merge(payments::routes())
        .merge(payouts::routes())
        .merge(payout_minimums::routes())
        .merge(statistics::routes())
        .merge(rejected::routes())
        .merge(rates::routes())
}
