use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use proptest::prelude::*;

use crate::domain::{
    ids::{AccountId, AffiliateId, LinkId, ProgramId},
    program::ProgramSettings,
    sealed::Sealed,
};

use super::{model::shuffled, *};

fn account(id: i64, slug: &str) -> CatalogRecord {
    CatalogRecord::Account(AccountRecord { id: AccountId(id), slug: slug.into(), fallback_url: None })
}

fn program(id: i64, account: i64, slug: &str, deleted: bool) -> CatalogRecord {
    CatalogRecord::Program(Box::new(ProgramRecord {
        id: ProgramId(id),
        account: AccountId(account),
        slug: slug.into(),
        settings: settings(),
        pixel_secret: Sealed::default(),
        deleted,
    }))
}

fn domain(host: &str, account: i64, deleted: bool) -> CatalogRecord {
    let account = AccountId(account);
    CatalogRecord::Domain(DomainRecord { host: host.into(), account, cookie_domain: None, deleted })
}

fn key(digit: char, account: i64, revoked: bool) -> CatalogRecord {
    CatalogRecord::Key(KeyRecord {
        hash: digit.to_string().repeat(64),
        account: AccountId(account),
        kind: KeyKind::Secret,
        scopes: vec![Scope::Events],
        revoked,
    })
}

fn affiliate(id: i64, slug: &str, deleted: bool) -> CatalogRecord {
    CatalogRecord::Affiliate(AffiliateRecord {
        id: AffiliateId(id),
        account: AccountId(1),
        slug: slug.into(),
        suspended: false,
        programs: Vec::new(),
        deleted,
    })
}

