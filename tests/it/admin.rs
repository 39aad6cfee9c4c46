//! Promise: `admin` as Lambda runs it lets a signed operator make tenants and nobody else, and answers every sample as the
//! API says.

use serde_json::{Value, json};

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events, fill};
use crate::send::read_key;
use crate::system::Running;

/// Each sample, with the status and the name of the error that it gets.
const EXPECTED: [(&str, u64, &str); 10] = [
    ("openapi", 200, ""),
    ("policy", 200, ""),
    ("api-key", 201, ""),
    ("tenant", 201, ""),
    ("tenant-unsigned", 403, "restricted_api_key"),
    ("api-key-wrong-scope", 403, "restricted_api_key"),
    ("revoke-unknown", 404, "not_found"),
    ("recipient-key-malformed", 422, "validation_error"),
    ("suppression", 201, ""),
    ("suppression-malformed", 422, "validation_error"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_as_the_api_says() {
    let running = Running::start().await;
    let read_key = read_key(&running).await;
    let ses = aws_sdk_sesv2::Client::new(&running.system.sdk());
    ses.create_email_identity()
        .email_identity("practice.test")
        .send()
        .await
        .unwrap();
    let mut function = Function::start(&running, "admin", &[]).await;
    assert_every_event_is_used("admin", EXPECTED.map(|(name, ..)| name));
    let events = events("admin");
    for (name, status, error) in EXPECTED {
        let values = [("api_key", &*running.api_key), ("read_key", &read_key)];
        let answer = function.request(&fill(&events[name], &values)).await;
        // The description of the API has a `name` nowhere at its top, so that all are read alike.
        assert_eq!(answer.verdict(), (status, error.to_owned()), "{name}: {}", answer.body);
        let body = answer.json();
        match name {
            "openapi" => assert_eq!(body["openapi"].as_str().map(|version| &version[..3]), Some("3.1")),
            "api-key" => assert_works(&running, body["token"].as_str().unwrap(), 403).await,
            "tenant" => assert_works(&running, body["api_key"].as_str().unwrap(), 200).await,
            _ => {}
        }
        if status >= 400 {
            assert!(
                !answer.body.contains(CANARY),
                "{name} repeats its input: {}",
                answer.body
            );
        }
    }
    assert!(
        !function.log().contains(CANARY) && !function.log().contains("@patient.test"),
        "{}",
        function.log()
    );
}

/// A key that was just made lists emails, and asks for plans with this status.
async fn assert_works(running: &Running, key: &str, plan: u16) {
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", &*authorization)];
    let (status, list) = running.call(reqwest::Method::GET, "/emails", None, &headers).await;
    assert_eq!((status, &list["data"]), (200, &Value::Array(Vec::new())), "{list}");
    let email = json!({ "from": "care@practice.test", "to": "pat@patient.test", "subject": "x", "text": "x" });
    let body = Some(email.to_string().into_bytes());
    let (status, answer) = running
        .call(reqwest::Method::POST, "/encryption/plan", body, &headers)
        .await;
    assert_eq!(status, plan, "{answer}");
}
