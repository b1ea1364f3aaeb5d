//! Proof that a partition's log is the one that was settled.
//!
//! An offset does not say whose it is. A topic may have been made anew, a log may have lost its end and grown again, or
//! the store was settled from another log before: going on at the stored offset would then pass over events in
//! silence. So a position remembers the record before it. Reading begins with that record, and where the log has
//! another one in its place, or ends before it, the partition is read from its beginning. What had taken effect already
//! is known by its number.
//!
//! This is asked whenever reading begins: at the start, when partitions move between instances, and after the brokers
//! have said that an offset is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::stream::{Delivery, Fingerprint};

/// After so long without the record that proves it, a partition is asked where it ends. A broker that has just come
/// back may not know its end sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a partition is read on, before it is proven that this is the right log.
#[derive(Clone, Copy, Debug)]
struct Claim {
    next: i64,
    last: Option<Fingerprint>,
    since: Instant,
}

/// The partitions that are not proven.
#[derive(Debug, Default)]
pub(super) struct Proofs(BTreeMap<i32, Claim>);

/// What a batch has proven of partitions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The log is the one that was settled.
    pub same: BTreeSet<i32>,
    pub other: BTreeSet<i32>,
}

impl Proofs {
    /// Answers the offset to begin at when the stored one is `next`; none: with the first record that there is.
    pub fn open(&mut self, partition: i32, next: i64, last: Option<Fingerprint>) -> Option<i64> {
        if next == 0 {
            // There is nothing that could have been settled from another log.
            self.0.remove(&partition);
            return None;
        }
        let new = Claim { next, last, since: Instant::now() };
        let claim = self.0.entry(partition).or_insert(new);
        if (claim.next, claim.last) != (next, last) {
            *claim = new;
        }
        Some(if last.is_some() { next - 1 } else { next })
    }

    /// The record before the position cannot be read: nothing can be proven. False where nothing was to be.
    pub fn give_up(&mut self, partition: i32) -> bool {
        self.0.remove(&partition).is_some()
    }

    pub fn keep_only(&mut self, partitions: &BTreeSet<i32>) {
        self.0.retain(|partition, _| partitions.contains(partition));
    }

    /// Takes out of a batch what is there as a proof alone, and all of partitions whose log is another.
    pub fn check(&mut self, batch: &mut Vec<Delivery>) -> Verdict {
        let mut verdict = Verdict::default();
        if self.0.is_empty() {
            return verdict;
        }
        batch.retain(|delivery| {
            let partition = delivery.partition;
            if verdict.other.contains(&partition) {
                return false;
            }
            let Some(claim) = self.0.remove(&partition) else { return true };
            if delivery.offset >= claim.next {
                return true;
            }
            let is_same = claim.last == Some(Fingerprint::of(&delivery.payload));
            if is_same { &mut verdict.same } else { &mut verdict.other }.insert(partition);
            false
        });
        verdict
    }

    /// The partition that was to be proven longest ago, and its stored offset; each once in a while.
    pub fn overdue(&mut self, now: Instant) -> Option<(i32, i64)> {
        let (&partition, claim) = self.0.iter_mut().min_by_key(|(_, claim)| claim.since)?;
        (now.saturating_duration_since(claim.since) >= PATIENCE).then(|| {
            claim.since = now;
            (partition, claim.next)
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn delivery(partition: i32, offset: i64, payload: &'static str) -> Delivery {
        Delivery { partition, offset, payload: Bytes::from_static(payload.as_bytes()) }
    }

    fn left(batch: &[Delivery]) -> Vec<(i32, i64)> {
        batch.iter().map(|delivery| (delivery.partition, delivery.offset)).collect()
    }

    #[test]
    fn the_record_before_the_position_tells_the_log() {
        let mut proofs = Proofs::default();
        let last = Some(Fingerprint::of(b"last"));
        assert_eq!(proofs.open(0, 0, None), None);
        assert_eq!([1, 2, 3].map(|partition| proofs.open(partition, 5, last)), [Some(4); 3]);
        assert_eq!(proofs.open(4, 5, None), Some(5));
        // Not the beginning, wherever that is.
        assert_eq!(proofs.open(5, 1, last), Some(0));
        let mut batch = vec![
            delivery(0, 0, "first"),
            delivery(1, 4, "last"),
            delivery(1, 5, "next"),
            delivery(2, 4, "another"),
            delivery(2, 5, "its next"),
            // Compacted away or taken by a transaction's mark: there is none to compare.
            delivery(3, 6, "behind a gap"),
            delivery(4, 5, "next"),
        ];
        let verdict = proofs.check(&mut batch);
        assert_eq!((verdict.same, verdict.other), ([1].into(), [2].into()));
        assert_eq!(left(&batch), [(0, 0), (1, 5), (3, 6), (4, 5)]);
        // Once is enough.
        let mut batch = vec![delivery(1, 4, "another")];
        assert_eq!(proofs.check(&mut batch), Verdict::default());
        assert_eq!(left(&batch), [(1, 4)]);
    }

    #[test]
    fn what_does_not_come_is_overdue_once_in_a_while() {
        let mut proofs = Proofs::default();
        proofs.open(1, 5, Some(Fingerprint::of(b"last")));
        let begin = Instant::now();
        assert_eq!(proofs.overdue(begin), None);
        let late = begin + PATIENCE * 2;
        // Sought again: it waits all the same.
        proofs.open(1, 5, Some(Fingerprint::of(b"last")));
        proofs.open(2, 7, None);
        assert_eq!(proofs.overdue(late), Some((1, 5)));
        assert_eq!(proofs.overdue(late), Some((2, 7)));
        assert_eq!(proofs.overdue(late), None);
        assert_eq!(proofs.overdue(late + PATIENCE), Some((1, 5)));
        proofs.keep_only(&BTreeSet::from([3]));
        assert_eq!(proofs.overdue(late + PATIENCE * 2), None);
    }
}