fn link(id: i64, code: &str, destination: Option<String>) -> CatalogRecord {
    CatalogRecord::Link(LinkRecord {
        id: LinkId(id),
        account: AccountId(1),
        code: code.into(),
        program: ProgramId(1),
        affiliate: AffiliateId(1),
        destination,
        source_id: None,
        asset_id: None,
        expires_at: None,
        deleted: false,
    })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Versioned>> {
    let slug = || "[ab]{1}";
    let record = prop_oneof![
        (1..4_i64, slug()).prop_map(|(id, slug)| account(id, &slug)),
        (1..4_i64, 1..3_i64, slug(), any::<bool>())
            .prop_map(|(id, of, slug, deleted)| program(id, of, &slug, deleted)),
        (slug(), 1..4_i64, any::<bool>()).prop_map(|(host, of, deleted)| domain(&host, of, deleted)),
        (prop_oneof![Just('0'), Just('f')], 1..4_i64, any::<bool>())
            .prop_map(|(digit, of, revoked)| key(digit, of, revoked)),
        (1..3_i64, slug(), any::<bool>()).prop_map(|(id, slug, deleted)| affiliate(id, &slug, deleted)),
        prop_oneof![
            (1..4_i64).prop_map(|id| RecordKey::Account(AccountId(id))),
            (1..4_i64).prop_map(|id| RecordKey::Program(ProgramId(id))),
            (1..3_i64).prop_map(|id| RecordKey::Affiliate(AffiliateId(id))),
            slug().prop_map(RecordKey::Domain),
            prop_oneof![Just('0'), Just('f')].prop_map(|digit| RecordKey::Key(digit.to_string().repeat(64))),
        ]
        .prop_map(CatalogRecord::Removed),
    ];
    proptest::collection::vec(record, 1..40).prop_map(|records| {
        (1..).zip(records).map(|(version, record)| Versioned { version, record }).collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(steps in steps().prop_flat_map(shuffled)) {
        let catalog = Catalog::new();
        let mut newest: HashMap<RecordKey, &Versioned> = HashMap::new();
        for step in &steps {
            catalog.apply(step.clone());
            let known = newest.entry(step.record.key()).or_insert(step);
            if step.version > known.version {
                *known = step;
            }
        }

        let reader = catalog.read();
        // By name the greatest id of those that have it now.
        let mut accounts: BTreeMap<&str, AccountId> = BTreeMap::new();
        let mut programs: BTreeMap<(AccountId, &str), ProgramId> = BTreeMap::new();
        for step in newest.values() {
            match &step.record {
                CatalogRecord::Account(account) => {
                    prop_assert_eq!(reader.account(account.id), Some(account));
                    let has = accounts.entry(&account.slug).or_insert(account.id);
                    *has = account.id.max(*has);
                }
                CatalogRecord::Program(program) => {
                    let live = Some(&**program).filter(|program| !program.deleted);
                    prop_assert_eq!(reader.program(program.id), live);
                    if live.is_some() {
                        let has = programs.entry((program.account, &program.slug)).or_insert(program.id);
                        *has = program.id.max(*has);
                    }
                }
                CatalogRecord::Domain(domain) => {
                    prop_assert_eq!(reader.domain(&domain.host), Some(domain).filter(|domain| !domain.deleted));
                }
                CatalogRecord::Key(key) => {
                    let hash = data_encoding::HEXLOWER.decode(key.hash.as_bytes()).unwrap().try_into().unwrap();
                    prop_assert_eq!(reader.key(&hash), Some(key).filter(|key| !key.revoked));
                }
                CatalogRecord::Affiliate(affiliate) => {
                    let live = Some(affiliate).filter(|affiliate| !affiliate.deleted);
                    prop_assert_eq!(reader.affiliate(affiliate.id), live);
                }
                CatalogRecord::Removed(key) => match key {
                    RecordKey::Account(id) => prop_assert_eq!(reader.account(*id), None),
                    RecordKey::Domain(host) => prop_assert_eq!(reader.domain(host), None),
                    RecordKey::Key(hash) => {
                        let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).unwrap().try_into().unwrap();
                        prop_assert_eq!(reader.key(&hash), None);
                    }
                    RecordKey::Program(id) => prop_assert_eq!(reader.program(*id), None),
                    RecordKey::Affiliate(id) => prop_assert_eq!(reader.affiliate(*id), None),
                    RecordKey::Link(_) => unreachable!("links have a test of their own"),
                },
                CatalogRecord::Link(_) => unreachable!("links have a test of their own"),
            }
        }
        for slug in ["a", "b"] {
            prop_assert_eq!(reader.account_by_slug(slug).map(|account| account.id), accounts.get(slug).copied());
            for account in (1..3).map(AccountId) {
                let found = reader.program_by_slug(account, slug).map(|program| program.id);
                prop_assert_eq!(found, programs.get(&(account, slug)).copied());
            }
        }
    }
}

#[test]
fn keys_are_read_as_they_are_written() {
    let records = [
        account(1, "a"),
        program(2, 1, "b", false),
        domain("go.shop.example", 1, false),
        key('f', 1, false),
        affiliate(3, "c", false),
        link(4, "d", None),
    ];
    for record in records {
        let key = record.key();
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        assert_eq!(CatalogRecord::Removed(key.clone()).key(), key);
        assert!(!record.is_removal() && CatalogRecord::Removed(key).is_removal());
    }
    for wrong in ["", "link", "link/", "link/x", "coupon/1", "meta/topic"] {
        assert_eq!(wrong.parse::<RecordKey>(), Err(UnknownKey), "{wrong}");
    }
}

#[test]
fn what_nobody_wants_is_forgotten() {
    let catalog = Catalog::new();
    let gone = [account(1, "a"), program(2, 1, "b", false), domain("x", 1, false), key('f', 1, false)];
    let gone = gone.into_iter().chain([affiliate(3, "c", false), link(4, "d", None)]);
    for record in gone.chain([account(5, "e"), link(6, "f", None)]) {
        catalog.apply(Versioned { version: 7, record });
    }
    let keep = [RecordKey::Account(AccountId(5)), RecordKey::Link(LinkId(6))];
    assert_eq!(catalog.retain(|key| keep.contains(key)), 6);
    let reader = catalog.read();
    assert!(reader.account_by_slug("e").is_some() && reader.link(AccountId(1), "f").is_some());
    assert!(reader.account_by_slug("a").is_none() && reader.link(AccountId(1), "d").is_none());
    assert!(
        reader.program_by_slug(AccountId(1), "b").is_none() && reader.affiliate(AffiliateId(3)).is_none()
    );
    assert!(reader.domain("x").is_none() && reader.key(&[0xff; 32]).is_none());
    assert_eq!(catalog.link_count(), 1);
    // Not even the version is remembered.
    catalog.apply(Versioned { version: 1, record: link(4, "d", None) });
    assert_eq!(catalog.link_count(), 2);
    catalog.clear();
    assert_eq!(catalog.link_count(), 0);
    assert!(catalog.read().account(AccountId(5)).is_none());
}

#[test]
fn a_key_without_a_hash_is_passed_over() {
    let catalog = Catalog::new();
    for hash in ["", "00", &"x".repeat(64), &"0".repeat(66)] {
        let CatalogRecord::Key(sound) = key('0', 1, false) else { unreachable!() };
        let record = CatalogRecord::Key(KeyRecord { hash: hash.into(), ..sound });
        catalog.apply(Versioned { version: 1, record });
    }
    assert_eq!(catalog.read().key(&[0; 32]), None);
}

#[test]
fn readiness_is_said_once() {
    let catalog = Catalog::new();
    assert!(!catalog.is_loaded());
    catalog.mark_loaded();
    assert!(catalog.is_loaded());
}

#[test]
fn a_code_resolves_at_every_moment_of_its_links_change() {
    const CHANGES: i64 = 20_000;
    let catalog = Arc::new(Catalog::new());
    catalog.apply(Versioned { version: 0, record: link(1, "jane", None) });
    let done = Arc::new(AtomicBool::new(false));
    let reading = {
        let (catalog, done) = (Arc::clone(&catalog), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut newest = 0;
            while !done.load(Ordering::Acquire) {
                let reader = catalog.read();
                let entry = reader.link(AccountId(1), "jane").expect("a live link is always found");
                assert_eq!((entry.id(), entry.code()), (LinkId(1), "jane"));
                let version =
                    entry.destination().map_or(0, |to| to.parse().expect("whole, never half written"));
                assert!(version >= newest, "{version} after {newest}");
                newest = version;
            }
        })
    };
    for version in 1..=CHANGES {
        catalog.apply(Versioned { version, record: link(1, "jane", Some(version.to_string())) });
    }
    done.store(true, Ordering::Release);
    reading.join().unwrap();
    assert_eq!(catalog.read().link(AccountId(1), "jane").unwrap().destination(), Some("20000"));
    assert_eq!(catalog.link_count(), 1);
}

fn settings() -> Arc<ProgramSettings> {
    Arc::new(ProgramSettings {
        name: "Test".into(),
        destination: "https://shop.example/".into(),
        deep_link_hosts: Vec::new(),
        allow_http: false,
        referral_parameter: "ref".into(),
        click_parameter: "click_id".into(),
        cookie_time: 30,
        override_max_cookie_time: false,
        cookie_same_site: Default::default(),
        attribution_model: Default::default(),
        referrer_policy: Default::default(),
        pixel: Default::default(),
        duplicate_window_ms: 3_600_000,
        commission_types: Vec::new(),
        default_commission_type: "standard".into(),
        auto_approve_commissions: false,
        payout_delay: 0,
        refund_policy: Default::default(),
        program_group: None,
        recurring: true,
        recurring_cap: None,
        recurring_period_days: None,
        settle_in_program_currency: false,
        levels: Vec::new(),
        caps: Vec::new(),
    })
}
