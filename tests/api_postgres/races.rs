//! Requests that meet at one moment, and connections that break under them.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use waypost::ledger::{Effect, verify::verify};

use crate::{
    backend,
    support::{Answer, Client, Server},
};

/// Sends one request of each at once.
async fn at_once(shop: &Client, requests: Vec<(Method, String, Value)>) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for (method, path, body) in requests {
        let shop = shop.clone();
        tasks.spawn(async move { shop.with(method, &path, &body).await });
    }
    tasks.join_all().await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn edits_of_different_fields_both_last() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    for n in 0..10 {
        let edit = |body: Value| (Method::PATCH, "/v1/affiliates/jane".to_owned(), body);
        let answers = at_once(
            shop,
            vec![
                edit(json!({"first_name": format!("Jane {n}")})),
                edit(json!({"last_name": format!("Doe {n}")})),
                edit(json!({"company": format!("Company {n}")})),
                (Method::PATCH, "/v1/programs/summer".to_owned(), json!({"cookie_time": 10 + n})),
                (Method::PATCH, "/v1/programs/summer".to_owned(), json!({"payout_delay": 20 + n})),
            ],
        )
        .await;
        assert_eq!(count(&answers, 200), 5);
        let jane = shop.get("/v1/affiliates/jane").await.ok(200);
        assert_eq!(
            (&jane["first_name"], &jane["last_name"], &jane["company"]),
            (&json!(format!("Jane {n}")), &json!(format!("Doe {n}")), &json!(format!("Company {n}")))
        );
        let program = shop.get("/v1/programs/summer").await.ok(200);
        assert_eq!((&program["cookie_time"], &program["payout_delay"]), (&json!(10 + n), &json!(20 + n)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_decided_once_is_decided_by_one() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.furnish().await;
    // A name, a code, a coupon.
    for (path, body) in [
        ("/v1/affiliates", json!({"id": "june"})),
        ("/v1/links", json!({"affiliate": "jane", "code": "june"})),
        ("/v1/coupons", json!({"affiliate": "jane", "code": "JUNE10"})),
    ] {
        let requests = vec![(Method::POST, path.to_owned(), body); 8];
        let answers = at_once(shop, requests).await;
        assert_eq!((count(&answers, 201), count(&answers, 409)), (1, 7), "{path}");
    }
    // A held conversion is accepted by one; what was rejected is sent again by one.
    let held = json!({"authority": "held_pixel", "program": "summer", "external_id": "o-1", "amount": "10",
        "referral_code": "jane"});
    let Effect::Held { id } = server.receive(shop.account, "conversion", held).await else {
        panic!("not held")
    };
    let path = format!("/v1/held/cnv_{}/accept", id.simple());
    let answers = at_once(shop, vec![(Method::POST, path, json!({})); 8]).await;
    assert_eq!((count(&answers, 200), count(&answers, 409)), (1, 7));
    let unknown = json!({"program": "summer", "external_id": "o-2", "amount": "10", "referral_code": "joan"});
    let effect = server.receive(shop.account, "conversion", unknown).await;
    assert!(matches!(effect, Effect::Rejected { .. }), "{effect:?}");
    shop.post("/v1/links", json!({"affiliate": "jane", "code": "joan"})).await.ok(201);
    let rejected = shop.all("/v1/rejected", 5).await;
    let path = format!("/v1/rejected/{}/retry", rejected[0]["id"].as_str().unwrap());
    let answers = at_once(shop, vec![(Method::POST, path, json!({})); 8]).await;
    assert_eq!((count(&answers, 200), count(&answers, 409)), (1, 7));
    assert_eq!(shop.all("/v1/conversions", 50).await.len(), 2);
    assert_eq!(verify(server.store.reader()).await.unwrap().differences, Vec::<String>::new());
}

/// Settlement, the API and what waits meet in one account and in the counts of one stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn money_from_all_sides_adds_up() {
    let server = std::sync::Arc::new(Server::start().await);
    let shop = server.shop.clone();
    shop.furnish().await;
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let server = server.clone();
        tasks.spawn(async move {
            let account = server.shop.account;
            for n in 0..10 {
                let authority = if n % 2 == 0 { "secret" } else { "held_pixel" };
                let sale = json!({"authority": authority, "program": "summer", "external_id": format!("{task}-{n}"),
                    "amount": "10", "referral_code": "jane", "customer_id": "c-1"});
                match server.receive(account, "conversion", sale).await {
                    Effect::Held { id } => {
                        let path = format!("/v1/held/cnv_{}/accept", id.simple());
                        server.shop.post(&path, json!({})).await.ok(200);
                    }
                    Effect::Settled { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(shop.all("/v1/conversions", 100).await.len(), 40);
    assert_eq!(verify(server.store.reader()).await.unwrap().differences, Vec::<String>::new());
    let sums = waypost::settlement::reconcile::reconcile(server.store.reader()).await.unwrap();
    assert_eq!(sums.streams[0].outcomes["settled"], 40);
    assert_eq!(sums.streams[0].outcomes.get("held"), None);
}

/// Every connection is ended again and again while requests are under way: whoever is told 201 has what was asked for,
/// who is told to come back has nothing yet and gets it by coming back, and nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_break_are_begun_again() {
    let server = std::sync::Arc::new(Server::start().await);
    let shop = server.shop.clone();
    shop.furnish().await;
    let mut breaking = server.database.connection().await;
    let mut tasks = JoinSet::new();
    for n in 0..200 {
        let shop = shop.clone();
        tasks.spawn(async move {
            sleep(Duration::from_millis(n * 5)).await;
            let id = format!("a-{n}");
            // Half of them with a key: what they ask for may be done before they are told to come back.
            let keyed = n % 2 == 0;
            loop {
                let request = shop.request(Method::POST, "/v1/affiliates").json(&json!({"id": id}));
                let request =
                    if keyed { request.header("Idempotency-Key", format!("k-{n}")) } else { request };
                let answer = shop.send(request).await;
                let code = answer.json()["code"].as_str().map(str::to_owned);
                match (answer.status, code.as_deref()) {
                    (503, Some("busy")) => sleep(Duration::from_millis(20)).await,
                    (201, None) => return (id, true),
                    // Its answer was lost at the commit.
                    (500, Some("outcome_unknown")) if !keyed => return (id, false),
                    (status, code) => panic!("{id}, keyed: {keyed}, {status}, {code:?}"),
                }
            }
        });
    }
    let mut ended = 0;
    for _ in 0..20 {
        ended += backend::end_others(&mut breaking).await;
        sleep(Duration::from_millis(40)).await;
    }
    assert!(ended > 0);
    let asked = timeout(Duration::from_secs(120), tasks.join_all()).await.unwrap();
    // The last that were ended may still be in the pool, and one request tries only so many.
    let healed = async {
        while shop.get("/v1/affiliates").await.status == 503 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), healed).await.unwrap();
    let stored = shop.all("/v1/affiliates", 100).await;
    let times = |id: &str| stored.iter().filter(|affiliate| affiliate["id"] == id).count();
    for (id, made) in &asked {
        let times = times(id);
        assert!(if *made { times == 1 } else { times <= 1 }, "{id} is there {times} times");
    }
}
