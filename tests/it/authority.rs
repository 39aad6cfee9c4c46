//! Promise: nobody does with a key what it is not for. Each operation of the served description is asked for without a key,
//! with keys that are none, that were revoked, that have expired, that lack the scope, that are in test mode, and by another
//! tenant; what is foreign is answered as what is not there, byte for byte, and stays as it was.
//!
//! The operations come from `/openapi.json`, which has every route of `template.yaml`: a new route without a case fails.

pub(crate) mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use sealpost_core::actor::Actor;
use sealpost_core::tenant::{self, NewTenant};
use serde_json::{Value, json};

use self::cases::{Asked, CASES, Case, SCOPES, TEST_SCOPES, Things, email};
use crate::system::Running;
use crate::webhook::{Receiver, hook};

/// Ids in their form that nobody was given, and texts that are no ids.
const NOBODY: &str = "01kaz3v0r4m2q8t5w7y9b1d3f5";
const NO_IDS: [&str; 7] = [
    "what",
    "%FF%FE",
    "%00",
    "..%2F",
    "em_",
    "em_01KAZ3V0R4M2Q8T5W7Y9B1D3F5",
    "%F0%9F%92%A9",
];
/// Header fields that differ between two equal answers.
const VOLATILE: [&str; 2] = ["x-amzn-requestid", "date"];

/// An answer, as far as a caller can tell it from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn name(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["name"].as_str().unwrap_or_default().to_owned()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The system with two tenants, and what the first of them has.
struct Stage {
    running: Running,
    http: reqwest::Client,
    things: Things,
    stranger: String,
    n_asked: std::sync::atomic::AtomicUsize,
}

impl Stage {
    async fn set() -> Self {
        let running = Running::start().await;
        let stranger = NewTenant {
            name: "Other".to_owned(),
            domain: "other.test".to_owned(),
            care_address: "care@other.test".to_owned(),
        };
        let admin = running.system.app("admin").unwrap();
        let stranger = tenant::create(&admin, &Actor::Operator, stranger).await.unwrap();
        let things = things(&running).await;
        Self {
            running,
            http: reqwest::Client::new(),
            things,
            stranger: format!("Bearer {}", stranger.api_key),
            n_asked: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Makes a key of the first tenant; its id, and the header that carries it.
    async fn key(&self, body: &Value) -> (String, String) {
        let (status, made) = self.running.post("/api-keys", body).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), format!("Bearer {}", text("token")))
    }

    async fn ask(&self, asked: &Asked, authorization: Option<&str>) -> Answer {
        self.n_asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let method: Method = asked.method.to_uppercase().parse().unwrap();
        let mut request = self.http.request(method, self.running.url(&asked.path));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        if let Some(body) = &asked.body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let headers = headers.filter(|(name, _)| !VOLATILE.contains(&name.as_str())).collect();
        let body = answer.bytes().await.unwrap().to_vec();
        Answer { status, headers, body }
    }

    /// What the first tenant sees of itself: the answer of every operation that reads.
    async fn seen(&self, cases: &[Case]) -> BTreeMap<String, Answer> {
        let owner = format!("Bearer {}", self.running.api_key);
        let mut seen = BTreeMap::new();
        for case in cases.iter().filter(|case| case.method == "get") {
            let answer = self.ask(&case.asked(&self.things), Some(&owner)).await;
            assert_eq!(answer.status, 200, "{}: {}", case.operation, answer.text());
            seen.insert(case.operation.clone(), answer);
        }
        seen
    }
}

/// One thing of each kind, behind every id that a path can have.
pub(crate) async fn things(running: &Running) -> Things {
    let id = |answer: &(u16, Value)| {
        assert!((200..300).contains(&answer.0), "{}", answer.1);
        answer.1["id"].as_str().unwrap().to_owned()
    };
    let receiver = Receiver::start(running).await;
    let (webhook, _) = hook(running, &receiver.url, &["email.delivered"]).await;
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    let told = receiver.until(1).await;
    let address = "rosa@keys.test".to_owned();
    let pair = sealpost_local::demo::keys::openpgp("Rosa", &address).unwrap();
    let certificate = json!({ "kind": "openpgp", "data": pair.public });
    let pinned = running.post(&format!("/recipients/{address}/keys"), &certificate).await;
    let mut scheduled = email("later@patient.test");
    scheduled["scheduled_at"] = json!("in 30 days");
    let suppressed = "stopped@patient.test".to_owned();
    let body = Some(json!({ "tls": "fails" }).to_string().into_bytes());
    let domain = "old.test".to_owned();
    let path = format!("/recipient-domains/{domain}");
    assert_eq!(running.call(Method::PUT, &path, body, &[]).await.0, 200);
    Things {
        email: running.send(&scheduled).await,
        key: id(&running.post("/api-keys", &json!({ "name": "Spare" })).await),
        certificate: id(&pinned),
        public: pair.public,
        suppression: id(&running.post("/suppressions", &json!({ "email": suppressed })).await),
        event: told[0].id().to_owned(),
        policy: running.get("/policies").await.1,
        address,
        suppressed,
        webhook,
        receiver: receiver.url,
        domain,
    }
}

