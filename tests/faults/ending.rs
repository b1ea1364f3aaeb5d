//! The end: everything healed, settled and stopped in good order; then the verdict and the commands that prove.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use sea_orm::{Database, DatabaseConnection, EntityTrait};
use tokio::{task::spawn_blocking, time::sleep};
use waypost::{
    store::entities::position,
    stream::{Topic, spool},
};

use crate::{
    books::Books,
    mutations::verdict_can_fail,
    processes::{End, Role},
    verdict::{Story, Verdict, judge},
    world::{EDGES, PARTITIONS, World, eventually},
};

/// What settlement may take without a step when it reads what is left, and what it may take to settle what waits.
const SETTLED: Duration = Duration::from_secs(120);

/// How a process may end that nobody has stopped: what it needs to start is away (69), its disk is full (74), or the one
/// before it still holds its files (75).
const IN_GOOD_ORDER: [i32; 3] = [69, 74, 75];

/// When it was, for the summary.
pub struct Told {
    pub seed: u64,
    pub begun: Instant,
    pub chaos_took: Duration,
}

pub async fn end(world: &World, mut story: Story, told: Told) {
    let healed = Instant::now();
    world.links_work().await;
    eventually("all spools to be empty", async || {
        for edge in EDGES {
            let waiting = waiting(world, edge)?;
            if waiting > 0 {
                return Err(format!("{waiting} events wait in the spool of {edge}"));
            }
        }
        Ok(())
    })
    .await;
    for edge in world.of(Role::Edge) {
        assert_eq!(edge.stop().await, Ok(0), "{}", edge.name);
    }
    story.edges = world.of(Role::Edge).iter().map(|edge| (edge.name, edge.runs())).collect();
    story.tries = world.tries.load(Ordering::Relaxed);
    let db = Database::connect(world.services.get("POSTGRES")).await.unwrap();
    let topics = ends(world).await;
    all_read(&db, &topics).await;

    let deadline = Instant::now() + SETTLED;
    let verdict = loop {
        let verdict = judge(&story, &Books::read(&db).await.unwrap());
        if verdict.complaints.is_empty() || Instant::now() > deadline {
            break verdict;
        }
        println!("{} complaints still, such as: {:.300}", verdict.complaints.len(), verdict.complaints[0]);
        sleep(Duration::from_secs(2)).await;
    };
    let settled = healed.elapsed();
    for role in [Role::Settle, Role::Api] {
        for process in world.of(role) {
            assert_eq!(process.stop().await, Ok(0), "{}", process.name);
        }
    }
    let by_themselves = ended_by_themselves(world);
    summary(&story, &verdict, &told, settled, &by_themselves);
    complain(&verdict, &story);
    let crashed: Vec<_> = by_themselves.iter().filter(|(_, code)| !IN_GOOD_ORDER.contains(code)).collect();
    assert!(crashed.is_empty(), "{crashed:?} ended as no outage makes them");
    for command in [&["reconcile"][..], &["ledger", "verify"], &["replay"]] {
        let (code, text) = world.run(command);
        println!("waypost {}: {code}, {}", command.join(" "), text.lines().last().unwrap_or_default());
        assert_eq!(code, 0, "{text}");
    }
    verdict_can_fail(&db, &story).await;
    println!("all of it in {:.0} s", told.begun.elapsed().as_secs_f32());
}

/// Events in an edge's spool.
fn waiting(world: &World, edge: &'static str) -> Result<u64, String> {
    let topics = spool::inspect(&world.spool(edge)).map_err(|error| error.to_string())?;
    Ok(topics.iter().map(|topic| topic.events).sum())
}

/// Where each partition ends.
async fn ends(world: &World) -> Vec<(Topic, i32, i64)> {
    let brokers = world.services.get("KAFKA").to_owned();
    let read = move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let end = |topic: Topic, partition| {
            let found = consumer.fetch_watermarks(topic.name(), partition, Duration::from_secs(30));
            (topic, partition, found.unwrap().1)
        };
        Topic::ALL
            .iter()
            .flat_map(|topic| (0..PARTITIONS).map(|n| end(*topic, n)).collect::<Vec<_>>())
            .collect()
    };
    spawn_blocking(read).await.unwrap()
}

