//! Promise: whoever has a webhook is told of every event, soon, signed, under one id, and again until it was taken; an
//! endpoint that fails delays no other, and is switched off in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::system::Running;

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) at_ms: i64,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a receiver answers.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    status: u16,
    retry_after: Option<&'static str>,
    delay: Duration,
}

/// A customer's server on loopback.
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

type Shared = (Arc<Mutex<Vec<Got>>>, Arc<Mutex<Behaviour>>, sealpost_core::clock::Clock);

impl Receiver {
    pub(crate) async fn start(running: &Running) -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let behaviour = Arc::new(Mutex::new(Behaviour {
            status: 204,
            retry_after: None,
            delay: Duration::ZERO,
        }));
        let clock = running.system.clock().clone();
        let shared: Shared = (Arc::clone(&got), Arc::clone(&behaviour), clock);
        let router = Router::new().fallback(take).with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, got, behaviour }
    }

    pub(crate) fn answers(&self, status: u16) {
        self.behaviour.lock().unwrap().status = status;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What it got, once that are `n` requests.
    pub(crate) async fn until(&self, n: usize) -> Vec<Got> {
        for _ in 0..600 {
            let got = self.got();
            if got.len() >= n {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} instead of {n} requests within 12 seconds", self.got().len());
    }
}

async fn take(
    State((got, behaviour, clock)): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    let behaviour = *behaviour.lock().unwrap();
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    got.lock().unwrap().push(Got {
        at_ms: clock.now_ms(),
        headers: headers.collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    tokio::time::sleep(behaviour.delay).await;
    let mut answer = HeaderMap::new();
    if let Some(retry_after) = behaviour.retry_after {
        answer.insert("retry-after", retry_after.parse().unwrap());
    }
    (StatusCode::from_u16(behaviour.status).unwrap(), answer)
}

/// Makes a webhook; its id and its secret.
pub(crate) async fn hook(running: &Running, url: &str, events: &[&str]) -> (String, String) {
    let (status, made) = running
        .post("/webhooks", &json!({ "endpoint": url, "events": events }))
        .await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("signing_secret"))
}

pub(crate) fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

async fn attempts(running: &Running, webhook: &str) -> Vec<Value> {
    let (status, list) = running.get(&format!("/webhooks/{webhook}/attempts")).await;
    assert_eq!(status, 200, "{list}");
    list["data"].as_array().unwrap().clone()
}

/// The attempt at the only event of a webhook, once it has so many tries and this status.
async fn attempt(running: &Running, webhook: &str, n_tries: usize, wanted: &str) -> Value {
    let mut last = Vec::new();
    for _ in 0..300 {
        last = attempts(running, webhook).await;
        if let [only] = &last[..]
            && only["tries"].as_array().unwrap().len() == n_tries
            && only["status"] == wanted
        {
            return only.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not {n_tries} tries and {wanted}: {last:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_every_webhook_that_wants_it_and_no_other() {
    let running = Running::start().await;
    let (one, two, other) = (
        Receiver::start(&running).await,
        Receiver::start(&running).await,
        Receiver::start(&running).await,
    );
    let (first, _) = hook(&running, &one.url, &["email.delivered", "email.bounced"]).await;
    hook(&running, &two.url, &["email.delivered"]).await;
    hook(&running, &other.url, &["email.complained"]).await;
    let id = running.send(&email("pat@patient.test")).await;
    running.settled(&id).await;
    let got = one.until(1).await;
    let body = got[0].json();
    assert_eq!(body["type"], "email.delivered");
    assert_eq!(body["data"]["email_id"], id.as_str());
    assert!(
        body["data"]["delivery_id"].as_str().unwrap().starts_with("dlv_"),
        "{body}"
    );
    assert_eq!(body["data"]["test"], false);
    assert!(
        !got[0].body.contains("pat@") && !got[0].body.contains("results"),
        "{body}"
    );
    assert_eq!(two.until(1).await[0].id(), got[0].id(), "the same id everywhere");
    let attempt = attempt(&running, &first, 1, "delivered").await;
    assert_eq!(attempt["event_id"], got[0].id());
    assert_eq!(attempt["tries"][0]["http_status_code"], 204);
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    assert!(other.got().is_empty());
    assert_eq!((one.got().len(), two.got().len()), (1, 1));
}

/// Moves the clock to `at_ms`, if that is ahead.
fn move_to(running: &Running, at_ms: i64) {
    let by_ms = u64::try_from(at_ms - running.system.clock().now_ms()).unwrap_or_default();
    running.system.advance(Duration::from_millis(by_ms)).unwrap();
}

fn ms(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_taken_is_posted_again_as_scheduled_and_given_up_after_eight_tries() {
    const MINUTE: i64 = 60_000;
    let pauses = [
        5_000,
        5 * MINUTE,
        30 * MINUTE,
        120 * MINUTE,
        300 * MINUTE,
        600 * MINUTE,
        600 * MINUTE,
    ];
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    receiver.answers(500);
    let (webhook, _) = hook(&running, &receiver.url, &["email.delivered"]).await;
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    for (n, pause_ms) in pauses.into_iter().enumerate() {
        let waiting = attempt(&running, &webhook, n + 1, "pending").await;
        let last = waiting["tries"].as_array().unwrap().last().unwrap().clone();
        let ended_ms = ms(&last["sent_at"]) + last["duration_ms"].as_i64().unwrap();
        let due_ms = ms(&waiting["next_attempt_at"]);
        let waits_ms = due_ms - ended_ms;
        assert!(
            (pause_ms..=pause_ms + pause_ms / 10).contains(&waits_ms),
            "try {}: {waits_ms}",
            n + 2
        );
        move_to(&running, due_ms - 3_000);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(receiver.got().len(), n + 1, "try {} came early", n + 2);
        move_to(&running, due_ms + 1_000);
        let got = receiver.until(n + 2).await;
        let late_ms = got[n + 1].at_ms - due_ms;
        assert!((0..10_000).contains(&late_ms), "try {}: {late_ms} ms late", n + 2);
    }
    let ended = attempt(&running, &webhook, 8, "exhausted").await;
    assert_eq!(ended["next_attempt_at"], Value::Null);
    running.system.advance(Duration::from_secs(86_400)).unwrap();
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let got = receiver.got();
    assert_eq!(got.len(), 8);
    assert!(got.iter().all(|one| one.id() == got[0].id() && one.body == got[0].body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_ask_to_be_left_alone_for_longer() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    *receiver.behaviour.lock().unwrap() = Behaviour {
        status: 429,
        retry_after: Some("120"),
        delay: Duration::ZERO,
    };
    let (webhook, _) = hook(&running, &receiver.url, &["email.delivered"]).await;
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    let waiting = attempt(&running, &webhook, 1, "pending").await;
    let waits_ms = ms(&waiting["next_attempt_at"]) - ms(&waiting["tries"][0]["sent_at"]);
    assert!((120_000..125_000).contains(&waits_ms), "{waits_ms}");
    receiver.answers(200);
    running.system.advance(Duration::from_secs(122)).unwrap();
    attempt(&running, &webhook, 2, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_does_not_delay_another() {
    const EVENTS: usize = 24;
    let running = Running::start().await;
    let (dead, live) = (Receiver::start(&running).await, Receiver::start(&running).await);
    *dead.behaviour.lock().unwrap() = Behaviour {
        status: 500,
        retry_after: None,
        delay: Duration::from_secs(12),
    };
    hook(&running, &dead.url, &["email.delivered"]).await;
    hook(&running, &live.url, &["email.delivered"]).await;
    for n in 0..EVENTS {
        running.send(&email(&format!("pat{n}@patient.test"))).await;
    }
    let got = live.until(EVENTS).await;
    for one in &got {
        let event: jiff::Timestamp = one.json()["timestamp"].as_str().unwrap().parse().unwrap();
        let late_ms = one.at_ms - event.as_millisecond();
        assert!(late_ms < 1_000, "{} came {late_ms} ms late", one.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_is_left_alone_and_probed_by_one_post() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    receiver.answers(503);
    let (webhook, _) = hook(&running, &receiver.url, &["email.delivered"]).await;
    for n in 0..5 {
        running.send(&email(&format!("pat{n}@patient.test"))).await;
    }
    receiver.until(5).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for n in 5..9 {
        running
            .settled(&running.send(&email(&format!("pat{n}@patient.test"))).await)
            .await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let n_before = receiver.got().len();
    assert!(n_before <= 6, "{n_before} posts went to an endpoint that fails");
    assert_eq!(attempts(&running, &webhook).await.len(), 9, "none is lost");
    running.system.advance(Duration::from_secs(130)).unwrap();
    receiver.until(n_before + 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.got().len(), n_before + 1, "one post probes");
    receiver.answers(200);
    for _ in 0..6 {
        running.system.advance(Duration::from_secs(120)).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let ended = attempts(&running, &webhook).await;
    assert!(ended.iter().all(|one| one["status"] == "delivered"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_or_fails_for_five_days_is_switched_off_and_others_are_told() {
    let running = Running::start().await;
    let (gone, failing, watcher) = (
        Receiver::start(&running).await,
        Receiver::start(&running).await,
        Receiver::start(&running).await,
    );
    gone.answers(410);
    failing.answers(500);
    let (gone_id, _) = hook(&running, &gone.url, &["email.delivered"]).await;
    let (failing_id, _) = hook(&running, &failing.url, &["email.delivered"]).await;
    hook(&running, &watcher.url, &["webhook.disabled"]).await;
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    let told = watcher.until(1).await[0].json();
    assert_eq!(
        (&told["data"]["webhook_id"], &told["data"]["because"]),
        (&json!(gone_id), &json!("gone"))
    );
    attempt(&running, &gone_id, 1, "exhausted").await;
    let status = async |id: &str| running.get(&format!("/webhooks/{id}")).await.1["status"].clone();
    assert_eq!(status(&gone_id).await, "disabled");
    for day in 1..=5 {
        assert_eq!(status(&failing_id).await, "enabled", "day {day}");
        let n_before = failing.got().len();
        running.system.advance(Duration::from_secs(86_400)).unwrap();
        running.settled(&running.send(&email("pat@patient.test")).await).await;
        failing.until(n_before + 1).await;
        // The probe may have been another event's; a few more minutes let every one fail that is due.
        for _ in 0..3 {
            running.system.advance(Duration::from_secs(600)).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let told = watcher.until(2).await[1].json();
    assert_eq!(
        (&told["data"]["webhook_id"], &told["data"]["because"]),
        (&json!(failing_id), &json!("failing"))
    );
    assert_eq!(status(&failing_id).await, "disabled");
    assert_eq!(gone.got().len(), 1);
    let (code, answer) = running.post(&format!("/webhooks/{gone_id}/replay"), &json!({})).await;
    assert_eq!(code, 409, "{answer}");
}