/// Every operation of the served description with its case, in the order of the cases.
async fn described(running: &Running) -> Vec<Case> {
    let (status, description) = running.get("/openapi.json").await;
    assert_eq!(status, 200);
    let mut operations = BTreeMap::new();
    let mut routes = BTreeSet::from([("GET".to_owned(), "/openapi.json".to_owned())]);
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            operations.insert(id.to_owned(), (method.clone(), path.clone()));
            routes.insert((method.to_uppercase(), path.clone()));
        }
    }
    let declared = running.system.template.functions.iter().flat_map(|f| &f.routes);
    let declared = declared.filter(|route| route.api == "CallersApi");
    let declared: BTreeSet<_> = declared
        .map(|route| (route.method.clone(), route.path.clone()))
        .collect();
    assert_eq!(
        routes, declared,
        "the description and the template have different routes"
    );
    let known: BTreeSet<&str> = CASES.iter().map(|(operation, ..)| *operation).collect();
    let described: BTreeSet<&str> = operations.keys().map(String::as_str).collect();
    assert_eq!(
        described, known,
        "an operation without a case, or a case without an operation"
    );
    let case = |(operation, scope, status): &(&str, &'static str, u16)| {
        let (method, path) = operations[*operation].clone();
        Case {
            operation: (*operation).to_owned(),
            method,
            path,
            scope,
            status: *status,
        }
    };
    CASES.iter().map(case).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_answers_to_a_key_that_is_not_for_it() {
    let stage = Stage::set().await;
    let cases = described(&stage.running).await;
    let (revoked_id, revoked) = stage.key(&json!({ "name": "Revoked" })).await;
    let in_an_hour = stage.running.system.clock().now() + Duration::from_secs(3600);
    let (_, expired) = stage
        .key(&json!({ "name": "Expired", "expires_at": in_an_hour.to_string() }))
        .await;
    let (_, test) = stage.key(&json!({ "name": "Test", "mode": "test" })).await;
    let mut only = BTreeMap::new();
    let mut without = BTreeMap::new();
    for scope in SCOPES {
        only.insert(scope, stage.key(&json!({ "name": scope, "scopes": [scope] })).await.1);
        let others: Vec<&str> = SCOPES.into_iter().filter(|other| *other != scope).collect();
        without.insert(scope, stage.key(&json!({ "name": "Others", "scopes": others })).await.1);
    }
    for live in [&revoked, &expired] {
        assert_eq!(stage.ask(&Asked::get("/emails"), Some(live)).await.status, 200);
    }
    let path = format!("/api-keys/{revoked_id}");
    assert_eq!(stage.running.call(Method::DELETE, &path, None, &[]).await.0, 200);
    stage.running.system.advance(Duration::from_secs(3601)).unwrap();
    assert!(stage.running.system.settled(Duration::from_secs(20)).await.unwrap());
    let before = stage.seen(&cases).await;

    let mut refused: BTreeMap<(u16, String), Answer> = BTreeMap::new();
    for case in &cases {
        let asked = case.asked(&stage.things);
        for (authorization, status, name) in bad(&stage, &revoked, &expired) {
            let answer = stage.ask(&asked, authorization.as_deref()).await;
            let expected = if case.scope.is_empty() {
                // Nothing but a signature of AWS credentials counts; without a good one the gateway knows no such route.
                (404, "not_found".to_owned())
            } else {
                (status, name.to_owned())
            };
            let shown = format!("{} with {authorization:?}: {}", case.operation, answer.text());
            assert_eq!((answer.status, answer.name()), expected, "{shown}");
            // No answer tells why a key is not good, nor anything of what was asked for.
            let first = refused.entry(expected).or_insert_with(|| answer.clone());
            assert_eq!(&answer, first, "{shown}");
        }
        if case.scope.is_empty() {
            let signed = stage.ask(&asked, Some("AWS4-HMAC-SHA256 Credential=x")).await;
            assert_eq!((signed.status, signed.name().as_str()), (403, "restricted_api_key"));
            continue;
        }
        let answer = stage.ask(&asked, Some(&without[case.scope])).await;
        assert_forbidden(case, &answer);
        let nobody = stage
            .ask(&case.asked(&stage.things.unknown()), Some(&without[case.scope]))
            .await;
        assert_eq!(
            answer, nobody,
            "{}: a key without the scope learns what there is",
            case.operation
        );
        in_test_mode(&stage, case, &test).await;
    }
    assert_eq!(stage.seen(&cases).await, before, "something was changed");

    // Each operation works with its one scope and nothing else, so that it was the key that was refused.
    for case in cases.iter().filter(|case| !case.scope.is_empty()) {
        let answer = stage.ask(&case.asked(&stage.things), Some(&only[case.scope])).await;
        assert_eq!(answer.status, case.status, "{}: {}", case.operation, answer.text());
    }
    println!("{} operations, {} requests", cases.len(), stage.n_asked.into_inner());
}

