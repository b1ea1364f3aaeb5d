//! Readers of one topic, in the writer's process or in another.

use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep, timeout},
};

use super::{SpoolError, TopicStats, database::Database, lacks_room, queue::Queue, reserve};
use crate::stream::{Assignment, Delivery, EndOfLog, Ends, EventSource, SourceError, Topic};

/// How often a reader looks at a file that another process writes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Events that one look at the file takes at most, however many are asked for; a batch more where it is not whole.
const MOST_AT_ONCE: usize = 10_000;

/// Hands out the events of one topic in order, beginning at offset 0 until told otherwise.
///
/// Every batch is proved by its checksum and by following the one before; what does not fit is
/// [`SourceError::Damaged`], and the reader stays where it is. Polls may be abandoned at any time: what was not handed
/// out comes again. The file is read on tokio's blocking threads.
#[derive(Debug)]
pub struct SpoolSource {
    topic: Topic,
    path: PathBuf,
    database: Arc<Mutex<Database>>,
    /// The writer, when it is in this process: it wakes this reader and does the forgetting.
    writer: Option<(Arc<Queue>, watch::Receiver<i64>)>,
    /// The next offset to hand out; `ready` begins there.
    position: i64,
    ready: VecDeque<Delivery>,
    held: bool,
}

impl SpoolSource {
    /// Reads a log that another process may be writing.
    pub fn open(path: &Path, topic: Topic) -> Result<Self, SpoolError> {
        Self::new(path, topic, None)
    }

    pub(super) fn new(path: &Path, topic: Topic, writer: Option<Arc<Queue>>) -> Result<Self, SpoolError> {
        let writer = writer.map(|queue| {
            let head = queue.head(topic);
            (queue, head)
        });
        let database = Arc::new(Mutex::new(Database::open(path)?));
        let path = path.to_owned();
        Ok(Self { topic, path, database, writer, position: 0, ready: VecDeque::new(), held: false })
    }

    /// Waits for a commit, for `most` at most.
    async fn wait(&mut self, most: Duration) {
        match &mut self.writer {
            // The queue has the sending end, so this ends by a commit or by the time; which, the file will tell.
            Some((_, head)) => drop(timeout(most, head.changed()).await),
            None => sleep(most.min(LOOK_EVERY)).await,
        }
    }

    fn only_partition(partition: i32) -> Result<(), SourceError> {
        match partition {
            0 => Ok(()),
            other => {
                Err(SourceError::Failed(format!("the embedded event log has partition 0 alone, not {other}")))
            }
        }
    }
}

/// Works on the file, on a thread that may wait for the disk.
async fn on_file<T: Send + 'static>(
    database: &Arc<Mutex<Database>>,
    work: impl FnOnce(&mut Database) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let database = Arc::clone(database);
    let work = move || work(&mut database.lock().unwrap_or_else(PoisonError::into_inner));
    task::spawn_blocking(work).await.map_err(|error| SourceError::Failed(error.to_string()))?
}

async fn stats(database: &Arc<Mutex<Database>>) -> Result<[TopicStats; 2], SourceError> {
    on_file(database, |database| database.stats().map_err(|error| SourceError::Failed(error.to_string())))
        .await
}

/// Where the log ends, read from its file.
#[derive(Debug)]
pub struct SpoolEnd {
    topic: Topic,
    database: Arc<Mutex<Database>>,
}

impl EndOfLog for SpoolEnd {
    async fn ends(&self) -> Result<Ends, SourceError> {
        let kept = stats(&self.database)
            .await?
            .into_iter()
            .filter(|kept| kept.topic == self.topic && kept.events > 0);
        Ok(kept.map(|kept| (0, kept.next_offset)).collect())
    }
}

impl EventSource for SpoolSource {
    type End = SpoolEnd;

    fn end(&self) -> SpoolEnd {
        SpoolEnd { topic: self.topic, database: Arc::clone(&self.database) }
    }

    fn assignment(&self) -> Assignment {
        Assignment { generation: 1, partitions: BTreeSet::from([0]) }
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, SourceError> {
        let deadline = Instant::now() + wait;
        let max = max.clamp(1, MOST_AT_ONCE);
        if self.held {
            sleep(wait).await;
            return Ok(Vec::new());
        }
        while self.ready.is_empty() {
            // Seen before the file is read: a commit in between wakes the wait below.
            if let Some((_, head)) = &mut self.writer {
                head.mark_unchanged();
            }
            let (topic, position) = (self.topic, self.position);
            self.ready =
                on_file(&self.database, move |database| database.read(topic, position, max)).await?.into();
            if self.ready.is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(Vec::new());
                }
                self.wait(left).await;
            }
        }
        let found: Vec<Delivery> = self.ready.drain(..max.min(self.ready.len())).collect();
        self.position = found.last().map_or(self.position, |last| last.offset + 1);
        Ok(found)
    }

    /// One that has forgotten something begins with offset 0 no more, and is not rewound: who never read it would pass
    /// over what is forgotten.
    async fn rewind(&mut self, partition: i32) -> Result<(), SourceError> {
        self.seek(partition, 0).await
    }

    async fn seek(&mut self, partition: i32, offset: i64) -> Result<(), SourceError> {
        Self::only_partition(partition)?;
        let topic = self.topic;
        on_file(&self.database, move |database| database.check_position(topic, offset)).await?;
        self.ready.clear();
        self.position = offset;
        self.held = false;
        Ok(())
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), SourceError> {
        Self::only_partition(partition)?;
        let topic = self.topic;
        let kept = stats(&self.database).await?[topic.index()];
        Ok((kept.begins, kept.next_offset))
    }

    fn hold(&mut self, _partition: i32) {
        self.held = true;
    }

    /// Beside the writer this is a note to it, applied within a tenth of a second. In another process, and when the
    /// writer has ended, it is a small transaction of its own, which may take the room of the log's reserve. A note that
    /// is lost only means that more is kept.
    async fn consumed(&mut self, partition: i32, offset: i64) -> Result<(), SourceError> {
        Self::only_partition(partition)?;
        if offset > self.position {
            let position = self.position;
            let detail = format!("offset {offset} cannot be consumed, the reader stands at {position}");
            return Err(SourceError::Failed(detail));
        }
        if self.writer.as_ref().is_some_and(|(queue, _)| queue.mark(self.topic, offset)) {
            return Ok(());
        }
        let (topic, path) = (self.topic, self.path.clone());
        let trim = move |database: &mut Database| {
            let trimmed = match database.trim(topic, offset) {
                Err(error) if lacks_room(&error) && reserve::give_up(&path) => {
                    database.trim(topic, offset).and_then(|()| database.checkpoint())
                }
                other => other,
            };
            trimmed.map_err(|error| SourceError::Failed(error.to_string()))
        };
        on_file(&self.database, trim).await
    }
}
