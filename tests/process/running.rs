//! A process that serves, and the visitors and merchants in front of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use reqwest::{Client, StatusCode, header, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::folder::visitor;

/// What anything may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);

/// Clicks of curl and its like are of class `crawler` and earn nothing.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// The ready file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ready {
    pub edge: String,
    pub api: String,
    pub admin: String,
    pub secret_key: Option<String>,
    pub publishable_key: Option<String>,
}

impl Ready {
    pub fn read(path: &Path) -> Option<Self> {
        fs::read(path).ok().map(|text| serde_json::from_slice(&text).unwrap())
    }
}

/// A running process; killed at the latest when dropped.
pub struct Waypost {
    child: Child,
    ready_file: PathBuf,
    log: PathBuf,
    /// Empty until [`Waypost::ready`].
    pub at: Ready,
}

impl Waypost {
    pub fn new(child: Child, ready_file: PathBuf, log: PathBuf) -> Self {
        Self { child, ready_file, log, at: Ready::default() }
    }

    /// Waits until it serves.
    pub async fn ready(&mut self) {
        let (child, ready_file, log) = (&mut self.child, &self.ready_file, &self.log);
        self.at = eventually("a process to be ready", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("it ended instead: {status}\n{}", fs::read_to_string(log).unwrap());
            }
            Ready::read(ready_file)
        })
        .await;
    }

    /// The exit code of a process that has ended by itself.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Says that it should stop.
    pub fn terminate(&self) {
        let line = format!("kill -TERM {}", self.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// Its exit code.
    pub async fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("a process to end", async || child.try_wait().unwrap()).await;
        status.code().unwrap()
    }

    /// Stops it in good order.
    pub async fn stop(mut self) {
        self.terminate();
        let code = self.ended().await;
        assert_eq!(code, 0, "{}", fs::read_to_string(&self.log).unwrap());
    }

    /// Follows a link that there has to be.
    pub async fn follow(&self, code: &str) -> Followed {
        let answer = follow(&client(), &self.at.edge, code, 1).await.unwrap();
        answer.unwrap_or_else(|status| panic!("/r/{code} answered {status}"))
    }

    /// Reports something with the demo's secret key.
    pub async fn report(&self, kind: &str, event: &Value) -> (StatusCode, Value) {
        let key = self.at.secret_key.as_deref().unwrap();
        let answer = report(&client(), &self.at.edge, key, kind, event).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Reports something that has to be taken.
    pub async fn accepted(&self, kind: &str, event: &Value) {
        let (status, answer) = self.report(kind, event).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{event}: {answer}");
    }

    /// What the admin listener says.
    pub async fn admin(&self, path: &str) -> (StatusCode, String) {
        let answer = client().get(format!("{}{path}", self.at.admin)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

impl Drop for Waypost {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a link led.
#[derive(Clone, Debug)]
pub struct Followed {
    pub location: String,
    /// The click token.
    pub token: String,
}

/// A client with connections of its own.
pub fn client() -> Client {
    Client::builder().redirect(Policy::none()).user_agent(BROWSER).timeout(SOON).build().unwrap()
}

/// Follows a link as a visitor: `Err` inside is another answer than a redirect.
pub async fn follow(
    client: &Client,
    edge: &str,
    code: &str,
    from: u64,
) -> reqwest::Result<Result<Followed, StatusCode>> {
    let request = client.get(format!("{edge}/r/{code}")).header("x-forwarded-for", visitor(from).to_string());
    let answer = request.send().await?;
    if answer.status() != StatusCode::FOUND {
        return Ok(Err(answer.status()));
    }
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let token = location.split("click_id=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    Ok(Ok(Followed { location, token }))
}

/// A report by a merchant.
pub fn report(client: &Client, edge: &str, key: &str, kind: &str, event: &Value) -> reqwest::RequestBuilder {
    client.post(format!("{edge}/v1/events/{kind}")).bearer_auth(key).json(event)
}

/// Asks again until there is an answer.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {SOON:?} for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
