//! The data plane: redirects, the pixel, REST collection (DESIGN sections 5 to 8).

mod append;
mod body;
pub mod click;
mod click_batch;
mod click_ids;
mod collect;
mod cookies;
pub mod core;
mod deep_link;
mod host;
mod location;
mod origin;
mod pixel;
mod pixel_signature;
mod problem;
mod query;
pub mod redirect;
mod response;
mod router;
