//! Several instances at once, each with partitions of its own and events of the same streams in all of them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;
use waypost::{
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        traffic::TrafficClass,
    },
    events::Event,
    store::streams::{self, StreamKey},
    stream::{Assignment, Delivery, EndOfLog, Ends, EventSource, SourceError, Topic},
};

use crate::fixtures::*;

/// Some partitions of a topic that is all there from the beginning.
#[derive(Clone, Default)]
pub struct Partitions {
    ours: BTreeSet<i32>,
    records: Arc<Vec<Vec<Bytes>>>,
    at: Vec<usize>,
}

impl Partitions {
    pub fn new(records: &Arc<Vec<Vec<Bytes>>>, ours: &[i32]) -> Self {
        Self { ours: ours.iter().copied().collect(), records: records.clone(), at: vec![0; records.len()] }
    }
}

impl EndOfLog for Partitions {
    async fn ends(&self) -> Result<Ends, SourceError> {
        Ok((0..).zip(self.records.iter().map(|records| i64::try_from(records.len()).unwrap())).collect())
    }
}

impl EventSource for Partitions {
    type End = Self;

    fn end(&self) -> Self {
        self.clone()
    }

    fn assignment(&self) -> Assignment {
        Assignment { generation: 1, partitions: self.ours.clone() }
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, SourceError> {
        let mut found = Vec::new();
        for &partition in &self.ours {
            let index = usize::try_from(partition).unwrap();
            let from = self.at[index];
            let some = self.records[index].iter().enumerate().skip(from).take(max / self.ours.len() + 1);
            for (offset, payload) in some {
                let offset = i64::try_from(offset).unwrap();
                found.push(Delivery { partition, offset, payload: payload.clone() });
                self.at[index] += 1;
            }
        }
        if found.is_empty() {
            sleep(wait).await;
        }
        Ok(found)
    }

    async fn rewind(&mut self, partition: i32) -> Result<(), SourceError> {
        self.seek(partition, 0).await
    }

    async fn seek(&mut self, partition: i32, offset: i64) -> Result<(), SourceError> {
        self.at[usize::try_from(partition).unwrap()] = usize::try_from(offset).unwrap();
        Ok(())
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), SourceError> {
        Ok((0, self.ends().await?[&partition]))
    }

    fn hold(&mut self, partition: i32) {
        unreachable!("partition {partition} has nothing that could not take effect");
    }

    async fn consumed(&mut self, _partition: i32, _offset: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

pub async fn caught_up(world: &World, topic: Topic, records: &Arc<Vec<Vec<Bytes>>>) {
    eventually("the end of all partitions", || async {
        for (partition, records) in (0..).zip(records.iter()) {
            let at = streams::position(world.store.reader(), topic.name(), partition).await.unwrap();
            if at < i64::try_from(records.len()).unwrap() {
                return false;
            }
        }
        true
    })
    .await;
}

/// Four partitions, two instances; every fifth click comes twice, in two partitions. Conversions of two accounts are
/// in partitions of their own, as their keys put them there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_share_streams_and_lose_nothing() {
    let world = World::open().await;
    let other = world.neighbour(AccountId(2)).await;
    let (mut clicks, mut sales) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
    let (mut of_clicks, mut of_sales) = (Numbered::new(1, "clicks/0"), Numbered::new(1, "conversions/0"));
    for n in 0..2_000_usize {
        let click = of_clicks.click(world.click(TrafficClass::Valid, Some("DE"), "desktop"));
        clicks[n % 4].push(Bytes::from(click.encode()));
        if n % 5 == 0 {
            clicks[(n + 1) % 4].push(Bytes::from(click.encode()));
        }
    }
    let encode = |event: Event| Bytes::from(event.encode());
    for n in 0..300 {
        let mut sale = world.sale(&format!("o-{n}"), "10");
        let partition = if n % 2 == 0 { 0 } else { 3 };
        if n % 2 == 1 {
            sale.account = other;
            sale.referral_code = Some("june".to_owned());
        }
        sales[partition].push(encode(of_sales.sale(sale)));
    }
    let (clicks, sales) = (Arc::new(clicks), Arc::new(sales));
    let run = |ours: &[i32]| world.settle_from(Partitions::new(&clicks, ours), Partitions::new(&sales, ours));
    let instances = [run(&[0, 1]), run(&[2, 3])];
    // One that has lost its partitions and does not know: it never commits.
    let zombie = run(&[1, 2]);
    caught_up(&world, Topic::Clicks, &clicks).await;
    caught_up(&world, Topic::Conversions, &sales).await;
    for running in instances {
        running.stop().await;
    }
    zombie.stop().await;

    let found = world.reconcile().await;
    assert_eq!(found.differences, Vec::<String>::new());
    let of = |name: &str| found.streams.iter().find(|stream| stream.stream == name).unwrap();
    let (clicks, sales) = (of("clicks/0"), of("conversions/0"));
    assert_eq!((clicks.seen, clicks.last, clicks.missing()), (2_000, 2_000, 0));
    assert_eq!(clicks.outcomes["stored"], 2_000);
    assert_eq!((sales.seen, sales.missing(), sales.outcomes["settled"]), (300, 0, 300));
    let balances = world.balances().await;
    assert_eq!(balances[&(1, "accrued".to_owned())], -15_000);
    assert_eq!(balances[&(2, "accrued".to_owned())], -15_000);
    world.assert_sound().await;
}

/// Two connections note numbers of one stream at once, again and again: the ranges are their union.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_of_one_stream_from_two_connections_are_all_seen() {
    let world = Arc::new(World::open().await);
    let stream =
        StreamKey { edge: "edge-1".to_owned(), boot: uuid::Uuid::nil(), stream: "clicks/0".to_owned() };
    let tasks: Vec<_> = (0..4_i64)
        .map(|task| {
            let (world, stream) = (world.clone(), stream.clone());
            tokio::spawn(async move {
                for round in 0..25 {
                    let numbers = (0..4).map(|n| 1 + round * 16 + n * 4 + task).collect();
                    let tx = world.store.begin().await.unwrap();
                    assert!(streams::see(&tx, &[(stream.clone(), numbers)].into()).await.unwrap());
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = world.reconcile().await;
    let report = &found.streams[0];
    assert_eq!((report.seen, report.last, report.gaps.clone()), (400, 400, Vec::new()));
    // What was seen is not seen again.
    let tx = world.store.begin().await.unwrap();
    assert!(!streams::see(&tx, &[(stream, vec![401, 7])].into()).await.unwrap());
}

impl World {
    /// A second account, whose affiliate is june.
    async fn neighbour(&self, expected: AccountId) -> AccountId {
        let id = self.account_with(ProgramId(2), AffiliateId(2), LinkId(2), "june").await;
        assert_eq!(id, expected);
        id
    }
}
