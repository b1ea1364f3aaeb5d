//! What is found out about a visitor before the redirect, and the duplicate check after it.
//!
//! The geo look-up wants a real database: `scripts/geoip`, or the path of one in `WAYPOST_BENCH_GEOIP`. Without it
//! that bench is left out and says so.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::print_stderr, reason = "says what it leaves out")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;
use waypost::{
    config::GeoipSettings,
    domain::{ids::LinkId, time::Timestamp},
    visitor::{
        Geo, MemoryRecentVisits, RecentVisits, TrustedProxies, UserAgents, Visit, VisitorHasher, ip_prefix,
        is_prefetch,
    },
};

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/138.0.0.0 Safari/537.36";
const GOOGLEBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

fn user_agents(c: &mut Criterion) {
    let mut group = c.benchmark_group("visitor/user_agent");
    let mut agents = UserAgents::new(10_000);
    group.bench_function("hit", |b| b.iter(|| agents.look(black_box(CHROME))));
    for (name, ua) in [("miss_browser", CHROME), ("miss_crawler", GOOGLEBOT)] {
        let mut n = 0_u64;
        group.bench_function(name, |b| {
            b.iter(|| {
                n += 1;
                agents.look(&format!("{ua} x/{n}"))
            });
        });
    }
    group.finish();
}

fn geo(c: &mut Criterion) {
    let path = std::env::var_os("WAYPOST_BENCH_GEOIP")
        .map_or_else(|| PathBuf::from(".waypost/geoip/geo-whois-asn-country.mmdb"), PathBuf::from);
    if !path.exists() {
        eprintln!("visitor/geo: left out, {} is not there (scripts/geoip fetches it)", path.display());
        return;
    }
    let settings = GeoipSettings {
        country: path,
        asn: PathBuf::new(),
        hosting_networks: Vec::new(),
        check_interval_ms: 60_000,
    };
    let mut group = c.benchmark_group("visitor/geo");
    group.sample_size(10).bench_function("open_and_validate", |b| b.iter(|| Geo::open(&settings).is_ok()));
    let geo = match Geo::open(&settings) {
        Ok(geo) => geo,
        Err(error) => {
            eprintln!("visitor/geo: left out, {error}");
            return;
        }
    };
    for ip in
        ["8.8.8.8", "1.1.1.1", "193.99.144.80", "81.2.69.142", "2001:4860:4860::8888", "2a02:2e0:3fe:1001::"]
    {
        let place = ip.parse().map(|ip| geo.reader().look_up(ip));
        eprintln!(
            "visitor/geo: {ip} is in {}",
            place.ok().as_ref().and_then(|p| p.country_str()).unwrap_or("?")
        );
    }
    group.sample_size(100);
    let mut reader = geo.reader();
    group.bench_function("look_up_same", |b| {
        b.iter(|| reader.look_up(black_box(IpAddr::from([193, 99, 144, 80]))))
    });
    let mut bits = 1_u32;
    group.bench_function("look_up_random_ipv4", |b| {
        b.iter(|| {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            reader.look_up(Ipv4Addr::from_bits(bits).into())
        });
    });
    group.finish();
}

fn addresses(c: &mut Criterion) {
    let mut group = c.benchmark_group("visitor/address");
    let proxies =
        TrustedProxies::new(["10.0.0.0/8", "fd00::/8"].iter().filter_map(|net| net.parse().ok()).collect());
    let peer = IpAddr::from([10, 0, 0, 1]);
    group.bench_function("client_ip_behind_two_proxies", |b| {
        b.iter(|| proxies.client_ip(peer, [black_box("203.0.113.9, 10.0.0.2")].into_iter()));
    });
    group.bench_function("ip_prefix", |b| b.iter(|| ip_prefix(black_box(peer))));
    let hasher = VisitorHasher::new([7; 32]);
    let agent = UserAgents::new(1).look(CHROME);
    group.bench_function("visitor_hash", |b| b.iter(|| hasher.visitor(peer, black_box(agent), 20_000)));
    group.bench_function("visit_key", |b| b.iter(|| hasher.visit_key(peer, black_box(agent), LinkId(42))));
    let mut headers = HeaderMap::new();
    for name in
        ["host", "user-agent", "accept", "accept-language", "accept-encoding", "sec-fetch-mode", "referer"]
    {
        headers.insert(name, HeaderValue::from_static("something"));
    }
    group.bench_function("is_prefetch", |b| b.iter(|| is_prefetch(black_box(&headers))));
    group.finish();
}

fn recent(c: &mut Criterion) {
    const BATCH: u64 = 256;
    let mut group = c.benchmark_group("visitor/recent");
    group.throughput(Throughput::Elements(BATCH));
    let recent = MemoryRecentVisits::new(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(runtime) = runtime else { return };
    let mut n = 0_u128;
    group.bench_function("batch_of_256", |b| {
        b.to_async(&runtime).iter(|| {
            let visits: Vec<Visit> = (0..BATCH)
                .map(|_| {
                    n += 1;
                    // Spread as a hash is.
                    let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes();
                    Visit { key, click_id: Uuid::from_u128(n), window_ms: 3_600_000 }
                })
                .collect();
            let recent = &recent;
            async move { recent.first_of(Timestamp(0), &visits).await.len() }
        });
    });
    group.finish();
}

criterion_group!(benches, user_agents, geo, addresses, recent);
criterion_main!(benches);
