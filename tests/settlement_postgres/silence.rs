//! The machine of the server is gone without a word: its connections stay, and nothing that was asked is answered.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use waypost::{
    domain::traffic::TrafficClass,
    settlement::{SettlementParts, serve},
    store::{Store, StoreOptions, streams},
    stream::Topic,
};

use crate::fixtures::*;

/// A way to the server, whose connections can be left without an answer. New ones reach it.
struct Line {
    address: SocketAddr,
    /// Connections up to this one are silent.
    silent: watch::Sender<u64>,
    connections: watch::Receiver<u64>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silent, of_line) = watch::channel(0);
        let (number, connections) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                number.send_modify(|number| *number += 1);
                tokio::spawn(carry(client, server.clone(), *number.borrow(), of_line.clone()));
            }
        });
        Self { address, silent, connections }
    }

    fn fall_silent(&self) {
        self.silent.send_replace(*self.connections.borrow());
    }
}

async fn carry(mut client: TcpStream, server: String, number: u64, mut silent: watch::Receiver<u64>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        cut = silent.wait_for(|silent| *silent >= number) => drop(cut),
    }
    // For the server it is the end, for the client nothing ever comes.
    drop(server);
    std::future::pending::<()>().await;
}

/// The URL with another address in it, and the address that was there.
fn by_way_of(url: &str, line: SocketAddr) -> String {
    let server = server_of(url);
    url.replacen(&server, &line.to_string(), 1)
}

fn server_of(url: &str) -> String {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split_once('/').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn settlement_goes_on_by_other_connections() {
    let world = World::open().await;
    let url = world.database.url();
    let line = Line::to(server_of(&url)).await;
    // One to read and one to write: one that is not given back ends it.
    let options = StoreOptions {
        connections: 2,
        statement_timeout: Duration::from_secs(1),
        ..by_way_of(&url, line.address).as_str().into()
    };
    let parts = SettlementParts { store: Store::connect(options).await.unwrap(), ..world.parts() };
    let sources = [Topic::Clicks, Topic::Conversions].map(|topic| world.spool.source(topic).unwrap());
    let shutdown = CancellationToken::new();
    let [clicks, conversions] = sources;
    let settling = tokio::spawn(serve(parts, clicks, conversions, shutdown.clone()));
    let (mut of_sales, mut of_clicks) = (Numbered::new(1, "conversions/0"), Numbered::new(1, "clicks/0"));
    for round in 0..3 {
        let sales: Vec<_> =
            (0..400).map(|n| of_sales.sale(world.sale(&format!("{round}-{n}"), "10"))).collect();
        let clicks: Vec<_> =
            (0..500).map(|_| of_clicks.click(world.click(TrafficClass::Valid, None, "desktop"))).collect();
        world.append_events(Topic::Conversions, &sales).await;
        world.append_events(Topic::Clicks, &clicks).await;
        sleep(Duration::from_millis(100)).await;
        line.fall_silent();
        let at = streams::position(world.store.reader(), Topic::Conversions.name(), 0).await.unwrap();
        assert!(at < (round + 1) * 400, "it was in the middle of them");
        world.caught_up().await;
    }
    shutdown.cancel();
    settling.await.unwrap();
    let outcomes = world.outcomes().await;
    assert_eq!((outcomes["settled"], outcomes["stored"]), (1_200, 1_500));
    assert_eq!(world.balances().await[&(1, "accrued".to_owned())], -120_000);
    world.assert_sound().await;
}
