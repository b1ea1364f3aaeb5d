//! Waypost: click and conversion tracking for affiliate programs, from the followed link to the commission.
//!
//! The map of the crate, in the order in which an event travels:
//!
//! | module | what lives there |
//! |---|---|
//! | [`edge`] | the data plane: redirects, the pixel, REST collection |
//! | [`catalog`] | what an edge must know to serve |
//! | [`visitor`] | who follows a link: user agent, country, traffic class, repeats |
//! | [`events`] | what is written down: types, versions, encoding |
//! | [`stream`] | the event log between edge and settlement |
//! | [`settlement`] | reads the log, in order, exactly once in effect |
//! | [`ledger`] | the only writer of money |
//! | [`domain`] | the rules as pure functions |
//! | [`store`] | entities, migrations and queries |
//! | [`jobs`] | what happens by the clock |
//! | [`api`] | the management API |
//! | [`telemetry`] | metrics and logs |
//! | [`config`], [`commands`] | settings, and the subcommands that wire the parts |
//!
//! Dependencies point one way: `domain` knows nobody; `events`, `catalog`, `visitor`, `stream` and `store`
//! know `domain`; `ledger` knows `store` and `domain`; `edge`, `settlement`, `jobs` and `api` know those and
//! never each other. Only `commands` wires them together.

pub mod api;
pub mod catalog;
pub mod commands;
pub mod config;
pub mod domain;
pub mod edge;
pub mod events;
pub mod jobs;
pub mod ledger;
pub mod settlement;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod visitor;
