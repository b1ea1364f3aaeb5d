//! A redirect's own work, from the parsed request to the answer, without sockets; and what is done for it afterwards.
//!
//! Prints the heap allocations of each before the times. With `WAYPOST_BENCH_GEOIP`, the path of a database of
//! countries, places are looked up.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a bench stops at the unexpected, and prints")]

#[path = "support/redirect.rs"]
mod support;

use std::path::PathBuf;

use allocation_counter::measure;
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use waypost::{domain::time::Timestamp, edge::redirect::redirect};

fn redirects(c: &mut Criterion) {
    let geoip = std::env::var_os("WAYPOST_BENCH_GEOIP").map(PathBuf::from);
    println!("places are {}looked up", if geoip.is_some() { "" } else { "not " });
    let core = support::core(geoip);
    let peer = support::peer();
    let mut group = c.benchmark_group("redirect");
    for (name, target) in support::TARGETS {
        let parts = support::request(target, true);
        let mut texts = Vec::with_capacity(256 * 512);
        let answered = redirect(&core, &parts, peer, &mut texts);
        assert_eq!(answered.response.status(), 302);
        texts.clear();
        let mut kept = None;
        let own = measure(|| kept = Some(redirect(&core, &parts, peer, &mut texts)));
        let click = kept.and_then(|redirected| redirected.click).expect("a click");
        let mut buffer = BytesMut::with_capacity(4096);
        let after = measure(|| drop(core.write_down(&mut buffer, (&click, &texts), None, Timestamp::now())));
        println!("{name}: {} allocations to answer, {} to write it down", own.count_total, after.count_total);
        group.bench_function(format!("answer/{name}"), |b| {
            let mut texts = Vec::with_capacity(256 * 512);
            b.iter_batched(
                || parts.clone(),
                |parts| {
                    if texts.len() > 255 * 512 {
                        texts.clear();
                    }
                    redirect(&core, &parts, peer, &mut texts)
                },
                BatchSize::NumIterations(32),
            );
        });
        group.bench_function(format!("write_down/{name}"), |b| {
            // As a batch does: one buffer for 256 records.
            let mut buffer = BytesMut::new();
            let mut records = Vec::with_capacity(256);
            b.iter(|| {
                if records.len() == 256 {
                    records.clear();
                    buffer = BytesMut::with_capacity(256 * 768);
                }
                records.push(core.write_down(
                    &mut buffer,
                    (&click, &texts),
                    None,
                    Timestamp(1_800_000_000_000),
                ));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, redirects);
criterion_main!(benches);
