//! Statuses of a stored conversion or refund.

use crate::store::entities::conversion;

pub const SETTLED: &str = "settled";
pub const PENDING: &str = "pending";
pub const HELD: &str = "held";
pub const DECLINED: &str = "declined";
/// The authenticated one took its place.
pub const REPLACED: &str = "replaced";
/// It waited in vain.
pub const REJECTED: &str = "rejected";
pub const DELETED: &str = "deleted";

/// Whether a refund that names this conversion still has to wait for it.
pub(super) fn is_waiting(row: &conversion::Model) -> bool {
    matches!(row.status.as_str(), PENDING | HELD)
}
