//! One core of an edge with a link to follow, without sockets; for the bench and for the test of its allocations.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, request::Parts};
use uuid::Uuid;
use waypost::{
    catalog::{
        AccountRecord, AffiliateRecord, Catalog, CatalogRecord, DomainRecord, LinkRecord, ProgramRecord,
        Versioned,
    },
    config::{EdgeSettings, GeoipSettings},
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        price::{Price, Recurrence},
        program::{
            AttributionModel, CommissionType, PixelTrust, ProgramSettings, ReferrerPolicy, RefundPolicy,
            SameSite,
        },
        reason::Standing,
        sealed::{Sealed, SealingKeys},
        token::{KeyRing, KeyState, TokenKey},
    },
    edge::{Core, EdgeParts},
    stream::{Append, EventSink, Record},
    telemetry::edge::EdgeMetrics,
    visitor::{Geo, MemoryRecentVisits, TrustedProxies, VisitorHasher},
};

/// Where requests come from.
pub const PEER: &str = "203.0.113.7";

#[derive(Debug)]
struct Nowhere;

impl EventSink for Nowhere {
    fn append(&self, _records: Vec<Record>) -> Append {
        Append::new().1
    }
}

/// A core. With `geoip`, the path of a database of countries, places are looked up.
pub fn core(geoip: Option<PathBuf>) -> Core {
    let settings = EdgeSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        default_account: String::new(),
        name: "bench".into(),
        cores: 1,
        trusted_proxies: Vec::new(),
        max_connections: 1,
        max_header_bytes: 16_384,
        max_body_bytes: 65_536,
        max_batch_events: 500,
        header_read_timeout_ms: 5_000,
        body_read_timeout_ms: 5_000,
        pixel_wait_ms: 2_000,
        append_timeout_ms: 10_000,
        drain_delay_ms: 0,
        drain_timeout_ms: 5_000,
    };
    let geo = GeoipSettings {
        country: geoip.unwrap_or_default(),
        asn: PathBuf::new(),
        hosting_networks: Vec::new(),
        check_interval_ms: 60_000,
    };
    let parts = EdgeParts {
        name: "bench".into(),
        catalog: Arc::new(catalog()),
        keys: Arc::new(
            KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret: [9; 32] }])
                .expect("one key"),
        ),
        sealing: Arc::new(SealingKeys::new(&[[5; 32]]).expect("one key")),
        geo: Geo::open(&geo).expect("a database that can be read"),
        hasher: VisitorHasher::new([7; 32]),
        proxies: TrustedProxies::new(Vec::new()),
        user_agents: 1000,
        recent: Arc::new(MemoryRecentVisits::new(1000)),
        sink: Arc::new(Nowhere),
        metrics: EdgeMetrics::register(),
    };
    Core::new(0, Uuid::now_v7(), &settings, parts).expect("random bytes")
}

fn catalog() -> Catalog {
    let catalog = Catalog::new();
    let link = |id, code: &str, destination: Option<&str>| {
        CatalogRecord::Link(LinkRecord {
            id: LinkId(id),
            account: AccountId(1),
            code: code.into(),
            program: ProgramId(1),
            affiliate: AffiliateId(1),
            destination: destination.map(Into::into),
            source_id: destination.map(|_| "newsletter".into()),
            asset_id: destination.map(|_| "banner".into()),
            expires_at: None,
            deleted: false,
        })
    };
    for record in [
        CatalogRecord::Account(AccountRecord { id: AccountId(1), slug: "demo".into(), fallback_url: None }),
        CatalogRecord::Domain(DomainRecord {
            host: "go.demo.example".into(),
            account: AccountId(1),
            cookie_domain: Some("demo.example".into()),
            deleted: false,
        }),
        CatalogRecord::Affiliate(AffiliateRecord {
            id: AffiliateId(1),
            account: AccountId(1),
            slug: "jane-doe".into(),
            suspended: false,
            programs: vec![(ProgramId(1), Standing::Approved)],
            deleted: false,
        }),
        CatalogRecord::Program(Box::new(ProgramRecord {
            id: ProgramId(1),
            account: AccountId(1),
            slug: "shop".into(),
            settings: Arc::new(program()),
            pixel_secret: Sealed::default(),
            deleted: false,
        })),
        link(1, "jane", None),
        link(
            2,
            "macros",
            Some(
                "https://shop.example/{program}/{sub1}?a={affiliate}&t={click_id}&b={browser}&s={source}#{sub2}",
            ),
        ),
    ] {
        catalog.apply(Versioned { version: 1, record });
    }
    catalog.mark_loaded();
    catalog
}

