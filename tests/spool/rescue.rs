//! What a damaged log still has is saved, and what it has not is told.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;
use waypost::stream::{
    EventSink, EventSource, Record, Topic,
    spool::{Rescue, SpoolError, SpoolSource, damage, inspect},
};

use crate::{open, payload, records};

const CONVERSIONS: Topic = Topic::Conversions;

/// A log of batches with eight conversions each, in a file alone.
async fn log_of(batches: i64, folder: &TempDir) -> PathBuf {
    let path = folder.path().join("spool.db");
    let log = open(&path);
    for batch in 0..batches {
        log.sink().append(records(CONVERSIONS, batch * 8..batch * 8 + 8)).await.unwrap();
    }
    log.close();
    path
}

fn change(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

async fn consume(path: &Path, end: i64) {
    let mut source = SpoolSource::open(path, CONVERSIONS).unwrap();
    source.seek(0, end).await.unwrap();
    source.consumed(0, end).await.unwrap();
}

/// The numbers of the events that are saved, each with the bytes that it had, and from where to where others are told as
/// lost.
fn rescued(path: &Path) -> (Vec<i64>, Vec<(i64, i64)>) {
    let mut rescue = Rescue::open(path, CONVERSIONS).unwrap();
    let mut saved = Vec::new();
    for found in rescue.by_ref().flatten() {
        let json: serde_json::Value = serde_json::from_slice(&found).unwrap();
        let n = json["n"].as_i64().unwrap();
        assert_eq!(found, payload(n));
        saved.push(n);
    }
    (saved, rescue.lost().iter().map(|lost| (lost.start, lost.end)).collect())
}

#[tokio::test]
async fn what_cannot_be_read_is_told_by_its_offsets() {
    let cut = "UPDATE batch_conversions SET frame = substr(frame, 1, 100) WHERE first_offset";
    let gone = "DELETE FROM batch_conversions WHERE first_offset";
    // How it is damaged, from where on nobody has taken it on, and what is lost.
    for (how, consumed, lost) in [
        (format!("{cut} = 8"), 0, vec![(8, 16)]),
        (format!("{cut} = 8"), 11, vec![(11, 16)]),
        (format!("{cut} IN (8, 16)"), 3, vec![(8, 24)]),
        (format!("{cut} IN (0, 24)"), 0, vec![(0, 8), (24, 32)]),
        (format!("{gone} IN (0, 8)"), 0, vec![(0, 16)]),
        (format!("{gone} IN (0, 8)"), 3, vec![(3, 16)]),
        (format!("{gone} = 16"), 3, vec![(16, 24)]),
        ("DELETE FROM topic".to_owned(), 16, vec![]),
        // A head that is older than the batches, and one that has come too far.
        ("UPDATE topic SET next_offset = 16".to_owned(), 3, vec![]),
        ("UPDATE topic SET consumed = consumed + 1024 WHERE id = 1".to_owned(), 0, vec![]),
        ("UPDATE topic SET consumed = 24 WHERE id = 1".to_owned(), 0, vec![]),
        ("UPDATE topic SET consumed = -8 WHERE id = 1".to_owned(), 0, vec![]),
        ("UPDATE topic SET next_offset = next_offset + (1 << 40) WHERE id = 1".to_owned(), 0, vec![]),
        // Nothing is proven, and nothing contradicts the head.
        (format!("{cut} >= 0"), 3, vec![(3, 32)]),
        // A key that is another one.
        (
            "UPDATE batch_conversions SET first_offset = 4112 WHERE first_offset = 16".to_owned(),
            0,
            vec![(16, 24)],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let path = log_of(4, &folder).await;
        consume(&path, consumed).await;
        change(&path, &how);
        let (saved, told) = rescued(&path);
        let left = (consumed..32).filter(|n| !lost.iter().any(|(first, end)| (*first..*end).contains(n)));
        assert_eq!((saved, told), (left.collect(), lost), "{how} from {consumed}");
    }
}

/// Without a head that can be believed, nobody knows how many events it had.
#[tokio::test]
async fn a_last_batch_that_cannot_be_read_is_told() {
    let folder = TempDir::new().unwrap();
    let path = log_of(4, &folder).await;
    change(&path, "UPDATE batch_conversions SET frame = x'00' WHERE first_offset = 24");
    change(&path, "UPDATE topic SET next_offset = 16");
    assert_eq!(rescued(&path), ((0..24).collect(), vec![(24, 25)]));
}

/// A disk that has lost a page, or has another in its place.
#[tokio::test]
async fn a_page_that_is_lost_costs_the_batches_that_it_holds() {
    const PAGE: usize = 4096;
    const BATCHES: i64 = 40;
    let folder = TempDir::new().unwrap();
    let path = log_of(BATCHES, &folder).await;
    let file = fs::read(&path).unwrap();
    let (mut whole, mut in_part, mut not_at_all) = (0, 0, 0);
    // The first page says what file it is.
    for page in 1..file.len() / PAGE {
        let place = |page: usize| page * PAGE..(page + 1) * PAGE;
        let another = &file[place(1 + (page + 2) % (file.len() / PAGE - 1))];
        for found in [&[0; PAGE][..], &[0x5a; PAGE], another] {
            let mut garbled = file.clone();
            garbled[place(page)].copy_from_slice(found);
            fs::write(&path, &garbled).unwrap();
            let (saved, lost) = rescued(&path);
            let lost: i64 = lost.iter().map(|(first, end)| end - first).sum();
            assert!(saved.is_sorted_by(|one, next| one < next), "page {page}");
            assert_eq!(saved.len() as i64 + lost, BATCHES * 8, "page {page}");
            match lost {
                0 => whole += 1,
                // A page of the tree has some batches, one of the bytes has one.
                1..=80 => in_part += 1,
                // The root, without which nothing is found.
                _ => not_at_all += 1,
            }
        }
    }
    assert!(
        in_part > 10 * not_at_all && not_at_all <= 3,
        "{whole} whole, {in_part} in part, {not_at_all} not"
    );
}

/// A page that leads to batches, in the place of another one: what it leads to is where it should be, and what stands
/// between can be read all the same.
#[tokio::test]
async fn a_page_in_the_place_of_another_costs_no_more_than_one_that_is_lost() {
    const PAGE: usize = 4096;
    const BATCHES: i64 = 400;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("spool.db");
    let log = open(&path);
    for n in 0..BATCHES {
        let payload = Bytes::from(n.to_string());
        log.sink().append(vec![Record { topic: CONVERSIONS, key: None, payload }]).await.unwrap();
    }
    log.close();
    let file = fs::read(&path).unwrap();
    let place = |page: usize| page * PAGE..(page + 1) * PAGE;
    // A leaf of a table, with more rows than that of the heads.
    let rows = |page: usize| match &file[place(page)] {
        [0x0d, _, _, rows @ ..] => i64::from(u16::from_be_bytes([rows[0], rows[1]])),
        _ => 0,
    };
    let leaves: Vec<usize> = (1..file.len() / PAGE).filter(|page| rows(*page) > 2).collect();
    assert!(leaves.len() > 4 && leaves.iter().map(|page| rows(*page)).sum::<i64>() == BATCHES, "{leaves:?}");
    for lost in &leaves {
        for another in leaves.iter().filter(|another| *another != lost) {
            let mut garbled = file.clone();
            garbled[place(*lost)].copy_from_slice(&file[place(*another)]);
            fs::write(&path, &garbled).unwrap();
            let mut rescue = Rescue::open(&path, CONVERSIONS).unwrap();
            let saved = rescue.by_ref().flatten().count() as i64;
            let told: i64 = rescue.lost().iter().map(|lost| lost.end - lost.start).sum();
            assert_eq!((saved, told), (BATCHES - rows(*lost), rows(*lost)), "page {another} at {lost}");
        }
    }
}

#[tokio::test]
async fn only_what_stands_first_is_called_damage() {
    let folder = TempDir::new().unwrap();
    let path = log_of(4, &folder).await;
    assert_eq!(damage(&path, CONVERSIONS).unwrap(), None);
    change(&path, "UPDATE batch_conversions SET frame = x'00' WHERE first_offset = 8");
    assert_eq!(damage(&path, CONVERSIONS).unwrap(), None);
    consume(&path, 8).await;
    let told = damage(&path, CONVERSIONS).unwrap().unwrap();
    assert!(told.contains("damaged at offset 8 of waypost.conversions.v1"), "{told}");
    assert_eq!(damage(&path, Topic::Clicks).unwrap(), None);
}

/// What is only in the WAL is saved as well, and stays where it is.
#[tokio::test]
async fn nothing_is_changed_in_what_is_damaged() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder.path().join("spool.db"));
    log.sink().append(records(CONVERSIONS, 0..8)).await.unwrap();
    let aside = TempDir::new().unwrap();
    let bytes = |folder: &TempDir, name: &str| fs::read(folder.path().join(name)).unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        fs::write(aside.path().join(name), bytes(&folder, name)).unwrap();
    }
    let before = ["spool.db", "spool.db-wal"].map(|name| bytes(&aside, name));
    assert!(!before[1].is_empty());
    for _ in 0..2 {
        assert_eq!(rescued(&aside.path().join("spool.db")), ((0..8).collect(), vec![]));
        assert_eq!(["spool.db", "spool.db-wal"].map(|name| bytes(&aside, name)), before);
    }
    log.close();
}

#[tokio::test]
async fn a_log_whose_head_is_behind_what_was_consumed_is_not_opened() {
    let folder = TempDir::new().unwrap();
    let path = log_of(1, &folder).await;
    change(&path, "UPDATE topic SET consumed = 9 WHERE id = 1");
    assert!(matches!(inspect(&path), Err(SpoolError::Damaged { .. })));
}
