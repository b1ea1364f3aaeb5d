//! The SQLite file under the log: its schema, and the few transactions that are made on it.
//!
//! ```text
//! topic              one row per topic
//!   next_offset      of the next event; it never goes back, also when nothing is left
//!   consumed         everything before it may be forgotten
//!   events, bytes    what is kept, so that nobody has to count it
//! batch_clicks, batch_conversions
//!   first_offset     the key: batches follow each other without a gap
//!   events           so many offsets belong to it
//!   written_ms       when
//!   frame            see `format`
//! ```
//! One transaction holds a whole group commit. Space of forgotten batches is used again; the file keeps the greatest
//! size that it had, which `max_bytes` bounds. Only where the disk has no room left is an empty file made small again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, config::DbConfig,
    named_params, params,
};

use super::{
    SpoolError, TopicStats,
    format::{self, Unsealed},
};
use crate::{
    domain::time::Timestamp,
    stream::{Delivery, SourceError, Topic},
};

/// "wpSP": tells this file from any other SQLite file.
const APPLICATION_ID: i32 = 0x7770_5350;
const SCHEMA_VERSION: i32 = 1;

/// How long another process may hold the write lock before a transaction counts as failed. Transactions of the log
/// take milliseconds, so who holds it for so long is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// After a WAL that a stuck reader let grow was copied into the file, it is cut to this.
const WAL_KEPT_BYTES: i64 = 64 << 20;

/// Batches that one transaction forgets at most. It writes a page for each thousand pages that become free: of the
/// greatest batches that is some hundred, which fits in the reserve and holds up no append.
const MOST_FORGOTTEN: i64 = 5_000;

/// SQLite's greatest number of pages, which is its default too.
const ANY_PAGES: i64 = 0xffff_fffe;

/// A file and a WAL that are smaller together are not worth making smaller.
const SMALL_BYTES: u64 = 512 << 10;

const SCHEMA: &str = "
CREATE TABLE topic (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    next_offset INTEGER NOT NULL DEFAULT 0,
    consumed INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE batch_clicks (
    first_offset INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    written_ms INTEGER NOT NULL,
    frame BLOB NOT NULL
) STRICT;
CREATE TABLE batch_conversions (
    first_offset INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    written_ms INTEGER NOT NULL,
    frame BLOB NOT NULL
) STRICT;
";

/// The statements of one topic; SQLite cannot bind a table's name.
struct Statements {
    insert: &'static str,
    first: &'static str,
    last: &'static str,
    holds: &'static str,
    batch: &'static str,
    next: &'static str,
    step: &'static str,
    count_before: &'static str,
    delete_before: &'static str,
    read: &'static str,
}

macro_rules! statements {
    ($table:literal) => {
        Statements {
            insert: concat!(
                "INSERT INTO ",
                $table,
                " (first_offset, events, written_ms, frame) VALUES (?1, ?2, ?3, ?4)"
            ),
            first: concat!("SELECT first_offset, written_ms FROM ", $table, " ORDER BY first_offset LIMIT 1"),
            last: concat!(
                "SELECT first_offset + events FROM ",
                $table,
                " ORDER BY first_offset DESC LIMIT 1"
            ),
            holds: concat!("SELECT MAX(first_offset) FROM ", $table, " WHERE first_offset <= ?1"),
            batch: concat!("SELECT frame FROM ", $table, " WHERE first_offset = ?1"),
            next: concat!("SELECT MIN(first_offset) FROM ", $table, " WHERE first_offset > ?1"),
            step: concat!(
                "SELECT first_offset FROM ",
                $table,
                " WHERE first_offset < ?1 ORDER BY first_offset LIMIT 1 OFFSET ?2"
            ),
            count_before: concat!(
                "SELECT COALESCE(SUM(events), 0), COALESCE(SUM(LENGTH(frame)), 0) FROM ",
                $table,
                " WHERE first_offset < ?1"
            ),
            delete_before: concat!("DELETE FROM ", $table, " WHERE first_offset < ?1"),
            read: concat!(
                "SELECT first_offset, frame FROM ",
                $table,
                " WHERE first_offset >= ?1 ORDER BY first_offset"
            ),
        }
    };
}

const fn statements(topic: Topic) -> &'static Statements {
    match topic {
        Topic::Clicks => &const { statements!("batch_clicks") },
        Topic::Conversions => &const { statements!("batch_conversions") },
    }
}

