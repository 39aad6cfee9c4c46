//! Promise: the feed shows every event once, in order, under the id of its webhook; what was posted can be posted again; a
//! lost hint loses nothing; nobody sees or changes what is not theirs.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use serde_json::{Value, json};

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events, fill};
use crate::system::Running;
use crate::webhook::{Receiver, email, hook};

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Loses whatever `function` puts on a queue, until the hook is taken away.
fn lose(running: &Running, function: &'static str) {
    let lose = move |call: &Call, phase: Phase| {
        let is_lost = call.operation.starts_with("SendMessage") && call.role.ends_with(function);
        match phase {
            Phase::Before if is_lost => Verdict::Fail(Failure::ServerError),
            _ => Verdict::Go,
        }
    };
    running.system.aws.set_faults(Some(Arc::new(lose)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_shows_every_event_once_across_days_under_the_id_of_its_webhook() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    hook(&running, &receiver.url, &["email.delivered", "email.sent"]).await;
    for n in 0..6 {
        running
            .settled(&running.send(&email(&format!("pat{n}@patient.test"))).await)
            .await;
        if n % 2 == 1 {
            running.system.advance(Duration::from_secs(86_400)).unwrap();
        }
    }
    receiver.until(6).await;
    let (_, early) = running.get("/events?type=webhook.disabled").await;
    assert_eq!(ids(&early), Vec::<String>::new());
    running.system.advance(Duration::from_secs(6)).unwrap();
    let mut seen = Vec::new();
    let mut path = "/events?limit=2".to_owned();
    for _ in 0..50 {
        let (status, page) = running.get(&path).await;
        assert_eq!(status, 200, "{page}");
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        if page["has_more"] == false {
            break;
        }
        path = format!("/events?limit=2&after={}", page["next"].as_str().unwrap());
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(seen, sorted, "oldest first, and each once");
    let (_, all) = running.get("/events?limit=100").await;
    assert_eq!(ids(&all), seen);
    assert!(!all.to_string().contains("@patient.test") && !all.to_string().contains("results"));
    let (_, delivered) = running.get("/events?limit=100&type=email.delivered").await;
    assert_eq!(delivered["data"].as_array().unwrap().len(), 6);
    let posted: Vec<String> = receiver.got().iter().map(|got| got.id().to_owned()).collect();
    for event in all["data"].as_array().unwrap() {
        if ["email.sent", "email.delivered"].contains(&event["type"].as_str().unwrap()) {
            assert!(
                posted.contains(&event["id"].as_str().unwrap().to_owned()),
                "{event} was not posted"
            );
        }
    }
    // Nothing is shown that is kept for 90 days only, once they are over.
    running.system.advance(Duration::from_secs(91 * 86_400)).unwrap();
    assert_eq!(ids(&running.get("/events").await.1), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_younger_than_five_seconds_is_not_shown_yet() {
    let running = Running::start().await;
    let before = ids(&running.get("/events?limit=100").await.1);
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    let soon = ids(&running.get("/events?limit=100&type=email.delivered").await.1);
    running.system.advance(Duration::from_secs(6)).unwrap();
    let later = ids(&running.get("/events?limit=100&type=email.delivered").await.1);
    assert_eq!(later.len(), soon.len() + 1, "{before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_and_a_stretch_of_the_feed_are_posted_again_under_their_ids() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    let (webhook, _) = hook(&running, &receiver.url, &["email.delivered"]).await;
    let start = running.system.clock().now().to_string();
    for n in 0..3 {
        running
            .settled(&running.send(&email(&format!("pat{n}@patient.test"))).await)
            .await;
    }
    let first = receiver.until(3).await;
    running.system.advance(Duration::from_secs(10)).unwrap();
    let path = format!("/webhooks/{webhook}/replay");
    let (status, answer) = running.post(&path, &json!({ "event_id": first[0].id() })).await;
    assert_eq!((status, &answer["n_events"]), (200, &json!(1)), "{answer}");
    let got = receiver.until(4).await;
    assert_eq!((got[3].id(), &got[3].body), (first[0].id(), &first[0].body));
    let asked = json!({ "type": "email.delivered", "after": start });
    let (status, answer) = running.post(&path, &asked).await;
    assert_eq!(
        (status, &answer["n_events"], &answer["has_more"]),
        (200, &json!(3), &json!(false)),
        "{answer}"
    );
    let got = receiver.until(7).await;
    let mut again: Vec<&str> = got[4..].iter().map(crate::webhook::Got::id).collect();
    let mut ids: Vec<&str> = first.iter().map(crate::webhook::Got::id).collect();
    again.sort_unstable();
    ids.sort_unstable();
    assert_eq!(again, ids);
    let (_, none) = running
        .post(&path, &json!({ "after": running.system.clock().now().to_string() }))
        .await;
    assert_eq!(none["n_events"], 0, "{none}");
    let (_, none) = running
        .post(&path, &json!({ "before": start, "type": "email.delivered" }))
        .await;
    assert_eq!(none["n_events"], 0, "{none}");
    // The SDKs' way to the same.
    let event = format!("/webhooks/{webhook}/events/{}", first[1].id());
    assert_eq!(running.post(&format!("{event}/replay"), &Value::Null).await.0, 200);
    receiver.until(8).await;
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let (_, shown) = running.get(&event).await;
    assert_eq!(
        (&shown["status"], &shown["payload"]),
        (&json!("success"), &first[1].json()),
        "{shown}"
    );
    let (_, tries) = running.get(&format!("{event}/attempts")).await;
    assert_eq!(tries["data"].as_array().unwrap().len(), 3, "{tries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hint_is_found_by_the_sweep_and_posted_once() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    hook(&running, &receiver.url, &["email.delivered"]).await;
    for lost in ["-tracking", "-webhook"] {
        let n_before = receiver.got().len();
        lose(&running, lost);
        running.settled(&running.send(&email("pat@patient.test")).await).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(receiver.got().len(), n_before, "{lost}: it was not lost");
        running.system.aws.set_faults(None);
        for _ in 0..3 {
            running.system.advance(Duration::from_secs(70)).unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        receiver.until(n_before + 1).await;
        assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
        assert_eq!(receiver.got().len(), n_before + 1, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_and_an_event_is_posted_once() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    hook(&running, &receiver.url, &["email.delivered"]).await;
    lose(&running, "-tracking");
    running.settled(&running.send(&email("pat@patient.test")).await).await;
    running.system.advance(Duration::from_secs(6)).unwrap();
    let (_, feed) = running.get("/events?type=email.delivered").await;
    let tenant = &running.api_key["sp_live_".len()..][..26];
    let hint = json!({ "tenant": format!("ten_{tenant}"), "event": feed["data"][0]["id"] }).to_string();
    let sqs = aws_sdk_sqs::Client::new(&running.system.sdk());
    let made = sqs.create_queue().queue_name("hints-of-a-test").send().await.unwrap();
    let queue = made.queue_url.unwrap();
    let mut webhook = Function::start(&running, "webhook", &[("WEBHOOK_QUEUE_URL", &queue)]).await;
    let events = events("webhook");
    assert_every_event_is_used("webhook", ["batch", "again", "sweep", "unknown-task"]);
    let malformed = json!({ "batchItemFailures": [{ "itemIdentifier": "22222222-2222-4222-8222-222222222222" }] });
    let answer = webhook
        .invoke(&fill(&events["batch"], &[("hint", &hint)]))
        .await
        .unwrap();
    assert_eq!(answer, malformed, "{}", webhook.log());
    assert!(receiver.got().is_empty(), "a post is a message of its own");
    let received = sqs
        .receive_message()
        .queue_url(&queue)
        .wait_time_seconds(5)
        .send()
        .await
        .unwrap();
    let post = received
        .messages()
        .first()
        .expect("a message for the one endpoint")
        .body()
        .unwrap();
    let none = json!({ "batchItemFailures": [] });
    for _ in 0..2 {
        assert_eq!(
            webhook.invoke(&fill(&events["again"], &[("hint", post)])).await,
            Ok(none.clone())
        );
    }
    assert_eq!(receiver.got().len(), 1, "{}", webhook.log());
    assert_eq!(webhook.invoke(&events["sweep"]).await, Ok(json!({})));
    let error = webhook.invoke(&events["unknown-task"]).await.unwrap_err();
    assert!(
        !error.to_string().contains(CANARY),
        "the error repeats the event: {error}"
    );
    let log = webhook.log();
    assert!(
        !log.contains(CANARY) && !log.contains("@patient.test") && !log.contains("whsec_"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_refused_with_its_pointer_and_secrets_are_for_writers_only() {
    let running = Running::start().await;
    let hook_at = |url: &str| json!({ "endpoint": url, "events": ["email.delivered"] });
    let good = "https://hooks.clinic.test/x";
    for (body, pointer) in [
        (
            json!({ "endpoint": good, "events": ["email.delivered", "email.lost"] }),
            "/events/1",
        ),
        (json!({ "endpoint": good, "events": [] }), "/events"),
        (
            json!({ "endpoint": good, "events": ["email.sent"], "extra": 1 }),
            "/extra",
        ),
        (hook_at("http://hooks.clinic.test/x"), "/endpoint"),
        (hook_at("https://10.0.0.1/x"), "/endpoint"),
        (hook_at("https://user:pass@hooks.clinic.test/x"), "/endpoint"),
        (hook_at("http://127.0.0.1.example/x"), "/endpoint"),
        (hook_at("https://metadata.internal/x"), "/endpoint"),
    ] {
        let (status, answer) = running.post("/webhooks", &body).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{body}: {answer}"
        );
    }
    let mut made = Vec::new();
    for _ in 0..16 {
        made.push(hook(&running, good, &["email.delivered"]).await);
    }
    let (status, answer) = running.post("/webhooks", &hook_at(good)).await;
    assert_eq!(status, 409, "{answer}");
    let (_, list) = running.get("/webhooks?limit=100").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 16);
    assert!(!list.to_string().contains("whsec_"), "{list}");
    let (_, two) = running.get("/webhooks?limit=2").await;
    assert_eq!((ids(&two), &two["has_more"]), (ids(&list)[..2].to_vec(), &json!(true)));
    running
        .assert_no_side_channel_in_tables(&[&made[0].1, made[0].1.trim_start_matches("whsec_")])
        .await;

    let scopes = json!({ "name": "reader", "scopes": ["webhooks:read"] });
    let (_, key) = running.post("/api-keys", &scopes).await;
    let authorization = format!("Bearer {}", key["token"].as_str().unwrap());
    let headers = [("authorization", &*authorization)];
    let path = format!("/webhooks/{}", made[0].0);
    let (status, shown) = running.call(Method::GET, &path, None, &headers).await;
    assert_eq!(status, 200, "{shown}");
    assert!(
        shown.get("signing_secret").is_none(),
        "a reader sees no secret: {shown}"
    );
    for (method, path, body) in [
        (Method::POST, "/webhooks".to_owned(), Some(hook_at(good))),
        (Method::PATCH, path.clone(), Some(json!({ "status": "disabled" }))),
        (Method::DELETE, path.clone(), None),
        (Method::POST, format!("{path}/rotate-secret"), None),
        (Method::POST, format!("{path}/replay"), Some(json!({}))),
        (Method::GET, "/events".to_owned(), None),
    ] {
        let body = body.map(|body| body.to_string().into_bytes());
        let (status, answer) = running.call(method.clone(), &path, body, &headers).await;
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
}
