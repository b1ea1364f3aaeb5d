//! Link look-ups among a thousand and a million links, and the time to load a million.
//!
//! `random` asks for links in an order that no cache foresees, `same` for one over and over: a redirect lies
//! between the two.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use waypost::{
    catalog::{Catalog, CatalogRecord, LinkRecord, Versioned},
    domain::ids::{AccountId, AffiliateId, LinkId, ProgramId},
};

const ACCOUNT: AccountId = AccountId(7);

fn code(n: usize) -> String {
    format!("code{n:08x}")
}

fn record(n: usize) -> Versioned {
    let number = i64::try_from(n).unwrap_or(i64::MAX);
    Versioned {
        version: 1,
        record: CatalogRecord::Link(LinkRecord {
            id: LinkId(number),
            account: ACCOUNT,
            code: code(n),
            program: ProgramId(number % 10),
            affiliate: AffiliateId(number / 10),
            destination: n
                .is_multiple_of(2)
                .then(|| format!("https://shop.example/products/{n}?from=affiliate")),
            source_id: None,
            asset_id: None,
            expires_at: None,
            deleted: false,
        }),
    }
}

fn filled(links: usize) -> Catalog {
    let catalog = Catalog::new();
    (0..links).for_each(|n| catalog.apply(record(n)));
    assert_eq!(catalog.link_count(), links);
    catalog
}

/// All codes once, far from each other.
fn scattered(links: usize) -> Vec<String> {
    // Prime to any power of ten, so the steps meet every number.
    const STEP: usize = 7_368_787;
    (0..links).map(|n| code(n * STEP % links)).collect()
}

fn look_ups(c: &mut Criterion) {
    let mut group = c.benchmark_group("catalog/link");
    group.throughput(Throughput::Elements(1));
    for links in [1_000, 1_000_000] {
        let catalog = filled(links);
        let codes = scattered(links);
        let absent: Vec<String> = codes.iter().map(|code| format!("{code}~")).collect();
        for (name, codes) in [("hit_random", &codes), ("miss_random", &absent)] {
            group.bench_function(BenchmarkId::new(name, links), |b| {
                let mut next = codes.iter().cycle();
                b.iter(|| {
                    let code = next.next().map_or("", String::as_str);
                    catalog.read().link(ACCOUNT, code).map(|link| link.program())
                });
            });
        }
        group.bench_function(BenchmarkId::new("hit_same", links), |b| {
            b.iter(|| catalog.read().link(ACCOUNT, black_box("code00000123")).map(|link| link.program()));
        });
        group.bench_function(BenchmarkId::new("by_id_random", links), |b| {
            let mut n = 0;
            b.iter(|| {
                n = (n + 7_368_787) % links;
                let id = LinkId(i64::try_from(n).unwrap_or_default());
                catalog.read().link_by_id(id).map(|link| link.program())
            });
        });
    }
    group.bench_function("read_alone", |b| {
        let catalog = filled(1);
        b.iter(|| {
            black_box(catalog.read());
        });
    });
    group.finish();
}

fn load(c: &mut Criterion) {
    const LINKS: usize = 1_000_000;
    let mut group = c.benchmark_group("catalog/load");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.throughput(Throughput::Elements(LINKS as u64));
    group.bench_function("1000000", |b| {
        b.iter_batched(
            || (0..LINKS).map(record).collect::<Vec<_>>(),
            |records| {
                let catalog = Catalog::new();
                records.into_iter().for_each(|record| catalog.apply(record));
                catalog
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, look_ups, load);
criterion_main!(benches);
