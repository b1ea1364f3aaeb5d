//! What happens by the clock: bonuses, the catalog's feeds and its publisher, and the end of what is kept for a time only.

pub mod audit;
pub mod bonuses;
pub mod catalog_feed;
pub mod catalog_publisher;
pub mod catalog_republish;
pub mod catalog_topic;
pub mod retention;
