//! The admin listener: every series is there from the start, and probes tell the truth.

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, process::Stdio, time::Duration};

use reqwest::StatusCode;
use tokio::time::{sleep, timeout};

use crate::{
    folder::Folder,
    metrics_page,
    running::{SOON, Waypost, client, eventually},
};

/// The names of all series in the source of the telemetry, those of its own tests left out.
fn named() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for literal in line.split('"').skip(1).step_by(2).filter(|text| text.starts_with("waypost_")) {
                names.insert(literal.to_owned());
            }
        }
    }
    names
}

/// A process with Kafka and Redis while both are away (nobody listens on port 9), its folder, and the address of its
/// admin listener.
fn on_engines(command: &str) -> (Waypost, Folder, String) {
    let folder = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let secret = "0123456789abcdef".repeat(4);
    let settings = [
        "kafka.brokers=127.0.0.1:9".to_owned(),
        "redis.url=redis://127.0.0.1:9".to_owned(),
        format!("token.keys=[{{ id = 1, state = \"active\", secret = \"{secret}\" }}]"),
        format!("visitor.hash_secret={secret}"),
        format!("secrets.keys=[\"{secret}\"]"),
        "edge.listen=127.0.0.1:0".to_owned(),
    ];
    let mut arguments = vec![command, "--admin-listen", &address];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut process = folder.command(&arguments);
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let nowhere = folder.beside("none");
    (Waypost::new(process.spawn().unwrap(), nowhere.clone(), nowhere), folder, address)
}

/// What `waypost dev`, an edge and a settlement export together, once every name has its line `# TYPE`. A process
/// answers while its parts are still being started, and each registers its own: what is read then is not whole yet.
async fn exported(waypost: &Waypost, names: &BTreeSet<String>) -> String {
    let commands = ["edge", "settle"];
    let mut engines = commands.map(on_engines);
    let mut missing = Vec::new();
    let whole = async {
        loop {
            let (status, mut text) = waypost.admin("/metrics").await;
            assert_eq!(status, StatusCode::OK);
            for (engine, command) in engines.iter_mut().zip(commands) {
                let (process, _, address) = &mut *engine;
                if let Some(code) = process.has_ended() {
                    // Somebody else was quicker to take its port.
                    assert_eq!(code, 69, "{command} ended");
                    *engine = on_engines(command);
                    continue;
                }
                if let Ok(answer) = client().get(format!("http://{address}/metrics")).send().await {
                    text.push_str(&answer.text().await.unwrap());
                }
            }
            missing = absent("TYPE", names, &text);
            if missing.is_empty() {
                return text;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    match timeout(SOON, whole).await {
        Ok(text) => text,
        Err(_) => panic!("the type is missing of {missing:?}"),
    }
}

/// The names that have no such line.
fn absent(line: &str, names: &BTreeSet<String>, text: &str) -> Vec<String> {
    let found = |name: &str| text.lines().any(|found| found.starts_with(&format!("# {line} {name} ")));
    names.iter().filter(|name| !found(name)).cloned().collect()
}

#[tokio::test]
async fn every_series_is_there_from_the_start() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let names = named();
    assert!(names.len() > 30, "{names:?}");
    let text = exported(&waypost, &names).await;
    let undescribed = absent("HELP", &names, &text);
    assert!(undescribed.is_empty(), "the help text is missing of {undescribed:?}");
    let known: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // Those of the process itself have the names that every exporter gives them.
    let ours = known.into_iter().filter(|name| !name.starts_with("process_"));
    let unknown: Vec<_> = ours.filter(|name| !names.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not named in src/telemetry");
    metrics_page::assert_up_to_date(&text);

    let value = |series: &str| {
        let of = |text: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
        };
        of(&text).unwrap_or_else(|| panic!("{series} is missing"))
    };
    assert_eq!(value("waypost_edge_clicks_lost_total"), 0.0);
    waypost.follow("jane").await;
    let token = waypost.follow("jane").await.token;
    let event = serde_json::json!({"program": "demo-shop", "external_id": "one", "amount": "1.00", "click_id": token});
    waypost.accepted("conversion", &event).await;
    // A click comes to the log a moment after its answer.
    for line in [
        "waypost_edge_redirects_total{outcome=\"attributed\"} 2",
        "waypost_edge_events_total{outcome=\"accepted\"} 1",
        "waypost_edge_clicks_total{class=\"valid\"} 1",
        "waypost_edge_clicks_total{class=\"duplicate\"} 1",
        "waypost_edge_clicks_stored_total 2",
        "waypost_settled_events_total{topic=\"clicks\",outcome=\"stored\"} 2",
        "waypost_settled_events_total{topic=\"conversions\",outcome=\"settled\"} 1",
        "waypost_edge_redirect_seconds_count 2",
    ] {
        eventually(line, async || {
            let (_, text) = waypost.admin("/metrics").await;
            text.lines().any(|found| found == line).then_some(())
        })
        .await;
    }
    waypost.stop().await;
}

#[tokio::test]
async fn probes_tell_the_truth() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    assert_eq!(waypost.admin("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(waypost.admin("/readyz").await, (StatusCode::OK, r#"{"ready":true,"missing":[]}"#.to_owned()));
    assert_eq!(waypost.admin("/elsewhere").await.0, StatusCode::NOT_FOUND);
    waypost.stop().await;
}
