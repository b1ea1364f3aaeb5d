//! Commands beside a running `waypost dev`: what they change is in force within a second.

use std::time::Instant;

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::{
    folder::{Folder, binary, ended},
    rounds,
    running::{Waypost, client, eventually, follow, report},
};

#[test]
fn every_command_explains_itself() {
    let commands: &[&[&str]] = &[
        &[],
        &["dev"],
        &["edge"],
        &["settle"],
        &["api"],
        &["migrate"],
        &["account"],
        &["account", "create"],
        &["account", "list"],
        &["key"],
        &["key", "create"],
        &["key", "list"],
        &["key", "revoke"],
        &["link"],
        &["link", "add"],
        &["link", "list"],
        &["rates"],
        &["rates", "import"],
        &["rates", "list"],
        &["config"],
        &["config", "check"],
        &["reconcile"],
        &["replay"],
        &["ledger"],
        &["ledger", "verify"],
        &["topics"],
        &["topics", "create"],
        &["topics", "check"],
        &["positions"],
        &["positions", "list"],
        &["positions", "begin-over"],
        &["spool"],
        &["spool", "inspect"],
        &["spool", "replay"],
        &["spool", "rescue"],
        &["catalog"],
        &["catalog", "republish"],
        &["secrets"],
        &["secrets", "reseal"],
    ];
    for command in commands {
        for option in ["--help", "-h"] {
            let help = ended(binary().args(*command).arg(option));
            assert_eq!((help.code, help.err.as_str()), (0, ""), "{command:?}");
            assert!(help.out.contains("Usage: waypost"), "{command:?}: {}", help.out);
            assert!(help.out.contains("--data-dir") || help.out.contains("Commands:"), "{command:?}");
        }
    }
    // The list above is whole: every command that help names is in it.
    for group in commands {
        let help = ended(binary().args(*group).arg("-h")).out;
        let Some(list) = help.split("Commands:\n").nth(1) else { continue };
        // What is indented further goes on with the line before.
        let lines = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        for line in lines {
            let name = line.split_whitespace().next().unwrap();
            let full: Vec<&str> = group.iter().copied().chain([name]).collect();
            assert!(name == "help" || commands.contains(&full.as_slice()), "{full:?} is not in the list");
        }
    }
}

/// What the edge says to an event with this key.
async fn answer_to(waypost: &Waypost, key: &str) -> StatusCode {
    let event = json!({"external_id": Uuid::now_v7(), "amount": "1.00"});
    report(&client(), &waypost.at.edge, key, "lead", &event).send().await.unwrap().status()
}

async fn answers(waypost: &Waypost, key: &str, expected: StatusCode) {
    eventually("a key to change", async || (answer_to(waypost, key).await == expected).then_some(())).await;
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_beside_a_running_edge() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let mut made = Vec::new();
    for kind in ["secret", "publishable"] {
        let key = folder.ok(&["key", "create", "--account", "demo", "--kind", kind, "--name", "mine"]);
        let key = key.trim_end().to_owned();
        answers(&waypost, &key, StatusCode::ACCEPTED).await;
        made.push(key);
    }
    let list = folder.ok(&["key", "list", "--account", "demo"]);
    assert_eq!(list.lines().count(), 4, "with the two of the demo: {list}");
    assert!(made.iter().all(|key| !list.contains(key.as_str())), "keys are shown once");
    for key in &made {
        let row = list.lines().find(|row| row.contains(&format!("{}…", &key[..14]))).unwrap();
        assert!(row.contains("\tactive\tmine"), "{row}");
        let id = row.split('\t').next().unwrap();
        assert_eq!(folder.ok(&["key", "revoke", id]), format!("{id} is revoked\n"));
        answers(&waypost, key, StatusCode::UNAUTHORIZED).await;
        folder.ok(&["key", "revoke", id]);
    }
    assert_eq!(folder.ok(&["key", "list"]).matches("\trevoked ").count(), 2);
    assert_eq!(answer_to(&waypost, waypost.at.secret_key.as_deref().unwrap()).await, StatusCode::ACCEPTED);

    let narrow = folder.ok(&["key", "create", "--account", "demo", "--scope", "read"]);
    answers(&waypost, narrow.trim_end(), StatusCode::FORBIDDEN).await;
    waypost.stop().await;
    folder.assert_adds_up();
    folder.assert_log_is_discreet();
}

/// Makes a link of Jane's to the demo shop.
const ADD: [&str; 9] =
    ["link", "add", "--account", "demo", "--program", "demo-shop", "--affiliate", "jane", "--code"];

#[tokio::test]
async fn a_change_is_in_force_within_a_second() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let client = client();
    rounds::within_a_second(async |round, n| {
        let code = format!("code-{round}-{n}");
        folder.ok(&[&ADD[..], &[code.as_str()]].concat());
        let begun = Instant::now();
        eventually("a link to work", async || {
            follow(&client, &waypost.at.edge, &code, 1).await.unwrap().ok()
        })
        .await;
        begun.elapsed()
    })
    .await;
    waypost.stop().await;
}

#[tokio::test]
async fn a_new_link_leads_somewhere() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let with = |more: &[&'static str]| [&ADD[..], more].concat();
    let client = client();
    for (options, leads_to) in [
        (with(&["spring"]), format!("{}/demo?", waypost.at.api)),
        (
            with(&["sale", "--destination", "https://shop.example/sale"]),
            "https://shop.example/sale?".to_owned(),
        ),
    ] {
        let out = folder.ok(&options);
        let code = options[ADD.len()];
        assert!(out.starts_with("lnk_") && out.ends_with(&format!("\t/r/{code}\n")), "{out}");
        let location = eventually("a link to work", async || {
            follow(&client, &waypost.at.edge, code, 1).await.unwrap().ok().map(|followed| followed.location)
        })
        .await;
        assert!(location.starts_with(&leads_to), "{location}");
    }
    let list = folder.ok(&["link", "list", "--account", "demo"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("/r/sale\thttps://shop.example/sale\n"), "{list}");
    assert_eq!(folder.ok(&["link", "list", "--account", "demo", "--program", "demo-shop"]), list);
    assert_eq!(folder.ok(&["link", "list", "--account", "demo", "--affiliate", "jane"]), list);

    // A link that has expired still leads there, and attributes nothing.
    folder.ok(&with(&["past", "--expires-at", "2020-01-01T00:00:00Z"]));
    let location = eventually("a link to work", async || {
        let answer = client.get(format!("{}/r/past", waypost.at.edge)).send().await.unwrap();
        answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned())
    })
    .await;
    assert!(!location.contains("click_id"), "{location}");
    waypost.stop().await;
    folder.assert_adds_up();
}

#[test]
fn an_empty_folder_becomes_a_store_once() {
    let folder = Folder::new();
    assert!(folder.ok(&["migrate"]).contains("was brought up to date: m0001_"));
    assert!(folder.ok(&["migrate"]).ends_with("is up to date\n"));
    assert_eq!(folder.ok(&["account", "list"]), "");
    folder.ok(&["account", "create", "acme", "--name", "Acme Inc", "--domain", "go.acme.example"]);
    let list = folder.ok(&["account", "list"]);
    assert!(list.starts_with("acme\t") && list.ends_with("\tUTC\tAcme Inc\n"), "{list}");
    folder.ok(&["account", "create", "bravo", "--time-zone", "europe/berlin"]);
    assert!(folder.ok(&["account", "list"]).ends_with("\tEurope/Berlin\tbravo\n"));
    assert!(folder.ok(&["key", "create", "--account", "acme"]).starts_with("wp_sk_"));
    folder.assert_adds_up();
}