/// One connection to the file.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
}

impl Database {
    /// Opens the file for appending and makes it when it is not there. A commit returns when it is on the disk.
    pub(super) fn create(path: &Path) -> Result<Self, SpoolError> {
        let mut database = Self::connect(path, OpenFlags::SQLITE_OPEN_CREATE, "FULL")?;
        database.prepare().map_err(SpoolError::at(path))?;
        database.for_appending()
    }

    /// As [`create`](Self::create), for a file that has to be there: a new one would begin at offset 0 again.
    pub(super) fn reopen(path: &Path) -> Result<Self, SpoolError> {
        Self::connect(path, OpenFlags::empty(), "FULL")?.for_appending()
    }

    fn for_appending(self) -> Result<Self, SpoolError> {
        self.check()?;
        // The writer copies the WAL into the file itself, after it has answered; see `checkpoint`.
        self.connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(SpoolError::at(&self.path))?;
        Ok(self)
    }

    /// Opens a file that is there. What this connection commits, marks for trimming, may be lost with the power:
    /// then more is kept than has to be.
    pub(super) fn open(path: &Path) -> Result<Self, SpoolError> {
        let database = Self::connect(path, OpenFlags::empty(), "NORMAL")?;
        database.check()?;
        Ok(database)
    }

    /// As [`open`](Self::open), for a file that [`check`](Self::check) may refuse. What is in the WAL stays there: the
    /// file is on a disk that nobody trusts.
    pub(super) fn open_damaged(path: &Path) -> Result<Self, SpoolError> {
        let database = Self::connect(path, OpenFlags::empty(), "NORMAL")?;
        let stays = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        database.connection.set_db_config(stays, true).map_err(SpoolError::at(path))?;
        Ok(database)
    }

