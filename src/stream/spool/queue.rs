//! The hand-over between many appending threads and the one writer, bounded by bytes and by records.
//!
//! Whether an append fits is decided here, when it is handed over, by the most bytes that it can take in the file:
//! so the log never grows past `max_bytes`, and a caller learns at once that it is full. Clicks may fill the log and
//! the queue to nine tenths; the rest is for conversions, because a lost click costs a count and a lost conversion
//! costs somebody's money.

use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{TopicStats, format};
use crate::stream::{AppendDone, AppendError, Record, Topic};

/// Bytes, uncompressed, that may be under way to the disk: more means that the disk has stalled, and memory must
/// not pay for it.
const QUEUE_BYTES: u64 = 64 << 20;

/// Records that may be under way: at 1,000 a commit a hundred commits.
const QUEUE_RECORDS: usize = 100_000;

/// How often an idle writer looks at marks, at the size of the file that another process may have trimmed, and at
/// the age of what is kept.
const IDLE_LOOK: Duration = Duration::from_millis(100);

/// The share of a bound that clicks may fill.
const fn share_of_clicks(bound: u64) -> u64 {
    bound - bound / 10
}

/// Records of one `append`, waiting for a commit.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) records: Vec<Record>,
    pub(super) done: AppendDone,
    pub(super) since: Instant,
    cost: u64,
    prompt: bool,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// Make these durable, then call [`Queue::finished`].
    Commit(Vec<Waiting>),
    Look,
    /// Everything handed over was taken, and nothing comes any more.
    End,
}

/// When a group is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupLimits {
    pub(super) events: usize,
    pub(super) wait: Duration,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Waiting>,
    waiting_records: usize,
    /// Appends in `waiting` that are not to wait for company.
    prompt: usize,
    /// Of what waits and what is being committed.
    records_under_way: usize,
    cost_under_way: u64,
    stats: [TopicStats; 2],
    marks: [i64; 2],
    failing: bool,
    closed: bool,
}

/// Shared by the sinks, the writer and the readers of this process.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// The next offset of each topic, for readers that wait.
    heads: [watch::Sender<i64>; 2],
    max_bytes: u64,
}

impl Queue {
    pub(super) fn new(max_bytes: u64, stats: [TopicStats; 2]) -> Self {
        let heads = Topic::ALL.map(|topic| watch::Sender::new(stats[topic.index()].next_offset));
        let state = State {
            waiting: VecDeque::new(),
            waiting_records: 0,
            prompt: 0,
            records_under_way: 0,
            cost_under_way: 0,
            stats,
            marks: [0; 2],
            failing: false,
            closed: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), heads, max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before the lock is given back; a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the records, or gives `done` back with the reason.
    pub(super) fn push(
        &self,
        records: Vec<Record>,
        done: AppendDone,
    ) -> Result<(), (AppendDone, AppendError)> {
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        let cost = format::most_bytes(records.len(), bytes);
        let prompt = records.iter().any(|record| record.topic == Topic::Conversions);
        let bound = |bound| if prompt { bound } else { share_of_clicks(bound) };
        let mut state = self.lock();
        if state.closed {
            return Err((done, AppendError::Closed));
        }
        let kept: u64 = state.stats.iter().map(|topic| topic.bytes).sum();
        let under_way = state.cost_under_way.saturating_add(cost);
        let records_under_way = state.records_under_way.saturating_add(records.len());
        if kept.saturating_add(under_way) > bound(self.max_bytes) {
            return Err((done, AppendError::Full));
        }
        if under_way > bound(QUEUE_BYTES) || records_under_way as u64 > bound(QUEUE_RECORDS as u64) {
            return Err((done, AppendError::Stalled));
        }
        state.cost_under_way = under_way;
        state.records_under_way = records_under_way;
        state.waiting_records += records.len();
        state.prompt += usize::from(prompt);
        state.waiting.push_back(Waiting { records, done, since: Instant::now(), cost, prompt });
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Waits until there is something to do.
    pub(super) fn next(&self, limits: GroupLimits) -> Work {
        let mut state = self.lock();
        loop {
            let timeout = match state.waiting.front() {
                Some(oldest) => {
                    let waited = oldest.since.elapsed();
                    let full = state.waiting_records >= limits.events;
                    if full || state.prompt > 0 || state.closed || waited >= limits.wait {
                        return Work::Commit(take_group(&mut state, limits.events));
                    }
                    limits.wait - waited
                }
                None if state.closed => return Work::End,
                None => IDLE_LOOK,
            };
            let waited = self.work.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && state.waiting.is_empty() && !state.closed {
                return Work::Look;
            }
        }
    }

    /// A group is no longer under way. With the log as it is after the commit its readers are woken; without, the
    /// commit failed and the group is refused.
    pub(super) fn finished(&self, group: &[Waiting], stored: Option<[TopicStats; 2]>) {
        // Counted as stored before it is no longer counted as under way: the bound holds in between.
        if let Some(stats) = stored {
            self.observe(stats);
        }
        let mut state = self.lock();
        for waiting in group {
            state.cost_under_way = state.cost_under_way.saturating_sub(waiting.cost);
            state.records_under_way = state.records_under_way.saturating_sub(waiting.records.len());
        }
        state.failing = stored.is_none();
    }

    /// Takes note of what the file holds, and wakes the readers when there is more.
    pub(super) fn observe(&self, stats: [TopicStats; 2]) {
        self.lock().stats = stats;
        for topic in stats {
            let head = topic.next_offset;
            self.heads[topic.topic.index()].send_if_modified(|known| head != mem::replace(known, head));
        }
    }

    /// What the file held when the writer last looked, and whether the last commit failed.
    pub(super) fn observed(&self) -> ([TopicStats; 2], bool) {
        let state = self.lock();
        (state.stats, state.failing)
    }

    /// Whether somebody waits for a commit.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn head(&self, topic: Topic) -> watch::Receiver<i64> {
        self.heads[topic.index()].subscribe()
    }

    /// Everything of `topic` before `offset` may be forgotten; the writer does it by and by. False when it
    /// has ended or is about to.
    pub(super) fn mark(&self, topic: Topic, offset: i64) -> bool {
        let mut state = self.lock();
        let mark = &mut state.marks[topic.index()];
        *mark = offset.max(*mark);
        !state.closed
    }

    pub(super) fn marks(&self) -> [i64; 2] {
        self.lock().marks
    }

    /// Takes nothing any more. What was taken is still committed.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// The writer is gone: nothing is taken any more, and what waits will not be stored.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        // Dropped ends read as closed.
        state.waiting.clear();
    }
}

