//! What the topics have to be like, and how those at the brokers differ.
//!
//! Nobody is asked to make a topic weaker: more partitions, replicas or days than planned are no difference.

use std::collections::BTreeMap;

use super::client;
use crate::{config::KafkaSettings, stream::Topic};

const DAY_MS: i64 = 86_400_000;

/// How long removals stay on the catalog's topic. An edge trusts a snapshot for half of it, so it never misses one.
pub const CATALOG_DELETE_RETENTION_MS: i64 = 7 * DAY_MS;

/// librdkafka sends records of up to 1,000,000 bytes; the rest is the frame of a batch.
const MAX_MESSAGE_BYTES: i64 = 1_048_588;

/// The brokers of a deployment, as far as its topics depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of clicks, and of conversions. It is the most consumers that settle at once, and never changes.
    pub partitions: i32,
    /// Of the catalog: an edge reads them at once.
    pub catalog_partitions: i32,
    /// Brokers that have each partition.
    pub replication: i32,
    /// Brokers that have written an event before it counts as acknowledged.
    pub min_insync: i32,
    pub click_retention_days: i64,
    pub conversion_retention_days: i64,
}

/// One topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    pub partitions: i32,
    pub replication: i32,
    /// Keys and values of the topic's configuration.
    pub config: Vec<(&'static str, Rule)>,
}

/// What a value has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Is(&'static str),
    AtLeast(i64),
    AtMost(i64),
    /// Milliseconds; -1 is for ever.
    Keeps(i64),
}

impl Rule {
    /// The value that a new topic gets.
    pub fn value(&self) -> String {
        match self {
            Self::Is(value) => (*value).to_owned(),
            Self::AtLeast(number) | Self::AtMost(number) | Self::Keeps(number) => number.to_string(),
        }
    }

    fn holds(&self, found: &str) -> bool {
        let number = found.parse::<i64>().ok();
        match self {
            Self::Is(value) => found == *value,
            Self::AtLeast(least) => number.is_some_and(|found| found >= *least),
            Self::AtMost(most) => number.is_some_and(|found| found <= *most),
            Self::Keeps(least) => number.is_some_and(|found| found == -1 || found >= *least),
        }
    }

    fn wanted(&self) -> String {
        match self {
            Self::Is(value) => (*value).to_owned(),
            Self::AtLeast(least) | Self::Keeps(least) => format!("at least {least}"),
            Self::AtMost(most) => format!("at most {most}"),
        }
    }
}

/// One topic as the brokers have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub partitions: usize,
    /// Of the partition that has the fewest replicas.
    pub replication: usize,
    pub config: BTreeMap<String, String>,
}

/// The three topics: clicks, conversions, catalog.
pub fn plans(settings: &KafkaSettings, wanted: &Wanted) -> [Plan; 3] {
    let plan = |name, partitions, own: Vec<(&'static str, Rule)>| {
        let mut config = vec![
            ("min.insync.replicas", Rule::AtLeast(wanted.min_insync.into())),
            // A broker that had fallen behind must not lead: it lacks events that were acknowledged.
            ("unclean.leader.election.enable", Rule::Is("false")),
            ("max.message.bytes", Rule::AtLeast(MAX_MESSAGE_BYTES)),
            // By time alone: a limit of bytes would forget what nobody has settled.
            ("retention.bytes", Rule::Is("-1")),
        ];
        config.extend(own);
        Plan { name, partitions, replication: wanted.replication, config }
    };
    let events = |days: i64| {
        vec![("cleanup.policy", Rule::Is("delete")), ("retention.ms", Rule::Keeps(days * DAY_MS))]
    };
    let catalog = vec![
        ("cleanup.policy", Rule::Is("compact")),
        ("delete.retention.ms", Rule::AtLeast(CATALOG_DELETE_RETENTION_MS)),
        // What was replaced is gone after a day, also where little changes; a segment in use is never compacted.
        ("max.compaction.lag.ms", Rule::AtMost(DAY_MS)),
        ("segment.ms", Rule::AtMost(DAY_MS)),
    ];
    [
        plan(client::topic(settings, Topic::Clicks), wanted.partitions, events(wanted.click_retention_days)),
        plan(
            client::topic(settings, Topic::Conversions),
            wanted.partitions,
            events(wanted.conversion_retention_days),
        ),
        plan(client::catalog_topic(settings), wanted.catalog_partitions, catalog),
    ]
}

