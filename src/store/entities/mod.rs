//! One file per table. Times are milliseconds since 1970 in UTC, amounts are minor units, words come from
//! `domain::reason`.

pub mod account;
pub mod affiliate;
pub mod api_key;
pub mod balance;
pub mod catalog_publication;
pub mod catalog_record;
pub mod claim;
pub mod click;
pub mod click_rollup;
pub mod commission_line;
pub mod conversion;
pub mod coupon;
pub mod customer;
pub mod domain;
pub mod enrolment;
pub mod id_sequence;
pub mod idempotency_key;
pub mod journal_entry;
pub mod line_change;
pub mod link;
pub mod position;
pub mod posting;
pub mod program;
pub mod program_version;
pub mod refund;
pub mod rejected_event;
pub mod seen_range;
pub mod standing;
pub mod stream_outcome;
