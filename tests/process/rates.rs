//! `waypost rates`: files are loaded whole or not at all, and a running settlement goes on with them.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use waypost::domain::{calendar::date_of, time::Timestamp};

use crate::{
    folder::{Ended, Folder},
    running::{client, eventually},
};

fn file(folder: &Folder, text: impl AsRef<[u8]>) -> String {
    let path: PathBuf = folder.beside("rates.csv");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn import(folder: &Folder, text: impl AsRef<[u8]>) -> Ended {
    folder.run(&["rates", "import", &file(folder, text)])
}

fn from_standard_input(folder: &Folder, text: &str) -> Output {
    let mut command = folder.command(&["rates", "import", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn files_of_both_kinds_are_loaded_and_listed() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    let table = "Date,USD,JPY,CYP,\n2026-11-27,1.0825,165.20,N/A,\n2026-11-26,1.08,N/A,0.58,\n";
    let ended = import(&folder, table);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (
            0,
            "loaded 3 rates of 2026-11-26 to 2026-11-27, new or changed: 3\n\
             passed over 1 rates of currencies that are none now: CYP\n"
        ),
        "{ended:?}"
    );
    let listed = "2026-11-27,EUR,JPY,165.2\n2026-11-27,EUR,USD,1.0825\n2026-11-26,EUR,USD,1.08\n";
    assert_eq!(folder.ok(&["rates", "list"]), listed);
    assert_eq!(
        folder.ok(&["rates", "list", "--quote", "USD", "--to", "2026-11-26"]),
        "2026-11-26,EUR,USD,1.08\n"
    );
    assert_eq!(folder.ok(&["rates", "list", "--base", "USD"]), "");

    // What is listed can be loaded, and what is there already is no change.
    let again = import(&folder, listed.replace("1.08\n", "1.09\n"));
    assert!(again.out.ends_with(", new or changed: 1\n"), "{again:?}");
    let piped = from_standard_input(&folder, "Date, USD, \n28 November 2026, 1.1, \n");
    assert!(piped.status.success(), "{piped:?}");
    assert!(folder.ok(&["rates", "list"]).starts_with("2026-11-28,EUR,USD,1.1\n"));
}

#[test]
fn a_file_with_a_wrong_line_changes_nothing() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    let good = "2026-11-27,EUR,USD,1.1\n";
    for (text, told) in [
        (format!("{good}2026-11-27,EUR,JPY,-1\n"), "line 2: the rate `-1` of EUR in JPY must be above zero"),
        (format!("{good}\n2026-11-27,EUR,XAU,1\n"), "line 3: `XAU` is not a currency of ISO 4217"),
        (format!("{good}{good}"), "line 2: the rate of EUR in USD for 2026-11-27 is in line 1 already"),
        ("<html>\n".to_owned(), "line 1: it has 1 fields, not the four of day,base,quote,rate"),
        (String::new(), "there are no rates in this file"),
    ] {
        let ended = import(&folder, &text);
        assert_eq!((ended.code, ended.out.as_str()), (65, ""), "{ended:?}");
        assert!(ended.err.contains(told) && ended.err.contains("Nothing of it was loaded"), "{ended:?}");
    }
    let packed = import(&folder, [good.as_bytes(), b"PK\x03\x04\xff\xff"].concat());
    assert!(packed.code == 65 && packed.err.contains("line 2: this is no text in UTF-8"), "{packed:?}");
    let large = import(&folder, vec![b'\n'; (32 << 20) + 1]);
    assert!(large.code == 65 && large.err.contains("more than 32 MiB"), "{large:?}");
    let missing = folder.run(&["rates", "import", "/nowhere/rates.csv"]);
    assert!(missing.code == 66 && missing.err.contains("/nowhere/rates.csv"), "{missing:?}");
    assert_eq!(folder.ok(&["rates", "list"]), "");
}

#[tokio::test]
async fn a_sale_in_another_currency_waits_until_rates_are_imported() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let token = waypost.follow("jane").await.token;
    // Of the day before the sale, should midnight lie between.
    let day = date_of(Timestamp::now().day());
    let sale = json!({"external_id": "o-1", "amount": "1500", "currency": "JPY", "click_id": token});
    waypost.accepted("conversion", &sale).await;
    let conversion = async || {
        let url = format!("{}/v1/conversions?external_id=o-1", waypost.at.api);
        let key = waypost.at.secret_key.as_deref().unwrap();
        let page: Value = client().get(url).bearer_auth(key).send().await.unwrap().json().await.unwrap();
        page["data"].get(0).cloned()
    };
    let is = |row: Option<Value>, status: &str| row.filter(|row| row["status"] == status);
    eventually("it to wait", async || is(conversion().await, "pending")).await;
    let ended = import(&folder, format!("Date,USD,JPY,\n{day},1.1,165,\n"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let settled = eventually("it to settle", async || is(conversion().await, "settled")).await;
    assert_eq!((&settled["amount"], &settled["currency"]), (&json!("1500"), &json!("JPY")), "{settled}");
    waypost.stop().await;
    folder.assert_adds_up();
}