/// Whole appends in their order, up to the first that makes `events` or more.
fn take_group(state: &mut State, events: usize) -> Vec<Waiting> {
    let mut group = Vec::new();
    let mut taken = 0;
    while let Some(waiting) = state.waiting.pop_front() {
        taken += waiting.records.len();
        state.prompt -= usize::from(waiting.prompt);
        group.push(waiting);
        if taken >= events {
            break;
        }
    }
    state.waiting_records -= taken;
    group
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::stream::Append;

    fn queue(max_bytes: u64) -> Queue {
        Queue::new(max_bytes, Topic::ALL.map(TopicStats::empty))
    }

    fn push(queue: &Queue, topic: Topic, records: usize, bytes: usize) -> Result<Append, AppendError> {
        let (done, append) = Append::new();
        let record = Record { topic, key: None, payload: Bytes::from(vec![b'x'; bytes]) };
        queue.push(vec![record; records], done).map(|()| append).map_err(|(_, why)| why)
    }

    fn records(work: Work) -> Vec<usize> {
        match work {
            Work::Commit(group) => group.iter().map(|one| one.records.len()).collect(),
            Work::Look | Work::End => Vec::new(),
        }
    }

    const LONG: GroupLimits = GroupLimits { events: 10, wait: Duration::from_secs(3600) };

    #[test]
    fn clicks_leave_a_tenth_to_conversions() {
        let queue = queue(10_000);
        let mut clicks = 0;
        while push(&queue, Topic::Clicks, 1, 400).is_ok() {
            clicks += 1;
        }
        let mut conversions = 0;
        while push(&queue, Topic::Conversions, 1, 400).is_ok() {
            conversions += 1;
        }
        let each = format::most_bytes(1, 400);
        assert_eq!(clicks, 9_000 / each);
        assert_eq!(clicks + conversions, 10_000 / each);
        assert!(conversions > 0);
    }

    #[test]
    fn what_is_kept_counts_and_what_was_committed_gives_its_place_back() {
        let queue = queue(10_000);
        assert!(push(&queue, Topic::Conversions, 1, 6_000).is_ok());
        assert_eq!(push(&queue, Topic::Conversions, 1, 6_000).unwrap_err(), AppendError::Full);
        let Work::Commit(group) = queue.next(LONG) else { panic!("a conversion is due at once") };
        assert_eq!(push(&queue, Topic::Conversions, 1, 6_000).unwrap_err(), AppendError::Full);
        let mut stats = Topic::ALL.map(TopicStats::empty);
        stats[1].bytes = 100;
        queue.finished(&group, Some(stats));
        assert!(push(&queue, Topic::Conversions, 1, 6_000).is_ok());
        assert_eq!(push(&queue, Topic::Conversions, 1, 3_700).unwrap_err(), AppendError::Full);
    }

    #[test]
    fn the_queue_is_bounded_by_records_too() {
        let queue = queue(u64::MAX);
        assert!(push(&queue, Topic::Clicks, QUEUE_RECORDS / 10 * 9, 0).is_ok());
        assert_eq!(push(&queue, Topic::Clicks, 1, 0).unwrap_err(), AppendError::Stalled);
        assert!(push(&queue, Topic::Conversions, QUEUE_RECORDS / 10, 0).is_ok());
        assert_eq!(push(&queue, Topic::Conversions, 1, 0).unwrap_err(), AppendError::Stalled);
    }

    #[test]
    fn groups_are_whole_appends_in_order() {
        let queue = queue(u64::MAX);
        for size in [4, 5, 3, 2] {
            drop(push(&queue, Topic::Clicks, size, 1));
        }
        assert_eq!(records(queue.next(LONG)), [4, 5, 3]);
        queue.close();
        assert_eq!(records(queue.next(LONG)), [2]);
        assert!(matches!(queue.next(LONG), Work::End));
        assert_eq!(push(&queue, Topic::Clicks, 1, 1).unwrap_err(), AppendError::Closed);
    }

    #[test]
    fn a_conversion_takes_the_clicks_before_it_along() {
        let queue = queue(u64::MAX);
        drop(push(&queue, Topic::Clicks, 1, 1));
        drop(push(&queue, Topic::Conversions, 2, 1));
        assert_eq!(records(queue.next(LONG)), [1, 2]);
    }

    #[test]
    fn clicks_wait_for_company_and_no_longer_than_allowed() {
        let queue = queue(u64::MAX);
        let wait = Duration::from_millis(20);
        let begin = Instant::now();
        drop(push(&queue, Topic::Clicks, 1, 1));
        assert_eq!(records(queue.next(GroupLimits { events: 10, wait })), [1]);
        assert!(begin.elapsed() >= wait);
    }
}
