//! Where a consumer reads on: the stored position, the proof that it is one of this log, and what cannot be read.

use std::time::Instant;

use sea_orm::DbErr;
use tracing::{debug, error, warn};

use super::{CALM, Cause, Consumer, RETRY_FIRST, RETRY_MOST, Stop};
use crate::{
    store::streams,
    stream::{Delivery, EventSource, Fingerprint, SourceError},
};

impl Consumer {
    /// Goes to the stored positions when the assignment has changed. To those of all partitions: one that was ours
    /// before may have been somebody else's in between.
    pub(super) async fn take_over(&mut self, source: &mut impl EventSource) -> Result<(), String> {
        let assignment = source.assignment();
        if self.generation == Some(assignment.generation) {
            return Ok(());
        }
        self.begin_again();
        self.stuck.retain(|partition, _| assignment.partitions.contains(partition));
        self.proofs.keep_only(&assignment.partitions);
        for partition in assignment.partitions {
            self.go_to_stored(source, partition).await?;
        }
        self.generation = Some(assignment.generation);
        Ok(())
    }

    /// Goes to the stored position of a partition. One that the log does not have stops that partition.
    async fn go_to_stored(&mut self, source: &mut impl EventSource, partition: i32) -> Result<(), String> {
        let standing = streams::standing(self.store.reader(), self.topic.name(), partition);
        let (position, last) = self.store.in_time(standing).await.map_err(|error| error.to_string())?;
        let last = last.as_deref().and_then(Fingerprint::from_slice);
        let sought = match self.proofs.open(partition, position, last) {
            None => source.rewind(partition).await,
            Some(begin) => match source.seek(partition, begin).await {
                Err(SourceError::Truncated { .. }) if begin < position => {
                    // The record that would be the proof is forgotten; the one at the position may be there.
                    self.proofs.give_up(partition);
                    source.seek(partition, position).await
                }
                sought => sought,
            },
        };
        match sought {
            Ok(()) => {
                self.next.insert(partition, position);
                match self.stuck.get_mut(&partition) {
                    Some(stop) if stop.cause != Cause::Position => stop.cause = Cause::EventTried,
                    Some(_) | None => drop(self.stuck.remove(&partition)),
                }
                Ok(())
            }
            Err(error) => {
                self.cannot_seek(source, partition, &error);
                Ok(())
            }
        }
    }

    /// A partition is left alone for a while. That its broker is away is nobody's fault here, and shows elsewhere.
    fn cannot_seek(&mut self, source: &mut impl EventSource, partition: i32, error: &SourceError) {
        match error {
            SourceError::Failed(detail) => {
                debug!(topic = self.topic.name(), partition, detail, "a partition cannot be reached");
                self.unanswered = Some(Instant::now());
                self.leave(source, partition, Cause::Position);
            }
            _ => self.stop(source, partition, Cause::Position, &error.to_string()),
        }
    }

    /// A partition cannot be read on.
    pub(super) async fn not_readable(
        &mut self,
        source: &mut impl EventSource,
        partition: i32,
        error: SourceError,
    ) -> Result<(), String> {
        let next = self.next.get(&partition).copied();
        match error {
            // Only the record that would be the proof is damaged: it has taken effect long ago.
            SourceError::Damaged { offset, .. }
                if next.is_some_and(|next| offset < next) && self.proofs.give_up(partition) =>
            {
                warn!(topic = self.topic.name(), partition, %error, "it was settled before, and is passed over");
                if let Some(next) = next
                    && let Err(error) = source.seek(partition, next).await
                {
                    self.cannot_seek(source, partition, &error);
                }
                Ok(())
            }
            // Damage may be mended in the log; the place is right.
            SourceError::Damaged { .. } => {
                self.stop(source, partition, Cause::Event, &error.to_string());
                Ok(())
            }
            _ => self.go_to_stored(source, partition).await,
        }
    }

    /// Takes the records out of a batch that only prove their log. One that is proven to be another is begun over.
    pub(super) async fn prove(
        &mut self,
        source: &mut impl EventSource,
        mut batch: Vec<Delivery>,
    ) -> Result<Vec<Delivery>, String> {
        let verdict = self.proofs.check(&mut batch);
        for partition in verdict.same {
            // It was read once more, and is no lag.
            if let Some(&position) = self.next.get(&partition) {
                source.consumed(partition, position).await.map_err(|error| error.to_string())?;
            }
        }
        for partition in verdict.other {
            let Some(&position) = self.next.get(&partition) else { continue };
            let why = "another event is where the last that was settled had been";
            self.begin_over(source, partition, position, why).await?;
        }
        Ok(batch)
    }

