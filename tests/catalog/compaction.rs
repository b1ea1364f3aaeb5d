//! The topic forgets old versions and what was removed.

use std::{collections::BTreeMap, time::Duration};

use waypost::stream::kafka::catalog::{CatalogReader, Incoming};

use crate::fixtures::*;

/// Records by key: how many, and how many of them are null.
fn on_topic(kafka: &waypost::config::KafkaSettings) -> BTreeMap<String, (u32, u32)> {
    let reader = CatalogReader::connect(kafka).unwrap();
    reader.follow(&BTreeMap::new()).unwrap();
    let (mut found, mut ended) = (BTreeMap::<String, (u32, u32)>::new(), 0);
    while ended < PARTITIONS {
        let took = reader.poll(PATIENCE, |incoming| match incoming {
            Incoming::Record { key, value, .. } => {
                let (all, nulls) = found.entry(String::from_utf8(key.to_vec()).unwrap()).or_default();
                *all += 1;
                *nulls += u32::from(value.is_none());
            }
            Incoming::End(_) => ended += 1,
            Incoming::Position { .. } | Incoming::Other { .. } => {}
        });
        took.unwrap().expect("something has to come");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_forgotten_in_the_end() {
    let world = World::without_topic().await;
    world
        .create_topic(&[
            ("cleanup.policy", "compact"),
            ("segment.ms", "200"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("delete.retention.ms", "100"),
            ("min.compaction.lag.ms", "0"),
            ("max.compaction.lag.ms", "1000"),
        ])
        .await;
    let publisher = world.publisher();
    world.put(vec![account(), link(1, "jane", "https://a.example/")]).await;
    world.published().await;
    world.put(vec![removed(1, "jane")]).await;
    world.published().await;
    let kafka = world.settings.kafka.clone();
    // A segment is closed by what comes after it; the cleaner looks every 15 seconds.
    let mut gone = false;
    for n in 0..120 {
        let links = (100..130).map(|id| link(id, &format!("c{id}"), &format!("https://x.example/{n}")));
        world.put(links.collect()).await;
        let kafka = kafka.clone();
        let found = tokio::task::spawn_blocking(move || on_topic(&kafka)).await.unwrap();
        gone = !found.contains_key("link/1");
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(gone, "the cleaner has not forgotten the link");
    let edge = world.edge().await.loaded().await;
    assert!(!edge.has("jane") && edge.has("c100"));
    edge.stop().await;
    publisher.stop().await;
}