    fn connect(path: &Path, more: OpenFlags, synchronous: &str) -> Result<Self, SpoolError> {
        if more.is_empty() && !path.exists() {
            return Err(SpoolError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let open = || {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            let mode: String =
                connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            // Means something on macOS alone, where a plain fsync does not reach the disk.
            connection.pragma_update(None, "fullfsync", true)?;
            connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok((mode, connection))
        };
        let (mode, connection) = open().map_err(SpoolError::at(path))?;
        if mode != "wal" {
            return Err(SpoolError::NoWal(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Makes the schema in a new file.
    fn prepare(&mut self) -> rusqlite::Result<()> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tables: i64 = tx.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            tx.execute_batch(SCHEMA)?;
            for topic in Topic::ALL {
                tx.execute(
                    "INSERT INTO topic (id, name) VALUES (?1, ?2)",
                    params![key(topic), topic.name()],
                )?;
            }
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        tx.commit()
    }

    /// Refuses a file that is not a log, is a newer build's, or whose head does not follow its last batch or is behind
    /// what was consumed: appending to that would give offsets twice, or ones that nobody reads.
    fn check(&self) -> Result<(), SpoolError> {
        let path = self.path.as_path();
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let version = pragma("user_version").map_err(SpoolError::at(path))?;
        match pragma("application_id").map_err(SpoolError::at(path))? {
            APPLICATION_ID => {}
            // Its writer has made the file and not yet the schema.
            0 if version == 0 && self.tables().map_err(SpoolError::at(path))? == 0 => {
                return Err(SpoolError::Missing(path.to_owned()));
            }
            _ => return Err(SpoolError::NotALog(path.to_owned())),
        }
        if version != SCHEMA_VERSION {
            return Err(SpoolError::Version { path: path.to_owned(), version });
        }
        for topic in Topic::ALL {
            let ((consumed, next_offset), last) = self.ends(topic).map_err(SpoolError::at(path))?;
            if last.is_some_and(|last| last != next_offset) || consumed > next_offset {
                return Err(SpoolError::Damaged { path: path.to_owned(), topic: topic.name() });
            }
        }
        Ok(())
    }

    fn tables(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
    }

    /// What the head says, and the end of the last batch, seen at one moment: a writer may be at it.
    fn ends(&self, topic: Topic) -> rusqlite::Result<((i64, i64), Option<i64>)> {
        let _one_moment = self.connection.unchecked_transaction()?;
        Ok((self.head(topic)?, self.last(topic)?))
    }

    /// Applies the marks of trimming (one per topic, 0 for none) and appends all batches, all or nothing and durable
    /// on return. Answers with what the file holds then. Where there is much to forget, it forgets the beginning:
    /// [`TopicStats::consumed`] is below the mark then.
    pub(super) fn commit(
        &mut self,
        batches: &mut [Unsealed],
        marks: [i64; 2],
    ) -> rusqlite::Result<[TopicStats; 2]> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // First: what becomes free can take the batches.
        for topic in Topic::ALL {
            trim(&tx, topic, marks[topic.index()])?;
        }
        for batch in batches {
            let topic = batch.topic();
            let first = next_offset(&tx, topic)?;
            let events = batch.events();
            let frame = batch.seal(first);
            tx.prepare_cached(statements(topic).insert)?.execute(params![
                first,
                events,
                Timestamp::now().0,
                frame
            ])?;
            tx.prepare_cached(
                "UPDATE topic SET next_offset = next_offset + :events, events = events + :events,
                 bytes = bytes + :bytes WHERE id = :id",
            )?
            .execute(named_params! { ":events": events, ":bytes": frame.len() as i64, ":id": key(topic) })?;
        }
        let stats = stats(&tx)?;
        tx.commit()?;
        Ok(stats)
    }

    /// Forgets the batches of `topic` that lie wholly before `mark`.
    pub(super) fn trim(&mut self, topic: Topic, mark: i64) -> rusqlite::Result<()> {
        loop {
            let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = trim(&tx, topic, mark)?;
            tx.commit()?;
            if done {
                return Ok(());
            }
        }
    }

    /// Copies what it can of the WAL into the file without waiting for readers. When that is all, the WAL is used from
    /// its beginning again.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// By how many bytes the file has to grow before it holds what the WAL has.
    pub(super) fn growth(&self) -> rusqlite::Result<u64> {
        let bytes: i64 = self
            .connection
            .prepare_cached("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")?
            .query_row([], |row| row.get(0))?;
        Ok(bytes.unsigned_abs().saturating_sub(length(&self.path)))
    }

    /// Whether appends may make the file greater, or have to do with the pages that forgotten batches have left. They
    /// fail with `SQLITE_FULL` when there are none.
    pub(super) fn may_grow(&self, may: bool) -> rusqlite::Result<()> {
        // SQLite takes no fewer than there are.
        let pages = if may { ANY_PAGES } else { 1 };
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }

    /// Gives the room of a file without batches back to the disk; false when that is little. It takes some pages in the
    /// WAL and in memory.
    pub(super) fn shrink(&self) -> rusqlite::Result<bool> {
        if self.bytes_on_disk() < SMALL_BYTES {
            return Ok(false);
        }
        self.connection.pragma_update(None, "temp_store", "MEMORY")?;
        self.connection.execute_batch("VACUUM")?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(true))
    }

    /// What the file holds, seen at one moment.
    pub(super) fn stats(&self) -> rusqlite::Result<[TopicStats; 2]> {
        let tx = self.connection.unchecked_transaction()?;
        stats(&tx)
    }

    /// Whole batches from the one that holds `from`, without the events before it, until `max` events are there.
    ///
    /// A fault is an error only where it stands first: what was read before it is handed out first.
    pub(super) fn read(&self, topic: Topic, from: i64, max: usize) -> Result<Vec<Delivery>, SourceError> {
        let mut found = Vec::new();
        match self.read_into(topic, from, max, &mut found) {
            Err(error) if found.is_empty() => Err(error),
            Err(_) | Ok(()) => Ok(found),
        }
    }

    fn read_into(
        &self,
        topic: Topic,
        from: i64,
        max: usize,
        found: &mut Vec<Delivery>,
    ) -> Result<(), SourceError> {
        let failed = |error| failure(topic, from, &error);
        let damaged = |offset, detail: String| SourceError::Damaged {
            topic: topic.name(),
            partition: 0,
            offset,
            detail,
        };
        let tx = self.connection.unchecked_transaction().map_err(failed)?;
        self.within(&tx, topic, from)?;
        let head = next_offset(&tx, topic).map_err(failed)?;
        if from == head {
            return Ok(());
        }
        let sql = statements(topic);
        let holds = self.holds(topic, from).map_err(failed)?;
        let mut statement = tx.prepare_cached(sql.read).map_err(failed)?;
        let mut rows = statement.query([holds.unwrap_or(from)]).map_err(failed)?;
        let mut next = from;
        while found.len() < max && next < head {
            let row = rows.next().map_err(failed)?;
            let row =
                row.ok_or_else(|| damaged(next, "the events up to the end of the log are missing".into()))?;
            let first: i64 = row.get(0).map_err(failed)?;
            let frame = row.get_ref(1).and_then(|frame| Ok(frame.as_blob()?)).map_err(failed)?;
            if first > next {
                return Err(damaged(next, format!("the events before {first} are missing")));
            }
            let payloads =
                format::open(topic, first, frame).map_err(|error| damaged(first, error.to_string()))?;
            let begin = next;
            for (offset, payload) in (first..).zip(payloads) {
                if offset >= begin {
                    found.push(Delivery { partition: 0, offset, payload });
                    next = offset + 1;
                }
            }
            if next == begin {
                return Err(damaged(next, "the events after this offset are missing".into()));
            }
        }
        Ok(())
    }

    /// Those of the file and of its WAL.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        length(&self.path) + length(&wal(&self.path))
    }

    /// The first offset that nobody has taken on, and the next one that is given.
    pub(super) fn head(&self, topic: Topic) -> rusqlite::Result<(i64, i64)> {
        let sql = "SELECT consumed, next_offset FROM topic WHERE id = ?1";
        self.connection.query_row(sql, [key(topic)], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The end of the last batch.
    pub(super) fn last(&self, topic: Topic) -> rusqlite::Result<Option<i64>> {
        self.connection.prepare_cached(statements(topic).last)?.query_row([], |row| row.get(0)).optional()
    }

    /// The beginning of the batch that should hold `offset`.
    pub(super) fn holds(&self, topic: Topic, offset: i64) -> rusqlite::Result<Option<i64>> {
        self.connection.prepare_cached(statements(topic).holds)?.query_row([offset], |row| row.get(0))
    }

    /// The frame of the batch that begins at `first`, proved by nothing.
    pub(super) fn batch(&self, topic: Topic, first: i64) -> rusqlite::Result<Option<Vec<u8>>> {
        self.connection
            .prepare_cached(statements(topic).batch)?
            .query_row([first], |row| row.get(0))
            .optional()
    }

    /// The beginning of the first batch behind `offset`.
    pub(super) fn next(&self, topic: Topic, offset: i64) -> rusqlite::Result<Option<i64>> {
        self.connection.prepare_cached(statements(topic).next)?.query_row([offset], |row| row.get(0))
    }

    /// Whether a reader may stand at `offset`: not before what is kept, and not past the end.
    pub(super) fn check_position(&self, topic: Topic, offset: i64) -> Result<(), SourceError> {
        let tx = self.connection.unchecked_transaction().map_err(|error| failure(topic, offset, &error))?;
        self.within(&tx, topic, offset)
    }

    fn within(&self, tx: &Transaction<'_>, topic: Topic, offset: i64) -> Result<(), SourceError> {
        let failed = |error| failure(topic, offset, &error);
        let head = next_offset(tx, topic).map_err(failed)?;
        let first: Option<i64> = tx
            .prepare_cached(statements(topic).first)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
            .map_err(failed)?;
        let begins = first.unwrap_or(head);
        if offset < begins {
            return Err(SourceError::Truncated { topic: topic.name(), partition: 0, wanted: offset, begins });
        }
        if offset > head {
            return Err(SourceError::Beyond {
                topic: topic.name(),
                partition: 0,
                wanted: offset,
                ends: head,
            });
        }
        Ok(())
    }
}

/// SQLite's name for the WAL of a file.
fn wal(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// The bytes of a file, 0 without one. Asked by name: opening and closing the file beside SQLite would end its locks.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// The key of a topic's row.
const fn key(topic: Topic) -> i64 {
    match topic {
        Topic::Clicks => 0,
        Topic::Conversions => 1,
    }
}

fn next_offset(tx: &Transaction<'_>, topic: Topic) -> rusqlite::Result<i64> {
    tx.prepare_cached("SELECT next_offset FROM topic WHERE id = ?1")?
        .query_row([key(topic)], |row| row.get(0))
}

fn stats(tx: &Transaction<'_>) -> rusqlite::Result<[TopicStats; 2]> {
    let mut stats = Topic::ALL.map(TopicStats::empty);
    for topic in Topic::ALL {
        let first: Option<(i64, i64)> = tx
            .prepare_cached(statements(topic).first)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        stats[topic.index()] = tx
            .prepare_cached("SELECT next_offset, consumed, events, bytes FROM topic WHERE id = ?1")?
            .query_row([key(topic)], |row| {
                let next_offset = row.get(0)?;
                Ok(TopicStats {
                    topic,
                    begins: first.map_or(next_offset, |(begins, _)| begins),
                    next_offset,
                    consumed: row.get(1)?,
                    events: row.get::<_, i64>(2)?.max(0).unsigned_abs(),
                    bytes: row.get::<_, i64>(3)?.max(0).unsigned_abs(),
                    oldest: first.map(|(_, written_ms)| Timestamp(written_ms)),
                })
            })?;
    }
    Ok(stats)
}

/// Forgets what lies before `mark`, as much as one transaction should. Whether that is all.
fn trim(tx: &Transaction<'_>, topic: Topic, mark: i64) -> rusqlite::Result<bool> {
    let (head, consumed): (i64, i64) = tx
        .prepare_cached("SELECT next_offset, consumed FROM topic WHERE id = ?1")?
        .query_row([key(topic)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mark = mark.min(head);
    if mark <= consumed {
        return Ok(true);
    }
    let sql = statements(topic);
    let step: Option<i64> =
        tx.prepare_cached(sql.step)?.query_row([mark, MOST_FORGOTTEN], |row| row.get(0)).optional()?;
    let done = step.is_none();
    let mark = step.unwrap_or(mark);
    // The batch that holds the mark stays until its last event is consumed.
    let keep: Option<i64> = if mark == head {
        Some(head)
    } else {
        tx.prepare_cached(sql.holds)?.query_row([mark], |row| row.get(0))?
    };
    let (mut events, mut bytes) = (0_i64, 0_i64);
    if let Some(keep) = keep {
        (events, bytes) =
            tx.prepare_cached(sql.count_before)?.query_row([keep], |row| Ok((row.get(0)?, row.get(1)?)))?;
        tx.prepare_cached(sql.delete_before)?.execute([keep])?;
    }
    tx.prepare_cached(
        "UPDATE topic SET consumed = ?1, events = events - ?2, bytes = bytes - ?3 WHERE id = ?4",
    )?
    .execute(params![mark, events, bytes, key(topic)])?;
    Ok(done)
}

/// What a failed read means to a reader: a page or a row that makes no sense is damage, all else may pass.
fn failure(topic: Topic, offset: i64, error: &rusqlite::Error) -> SourceError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
            SourceError::Damaged { topic: topic.name(), partition: 0, offset, detail: error.to_string() }
        }
        Some(_) => SourceError::Failed(error.to_string()),
    }
}
