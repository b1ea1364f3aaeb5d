//! Changes on their way to edges that run.

use std::time::Instant;

use waypost::{
    catalog::{
        Catalog, Versioned,
        snapshot::{self, Wanted},
    },
    domain::time::Timestamp,
    stream::kafka::catalog::{CatalogProducer, CatalogReader, Incoming, Outgoing, TopicPosition},
};

use crate::{fixtures::*, rounds};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_served_within_a_second() {
    let world = World::new().await;
    world.put(vec![account(), link(1, "jane", "https://shop.example/0")]).await;
    let publisher = world.publisher();
    let edge = world.edge().await.loaded().await;
    assert_eq!(edge.destination("jane").as_deref(), Some("https://shop.example/0"));
    rounds::within_a_second(async |round, n| {
        let destination = format!("https://shop.example/{round}/{n}");
        world.put(vec![link(1, "jane", &destination)]).await;
        let began = Instant::now();
        edge.leads("jane", Some(&destination)).await;
        began.elapsed()
    })
    .await;
    edge.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_leaves_the_edges_and_is_null_on_the_topic() {
    let world = World::new().await;
    world.put(vec![account(), domain("go.shop.example", false), key('a', false)]).await;
    world.put(vec![link(1, "jane", "https://a.example/"), link(2, "tom", "https://b.example/")]).await;
    let publisher = world.publisher();
    let edge = world.edge().await.loaded().await;
    assert!(edge.has("jane") && edge.has("tom"));
    let hash = [0xaa; 32];
    assert!(
        edge.catalog.read().domain("go.shop.example").is_some() && edge.catalog.read().key(&hash).is_some()
    );
    world.put(vec![removed(1, "jane"), domain("go.shop.example", true), key('a', true)]).await;
    edge.leads("jane", None).await;
    until("the key and the domain are gone", async || {
        let reader = edge.catalog.read();
        reader.domain("go.shop.example").is_none() && reader.key(&hash).is_none()
    })
    .await;
    assert!(edge.has("tom"));
    // What was given up can be taken again.
    world.put(vec![domain("go.shop.example", false)]).await;
    until("the domain is back", async || edge.catalog.read().domain("go.shop.example").is_some()).await;
    edge.stop().await;
    publisher.stop().await;

    let nulls = null_keys(&world).await;
    let expected = ["domain/go.shop.example", "link/1", &format!("key/{}", "a".repeat(64))];
    assert_eq!(nulls.len(), expected.len(), "{nulls:?}");
    assert!(expected.iter().all(|key| nulls.contains(&(*key).to_owned())), "{nulls:?}");
}

/// Keys with a record of null on the topic; each says its version.
async fn null_keys(world: &World) -> Vec<String> {
    let kafka = world.settings.kafka.clone();
    tokio::task::spawn_blocking(move || {
        let reader = CatalogReader::connect(&kafka).unwrap();
        reader.follow(&Default::default()).unwrap();
        let (mut nulls, mut ended) = (Vec::new(), 0);
        while ended < PARTITIONS {
            let took = reader.poll(PATIENCE, |incoming| match incoming {
                Incoming::Record { key, value: None, version, .. } => {
                    assert!(version.is_some_and(|version| version > 0));
                    nulls.push(String::from_utf8(key.to_vec()).unwrap());
                }
                Incoming::End(_) => ended += 1,
                _ => {}
            });
            took.unwrap().expect("something has to come");
        }
        nulls
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_leads_to_the_same() {
    let world = World::new().await;
    let publisher = world.publisher();
    let live = world.edge_at(world.snapshot()).await.loaded().await;
    let codes: Vec<String> = (0..300).map(|n| format!("code{n}")).collect();
    world.put(vec![account()]).await;
    for (n, chunk) in codes.chunks(50).enumerate() {
        let id = |code: &String| codes.iter().position(|other| other == code).unwrap() as i64;
        world
            .put(chunk.iter().map(|code| link(id(code), code, &format!("https://x.example/{n}"))).collect())
            .await;
        // Every third goes again, every fifth leads elsewhere.
        let third = chunk.iter().filter(|code| id(code) % 3 == 0).map(|code| removed(id(code), code));
        world.put(third.collect()).await;
        let fifth = chunk.iter().filter(|code| id(code) % 5 == 0);
        world.put(fifth.map(|code| link(id(code), code, "https://later.example/")).collect()).await;
    }
    world.put(vec![link(999, "last", "https://last.example/")]).await;
    live.leads("last", Some("https://last.example/")).await;
    world.published().await;
    until("all partitions were read", async || {
        codes.iter().enumerate().all(|(n, code)| live.has(code) == (n % 3 != 0 || n % 5 == 0))
    })
    .await;
    let from_beginning = world.edge().await.loaded().await;
    live.stop().await;
    let from_snapshot = world.edge_at(world.snapshot()).await.loaded().await;
    for (n, code) in codes.iter().enumerate() {
        let expected = match (n % 3, n % 5) {
            (_, 0) => Some("https://later.example/".to_owned()),
            (0, _) => None,
            _ => Some(format!("https://x.example/{}", n / 50)),
        };
        assert_eq!(from_beginning.destination(code), expected, "{code}");
        assert_eq!(from_snapshot.destination(code), expected, "{code}");
    }
    assert_eq!(from_beginning.catalog.link_count(), from_snapshot.catalog.link_count());
    // Both follow on.
    world.put(vec![link(999, "last", "https://end.example/")]).await;
    from_beginning.leads("last", Some("https://end.example/")).await;
    from_snapshot.leads("last", Some("https://end.example/")).await;
    from_beginning.stop().await;
    from_snapshot.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_before_everything_was_published() {
    let world = World::without_topic().await;
    world.put(vec![account(), link(1, "jane", "https://a.example/")]).await;
    let edge = world.edge().await;
    let publisher = world.publisher();
    // Neither has a topic; the publisher must not have one made by accident.
    until("the publisher has tried", async || {
        let row = waypost::store::publications::find(world.store.reader(), &world.topic()).await.unwrap();
        row.is_some_and(|row| row.holder.is_some())
    })
    .await;
    publisher.stop().await;
    assert!(!edge.catalog.is_loaded());
    world.create_topic(&[]).await;
    let again = world.edge().await;
    assert!(!again.catalog.is_loaded(), "an empty topic is no catalog");
    let publisher = world.publisher();
    let (edge, again) = (edge.loaded().await, again.loaded().await);
    assert!(edge.has("jane") && again.has("jane"));
    edge.stop().await;
    again.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_later_build_is_passed_over_and_read_by_that_build() {
    let world = World::new().await;
    world.put(vec![account(), link(1, "jane", "https://a.example/")]).await;
    let publisher = world.publisher();
    world.published().await;
    publisher.stop().await;
    let later = Outgoing {
        key: "link/2".to_owned(),
        version: 50,
        value: Some(br#"{"version": 50, "record": {"link_of_tomorrow": {"id": 2}}}"#.to_vec()),
    };
    send(&world, vec![later]).await;
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    assert!(edge.has("jane"));
    edge.stop().await;
    let kafka = world.settings.kafka.clone();
    let (partition, offset) = tokio::task::spawn_blocking(move || first_unread(&kafka)).await.unwrap();
    let topic = world.topic();
    let wanted = Wanted { topic: &topic, now: Timestamp::now(), max_age_ms: i64::MAX };
    let place = snapshot::read(&world.snapshot(), wanted, &Catalog::new()).unwrap().unwrap();
    let begins = place.offsets.get(&partition).copied().unwrap_or(0);
    assert!(begins <= offset, "a later build would begin at {begins}, behind {offset}");
    publisher_goes_on(&world).await;
}

/// What comes behind it is read all the same.
async fn publisher_goes_on(world: &World) {
    let later = Versioned { version: 60, record: link(3, "sue", "https://c.example/") };
    let sue =
        Outgoing { key: "link/3".to_owned(), version: 60, value: Some(serde_json::to_vec(&later).unwrap()) };
    send(world, vec![sue]).await;
    let edge = world.edge_at(world.snapshot()).await.loaded().await;
    assert!(edge.has("jane") && edge.has("sue"));
    edge.stop().await;
}

/// Where the record of tomorrow is.
fn first_unread(kafka: &waypost::config::KafkaSettings) -> (i32, i64) {
    let reader = CatalogReader::connect(kafka).unwrap();
    reader.follow(&Default::default()).unwrap();
    loop {
        let found = reader.poll(PATIENCE, |incoming| match incoming {
            Incoming::Record { partition, offset, key: b"link/2", .. } => Some((partition, offset)),
            _ => None,
        });
        if let Some(found) = found.unwrap().expect("it has to come") {
            return found;
        }
    }
}

async fn send(world: &World, records: Vec<Outgoing>) {
    let kafka = world.settings.kafka.clone();
    tokio::task::spawn_blocking(move || {
        let producer = CatalogProducer::take_over(&kafka).unwrap();
        producer.publish(None, &records, TopicPosition { version: 60, whole: true }).unwrap();
    })
    .await
    .unwrap();
}
