//! The data plane: redirects, the pixel, REST collection (DESIGN sections 5 to 8).
//!
//! [`bind`] takes the port, [`serve`] answers until it is told to stop, and then drains. In the order of a request:
//! `listener`, `connection`, `router`, then [`redirect`], `pixel` or `collect`; then `click_batch` or `append` to the
//! event log. A request that is refused gets a [`Refusal`].
//!
//! Each core is on its own: it shares with the others what is read without a lock, and the event log.

mod append;
mod body;
pub mod click;
mod click_batch;
mod click_ids;
mod click_record;
mod closing;
mod collect;
mod connection;
mod cookies;
mod core;
mod deep_link;
mod host;
mod json_object;
mod lifecycle;
mod listener;
mod location;
mod origin;
mod pending_clicks;
mod pixel;
mod pixel_signature;
mod problem;
mod query;
mod readiness;
pub mod redirect;
mod response;
mod router;
mod serve;
mod write_deadline;

pub use self::{
    core::{Core, EdgeParts},
    listener::{Listeners, bind, core_count},
    problem::{Problem, Refusal},
    readiness::Readiness,
    response::EdgeBody,
    serve::{CoreFailed, EdgeHandle, serve},
};
