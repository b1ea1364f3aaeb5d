//! What librdkafka says, as lines of our log: it repeats itself once per broker and attempt, so only a few lines of
//! each ten seconds are kept.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

/// Lines of one client that are kept …
const LINES: u32 = 5;

/// … in this time.
const PER: Duration = Duration::from_secs(10);

/// Reasons that are remembered.
const REASONS: usize = 5;

/// Asks librdkafka for warnings and errors. Without it the crate would ask for what the `log` crate's level says.
pub fn ask_for(config: &mut ClientConfig) {
    config.set_log_level(RDKafkaLogLevel::Warning);
}

/// The lines and errors of one client.
#[derive(Debug, Default)]
pub struct ClientLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
    reasons: Vec<String>,
}

impl ClientLog {
    /// A line of librdkafka's log.
    pub fn line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let Some(left_out) = self.may_write(Instant::now()) else { return };
        if (level as i32) <= RDKafkaLogLevel::Error as i32 {
            tracing::warn!(target: "librdkafka", facility, left_out, "{message}");
        } else {
            tracing::info!(target: "librdkafka", facility, left_out, "{message}");
        }
    }

    /// An error that librdkafka reports beside its log, with its reason in words. It is reported twice each time.
    pub fn error(&self, reason: &str) {
        if self.remember(reason)
            && let Some(left_out) = self.may_write(Instant::now())
        {
            tracing::warn!(target: "librdkafka", left_out, "{reason}");
        }
    }

    /// Keeps a reason without a line. False where it was the last one already.
    pub fn remember(&self, reason: &str) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.reasons.last().is_some_and(|last| last == reason) {
            return false;
        }
        kept.reasons.retain(|known| known != reason);
        kept.reasons.push(reason.to_owned());
        if kept.reasons.len() > REASONS {
            kept.reasons.remove(0);
        }
        true
    }

    /// The last errors, each once, the newest last.
    pub fn reasons(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reasons.clone()
    }

    /// How many lines were left out before the one that may be written now.
    fn may_write(&self, now: Instant) -> Option<u64> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.since.is_none_or(|since| now.duration_since(since) >= PER) {
            kept.since = Some(now);
            kept.lines = 0;
        }
        if kept.lines == LINES {
            kept.left_out += 1;
            return None;
        }
        kept.lines += 1;
        Some(std::mem::take(&mut kept.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = ClientLog::default();
        let begin = Instant::now();
        assert!((0..LINES).all(|_| log.may_write(begin) == Some(0)));
        assert!((0..7).all(|_| log.may_write(begin + PER / 2).is_none()));
        assert_eq!(log.may_write(begin + PER), Some(7));
        assert_eq!(log.may_write(begin + PER), Some(0));
    }

    #[test]
    fn reasons_are_kept_once() {
        let log = ClientLog::default();
        for reason in ["a", "b", "a", "c", "d", "e", "f"] {
            assert!(log.remember(reason) && !log.remember(reason));
        }
        assert_eq!(log.reasons(), ["a", "c", "d", "e", "f"]);
    }
}
