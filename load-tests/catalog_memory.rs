//! Resident memory of a catalog full of links, and the time to fill it.
//!
//! `cargo run --release --features load-tests --bin catalog_memory -- 10000000`: codes of 12 characters, a destination of its own
//! (50 characters) for every other link. `... 10000000 all` gives every link one. Reads `/proc`, so Linux only.

#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::{fs, io, time::Instant};

use waypost::{
    catalog::{Catalog, CatalogRecord, LinkRecord, Versioned},
    domain::ids::{AccountId, AffiliateId, LinkId, ProgramId},
};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let links: i64 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let all = arguments.next().is_some();

    let before = status("VmRSS:")?;
    let began = Instant::now();
    let catalog = Catalog::new();
    for n in 0..links {
        let destination =
            (all || n % 2 == 0).then(|| format!("https://shop.example/products/{n:09}?from=partner"));
        let record = CatalogRecord::Link(LinkRecord {
            id: LinkId(n),
            account: AccountId(n % 1_000),
            code: format!("code{n:08x}"),
            program: ProgramId(n % 5_000),
            affiliate: AffiliateId(n / 10),
            destination,
            source_id: None,
            asset_id: None,
            expires_at: None,
            deleted: false,
        });
        catalog.apply(Versioned { version: 1, record });
    }
    let took = began.elapsed();
    let after = status("VmRSS:")?;
    println!(
        "{} links: {} MB resident, {} bytes each, {} MB at the peak, filled in {took:.2?}",
        catalog.link_count(),
        (after - before) / 1_024,
        (after - before) * 1_024 / links.max(1),
        status("VmHWM:")? / 1_024,
    );
    Ok(())
}

/// A line of `/proc/self/status`, in KB.
fn status(name: &str) -> io::Result<i64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or_default())
}
