//! What visitors and shops did and what they were told: the obligations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use crate::market::Program;

/// How often something was sent, and how often it was answered with 202. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub tries: u32,
    pub taken: u32,
    /// When it was sent first, and when the last answer came or was given up.
    pub first: i64,
    pub last: i64,
}

/// A link that was followed and answered.
#[derive(Clone, Debug)]
pub struct Click {
    pub id: Uuid,
    pub token: String,
    pub edge: &'static str,
    pub asked: i64,
    pub answered: i64,
    /// Reported over REST and answered 202: an obligation like any.
    pub owed: bool,
}

/// By what an order is to be attributed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Token(Uuid),
    /// The click's bare id: it waits until the click is stored.
    Bare(Uuid),
    Coupon,
    Code,
    /// A token, and a customer who stays with the affiliate.
    Customer(Uuid, String),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `POST /v1/events/conversion`
    Rest,
    Pixel,
}

/// What a shop knows of one order.
#[derive(Clone, Debug)]
pub struct Order {
    /// In the event's `meta_data`, so that every trace of it is found again.
    pub name: String,
    pub account: usize,
    pub program: Program,
    pub affiliate: String,
    pub external_id: Option<String>,
    pub by: By,
    pub way: Way,
    pub amount: i64,
    pub occurred_at: Option<i64>,
    pub body: Value,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    pub sent: Sent,
    /// The same external id with another amount.
    pub rival: Option<(i64, Sent)>,
    /// Event ids that it was answered with.
    pub event_ids: BTreeSet<String>,
    pub refunds: Vec<Refund>,
}

#[derive(Clone, Debug)]
pub struct Refund {
    pub name: String,
    /// None: all of it.
    pub amount: Option<i64>,
    pub body: Value,
    pub sent: Sent,
}

/// How requests were answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// By what was asked and the status; `cut`: none came.
    pub by_status: BTreeMap<(&'static str, String), u64>,
    /// By the `Waypost-Durability` header.
    pub durability: BTreeMap<String, u64>,
    /// Answers that nobody should get.
    pub wrong: Vec<String>,
}

impl Answers {
    pub fn count(&mut self, what: &'static str, status: &str) {
        *self.by_status.entry((what, status.to_owned())).or_default() += 1;
    }

    pub fn requests(&self) -> u64 {
        self.by_status.values().sum()
    }
}

/// What one visitor and shop did.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    pub clicks: Vec<Click>,
    pub orders: Vec<Order>,
    pub answers: Answers,
}

impl Diary {
    pub fn add(&mut self, other: Self) {
        self.clicks.extend(other.clicks);
        self.orders.extend(other.orders);
        for (key, count) in other.answers.by_status {
            *self.answers.by_status.entry(key).or_default() += count;
        }
        for (key, count) in other.answers.durability {
            *self.answers.durability.entry(key).or_default() += count;
        }
        self.answers.wrong.extend(other.answers.wrong);
    }
}
