//! What happens by the clock: the catalog's feed and the end of what is kept for a time only.

pub mod audit;
pub mod catalog_feed;
pub mod retention;
