//! Promise: `send` as Lambda runs it answers every sample request as the API says, and shows nothing of what it refuses.

use serde_json::{Value, json};

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events, fill};
use crate::system::Running;

/// Each sample, with the status and the name of the error that it gets.
const EXPECTED: [(&str, u64, &str); 19] = [
    ("send", 200, ""),
    ("batch", 200, ""),
    ("plan", 200, ""),
    ("get", 200, ""),
    ("list", 200, ""),
    ("schedule", 200, ""),
    ("change", 200, ""),
    ("change-bad-time", 422, "validation_error"),
    ("cancel", 200, ""),
    ("cancel-too-late", 409, "conflict"),
    ("renew-no-notice", 409, "conflict"),
    ("malformed", 400, "validation_error"),
    ("missing-key", 401, "missing_api_key"),
    ("unknown-key", 403, "invalid_api_key"),
    ("wrong-scope", 403, "restricted_api_key"),
    ("get-unknown", 404, "not_found"),
    ("bad-recipient", 422, "validation_error"),
    ("unknown-field", 422, "validation_error"),
    ("foreign-sender", 422, "invalid_from_address"),
];

/// A key that may read only.
pub(crate) async fn read_key(running: &Running) -> String {
    let (status, key) = running
        .post("/api-keys", &json!({ "name": "reader", "scopes": ["emails:read"] }))
        .await;
    assert_eq!(status, 201, "{key}");
    key["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_as_the_api_says_and_the_mail_arrives() {
    let running = Running::start().await;
    let read_key = read_key(&running).await;
    let mut function = Function::start(&running, "send", &[]).await;
    let events = events("send");
    assert_every_event_is_used("send", EXPECTED.map(|(name, ..)| name));
    let (mut email, mut later) = (String::new(), String::new());
    for (name, status, error) in EXPECTED {
        let values = [
            ("api_key", &*running.api_key),
            ("read_key", &read_key),
            ("email", &email),
            ("later", &later),
        ];
        let answer = function.request(&fill(&events[name], &values)).await;
        assert_eq!(answer.verdict(), (status, error.to_owned()), "{name}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/json", "{name}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{name}");
        let body = answer.json();
        match name {
            "send" => {
                // The sample carries an idempotency key, so a repetition is the same email.
                let again = function.request(&fill(&events[name], &values)).await;
                assert_eq!(again.json(), body);
                email = body["id"].as_str().unwrap().to_owned();
            }
            "batch" => assert_eq!(body["data"].as_array().unwrap().len(), 2),
            "plan" => assert_eq!(body["recipients"][0]["method"], "tls", "{body}"),
            "get" => {
                assert_eq!(body["id"], email);
                assert_eq!(body["text"].as_str().map(str::trim_end), Some(CANARY));
            }
            "list" => assert_eq!(
                (body["data"].as_array().unwrap().len(), &body["has_more"]),
                (1, &json!(true))
            ),
            "schedule" => later = body["id"].as_str().unwrap().to_owned(),
            "change" | "cancel" => assert_eq!(body, json!({ "object": "email", "id": &later })),
            "change-bad-time" => assert_eq!(pointer(&body), "/scheduled_at"),
            "bad-recipient" => assert_eq!(pointer(&body), "/to/1"),
            "unknown-field" => assert_eq!(pointer(&body), "/canary"),
            _ => {}
        }
        if status != 200 {
            assert!(
                !answer.body.contains(CANARY),
                "{name} repeats its input: {}",
                answer.body
            );
        }
    }
    running.settled(&email).await;
    let mails = running.mails("lambda@patient.test").await;
    assert_eq!(mails.len(), 1, "once, although it was sent twice");
    assert!(running.shows(&mails[0], CANARY));
    assert!(!function.log().contains(CANARY), "{}", function.log());
    assert!(!function.log().contains("@patient.test"), "{}", function.log());
}

fn pointer(problem: &Value) -> &str {
    problem["errors"][0]["pointer"].as_str().unwrap()
}
