//! What goes wrong ends with the code of `sysexits.h` that says so, and with words that help.

use std::{fs, net::TcpListener};

use rusqlite::Connection;

use crate::{
    folder::{ANY, Ended, Folder, binary, ended},
    running::Waypost,
};

fn assert_ended(ended: &Ended, code: i32, told: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    for text in told {
        assert!(ended.err.contains(text), "it does not say {text:?}: {}", ended.err);
    }
}

#[test]
fn wrong_command_lines_end_with_64() {
    let add = "link add --account demo --program demo-shop --affiliate jane --code";
    for line in [
        "",
        "frobnicate",
        "dev --frobnicate",
        "dev --edge-listen nowhere",
        "dev --set edge.cores",
        "edge --edge-listen 127.0.0.1:0",
        "account create No!Slug",
        "account create acme --time-zone Mars/Base",
        "rates import",
        "rates list --from 2026-1-1",
        "key create",
        "key create --account demo --kind golden",
        "key create --account demo --scope everything",
        "key revoke",
        &format!("{add} a/b"),
        &format!("{add} a --expires-at soon"),
        "replay --into",
        "reconcile --yaml",
    ] {
        let ended = ended(binary().args(line.split_whitespace()));
        assert_ended(&ended, 64, &["--help"]);
        assert_eq!(ended.out, "");
    }
}

#[test]
fn a_folder_without_a_store_ends_with_66() {
    let readers: &[&[&str]] = &[
        &["account", "list"],
        &["account", "create", "acme"],
        &["key", "list"],
        &["key", "create", "--account", "demo"],
        &["link", "list", "--account", "demo"],
        &["rates", "import", "-"],
        &["rates", "list"],
        &["reconcile"],
        &["replay"],
        &["ledger", "verify"],
    ];
    let folder = Folder::new();
    for command in readers {
        assert_ended(&folder.run(command), 66, &["there is no data folder at", "--data-dir"]);
    }
    fs::create_dir(folder.data()).unwrap();
    for command in readers {
        assert_ended(&folder.run(command), 66, &["there is no store at", "waypost migrate"]);
    }
    // An edge serves what somebody has set up; it makes no store.
    assert_ended(&folder.run(&["edge", "--listen", ANY]), 66, &["there is no store at"]);
    assert!(!folder.data().join("store.db").exists());
}

#[test]
fn a_file_in_the_place_of_the_folder_ends_with_73() {
    let folder = Folder::new();
    fs::write(folder.data(), "not a folder").unwrap();
    for command in [&["dev"][..], &["edge"], &["settle"], &["api"], &["migrate"], &["reconcile"]] {
        let data = folder.data();
        assert_ended(&folder.run(command), 73, &[data.to_str().unwrap(), "a file, not a folder"]);
    }
}

#[test]
fn what_cannot_be_read_says_so() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    fs::write(folder.data().join("store.db"), "this is no database at all, whatever its name says").unwrap();
    assert_ended(&folder.run(&["reconcile"]), 65, &["store.db", "is not a store, or is damaged"]);
    assert_ended(&folder.run(&["dev", "--edge-listen", ANY, "--api-listen", ANY]), 65, &["store.db"]);

    let folder = Folder::new();
    folder.ok(&["migrate"]);
    folder.keys();
    fs::write(folder.data().join("spool.db"), "no database either, but of some length at the least").unwrap();
    let ended = folder.run(&["edge", "--listen", ANY, "--admin-listen", ANY]);
    assert_ended(&ended, 65, &["spool.db", "is not an event log"]);

    // A folder in the place of a file cannot be opened by anybody, not even by root.
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    fs::create_dir(folder.data().join("edge.lock")).unwrap();
    assert_ended(&folder.run(&["edge", "--listen", ANY]), 74, &["edge.lock"]);
}

#[tokio::test]
async fn a_spool_that_contradicts_itself_is_left_as_it_is() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    folder.keys();
    folder.start(&["edge", "--listen", ANY, "--set", "edge.drain_delay_ms=0"]).await.stop().await;
    let spool = Connection::open(folder.data().join("spool.db")).unwrap();
    spool.execute("UPDATE topic SET consumed = next_offset + 1", []).unwrap();
    drop(spool);
    let told = ["spool.db", "is damaged", "WaypostSpoolNotReplayed"];
    assert_ended(&folder.run(&["edge", "--listen", ANY, "--admin-listen", ANY]), 65, &told);
    assert_ended(&folder.run(&["spool", "inspect"]), 65, &told);
}

#[test]
fn secrets_that_others_may_read_end_with_77() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    let path = folder.data().join("secrets.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_ended(&folder.run(&["settle"]), 77, &["other users may read the secrets", "chmod 600"]);
}

#[test]
fn secrets_that_are_gone_are_not_replaced_where_an_edge_has_used_them() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    fs::write(folder.data().join("spool.db"), "").unwrap();
    let ended = folder.run(&["edge", "--listen", ANY, "--admin-listen", ANY]);
    assert_ended(&ended, 66, &["secrets.toml is gone", "Put the copy"]);
    assert!(!folder.data().join("secrets.toml").exists());
}

