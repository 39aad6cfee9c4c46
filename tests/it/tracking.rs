//! Promise: what SES says of a message becomes its state, whatever the order and however often it is said; a message that
//! could not go by required TLS goes through the portal; a lost answer is settled without a second copy.

use std::time::Duration;

use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use serde_json::{Value, json};

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events, fill};
use crate::system::Running;

fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Moves the clock step by step, as far as `by`, with time for what a sweep starts in between.
async fn pass(running: &Running, by: Duration, step: Duration) {
    let mut left = by;
    while !left.is_zero() {
        let step = step.min(left);
        running.system.advance(step).unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        left -= step;
    }
}

pub(crate) async fn put_policy(running: &Running, name: &str, value: &str) {
    let (_, mut policy) = running.get("/policies").await;
    policy.as_object_mut().unwrap().remove("object");
    policy[name] = json!(value);
    let body = policy.to_string().into_bytes();
    let (status, answer) = running.call(reqwest::Method::PUT, "/policies", Some(body), &[]).await;
    assert_eq!(status, 200, "{answer}");
}

fn kinds(email: &Value) -> Vec<String> {
    let events = email["recipients"][0]["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_and_only_proved_events_count() {
    let running = Running::start().await;
    let id = running.send(&email("pat@patient.test")).await;
    running.settled(&id).await;
    let mail = &running
        .system
        .aws
        .ses
        .messages(&sealpost_local::aws::ses::Filter::default())
        .unwrap()[0];
    let tag = |name: &str| {
        let tag = mail.tags.iter().find(|(known, _)| known == name);
        tag.unwrap_or_else(|| panic!("no tag {name}")).1.clone()
    };
    let values = ["tenant", "email", "delivery", "proof"].map(|name| (name, tag(name)));
    let mut values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    values.push(("message_id", &mail.id));

    let mut tracking = Function::start(&running, "tracking", &[]).await;
    let events = events("tracking");
    assert_every_event_is_used("tracking", ["delivery", "forged", "code"]);
    let none = json!({ "batchItemFailures": [] });
    let answer = tracking.invoke(&fill(&events["delivery"], &values)).await.unwrap();
    let malformed = json!({ "batchItemFailures": [{ "itemIdentifier": "22222222-2222-4222-8222-222222222222" }] });
    assert_eq!(answer, malformed, "{}", tracking.log());
    assert_eq!(tracking.invoke(&fill(&events["code"], &values)).await, Ok(none.clone()));

    // A complaint that somebody made up: no change, and an entry in the log.
    assert_eq!(tracking.invoke(&fill(&events["forged"], &values)).await, Ok(none));
    assert_eq!(running.settled(&id).await["recipients"][0]["status"], "delivered");
    let log = audit(&running).await;
    assert_eq!(
        log.iter().filter(|action| *action == "ses_event.refused").count(),
        1,
        "{log:?}"
    );
    let text = tracking.log();
    assert!(!text.contains(CANARY) && !text.contains("@patient.test"), "{text}");
}

/// The actions of all audit entries.
async fn audit(running: &Running) -> Vec<String> {
    let dynamodb = aws_sdk_dynamodb::Client::new(&running.system.sdk());
    let tables = dynamodb.list_tables().send().await.unwrap();
    let table = tables.table_names().iter().find(|name| name.contains("Log")).unwrap();
    let items = dynamodb.scan().table_name(table).send().await.unwrap();
    items
        .items()
        .iter()
        .filter_map(|item| item.get("action")?.as_s().ok().cloned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_recipients_server_says_is_the_status() {
    let running = Running::start().await;
    let cases = [
        ("pat@patient.test", "delivered"),
        ("pat@bounce.test", "bounced"),
        ("suppressionlist@simulator.amazonses.com", "suppressed"),
        ("pat@complaint.test", "complained"),
        ("pat@slow.test", "delivered"),
    ];
    let mut ids = Vec::new();
    for (address, _) in cases {
        ids.push(running.send(&email(address)).await);
    }
    pass(&running, minutes(4), minutes(1)).await;
    for (id, (address, status)) in ids.iter().zip(cases) {
        let email = running
            .until(id, |status| status != "sent" && status != "sending")
            .await;
        assert_eq!(email["recipients"][0]["status"], status, "{address}: {email}");
        assert_eq!(email["last_event"], status, "{address}");
        assert_eq!(running.mails(address).await.len(), 1, "{address}");
    }
    let slow = running.settled(&ids[4]).await;
    assert!(kinds(&slow).contains(&"delivery_delayed".to_owned()), "{slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_and_withheld_events_end_in_the_same_state() {
    let running = Running::start().await;
    running
        .control("/events", &json!({ "duplicate": true, "withhold": true }))
        .await;
    let id = running.send(&email("pat@complaint.test")).await;
    running.until(&id, |status| status == "sent").await;
    pass(&running, minutes(3), minutes(1)).await;
    assert_eq!(running.until(&id, |_| true).await["recipients"][0]["status"], "sent");
    running.control("/events", &json!({ "withhold": false })).await;
    let email = running.until(&id, |status| status == "complained").await;
    let kinds = kinds(&email);
    let n_complaints = kinds.iter().filter(|kind| *kind == "complained").count();
    assert_eq!(n_complaints, 1, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn required_tls_that_fails_goes_to_the_portal_and_the_domain_is_remembered_for_a_while() {
    let running = Running::start().await;
    let id = running.send(&email("tess@tls-fails.test")).await;
    running.until(&id, |status| status == "sent").await;
    pass(&running, minutes(12), minutes(2)).await;
    let first = running.until(&id, |status| status == "delivered").await;
    let recipient = &first["recipients"][0];
    assert_eq!(recipient["method"], "portal", "{first}");
    assert!(kinds(&first).contains(&"rerouted".to_owned()), "{first}");
    let mails = running.mails("tess@tls-fails.test").await;
    assert_eq!(mails.len(), 2, "the mail that could not be handed over, and the notice");
    assert!(running.shows(&mails[0], "They are fine."));
    assert!(!running.shows(&mails[1], "They are fine.") && !running.shows(&mails[1], "Your results"));

    let (_, domain) = running.get("/recipient-domains/tls-fails.test").await;
    assert_eq!(domain["learned"]["tls"], "fails", "{domain}");
    let second = running.settled(&running.send(&email("tom@tls-fails.test")).await).await;
    assert_eq!(second["recipients"][0]["method"], "portal", "{second}");
    assert_eq!(
        running.mails("tom@tls-fails.test").await.len(),
        1,
        "nothing is tried that is known to fail"
    );

    // What was learned is believed for a day; then TLS is tried again.
    running.system.advance(Duration::from_secs(86_400)).unwrap();
    let (_, plan) = running.post("/encryption/plan", &email("tom@tls-fails.test")).await;
    assert_eq!(plan["recipients"][0]["method"], "tls", "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_who_wants_no_portal_gets_none_when_tls_fails() {
    let running = Running::start().await;
    let mut message = email("tess@tls-fails.test");
    message["security"] = json!({ "on_no_tls": "fail" });
    let id = running.send(&message).await;
    running.until(&id, |status| status == "sent").await;
    pass(&running, minutes(12), minutes(2)).await;
    let email = running.until(&id, |status| status == "failed").await;
    assert_eq!(email["recipients"][0]["ended_because"], "blocked-no-tls", "{email}");
    assert_eq!(running.mails("tess@tls-fails.test").await.len(), 1);
}

async fn doubts(running: &Running) -> Value {
    running.get("/usage").await.1["doubts"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_settled_by_its_event_without_a_second_copy() {
    let running = Running::start().await;
    let id = running.send(&email("lois@lost-reply.test")).await;
    let email = running.until(&id, |status| status == "delivered").await;
    pass(&running, minutes(30), minutes(5)).await;
    assert_eq!(running.mails("lois@lost-reply.test").await.len(), 1, "{email}");
    let doubts = doubts(&running).await;
    assert_eq!(doubts["resent"], 0, "{doubts}");
    assert_eq!(doubts["ambiguous"], doubts["resolved_by_event"], "{doubts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_events_hold_gives_one_copy_and_resend_once_two_at_most() {
    for (on_doubt, status, n_copies) in [("hold", "held", 1), ("resend_once", "held", 2)] {
        let running = Running::start().await;
        put_policy(&running, "on_doubt", on_doubt).await;
        running.control("/events", &json!({ "withhold": true })).await;
        let id = running.send(&email("lois@lost-reply.test")).await;
        running.until(&id, |status| status == "sending").await;
        pass(&running, minutes(40), minutes(3)).await;
        let email = running.until(&id, |status| status == "held").await;
        assert_eq!(email["recipients"][0]["status"], status, "{on_doubt}: {email}");
        assert_eq!(
            running.mails("lois@lost-reply.test").await.len(),
            n_copies,
            "{on_doubt}"
        );
        let doubts = doubts(&running).await;
        assert_eq!(doubts["ambiguous"], n_copies, "{on_doubt}: {doubts}");
        assert_eq!(doubts["resent"], n_copies - 1, "{on_doubt}: {doubts}");
        assert_eq!(doubts["held"], 1, "{on_doubt}: {doubts}");
        // The events come after all: what is held turns out to be delivered, and no further copy goes.
        running.control("/events", &json!({ "withhold": false })).await;
        running.until(&id, |status| status == "delivered").await;
        pass(&running, minutes(20), minutes(5)).await;
        assert_eq!(
            running.mails("lois@lost-reply.test").await.len(),
            n_copies,
            "{on_doubt}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_ever_for_a_word_of_ses() {
    let running = Running::start().await;
    put_policy(&running, "on_doubt", "hold").await;
    running.control("/events", &json!({ "withhold": true })).await;
    let id = running.send(&email("pat@patient.test")).await;
    running.until(&id, |status| status == "sent").await;
    pass(&running, minutes(15 * 60), minutes(180)).await;
    assert_eq!(running.until(&id, |_| true).await["recipients"][0]["status"], "sent");
    pass(&running, minutes(65), minutes(5)).await;
    let email = running.until(&id, |status| status == "expired").await;
    assert_eq!(email["recipients"][0]["ended_because"], "no_word", "{email}");
    // The truth still counts when it comes late.
    running.control("/events", &json!({ "withhold": false })).await;
    running.until(&id, |status| status == "delivered").await;
    assert_eq!(running.mails("pat@patient.test").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_silence_the_portal_takes_over_from_required_tls() {
    let running = Running::start().await;
    running.control("/events", &json!({ "withhold": true })).await;
    let id = running.send(&email("pat@patient.test")).await;
    running.until(&id, |status| status == "sent").await;
    pass(&running, minutes(16 * 60 + 5), minutes(240)).await;
    for _ in 0..100 {
        if running.mails("pat@patient.test").await.len() == 2 {
            break;
        }
        pass(&running, minutes(1), minutes(1)).await;
    }
    let mails = running.mails("pat@patient.test").await;
    assert_eq!(mails.len(), 2, "{}", running.get(&format!("/emails/{id}")).await.1);
    assert!(!running.shows(&mails[1], "They are fine."), "the second is a notice");
    running.control("/events", &json!({ "withhold": false })).await;
    let email = running.until(&id, |status| status == "delivered").await;
    assert_eq!(email["recipients"][0]["method"], "portal", "{email}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_meet_are_tried_again_and_nothing_is_in_doubt() {
    let running = Running::start().await;
    let n_calls = std::sync::atomic::AtomicUsize::new(0);
    let collide = move |call: &Call, phase: Phase| {
        let is_write = call.operation == "TransactWriteItems" && phase == Phase::Before;
        if is_write
            && !n_calls
                .fetch_add(1, std::sync::atomic::Ordering::SeqCst)
                .is_multiple_of(3)
        {
            return Verdict::Fail(Failure::Conflict);
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(std::sync::Arc::new(collide)));
    let id = running.send(&email("pat@patient.test")).await;
    running.settled(&id).await;
    running.system.aws.set_faults(None);
    assert_eq!(running.mails("pat@patient.test").await.len(), 1);
    assert_eq!(doubts(&running).await["ambiguous"], 0);
}