/// What stands in `Authorization` where there is no good key, and how it is refused.
fn bad(stage: &Stage, revoked: &str, expired: &str) -> Vec<(Option<String>, u16, &'static str)> {
    let good = &stage.running.api_key;
    let (head, secret) = good.split_once("sp_live_").map(|(_, rest)| rest.split_at(53)).unwrap();
    let stranger = stage.stranger.strip_prefix("Bearer sp_live_").unwrap();
    let last = if good.ends_with('A') { 'B' } else { 'A' };
    let altered = format!("Bearer {}{last}", &good[..good.len() - 1]);
    let none = ["", "Basic eDp5", "Bearer", good, "Digest x"];
    let none = none.map(|text| (Some(text.to_owned()), 401, "missing_api_key"));
    let malformed = [
        "Bearer x".to_owned(),
        "Bearer sp_live_".to_owned(),
        format!("Bearer {head}"),
        format!("Bearer sp_live_{head}"),
        altered,
        format!("Bearer {good}A"),
        format!("Bearer {}", good.replace("sp_live_", "sp_test_")),
        // The secret of one tenant under the id of another, and the reverse.
        format!("Bearer sp_live_{}{secret}", &stranger[..53]),
        format!("Bearer sp_live_{head}{}", &stranger[53..]),
        // A key of one tenant under the id of another.
        format!("Bearer sp_live_{}{}{secret}", &stranger[..26], &head[26..]),
        revoked.to_owned(),
        expired.to_owned(),
    ];
    let malformed = malformed.map(|text| (Some(text), 403, "invalid_api_key"));
    [(None, 401, "missing_api_key")]
        .into_iter()
        .chain(none)
        .chain(malformed)
        .collect()
}

fn assert_forbidden(case: &Case, answer: &Answer) {
    let shown = format!("{}: {}", case.operation, answer.text());
    assert_eq!(
        (answer.status, answer.name().as_str()),
        (403, "restricted_api_key"),
        "{shown}"
    );
    assert!(answer.text().contains(&format!("`{}`", case.scope)), "{shown}");
}

