//! The server is restarted, and killed, in the middle: settlement goes on by itself and nothing is lost or done twice.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::sleep};
use waypost::{domain::traffic::TrafficClass, stream::Topic};

use crate::{backend::Database, fixtures::*, server::Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn settlement_goes_on_when_the_server_is_back() {
    let server = std::sync::Arc::new(spawn_blocking(Server::start).await.unwrap());
    let mut world = World::open_on(Database::on(&server.url).await).await;
    let (mut sales, mut clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    let running = world.settle();
    for round in 0..3 {
        for part in 0..10 {
            let of_sales: Vec<_> =
                (0..20).map(|n| sales.sale(world.sale(&format!("{round}-{part}-{n}"), "10"))).collect();
            let of_clicks: Vec<_> =
                (0..50).map(|_| clicks.click(world.click(TrafficClass::Valid, None, "desktop"))).collect();
            world.append_events(Topic::Conversions, &of_sales).await;
            world.append_events(Topic::Clicks, &of_clicks).await;
            if part == 5 {
                let server = server.clone();
                spawn_blocking(move || {
                    if round == 1 {
                        server.kill()
                    } else {
                        server.stop()
                    }
                    server.start_again();
                })
                .await
                .unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    world.connect_again().await;
    world.caught_up().await;
    running.stop().await;
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["stored"]), (600, 1_500));
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -60_000);
    world.assert_sound().await;
    // The database is dropped before its server.
    drop(world);
}
