//! Promise: whoever has a webhook is told of every event, soon, signed, under one id, and again until it was taken; an
//! endpoint that fails delays no other, and is switched off in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events, fill};
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

    fn answers(&self, status: u16) {
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

async fn take(State((got, behaviour, clock)): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap) {
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
    let (status, made) = running.post("/webhooks", &json!({ "endpoint": url, "events": events })).await;
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
    assert!(body["data"]["delivery_id"].as_str().unwrap().starts_with("dlv_"), "{body}");
    assert_eq!(body["data"]["test"], false);
    assert!(!got[0].body.contains("pat@") && !got[0].body.contains("results"), "{body}");
    assert_eq!(two.until(1).await[0].id(), got[0].id(), "the same id everywhere");
    let attempt = attempt(&running, &first, 1, "delivered").await;
    assert_eq!(attempt["event_id"], got[0].id());
    assert_eq!(attempt["tries"][0]["http_status_code"], 204);
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    assert!(other.got().is_empty());
    assert_eq!((one.got().len(), two.got().len()), (1, 1));
}