impl Plan {
    /// In words, each difference of what was found; nothing found is one.
    pub fn differences(&self, found: Option<&Found>) -> Vec<String> {
        let Some(found) = found else { return vec!["is missing".to_owned()] };
        let mut differences = Vec::new();
        let fewer = |what: &str, found: usize, wanted: i32| {
            let is_fewer = i64::try_from(found).is_ok_and(|found| found < i64::from(wanted));
            is_fewer.then(|| format!("{what} {found}, wanted {wanted} or more"))
        };
        differences.extend(fewer("partitions", found.partitions, self.partitions));
        differences.extend(fewer("replication", found.replication, self.replication));
        for (key, rule) in &self.config {
            match found.config.get(*key) {
                Some(value) if rule.holds(value) => {}
                Some(value) => differences.push(format!("{key} {value}, wanted {}", rule.wanted())),
                None => differences.push(format!("{key} unknown, wanted {}", rule.wanted())),
            }
        }
        let insync = found.config.get("min.insync.replicas").and_then(|value| value.parse::<usize>().ok());
        if let Some(insync) = insync
            && insync > found.replication
        {
            let replication = found.replication;
            differences.push(format!(
                "min.insync.replicas {insync} with replication {replication}: nothing can be written"
            ));
        }
        differences
    }
}

/// Clicks and conversions have as many partitions, whatever the plan: settlement reads them with as many consumers.
pub fn unequal(clicks: Option<&Found>, conversions: Option<&Found>) -> Option<String> {
    let (clicks, conversions) = (clicks?.partitions, conversions?.partitions);
    (clicks != conversions).then(|| format!("partitions {conversions}, but clicks have {clicks}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const WANTED: Wanted = Wanted {
        partitions: 12,
        catalog_partitions: 4,
        replication: 3,
        min_insync: 2,
        click_retention_days: 7,
        conversion_retention_days: 14,
    };

    fn as_planned(plan: &Plan) -> Found {
        Found {
            partitions: plan.partitions.unsigned_abs() as usize,
            replication: plan.replication.unsigned_abs() as usize,
            config: plan.config.iter().map(|(key, rule)| ((*key).to_owned(), rule.value())).collect(),
        }
    }

    #[test]
    fn a_topic_as_planned_has_no_difference() {
        for plan in plans(&Settings::default().kafka, &WANTED) {
            assert_eq!(plan.differences(Some(&as_planned(&plan))), Vec::<String>::new());
            assert_eq!(plan.differences(None), ["is missing"]);
        }
    }

    #[test]
    fn each_weakness_is_a_difference_and_strength_is_none() {
        let [clicks, conversions, catalog] = plans(&Settings::default().kafka, &WANTED);
        assert_eq!(conversions.name, "waypost.conversions.v1");
        let changed = |plan: &Plan, key: &str, value: &str| {
            let mut found = as_planned(plan);
            found.config.insert(key.to_owned(), value.to_owned());
            plan.differences(Some(&found))
        };
        for (plan, key, value) in [
            (&clicks, "retention.ms", "604799999"),
            (&clicks, "cleanup.policy", "compact"),
            (&clicks, "retention.bytes", "1000000"),
            (&clicks, "min.insync.replicas", "1"),
            (&clicks, "max.message.bytes", "1000"),
            (&conversions, "retention.ms", "604800000"),
            (&conversions, "unclean.leader.election.enable", "true"),
            (&catalog, "cleanup.policy", "compact,delete"),
            (&catalog, "delete.retention.ms", "86400000"),
            (&catalog, "segment.ms", "604800000"),
        ] {
            let differences = changed(plan, key, value);
            assert_eq!(differences.len(), 1, "{key}={value}: {differences:?}");
            assert!(differences[0].starts_with(&format!("{key} {value}, wanted ")), "{differences:?}");
        }
        for (plan, key, value) in [
            (&clicks, "retention.ms", "-1"),
            (&conversions, "retention.ms", "99999999999"),
            (&clicks, "min.insync.replicas", "3"),
            (&catalog, "max.compaction.lag.ms", "1000"),
        ] {
            assert_eq!(changed(plan, key, value), Vec::<String>::new(), "{key}={value}");
        }
        let blocked = changed(&clicks, "min.insync.replicas", "4");
        assert_eq!(blocked, ["min.insync.replicas 4 with replication 3: nothing can be written"]);
    }

    #[test]
    fn counts_are_compared() {
        let [clicks, ..] = plans(&Settings::default().kafka, &WANTED);
        let mut found = as_planned(&clicks);
        (found.partitions, found.replication) = (6, 1);
        found.config.insert("min.insync.replicas".to_owned(), "2".to_owned());
        let differences = clicks.differences(Some(&found));
        assert_eq!(differences[..2], ["partitions 6, wanted 12 or more", "replication 1, wanted 3 or more"]);
        assert_eq!(differences.len(), 3);
        let other = Found { partitions: 12, ..found.clone() };
        assert_eq!(unequal(Some(&found), Some(&other)).unwrap(), "partitions 12, but clicks have 6");
        assert_eq!(unequal(Some(&other), Some(&other)), None);
        assert_eq!(unequal(None, Some(&other)), None);
    }
}
