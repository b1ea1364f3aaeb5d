//! Every metric name, label and help text, one file per concern; logs.
//!
//! Each concern has a struct of resolved handles whose `register()` describes every series and sets it to 0, so that
//! an alert never waits for a series to appear. Labels come from closed sets, never from a request. Handles are
//! cheap to clone and are resolved once, at start.
//!
//! [`recorder`] keeps the series, [`admin`] shows them beside the probes, [`logs`] writes what happens.

pub mod admin;
pub mod api;
pub mod audit;
pub mod bonuses;
pub mod catalog;
pub mod edge;
pub mod kafka;
pub mod kafka_consumer;
pub mod logs;
pub mod process;
pub mod readiness;
pub mod recorder;
pub mod redis;
pub mod series;
pub mod settlement;
pub mod stream;
pub mod visitor;

pub use readiness::{Condition, Readiness};
pub use recorder::Metrics;
