//! Promise: `portal` as Lambda runs it answers a link that leads nowhere with a page that tells nothing, and a patient reads
//! a message in a browser.

use serde_json::json;
use tokio::process::Command;

use crate::lambda::{Function, assert_every_event_is_used, events, fill};
use crate::system::Running;
use crate::tools::{CHROMIUM, file, suite, tool};

/// Each sample, with the status that it gets.
const EXPECTED: [(&str, u64); 4] = [
    ("start", 200),
    ("unknown-link", 404),
    ("unknown-link-code", 404),
    ("foreign-origin", 403),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_by_a_page() {
    let running = Running::start().await;
    let mut function = Function::start(&running, "portal", &[]).await;
    assert_every_event_is_used("portal", EXPECTED.map(|(name, _)| name));
    let events = events("portal");
    let portal = format!("http://{}", running.system.portal);
    for (name, status) in EXPECTED {
        let answer = function.request(&fill(&events[name], &[("portal", &portal)])).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        assert!(answer.headers["content-type"].starts_with("text/html"), "{name}");
        assert!(
            answer.headers["content-security-policy"].contains("default-src 'none'"),
            "{name}"
        );
        assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{name}");
        assert!(answer.body.contains("<title>"), "{name}: {}", answer.body);
        if let Some(token) = events[name]["pathParameters"]["token"].as_str() {
            assert!(status != 404 || !answer.body.contains(token), "{name} repeats the link");
            assert!(!function.log().contains(token), "{name} logs the link");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_asks_by_head_gets_the_status_and_changes_nothing() {
    let running = Running::start().await;
    let to = "hedy@patient.test";
    let mut email = json!({ "from": "care@clinic.test", "to": to, "subject": "Results", "text": "Fine." });
    email["security"] = json!({ "method": "portal" });
    running.settled(&running.send(&email).await).await;
    let link = crate::permissions::link(&running.mails(to).await[0]);
    let portal = format!("http://{}", running.system.portal);
    let http = reqwest::Client::new();
    for (url, status) in [
        (portal.clone(), 200),
        (link.clone(), 200),
        (format!("{link}A"), 404),
        (format!("{portal}/u/unknown"), 404),
        (format!("{portal}/o/unknown"), 404),
        (format!("{portal}/c/unknown"), 404),
        (format!("{portal}/assets/portal.css"), 200),
    ] {
        let answer = http.head(&url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{url}");
        assert!(answer.headers().contains_key("content-security-policy"), "{url}");
        assert!(answer.bytes().await.unwrap().is_empty(), "{url}");
    }
    assert_eq!(running.mails(to).await.len(), 1, "no code is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_reads_a_message_in_a_browser() {
    let running = Running::start().await;
    let system = &running.system;
    let addresses = json!({
        "api": running.url(""),
        "portal": format!("http://{}", system.portal),
        "mailbox": format!("http://{}", system.mailbox),
        "api_key": running.api_key,
    });
    let mut command = Command::new("node");
    command
        .arg(file("browser/portal.mjs"))
        .arg(addresses.to_string())
        .env("CHROMIUM", tool(CHROMIUM));
    suite(&mut command, 20).await;
}