    /// Begins a partition over that ends before its position, and has for some time.
    async fn try_overdue(&mut self, source: &mut impl EventSource) -> Result<(), String> {
        let Some((partition, position)) = self.proofs.overdue(Instant::now()) else { return Ok(()) };
        match source.bounds(partition).await {
            Ok((_, ends)) if ends < position => {
                let why = format!("the log ends at {ends}, before the last event that was settled");
                self.begin_over(source, partition, position, &why).await
            }
            // Its events are on their way.
            Ok(_) => Ok(()),
            Err(_) => {
                self.unanswered = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Reads a partition from its beginning: its log is not the one that was settled.
    async fn begin_over(
        &mut self,
        source: &mut impl EventSource,
        partition: i32,
        position: i64,
        why: &str,
    ) -> Result<(), String> {
        let topic = self.topic.name();
        let begins = match source.bounds(partition).await {
            Ok((begins, _)) => begins,
            Err(error) => {
                self.cannot_seek(source, partition, &error);
                return Ok(());
            }
        };
        let moved = async {
            let tx = self.store.begin().await?;
            let moved = streams::advance(&tx, topic, partition, position, begins, None).await?;
            tx.commit().await?;
            Ok::<_, DbErr>(moved)
        };
        if self.store.in_time(moved).await.map_err(|error| error.to_string())? {
            error!(
                topic,
                partition, position, begins, why, "the log is another: it is read from its beginning"
            );
            self.metrics.begun_over.increment(1);
        }
        self.proofs.give_up(partition);
        self.go_to_stored(source, partition).await
    }

    /// Leaves a partition alone for a while, and says that somebody has to look.
    pub(super) fn stop(&mut self, source: &mut impl EventSource, partition: i32, cause: Cause, detail: &str) {
        self.leave(source, partition, cause);
        self.metrics.stalled.set(1.0);
        error!(topic = self.topic.name(), partition, detail, "settlement of a partition cannot go on");
    }

    fn leave(&mut self, source: &mut impl EventSource, partition: i32, cause: Cause) {
        let pause = self.stuck.get(&partition).map_or(RETRY_FIRST, |stop| (stop.pause * 2).min(RETRY_MOST));
        let stop = Stop { pause, again: Instant::now() + pause, cause };
        self.stuck.insert(partition, stop);
        source.hold(partition);
    }

    /// Whether a broker has just left a question open. Each takes a second of everybody's time.
    fn is_unanswered(&self) -> bool {
        self.unanswered.is_some_and(|asked| asked.elapsed() < RETRY_MOST)
    }

    /// A partition that is being tried again goes on once something of it is settled, or where nothing is left to try.
    async fn try_tried(&mut self, source: &mut impl EventSource) {
        let waits = |stop: &Stop| stop.cause == Cause::EventTried && stop.again.elapsed() > CALM;
        let Some(partition) =
            self.stuck.iter().find(|(_, stop)| waits(stop)).map(|(partition, _)| *partition)
        else {
            return;
        };
        match (source.bounds(partition).await, self.next.get(&partition)) {
            (Ok((_, ends)), Some(&next)) if ends <= next => drop(self.stuck.remove(&partition)),
            (Ok(_), _) => {
                // It is on its way, and asked for again when it has had time to come.
                if let Some(stop) = self.stuck.get_mut(&partition) {
                    stop.again = Instant::now();
                }
            }
            (Err(_), _) => self.unanswered = Some(Instant::now()),
        }
    }

    /// Tries the partitions again whose time has come.
    pub(super) async fn try_stopped(&mut self, source: &mut impl EventSource) -> Result<(), String> {
        if self.is_unanswered() {
            return Ok(());
        }
        self.try_overdue(source).await?;
        self.try_tried(source).await;
        let now = Instant::now();
        let due = |(&partition, stop): (&i32, &Stop)| {
            (stop.cause != Cause::EventTried && stop.again <= now).then_some(partition)
        };
        for partition in self.stuck.iter().filter_map(due).collect::<Vec<_>>() {
            if !self.is_unanswered() {
                self.go_to_stored(source, partition).await?;
            }
        }
        Ok(())
    }
}
