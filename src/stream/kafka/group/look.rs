//! The look that a member takes every other second: how far behind it is, and whether its client still hears anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{consumer::Consumer, error::KafkaError};

use super::{
    ANSWER, Group, Held, count, lock,
    partition::Partition,
    patience::{Sign, Silent},
};

/// How long the last lag stands while the group gives no place: as long as a division may take.
const STANDS: Duration = Duration::from_secs(300);

/// What is kept from one look to the next.
pub(super) struct Looks {
    /// When a broker last answered.
    answered: Instant,
    /// The partition to ask first: not always the same one keeps the others from being asked.
    first: i32,
}

/// What the brokers answered.
#[derive(Default)]
struct Answers {
    /// Where partitions begin and end.
    ends: BTreeMap<i32, (i64, i64)>,
    /// The first partition whose question was not answered; the others were not asked.
    unanswered: Option<i32>,
    error: Option<KafkaError>,
    /// The partitions that have a leader, where the brokers were asked for them.
    led: Option<BTreeSet<i32>>,
}

impl Answers {
    fn nothing_is_led(&self) -> bool {
        self.led.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

impl Looks {
    pub fn begin() -> Self {
        Self { answered: Instant::now(), first: 0 }
    }
}

impl Group {
    /// Brings the gauges up to date, and tells of what the client was heard.
    pub(super) fn look(&self, looks: &mut Looks) -> BTreeMap<Silent, Sign> {
        let answers = self.ask(looks.first);
        if self.is_stopped() {
            return BTreeMap::new();
        }
        let now = Instant::now();
        let answered = !answers.ends.is_empty() || answers.led.is_some();
        if answered {
            looks.answered = now;
        }
        looks.first = answers.unanswered.map_or(0, |number| number.saturating_add(1));
        match &answers.error {
            None => self.metrics.brokers_up.set(1.0),
            Some(error) => {
                self.metrics.brokers_up.set(0.0);
                self.consumer.context().log.error(&format!("the brokers do not answer: {error}"));
            }
        }
        let mut held = lock(&self.held);
        if answers.nothing_is_led() && held.outside.is_some() {
            // There is nothing to divide yet.
            held.outside = Some(now);
        }
        let mut signs = BTreeMap::new();
        let last = held.delivered.map_or(looks.answered, |at| at.max(looks.answered));
        // A client that has ended answers, and brings nothing any more.
        let since = held.fatal.as_ref().map_or(last, |(_, since)| *since);
        let silence = now.saturating_duration_since(since);
        // As long as the group counts on it, the brokers may just be slow.
        let doubtful = held.outside.is_none() && held.fatal.is_none();
        let heard = answered && held.fatal.is_none();
        signs.insert(Silent::Brokers, Sign { heard, silence, doubtful });
        let outside = held.outside.map(|since| now.saturating_duration_since(since));
        let of_group = |silence| Sign { heard: false, silence, doubtful: true };
        signs.insert(Silent::Group, outside.map_or(Sign::WELL, of_group));
        for (&number, partition) in &mut held.partitions {
            if let Some(&(begins, end)) = answers.ends.get(&number) {
                signs.insert(Silent::Partition(number), partition.answered(begins, end, now));
                signs.insert(Silent::Leader(number), Sign::WELL);
            } else if answers.unanswered == Some(number) {
                let is_led = answers.led.as_ref().is_some_and(|led| led.contains(&number));
                signs.insert(Silent::Leader(number), partition.unanswered(is_led, now));
            }
        }
        if let Some(lag) = lag(&held, &answers) {
            self.metrics.lag.set(count(usize::try_from(lag).unwrap_or(usize::MAX)));
        }
        signs
    }

    /// Notes what the next client has to bring to have helped.
    pub(super) fn await_from(&self, silent: Silent) {
        let mut held = lock(&self.held);
        if let Silent::Partition(number) = silent
            && let Some(next) = held.partitions.get(&number).map(|partition| partition.next_of(0))
        {
            held.awaited.insert(number, next);
        }
    }

    /// Asks where the partitions that were sought begin and end, `first` before the others. Blocks for [`ANSWER`] for
    /// each of them; after one that is not answered no other is asked, but who leads them.
    fn ask(&self, first: i32) -> Answers {
        let sought: Vec<i32> = {
            let held = lock(&self.held);
            let of = |(number, partition): (&i32, &Partition)| partition.consumed.map(|_| *number);
            held.partitions.iter().filter_map(of).collect()
        };
        let mut answers = Answers::default();
        let (begin, rest): (Vec<i32>, Vec<i32>) = sought.iter().partition(|number| **number >= first);
        for number in begin.into_iter().chain(rest) {
            if self.is_stopped() {
                return answers;
            }
            match self.consumer.fetch_watermarks(&self.name, number, ANSWER) {
                Ok(ends) => {
                    answers.ends.insert(number, ends);
                }
                Err(error) => {
                    (answers.unanswered, answers.error) = (Some(number), Some(error));
                    break;
                }
            }
        }
        if sought.is_empty() || answers.unanswered.is_some() {
            match self.consumer.fetch_metadata(Some(&self.name), ANSWER) {
                Ok(metadata) => {
                    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                    let led = partitions.filter(|partition| partition.leader() >= 0);
                    answers.led = Some(led.map(|partition| partition.id()).collect());
                }
                Err(error) => answers.error = Some(error),
            }
        }
        answers
    }
}

/// Events of this instance that have not taken effect, as asked for and not as fetched: a partition that is stalled is
/// not fetched, and its lag grows. `None`: the last one stands, while that is not known of all partitions or while the
/// group is being divided.
fn lag(held: &Held, answers: &Answers) -> Option<u64> {
    if answers.error.is_some() {
        return None;
    }
    match held.outside {
        Some(since) if since.elapsed() < STANDS && !answers.nothing_is_led() => None,
        // Whatever there is, others have it.
        Some(_) => Some(0),
        None => {
            let of = |(number, partition): (&i32, &Partition)| {
                answers.ends.get(number).map(|(begins, end)| partition.lag(*begins, *end))
            };
            held.partitions.iter().map(of).sum()
        }
    }
}
