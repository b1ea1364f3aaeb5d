//! The cookie of a program under both attribution models.

use uuid::Uuid;
use waypost::domain::{
    ids::LinkId,
    time::{MS_PER_DAY, Timestamp},
    token::{ClickToken, KeyRing, KeyState, TokenKey},
};

use crate::support::Edge;

fn token(ring: &KeyRing, link: i64, days_ago: i64, attributable: bool) -> String {
    let at = Timestamp::now() + (60_000 - days_ago * MS_PER_DAY);
    let click_id = uuid::Builder::from_unix_timestamp_millis(at.0.try_into().unwrap(), &[1; 10]).into_uuid();
    ring.sign(&ClickToken { click_id, link: LinkId(link), attributable, review: false })
}

#[tokio::test]
async fn the_cookie_is_as_the_design_says() {
    let edge = Edge::start();
    let reply = edge.get("/r/jane", &[]).await;
    let token = &reply.query()["click_id"];
    assert_eq!(
        reply.cookie().unwrap(),
        format!("wp_shop={token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000")
    );
    let shared = edge.get("/r/jane", &[("Host", "shared.demo.example")]).await;
    assert!(shared.cookie().unwrap().ends_with("; Max-Age=2592000; Domain=demo.example"));
}

#[tokio::test]
async fn the_last_click_replaces_the_cookie() {
    let edge = Edge::start();
    let old = token(&edge.keys, 1, 1, true);
    let reply = edge.get("/r/jane", &[("Cookie", &format!("wp_shop={old}"))]).await;
    assert_eq!(reply.cookie_token(), Some(reply.query()["click_id"].as_str()));
    assert_ne!(reply.cookie_token(), Some(old.as_str()));
}

#[tokio::test]
async fn the_first_click_stays_while_it_is_valid() {
    let edge = Edge::start();
    let stranger = KeyRing::new(vec![TokenKey { id: 1, state: KeyState::Active, secret: [8; 32] }]).unwrap();
    let keep = token(&edge.keys, 2, 29, true);
    let other_link = token(&edge.keys, 11, 1, true);
    for (cookie, kept, why) in [
        (format!("wp_first={keep}"), true, "valid"),
        (format!("x=1; wp_first=junk; wp_first={keep}"), true, "the valid one of two"),
        (format!("wp_first={other_link}"), true, "another link of the program"),
        (String::new(), false, "none"),
        (format!("wp_shop={keep}"), false, "another program's cookie"),
        (format!("wp_first={}", token(&edge.keys, 2, 31, true)), false, "past the window"),
        (format!("wp_first={}", token(&edge.keys, 2, 1, false)), false, "may not attribute"),
        (format!("wp_first={}", token(&edge.keys, 1, 1, true)), false, "a link of another program"),
        (format!("wp_first={}", token(&edge.keys, 9, 1, true)), false, "a link of another account"),
        (format!("wp_first={}", token(&edge.keys, 404, 1, true)), false, "a link that is not there"),
        (format!("wp_first={}", token(&stranger, 2, 1, true)), false, "forged"),
        (format!("wp_first={}", Uuid::now_v7()), false, "a bare id proves nothing"),
    ] {
        let reply = edge.get("/r/first", &[("Cookie", &cookie)]).await;
        assert_eq!(reply.cookie().is_none(), kept, "{why}");
        // The URL has this click's own token all the same.
        let proved = edge.keys.verify(&reply.query()["click_id"]).unwrap();
        assert_eq!(proved.link, LinkId(2), "{why}");
        assert!(!cookie.contains(&reply.query()["click_id"]), "{why}");
    }
}
