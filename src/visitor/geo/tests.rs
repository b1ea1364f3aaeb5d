use std::{fs, time::Instant};

use tempfile::TempDir;

use super::{
    fixture::{Entry, database},
    *,
};

fn settings(country: &Path, asn: &Path) -> GeoipSettings {
    GeoipSettings {
        country: country.into(),
        asn: asn.into(),
        hosting_networks: vec![64_501],
        check_interval_ms: 5,
    }
}

/// Replaces a file as an updater does: in one step.
fn put(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, path).unwrap();
}

fn country(reader: &mut GeoReader, ip: &str) -> Option<String> {
    reader.look_up(ip.parse().unwrap()).country_str().map(str::to_owned)
}

#[test]
fn both_shapes_of_countries_are_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("country.mmdb");
    for entry in [Entry::flat_country, Entry::nested_country] {
        put(&path, &database(&[("192.0.2.0/24", entry("DE")), ("2001:db8::/32", entry("fr"))]));
        let mut reader = Geo::open(&settings(&path, Path::new(""))).unwrap().reader();
        assert_eq!(country(&mut reader, "192.0.2.77").as_deref(), Some("DE"));
        assert_eq!(country(&mut reader, "::ffff:192.0.2.77").as_deref(), Some("DE"));
        assert_eq!(country(&mut reader, "2001:db8::1").as_deref(), Some("FR"));
        assert_eq!(country(&mut reader, "198.51.100.1"), None);
        assert_eq!(country(&mut reader, "2001:db9::1"), None);
    }
}

#[test]
fn networks_tell_hosting() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("asn.mmdb");
    put(
        &path,
        &database(&[("192.0.2.0/24", Entry::network(64_500)), ("198.51.100.0/24", Entry::network(64_501))]),
    );
    let mut reader = Geo::open(&settings(Path::new(""), &path)).unwrap().reader();
    let mut place = |ip: &str| reader.look_up(ip.parse().unwrap());
    assert_eq!(place("192.0.2.1"), Place { country: None, network: Some(64_500), hosting: false });
    assert_eq!(place("198.51.100.1"), Place { country: None, network: Some(64_501), hosting: true });
    assert_eq!(place("203.0.113.1"), Place::default());
}

#[test]
fn without_a_file_everything_is_unknown() {
    let missing = TempDir::new().unwrap().path().join("gone.mmdb");
    for path in [Path::new(""), &missing] {
        let mut reader = Geo::open(&settings(path, path)).unwrap().reader();
        assert_eq!(reader.look_up("192.0.2.1".parse().unwrap()), Place::default());
    }
}

#[test]
fn a_broken_file_refuses_to_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("country.mmdb");
    let sound = database(&[("192.0.2.0/24", Entry::flat_country("DE"))]);
    let half = &sound[..sound.len() / 2];
    // The tree points behind the data.
    let mut astray = sound.clone();
    astray[0..8].fill(0x7f);
    // Its first node leads to itself.
    let mut circle = sound.clone();
    circle[0..8].fill(0);
    // A text in the entry is said to be longer than the file.
    let mut torn = sound.clone();
    let code = torn.windows(2).position(|bytes| bytes == b"DE").unwrap();
    torn[code - 1] = 2 << 5 | 31;
    for bytes in [&b""[..], b"no database", half, &astray, &circle, &torn] {
        put(&path, bytes);
        let error = Geo::open(&settings(&path, Path::new(""))).unwrap_err();
        assert!(matches!(error, GeoError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("country.mmdb"), "{error}");
    }
    assert!(matches!(
        Geo::open(&settings(folder.path(), Path::new(""))).unwrap_err(),
        GeoError::Unreadable { .. }
    ));
}

#[test]
fn a_database_of_another_kind_is_refused() {
    let folder = TempDir::new().unwrap();
    let (country, asn) = (folder.path().join("country.mmdb"), folder.path().join("asn.mmdb"));
    put(&country, &database(&[("192.0.2.0/24", Entry::flat_country("DE"))]));
    put(&asn, &database(&[("192.0.2.0/24", Entry::network(64_500))]));
    assert!(Geo::open(&settings(&country, &asn)).is_ok());
    let error = Geo::open(&settings(&asn, Path::new(""))).unwrap_err();
    assert!(error.to_string().ends_with("(Test) holds no countries"), "{error}");
    assert!(matches!(Geo::open(&settings(Path::new(""), &country)), Err(GeoError::WrongKind { .. })));
}

#[test]
fn a_changed_file_is_swapped_and_a_broken_one_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("country.mmdb");
    let of = |code: &str| database(&[("192.0.2.0/24", Entry::flat_country(code))]);
    let geo = Geo::open(&settings(&path, Path::new(""))).unwrap();
    let mut reader = geo.reader();
    assert_eq!(country(&mut reader, "192.0.2.1"), None);

    // Each step: what becomes of the file, and what is known after the next look at it.
    let steps: [(&dyn Fn(), &str); 6] = [
        (&|| put(&path, &of("DE")), "DE"),
        (&|| put(&path, &of("FR")), "FR"),
        (&|| put(&path, b"broken"), "FR"),
        (&|| fs::remove_file(&path).unwrap(), "FR"),
        (&|| put(&path, &of("IT")), "IT"),
        (&|| (), "IT"),
    ];
    for (number, (change, expected)) in steps.into_iter().enumerate() {
        change();
        geo.check();
        assert_eq!(country(&mut reader, "192.0.2.1").as_deref(), Some(expected), "step {number}");
        assert_eq!(country(&mut geo.reader(), "192.0.2.1").as_deref(), Some(expected), "step {number}");
    }
}

#[tokio::test]
async fn the_watcher_sees_a_change_and_ends_when_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("country.mmdb");
    let of = |code: &str| database(&[("192.0.2.0/24", Entry::flat_country(code))]);
    put(&path, &of("DE"));
    let geo = Geo::open(&settings(&path, Path::new(""))).unwrap();
    let mut reader = geo.reader();
    let shutdown = CancellationToken::new();
    let watcher = tokio::spawn(Arc::clone(&geo).watch(shutdown.clone()));

    put(&path, &of("FR"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while country(&mut reader, "192.0.2.1").as_deref() != Some("FR") {
        assert!(Instant::now() < deadline, "the change was not seen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), watcher).await.unwrap().unwrap();
}
