//! Who may connect: TLS with the right and a wrong authority, passwords, and what is said about them.

use std::{fs, process::Command};

use super::{
    services,
    support::{Edge, HOUR, Logs, settings, somebody, visit},
};

#[tokio::test]
async fn tls_with_the_right_authority_is_used() {
    let mut settings = settings(&services::redis_tls());
    settings.ca = services::ca().into();
    let (one, other) = (Edge::start(&settings), Edge::start(&settings));
    let key = somebody();
    assert!(one.is_fresh(visit(key, HOUR)).await);
    assert!(!other.is_fresh(visit(key, HOUR)).await);
    assert_eq!((one.visits("answered"), other.visits("answered")), (1, 1));
}

#[tokio::test]
async fn tls_with_a_wrong_authority_is_refused_and_the_edge_goes_on() {
    for ca in [services::wrong_ca(), String::new()] {
        let (logs, _guard) = Logs::catch();
        let mut settings = settings(&services::redis_tls());
        settings.ca = ca.into();
        let edge = Edge::start(&settings);
        let key = somebody();
        assert!(edge.is_fresh(visit(key, HOUR)).await);
        assert!(!edge.is_fresh(visit(key, HOUR)).await);
        assert_eq!((edge.requests("error"), edge.visits("answered")), (1, 0));
        assert!(logs.text().contains("certificate"), "{}", logs.text());
    }
}

#[tokio::test]
async fn a_password_is_used_and_a_wrong_one_is_not_repeated() {
    let edge = Edge::start(&settings(&services::redis_user()));
    assert!(edge.is_fresh(visit(somebody(), HOUR)).await);
    assert_eq!(edge.visits("answered"), 1);

    let (logs, _guard) = Logs::catch();
    let (_, address) =
        services::redis_user().rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let edge = Edge::start(&settings(&format!("redis://waypost:hunter2@{address}")));
    assert!(edge.is_fresh(visit(somebody(), HOUR)).await);
    assert_eq!((edge.requests("error"), edge.visits("answered")), (1, 0));
    let text = logs.text();
    assert!(text.contains("WRONGPASS") || text.contains("authentication"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!format!("{:?}", edge.recent).contains("hunter2"));
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, broken) = (folder.path().join("empty.pem"), folder.path().join("broken.pem"));
    fs::write(&empty, "").unwrap();
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for url in
        ["rediss://:hunter2@localhost", "rediss+cluster://:hunter2@a,b", "rediss+sentinel://:hunter2@a/main"]
    {
        for ca in [folder.path().join("none.pem"), empty.clone(), broken.clone()] {
            let mut settings = settings(url);
            settings.ca = ca.clone();
            let error = Edge::try_start(&settings).err().unwrap_or_else(|| panic!("{url} {}", ca.display()));
            assert!(error.to_string().contains("redis.ca"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

const SECRET: &str = "6f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

#[test]
fn the_binary_exits_with_78_and_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let run = |role: &str, name: &str, value: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_waypost"))
            .args([role, "--set", "edge.listen=127.0.0.1:0", "--set", "api.listen=127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            // Nobody answers there: an edge that waits for its catalog tells all the same.
            .env("WAYPOST__KAFKA__BROKERS", if role == "edge" { "127.0.0.1:1" } else { "" })
            .env("WAYPOST__TOKEN__KEYS", format!("[{{ id = 1, state = 'active', secret = '{SECRET}' }}]"))
            .env("WAYPOST__VISITOR__HASH_SECRET", SECRET)
            .env("WAYPOST__SECRETS__KEYS", format!("['{SECRET}']"))
            .env("WAYPOST__REDIS__URL", "rediss://:hunter2@localhost")
            .env(name, value)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        text
    };
    for role in ["dev", "edge"] {
        assert!(run(role, "WAYPOST__REDIS__CA", "/nowhere/ca.pem").contains("redis.ca"));
        assert!(run(role, "WAYPOST__REDIS__URL", "redis://:hunter2@a,b").contains("redis.url"));
    }
}
