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