/// A key in test mode has three scopes, and with them sees and reaches nothing of the live mode.
async fn in_test_mode(stage: &Stage, case: &Case, test: &str) {
    let answer = stage.ask(&case.asked(&stage.things), Some(test)).await;
    let shown = format!("{} in test mode: {}", case.operation, answer.text());
    if !TEST_SCOPES.contains(&case.scope) {
        return assert_forbidden(case, &answer);
    }
    if case.path.contains("{id}") {
        let nobody = stage.ask(&case.asked(&stage.things.unknown()), Some(test)).await;
        assert_eq!((answer.status, &answer), (404, &nobody), "{shown}");
    } else if case.method == "get" {
        assert_eq!(answer.status, 200, "{shown}");
        assert!(!stage.things.are_in(&answer.text()), "{shown}");
    } else {
        assert_eq!(answer.status, 422, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_tenants_is_answered_as_what_is_not_there() {
    let stage = Stage::set().await;
    let cases = described(&stage.running).await;
    stage.running.system.advance(Duration::from_secs(60)).unwrap();
    assert!(stage.running.system.settled(Duration::from_secs(20)).await.unwrap());
    let before = stage.seen(&cases).await;
    let stranger = Some(stage.stranger.as_str());
    let mut not_found: Option<Answer> = None;
    let mut n_compared = 0;
    for case in cases.iter().filter(|case| case.names_a_thing()) {
        let unknown = stage.things.unknown();
        let mut asked = vec![
            ("foreign", case.asked(&stage.things)),
            ("unknown", case.asked(&unknown)),
        ];
        asked.extend(NO_IDS.map(|text| (text, case.asked(&stage.things.named(text)))));
        if case.path.starts_with("/suppressions/") {
            for address in [&stage.things.suppressed, "nobody@patient.test"] {
                asked.push((address, case.asked(&stage.things.named(address))));
            }
        }
        for (what, asked) in asked {
            let answer = stage.ask(&asked, stranger).await;
            assert_eq!(answer.status, 404, "{} {what}: {}", case.operation, answer.text());
            let first = not_found.get_or_insert_with(|| answer.clone());
            assert_eq!(&answer, first, "{} {what}", case.operation);
            n_compared += 1;
        }
    }
    in_other_places(&stage).await;
    for case in cases.iter().filter(|case| !case.names_a_thing()) {
        let answer = stage.ask(&case.asked(&stage.things), stranger).await;
        assert!(answer.status < 500, "{}: {}", case.operation, answer.text());
        let own = case.echoes();
        assert!(
            own || !stage.things.are_in(&answer.text()),
            "{}: {}",
            case.operation,
            answer.text()
        );
    }
    assert_eq!(stage.seen(&cases).await, before, "another tenant changed something");
    println!("{n_compared} answers, all the same");
}

/// Ids in bodies and parameters, and a foreign event behind the stranger's own webhook.
async fn in_other_places(stage: &Stage) {
    let things = &stage.things;
    let stranger = Some(stage.stranger.as_str());
    let post = |path: &str, body: Value| Asked {
        method: "post".to_owned(),
        path: path.to_owned(),
        body: Some(body),
    };
    let new = json!({ "endpoint": "http://127.0.0.1:9/hook", "events": ["email.delivered"] });
    let made = stage.ask(&post("/webhooks", new), stranger).await;
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let own = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let unknown = things.unknown();
    let places = [
        |own: &str, event: &str| ("get", format!("{own}/events/{event}"), None),
        |own: &str, event: &str| ("get", format!("{own}/events/{event}/attempts"), None),
        |own: &str, event: &str| ("post", format!("{own}/events/{event}/replay"), None),
        |own: &str, event: &str| ("post", format!("{own}/replay"), Some(json!({ "event_id": event }))),
        |own: &str, event: &str| ("post", format!("{own}/replay"), Some(json!({ "after": event }))),
        |own: &str, event: &str| ("get", format!("{own}/attempts?after={event}"), None),
        |_: &str, event: &str| ("get", format!("/events?after={event}"), None),
    ];
    for place in places {
        let mut answers = Vec::new();
        for event in [&things.event, &unknown.event] {
            let (method, path, body) = place(&own, event);
            let asked = Asked {
                method: method.to_owned(),
                path,
                body,
            };
            let mut answer = stage.ask(&asked, stranger).await;
            answer.body = answer.text().replace(event.as_str(), "").into_bytes();
            answers.push((asked.path, answer));
        }
        assert_eq!(answers[0].1, answers[1].1, "{}", answers[0].0);
    }
    let ids = json!({ "ids": [things.suppression, unknown.suppression] });
    let removed = stage.ask(&post("/suppressions/batch/remove", ids), stranger).await;
    let removed: Value = serde_json::from_slice(&removed.body).unwrap();
    for one in removed["data"].as_array().unwrap() {
        assert_eq!(one["deleted"], false, "{removed}");
    }
    for list in ["/emails", "/suppressions", "/webhooks"] {
        for bound in ["after", "before"] {
            let id = match list {
                "/emails" => &things.email,
                "/suppressions" => &things.suppression,
                _ => &things.webhook,
            };
            let answer = stage.ask(&Asked::get(&format!("{list}?{bound}={id}")), stranger).await;
            assert_eq!(answer.status, 200, "{list}: {}", answer.text());
            assert!(!things.are_in(&answer.text()), "{list}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_its_time_and_makes_none_that_outlives_it() {
    let stage = Stage::set().await;
    let now = stage.running.system.clock().now();
    let at = |hours: u64| json!((now + Duration::from_secs(hours * 3600)).to_string());
    let (_, key) = stage.key(&json!({ "name": "Shift", "expires_at": at(8) })).await;
    let make = |expires_at: Option<Value>| {
        let mut body = json!({ "name": "Next" });
        if let Some(expires_at) = expires_at {
            body["expires_at"] = expires_at;
        }
        Asked {
            method: "post".to_owned(),
            path: "/api-keys".to_owned(),
            body: Some(body),
        }
    };
    for (expires_at, status) in [(None, 422), (Some(at(9)), 422), (Some(at(8)), 201), (Some(at(7)), 201)] {
        let answer = stage.ask(&make(expires_at), Some(&key)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let (status, refused) = stage
        .running
        .post(
            "/api-keys",
            &json!({ "name": "Late", "expires_at": "2020-01-01T00:00:00Z" }),
        )
        .await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!("/expires_at")));
    let (_, listed) = stage.running.get("/api-keys").await;
    let shift = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["name"] == "Shift");
    assert!(shift.unwrap()["expires_at"].is_string(), "{listed}");
    stage
        .running
        .system
        .advance(Duration::from_secs(8 * 3600 - 60))
        .unwrap();
    assert_eq!(stage.ask(&Asked::get("/emails"), Some(&key)).await.status, 200);
    stage.running.system.advance(Duration::from_secs(61)).unwrap();
    let answer = stage.ask(&Asked::get("/emails"), Some(&key)).await;
    assert_eq!((answer.status, answer.name().as_str()), (403, "invalid_api_key"));
}