/// How many events settlement has not read.
async fn unread(db: &DatabaseConnection, ends: &[(Topic, i32, i64)]) -> Result<i64, String> {
    let rows = position::Entity::find().all(db).await.map_err(|error| error.to_string())?;
    let mut unread = 0;
    for (topic, partition, end) in ends {
        let row = rows.iter().find(|row| row.topic == topic.name() && row.partition == *partition);
        let at = row.map_or(0, |row| row.next_offset);
        assert!(at <= *end, "settlement stands at {at} of {topic:?} {partition}, which ends at {end}");
        unread += end - at;
    }
    Ok(unread)
}

/// Waits until settlement has read everything, for as long as it comes nearer.
async fn all_read(db: &DatabaseConnection, ends: &[(Topic, i32, i64)]) {
    let mut least = i64::MAX;
    let mut since = Instant::now();
    loop {
        let found = unread(db, ends).await;
        match found {
            Ok(0) => return,
            Ok(left) if left < least => (least, since) = (left, Instant::now()),
            Ok(_) | Err(_) => {}
        }
        assert!(
            since.elapsed() < SETTLED,
            "settlement has stood still for {SETTLED:?}: {found:?} are not read"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Processes that nobody had stopped, each with its code, or with its signal below 0.
fn ended_by_themselves(world: &World) -> Vec<(&'static str, i32)> {
    let runs =
        world.processes.iter().flat_map(|process| process.runs().into_iter().map(|run| (process.name, run)));
    let mut ended: Vec<_> = runs
        .filter_map(|(name, run)| match run.end {
            End::ByItself(_, code) => Some((name, code)),
            End::Running | End::Killed(_) | End::Stopped(..) => None,
        })
        .collect();
    ended.sort_unstable();
    ended
}

fn summary(
    story: &Story,
    verdict: &Verdict,
    told: &Told,
    settled: Duration,
    by_themselves: &[(&'static str, i32)],
) {
    let orders = &story.diary.orders;
    let refunds =
        orders.iter().flat_map(|order| &order.refunds).filter(|refund| refund.sent.taken > 0).count();
    let rivals = orders.iter().filter(|order| order.rival.is_some_and(|(_, sent)| sent.taken > 0)).count();
    let owed = orders.iter().filter(|order| order.sent.taken > 0).count();
    let clicks = story.diary.clicks.iter().filter(|click| click.owed).count();
    println!(
        "seed {}: {} faults in {:.0} s {:?}; {} requests of visitors and shops, {} of merchants ({} sent again); \
         obligations: {owed} orders, {rivals} contradictions, {refunds} refunds, {clicks} reported clicks, {} price \
         changes, {} reviews; answers {:?}; durability {:?}; ended by themselves: {by_themselves:?}; effects {:?}; \
         healed and settled in {:.1} s",
        told.seed,
        story.faults.count(),
        told.chaos_took.as_secs_f32(),
        story.faults.by_name,
        story.diary.answers.requests(),
        story.ledger.requests,
        story.ledger.again,
        story.ledger.prices.len(),
        story.ledger.reviews.len(),
        story.diary.answers.by_status,
        story.diary.answers.durability,
        verdict.effects,
        settled.as_secs_f32(),
    );
}

/// Stops the test where there is anything to complain of.
fn complain(verdict: &Verdict, story: &Story) {
    const SHOWN: usize = 25;
    let complaints: Vec<&String> = verdict
        .complaints
        .iter()
        .chain(&story.faults.wrong)
        .chain(&story.diary.answers.wrong)
        .chain(&story.ledger.wrong)
        .collect();
    for complaint in complaints.iter().take(SHOWN) {
        println!("COMPLAINT  {complaint}");
    }
    assert!(complaints.is_empty(), "{} complaints", complaints.len());
}
