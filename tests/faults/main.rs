//! Nothing is lost: edges, settlements, APIs, Kafka, Redis and PostgreSQL are killed, stopped, frozen, cut off and run
//! out of disk, while visitors, shops and merchants go on. Afterwards every answer that promised something has exactly
//! one effect.
//!
//! ```sh
//! cargo test --test faults -- --nocapture                          # short, as scripts/test runs it
//! WAYPOST_FAULTS=200 cargo test --test faults -- --nocapture       # long
//! WAYPOST_FAULTS_SEED=7 cargo test --test faults -- --nocapture    # the same faults again
//! ```
//!
//! The services are this test's own, in a folder that is kept when it fails. As root it also fills small disks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests stop at the unexpected, as tests do"
)]

mod books;
mod chance;
mod chaos;
mod diary;
mod disk;
mod ending;
mod lines;
mod market;
mod merchant;
mod mutations;
mod orders;
mod processes;
mod services;
mod totals;
mod verdict;
mod visitor;
mod world;

use std::{sync::Arc, time::Instant};

use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use crate::{
    chance::Chance,
    chaos::Chaos,
    diary::Diary,
    ending::{Told, end},
    merchant::{Ledger, Merchant},
    processes::Role,
    verdict::Story,
    visitor::Visitor,
    world::World,
};

/// Visitors at a time.
const VISITORS: usize = 8;

/// Faults of the short form.
const FAULTS: u32 = 22;

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost() {
    let begun = Instant::now();
    let seed = number("WAYPOST_FAULTS_SEED").unwrap_or_else(|| Uuid::now_v7().as_u64_pair().1 >> 32);
    let faults = number("WAYPOST_FAULTS").unwrap_or(FAULTS);
    println!("WAYPOST_FAULTS_SEED={seed} WAYPOST_FAULTS={faults}");
    let mut chance = Chance::new(seed);
    let world = Arc::new(World::start().await);
    println!("started in {:.1} s", begun.elapsed().as_secs_f32());

    let stop = watch::Sender::new(false);
    let mut visitors = JoinSet::new();
    for visitor in 0..VISITORS {
        let (market, edges, tokens) = (Arc::clone(&world.market), world.of(Role::Edge), world.tokens.clone());
        let visitor = Visitor::new(visitor, market, edges, tokens, chance.fork(), stop.subscribe());
        visitors.spawn(visitor.run());
    }
    let mut merchants = JoinSet::new();
    for account in 0..world.market.len() {
        let merchant = Merchant::new(Arc::clone(&world.market), account, world.of(Role::Api));
        merchants.spawn(merchant.run(stop.subscribe(), chance.fork()));
    }
    let chaos = Chaos::new(Arc::clone(&world), chance);
    let done = chaos.run(faults).await;
    let chaos_took = begun.elapsed();

    world.all_ready().await;
    stop.send_replace(true);
    let mut diary = Diary::default();
    while let Some(other) = visitors.join_next().await {
        diary.add(other.unwrap());
    }
    println!(
        "visitors and shops have finished {:.1} s after the last fault",
        (begun.elapsed() - chaos_took).as_secs_f32()
    );
    let mut ledger = Ledger::default();
    while let Some(other) = merchants.join_next().await {
        ledger.add(other.unwrap());
    }
    let story =
        Story { market: Arc::clone(&world.market), diary, ledger, faults: done, edges: Vec::new(), tries: 0 };
    end(&world, story, Told { seed, begun, chaos_took }).await;
}
