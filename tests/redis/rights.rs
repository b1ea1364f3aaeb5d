//! What a Redis user must be allowed to do.

use redis::Client;

use super::{
    services,
    support::{Edge, HOUR, Logs, Servers, settings, somebody, visit},
};

/// Makes a user with the password `secret` on the server at `address`.
async fn make_user(address: &str, name: &str, rights: &[&str]) {
    let client = Client::open(address).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", name, "reset", "on", ">secret"]).arg(rights);
    user.exec_async(&mut connection).await.unwrap();
}

/// The server that a sentinel names.
async fn primary_behind(url: &str) -> String {
    let place = url.strip_prefix("redis+sentinel://").unwrap();
    let (sentinel, primary) = place.split_once('/').unwrap();
    let client = Client::open(format!("redis://{sentinel}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
    let (host, port): (String, u16) = question.query_async(&mut connection).await.unwrap();
    format!("redis://{host}:{port}")
}

/// Those that `docs/operations.md` names.
#[tokio::test]
async fn few_rights_suffice() {
    let single = services::redis();
    let sentinel = Servers::start("redis-sentinel");
    let cluster = Servers::start("redis-cluster");
    let address = |servers: &Servers, kind| servers.address(&format!("WAYPOST_TEST_REDIS_{kind}"));
    let (sentinel_url, cluster_url) = (address(&sentinel, "SENTINEL"), address(&cluster, "CLUSTER"));
    let nodes: Vec<String> =
        cluster_url["redis+cluster://".len()..].split(',').map(|node| format!("redis://{node}")).collect();
    for (url, servers, rights) in [
        (&single, vec![single.clone()], &["+set", "+eval"][..]),
        (&sentinel_url, vec![primary_behind(&sentinel_url).await], &["+set", "+eval", "+role"]),
        (&cluster_url, nodes, &["+set", "+cluster|slots", "+ping"]),
    ] {
        let mut settings = settings(&url.replace("://", "://few-rights:secret@"));
        let keys = format!("~{}*", settings.prefix);
        for server in &servers {
            make_user(server, "few-rights", &[&[&*keys], rights].concat()).await;
        }
        settings.breaker_ms = 100;
        let edges = [Edge::start(&settings), Edge::start(&settings)];
        for edge in &edges {
            edge.until_answered().await;
        }
        let keys = [somebody(), somebody(), somebody()];
        let first = keys.map(|key| visit(key, HOUR));
        let own = first.each_ref().map(|visit| visit.click_id);
        assert_eq!(edges[0].firsts(&first).await, own);
        assert_eq!(edges[1].firsts(&keys.map(|key| visit(key, HOUR))).await, own, "{url}");
    }
}

#[tokio::test]
async fn a_user_without_the_right_to_scripts_is_answered_all_the_same() {
    let address = services::redis();
    make_user(&address, "no-scripts", &["~*", "+@all", "-@scripting"]).await;
    let settings = settings(&address.replace("redis://", "redis://no-scripts:secret@"));

    let (logs, _guard) = Logs::catch();
    let (one, other) = (Edge::start(&settings), Edge::start(&settings));
    let keys = [somebody(), somebody()];
    for key in keys {
        assert!(one.is_fresh(visit(key, HOUR)).await);
    }
    let again = keys.map(|key| visit(key, HOUR));
    let found = other.firsts(&again).await;
    assert!(found.iter().zip(&again).all(|(first, visit)| *first != visit.click_id));
    assert_eq!((one.visits("answered"), other.visits("answered")), (2, 2));
    assert_eq!((one.requests("error"), other.requests("error")), (0, 0));
    assert_eq!(logs.count("Redis takes no scripts"), 2, "once for each edge: {}", logs.text());
}
