//! `kill -9` in the middle of an outage: what was answered before is on the topic after the next start.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use waypost::stream::Topic;

use crate::{
    broker::Broker,
    support::{Log, first_of, make_topics, read_all, settings},
};

const BROKERS: &str = "WAYPOST_TEST_CHILD_BROKERS";
const PREFIX: &str = "WAYPOST_TEST_CHILD_PREFIX";
const FOLDER: &str = "WAYPOST_TEST_CHILD_FOLDER";
const FIRST: &str = "WAYPOST_TEST_CHILD_FIRST";

const KILLS: u64 = 3;

/// Appends conversions, and says the number of each that was answered, until it is killed.
#[test]
#[ignore = "started by the test below"]
fn child_that_produces() {
    let given = |name| env::var(name).unwrap();
    let mut settings = settings(&given(BROKERS));
    settings.prefix = given(PREFIX);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = Log::open_at(settings, given(FOLDER).into()).await;
        for n in given(FIRST).parse().unwrap().. {
            log.conversion(1, n).await.unwrap();
            println!("answered {n}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_answered() {
    let broker = Broker::start();
    let settings = settings(&broker.address);
    make_topics(&settings).await;
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "killed::child_that_produces", "--nocapture"])
            .env(BROKERS, &settings.brokers)
            .env(PREFIX, &settings.prefix)
            .env(FOLDER, dir.path())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut answered = 0;
        for line in lines {
            // The line before the first begins with the name of the test.
            let Some(n) = line.unwrap().split("answered ").nth(1).and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            (answered, next) = (answered + 1, n + 1);
            if answered == 100 && round > 0 {
                broker.freeze();
            }
            // What it says until the kill reaches it was answered as well, and is read to the end.
            if answered == 300 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(answered >= 300, "the child ended by itself");
        // The last of them may be stored without having been answered; it is sent again with what follows.
        if round > 0 {
            broker.thaw();
        }
    }
    let log = Log::open_at(settings, dir.path().to_owned()).await;
    log.drained().await;
    let read = read_all(&log.settings, Topic::Conversions);
    let first = first_of(&read, Topic::Conversions, 1);
    let answered: Vec<u64> = (0..next).collect();
    assert_eq!(first[..answered.len()], answered, "in the order of their answers");
    // What was under way when it was killed.
    assert!(first.len() as u64 <= next + 1, "{} of {next}", first.len());
}
