use std::{fs, path::PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    catalog::{
        Catalog, CatalogRecord, LinkRecord, RecordKey, Versioned,
        model::{LinkStep, link_steps},
        table::Known,
        tests::steps,
    },
    domain::ids::{AccountId, AffiliateId, LinkId, ProgramId},
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const WANTED: Wanted<'static> = Wanted { topic: "waypost.catalog.v1", now: NOW, max_age_ms: 3_600_000 };

fn place() -> TopicPlace {
    TopicPlace {
        topic: WANTED.topic.to_owned(),
        topic_id: "cluster/topic".to_owned(),
        offsets: [(0, 7), (1, 0), (2, i64::MAX)].into(),
        version: 99,
        current_at: Timestamp(NOW.0 - 1_000),
    }
}

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.snapshot");
    (folder, path)
}

/// Everything that is known, in an order that can be compared.
fn known(catalog: &Catalog) -> Vec<String> {
    let mut known = Vec::new();
    let each = catalog.each(|one| {
        known.push(match one {
            Known::Link(version, entry) => format!("{version} {entry:?}"),
            Known::RemovedLink(version, id) => format!("{version} {:?}", RecordKey::Link(id)),
            Known::Other(versioned) => format!("{versioned:?}"),
        });
        Ok::<_, ()>(())
    });
    each.unwrap();
    known.sort();
    known
}

fn link(id: i64, destination: &str) -> CatalogRecord {
    CatalogRecord::Link(LinkRecord {
        id: LinkId(id),
        account: AccountId(1),
        code: format!("code{id}"),
        program: ProgramId(1),
        affiliate: AffiliateId(1),
        destination: Some(destination.into()),
        source_id: None,
        asset_id: None,
        expires_at: None,
        deleted: false,
    })
}

fn small() -> Catalog {
    let catalog = Catalog::new();
    let removed = CatalogRecord::Removed(RecordKey::Link(LinkId(2)));
    let domain = CatalogRecord::Removed(RecordKey::Domain("go.shop.example".into()));
    for (version, record) in (1..).zip([link(1, "https://shop.example/"), removed, domain]) {
        catalog.apply(Versioned { version, record });
    }
    catalog
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(steps in steps(), links in link_steps()) {
        let catalog = Catalog::new();
        steps.into_iter().for_each(|step| catalog.apply(step));
        for LinkStep { version, link } in links {
            catalog.apply(Versioned { version, record: CatalogRecord::Link(link) });
        }
        let (_folder, path) = file();
        let written = write(&path, &catalog, &place()).unwrap();
        let again = Catalog::new();
        prop_assert_eq!(read(&path, WANTED, &again).unwrap(), Some(place()));
        prop_assert_eq!(known(&again), known(&catalog));
        prop_assert_eq!(written.records as usize, known(&catalog).len());
        prop_assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
        prop_assert_eq!(again.link_count(), catalog.link_count());
    }

    #[test]
    fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), begins in any::<bool>()) {
        let (_folder, path) = file();
        let head: &[u8] = if begins { b"wpcatlg\x01" } else { b"" };
        fs::write(&path, [head, &bytes].concat()).unwrap();
        prop_assert!(read(&path, WANTED, &Catalog::new()).is_err());
    }
}

#[test]
fn no_byte_can_be_altered_or_cut_off() {
    let (_folder, path) = file();
    write(&path, &small(), &place()).unwrap();
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let catalog = Catalog::new();
        let error = read(&path, WANTED, &catalog).expect_err("it must not be used");
        assert!(known(&catalog).is_empty(), "nothing of it stays: {error}");
        error
    };
    for end in 0..whole.len() {
        refused(&whole[..end]);
    }
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            refused(&bytes);
        }
    }
    refused(&[&whole[..], b"x"].concat());
    let mut later = whole.clone();
    later[MAGIC.len()] = FORMAT + 1;
    assert!(matches!(refused(&later), SnapshotError::Format(format) if format == FORMAT + 1));
    fs::write(&path, &whole).unwrap();
    assert!(read(&path, WANTED, &Catalog::new()).unwrap().is_some());
}

#[test]
fn chunks_cannot_change_places_or_be_left_out() {
    let catalog = Catalog::new();
    // More than two chunks of text that does not compress away.
    for id in 0..30 {
        let noise: String = (0..3_000)
            .map(|n| blake3::hash(&[id as u8, n as u8, (n >> 8) as u8]).to_hex().to_string())
            .collect();
        catalog.apply(Versioned { version: 1, record: link(id, &noise[..90_000]) });
    }
    let (_folder, path) = file();
    write(&path, &catalog, &place()).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut chunks = Vec::new();
    let mut at = MAGIC.len() + 1;
    while at < whole.len() {
        let length = u32::from_le_bytes(whole[at + 1..at + 5].try_into().unwrap()) as usize;
        chunks.push(&whole[at..at + 9 + CHECK_BYTES + length]);
        at += 9 + CHECK_BYTES + length;
    }
    assert!(chunks.len() >= 5, "{}", chunks.len());
    let head = &whole[..MAGIC.len() + 1];
    let order = |order: &[usize]| {
        let bytes: Vec<u8> = order.iter().fold(head.to_vec(), |bytes, n| [&bytes, chunks[*n]].concat());
        fs::write(&path, bytes).unwrap();
        read(&path, WANTED, &Catalog::new()).is_ok()
    };
    let all: Vec<usize> = (0..chunks.len()).collect();
    assert!(order(&all));
    let mut swapped = all.clone();
    swapped.swap(1, 2);
    assert!(!order(&swapped));
    assert!(!order(&[&all[..1], &all[2..]].concat()));
    assert!(!order(&[&all[..2], &all[1..]].concat()));
}

#[test]
fn only_what_was_asked_for_is_used() {
    let (_folder, path) = file();
    assert!(read(&path, WANTED, &Catalog::new()).unwrap().is_none(), "no file is no error");
    write(&path, &small(), &place()).unwrap();
    let of = |wanted: Wanted<'_>| read(&path, wanted, &Catalog::new());
    assert!(of(WANTED).unwrap().is_some());
    assert!(matches!(of(Wanted { topic: "x", ..WANTED }), Err(SnapshotError::OtherTopic(_))));
    let at = |ms: i64| of(Wanted { now: Timestamp(place().current_at.0 + ms), ..WANTED });
    assert!(at(3_600_000).is_ok());
    assert!(matches!(at(3_600_001), Err(SnapshotError::TooOld { .. })));
    assert!(at(-CLOCK_MS).is_ok());
    assert!(matches!(at(-CLOCK_MS - 1), Err(SnapshotError::FromTheFuture)));
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let (folder, path) = file();
    write(&path, &small(), &place()).unwrap();
    let old = fs::read(&path).unwrap();
    fs::create_dir(folder.path().join("catalog.snapshot.new")).unwrap();
    assert!(write(&path, &Catalog::new(), &place()).is_err());
    assert_eq!(fs::read(&path).unwrap(), old);
}