#[test]
fn a_wrong_folder_is_left_as_it_is() {
    let folder = Folder::new();
    fs::create_dir_all(folder.data()).unwrap();
    assert_ended(&folder.run(&["edge", "--listen", ANY]), 66, &["there is no store"]);
    assert_eq!(fs::read_dir(folder.data()).unwrap().count(), 0);
}

#[test]
fn a_port_in_use_ends_with_69_and_is_named() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    let taken = TcpListener::bind(ANY).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (command, key) in [
        (&["dev", "--edge-listen", &taken, "--api-listen", ANY, "--admin-listen", ANY][..], "edge.listen"),
        (&["dev", "--edge-listen", ANY, "--api-listen", &taken, "--admin-listen", ANY], "api.listen"),
        (&["dev", "--edge-listen", ANY, "--api-listen", ANY, "--admin-listen", &taken], "admin.listen"),
        (&["edge", "--listen", &taken, "--admin-listen", ANY], "edge.listen"),
        (&["api", "--listen", &taken, "--admin-listen", ANY], "api.listen"),
        (&["settle", "--admin-listen", &taken], "admin.listen"),
    ] {
        let told = format!("cannot listen on {taken} (`{key}`): another process has this port");
        assert_ended(&folder.run(command), 69, &[&told, "port 0 takes a free one"]);
    }
}

#[tokio::test]
async fn a_folder_that_is_held_ends_with_75_and_names_the_holder() {
    let folder = Folder::new();
    let waypost: Waypost = folder.dev().await;
    let holder = format!("process {}, `", waypost.id());
    for command in [
        &["dev", "--edge-listen", ANY, "--api-listen", ANY, "--admin-listen", ANY][..],
        &["edge", "--listen", ANY, "--admin-listen", ANY],
        &["settle", "--admin-listen", ANY],
        &["api", "--listen", ANY, "--admin-listen", ANY],
    ] {
        assert_ended(&folder.run(command), 75, &["is in use", &holder, "--data-dir"]);
    }
    // Who was killed holds nothing.
    drop(waypost);
    folder.dev().await.stop().await;
}

#[test]
fn a_broken_setting_ends_with_78_and_names_key_and_source() {
    let folder = Folder::new();
    let file = folder.beside("waypost.toml");
    fs::write(&file, "[spool]\ncommit_ms = 5000\n").unwrap();
    let file = file.to_str().unwrap();
    let good = folder.ok(&["config", "check"]);
    assert!(good.contains("data_dir = "), "{good}");
    assert!(folder.ok(&["config", "check", "--all"]).lines().count() > good.lines().count());
    for command in [&["config", "check"][..], &["dev"], &["migrate"], &["reconcile"], &["key", "list"]] {
        let command = [command, &["--config", file]].concat();
        assert_ended(&folder.run(&command), 78, &["`spool.commit_ms`", file, "between 1 and 10"]);
    }
    assert_ended(
        &folder.run(&["dev", "--set", "edge.corse=1"]),
        78,
        &["`edge.corse`", "--set", "`edge.cores`"],
    );
    let by_environment = &mut folder.command(&["dev"]);
    by_environment.env("WAYPOST__API__RATE_LIMIT_PER_MINUTE", "many");
    let told = ["`api.rate_limit_per_minute`", "WAYPOST__API__RATE_LIMIT_PER_MINUTE"];
    assert_ended(&ended(by_environment), 78, &told);
    assert!(!folder.data().exists(), "nothing was begun");
}

#[test]
fn what_is_named_and_not_there_ends_with_65_and_what_is_taken_with_73() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    folder.ok(&["account", "create", "acme", "--domain", "go.acme.example"]);
    for (line, code, told) in [
        ("account create acme", 73, "there is an account `acme` already"),
        ("account create other --domain GO.acme.example", 73, "`go.acme.example` is an account's already"),
        ("key create --account nobody", 65, "there is no account `nobody`"),
        ("key list --account nobody", 65, "there is no account `nobody`"),
        ("key revoke key_0", 65, "there is no key `key_0`"),
        ("key revoke key_00000000000000000000000000000000", 65, "waypost key list"),
        ("key create --account acme --kind publishable --scope write", 64, "the scope `events` only"),
        ("link list --account nobody", 65, "there is no account `nobody`"),
        ("link list --account acme --program x", 65, "the account has no program `x`"),
        ("link list --account acme --affiliate x", 65, "the account has no affiliate `x`"),
        ("link add --account acme --program x --affiliate y --code z", 65, "the account has no program `x`"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_ended(&folder.run(&words), code, &[told]);
    }
    assert_eq!(folder.ok(&["account", "list"]).lines().count(), 1, "`other` was not made by half");
    let file = folder.beside("copy.db");
    let into = ["replay", "--into", file.to_str().unwrap()];
    folder.ok(&into);
    assert_ended(&folder.run(&into), 73, &["is there already"]);
}
