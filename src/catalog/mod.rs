//! What an edge must know to serve, and nothing else.
//!
//! The store's transactions write [`CatalogRecord`]s to an outbox; a feed brings them to every edge in order; the
//! [`Catalog`] holds the newest version of each, lock-free to read.

mod link_entry;
mod link_table;
#[cfg(test)]
mod model;
mod records;
pub mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod versions;

pub use link_entry::LinkEntry;
pub use records::{
    AccountRecord, AffiliateRecord, CatalogRecord, DomainRecord, KeyKind, KeyRecord, LinkRecord,
    ProgramRecord, RecordKey, Scope, UnknownKey, Versioned,
};
pub use table::{Catalog, CatalogReader};