fn program() -> ProgramSettings {
    ProgramSettings {
        name: "Shop".into(),
        destination: "https://shop.example/landing?campaign=summer".into(),
        deep_link_hosts: vec!["shop.example".into(), "*.shop.example".into()],
        allow_http: false,
        referral_parameter: "ref".into(),
        click_parameter: "click_id".into(),
        cookie_time: 30,
        override_max_cookie_time: false,
        cookie_same_site: SameSite::Lax,
        attribution_model: AttributionModel::LastClick,
        referrer_policy: ReferrerPolicy::StrictOriginWhenCrossOrigin,
        pixel: PixelTrust::Held,
        duplicate_window_ms: 3_600_000,
        commission_types: vec![CommissionType {
            identifier: "standard".into(),
            title: "Standard".into(),
            price: Price::Fixed { value: 100 },
            first_payment: None,
            recurrence: Recurrence::Forever,
            count_towards_cap: true,
        }],
        default_commission_type: "standard".into(),
        auto_approve_commissions: false,
        payout_delay: 30,
        refund_policy: RefundPolicy::Reverse,
        program_group: None,
        recurring: true,
        recurring_cap: None,
        recurring_period_days: None,
        settle_in_program_currency: false,
        levels: Vec::new(),
        caps: Vec::new(),
    }
}

/// A request as hyper hands it over: every value is a part of one buffer.
pub fn request(target: &'static str, cookies: bool) -> Parts {
    let mut parts = Request::new(()).into_parts().0;
    parts.uri = Uri::from_maybe_shared(shared(target)).expect("a target");
    let headers: [(HeaderName, &'static str); 6] = [
        (http::header::HOST, "go.demo.example"),
        (
            http::header::USER_AGENT,
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Version/17.5 Mobile/15E148 Safari/604.1",
        ),
        (http::header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (http::header::ACCEPT_LANGUAGE, "de-DE,de;q=0.9,en;q=0.8"),
        (http::header::REFERER, "https://blog.example/ten-things"),
        (
            http::header::COOKIE,
            "a=1; wp_shop=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; theme=dark",
        ),
    ];
    for (name, value) in headers.into_iter().take(if cookies { 6 } else { 5 }) {
        parts.headers.insert(name, HeaderValue::from_maybe_shared(shared(value)).expect("a value"));
    }
    parts
}

fn shared(text: &'static str) -> Bytes {
    let whole = Bytes::from(format!("{text} "));
    // A second handle, so that the buffer is shared from the start.
    let part = whole.slice(..text.len());
    drop(whole);
    part
}

pub fn peer() -> IpAddr {
    PEER.parse().expect("an address")
}

/// What is asked for, with a name for it.
pub const TARGETS: [(&str, &str); 5] = [
    ("plain", "/r/jane"),
    ("query", "/r/jane?sub1=spring&sub2=hero&utm_source=newsletter&utm_campaign=may"),
    ("sub_ids", "/r/jane?sub1=a%20b&sub2=c%20d&sub3=e%20f&sub4=g%20h&sub5=i%20j"),
    ("macros", "/r/macros?sub1=spring%20sale&sub2=hero"),
    ("deep_link", "/r/jane?to=https%3A%2F%2Fwww.shop.example%2Fproducts%2F1%3Fcolour%3Dred"),
];
