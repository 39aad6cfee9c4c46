//! Promise: a scheduled email goes at its time, by what holds then; one that was called off goes to nobody, and whoever
//! calls too late is told so and finds it sent to all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use sealpost_local::demo::{self, Seed, Until};
use serde_json::{Value, json};

use crate::system::Running;

const DAY: Duration = Duration::from_secs(86_400);

fn email(to: &Value, scheduled_at: &str) -> Value {
    json!({
        "from": "care@clinic.test", "to": to, "subject": "Your appointment", "text": "Tomorrow at nine.",
        "scheduled_at": scheduled_at
    })
}

async fn change(running: &Running, id: &str, scheduled_at: &str) -> (u16, Value) {
    let body = json!({ "scheduled_at": scheduled_at }).to_string().into_bytes();
    let path = format!("/emails/{id}");
    running.call(Method::PATCH, &path, Some(body), &[]).await
}

async fn cancel(running: &Running, id: &str) -> (u16, Value) {
    running
        .call(Method::POST, &format!("/emails/{id}/cancel"), None, &[])
        .await
}

async fn read(running: &Running, id: &str) -> Value {
    let (status, email) = running.get(&format!("/emails/{id}")).await;
    assert_eq!(status, 200, "{email}");
    email
}

fn statuses(email: &Value) -> Vec<String> {
    let recipients = email["recipients"].as_array().unwrap();
    recipients
        .iter()
        .map(|recipient| recipient["status"].as_str().unwrap().to_owned())
        .collect()
}

/// The email, once nothing of it waits or is being sent.
async fn done(running: &Running, id: &str) -> Value {
    for _ in 0..600 {
        let email = read(running, id).await;
        let is_open = |status: &String| ["scheduled", "queued", "sending", "sent"].contains(&status.as_str());
        if !statuses(&email).iter().any(is_open) {
            return email;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} is not done within 30 seconds: {}", read(running, id).await)
}

/// Lets everything run that is due.
async fn quiet(running: &Running) {
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(running.system.settled(Duration::from_secs(30)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_email_goes_at_its_time_and_not_before() {
    let running = Running::start().await;
    let many: Vec<String> = (0..12).map(|n| format!("later{n}@patient.test")).collect();
    let id = running.send(&email(&json!(many), "in 3 days")).await;
    let single = running.send(&email(&json!("single@patient.test"), "in 2 hours")).await;
    // In a batch, beside one that goes at once.
    let mut at_once = email(&json!("now@patient.test"), "2020-01-01T00:00:00Z");
    let batch = json!([at_once, email(&json!("batch@patient.test"), "in 3 days")]);
    let (status, batch) = running.post("/emails/batch", &batch).await;
    assert_eq!(status, 200, "{batch}");
    let in_batch = |n: usize| batch["data"][n]["id"].as_str().unwrap();
    assert_eq!(statuses(&done(&running, in_batch(0)).await), ["delivered"]);

    let waiting = read(&running, &id).await;
    assert_eq!(statuses(&waiting), vec!["scheduled"; 12]);
    assert_eq!(waiting["last_event"], "scheduled");
    let at: jiff::Timestamp = waiting["scheduled_at"].as_str().unwrap().parse().unwrap();
    let created: jiff::Timestamp = waiting["created_at"].as_str().unwrap().parse().unwrap();
    assert!((at.as_millisecond() - created.as_millisecond() - 3 * 86_400_000).abs() < 5_000);
    let (_, listed) = running.get("/emails").await;
    let line = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["id"] == *id)
        .unwrap();
    assert_eq!(line["scheduled_at"], waiting["scheduled_at"]);

    running.system.advance(Duration::from_secs(3 * 3600)).unwrap();
    assert_eq!(
        statuses(&done(&running, &single).await),
        ["delivered"],
        "an hour late, as after an outage"
    );
    running
        .system
        .advance(DAY * 3 - Duration::from_secs(3 * 3600 + 120))
        .unwrap();
    quiet(&running).await;
    for address in many.iter().map(String::as_str).chain(["batch@patient.test"]) {
        assert!(running.mails(address).await.is_empty(), "{address} got it too early");
    }
    running.system.advance(Duration::from_secs(125)).unwrap();
    assert_eq!(statuses(&done(&running, &id).await), vec!["delivered"; 12]);
    assert_eq!(statuses(&done(&running, in_batch(1)).await), ["delivered"]);
    // The sweeps of the following minutes find nothing left to send.
    running.system.advance(Duration::from_secs(300)).unwrap();
    quiet(&running).await;
    for address in many
        .iter()
        .map(String::as_str)
        .chain(["single@patient.test", "batch@patient.test"])
    {
        assert_eq!(running.mails(address).await.len(), 1, "{address}");
    }
    // A minute ahead, without the sweep: its ticket waits in the queue.
    at_once["scheduled_at"] = json!("in 1 min");
    at_once["to"] = json!("minute@patient.test");
    let minute = running.send(&at_once).await;
    assert_eq!(statuses(&read(&running, &minute).await), ["scheduled"]);
    running.system.advance(Duration::from_secs(61)).unwrap();
    assert_eq!(statuses(&done(&running, &minute).await), ["delivered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_at_its_time_decides_how_it_goes_and_its_deadline_counts_from_then() {
    let running = Running::start().await;
    let seed = Seed {
        api_key: running.api_key.clone(),
        is_new: true,
    };
    demo::send(&running.system, &seed, Until::Sent).await.unwrap();
    let put = async |path: &str, body: Value| {
        let body = Some(body.to_string().into_bytes());
        let (status, answer) = running.call(Method::PUT, path, body, &[]).await;
        assert_eq!(status, 200, "{answer}");
    };
    let plan = |email: &Value| {
        let mut email = email.clone();
        email["scheduled_at"] = json!("in 1 min");
        email
    };
    for (email, method) in [
        (&email(&json!("samir@certs.test"), "in 30 days"), "smime"),
        (&email(&json!("rosa@keys.test"), "in 30 days"), "openpgp"),
        (&email(&json!("pat@patient.test"), "in 30 days"), "tls"),
    ] {
        let (status, planned) = running.post("/encryption/plan", &plan(email)).await;
        assert_eq!(
            (status, &planned["recipients"][0]["method"]),
            (200, &json!(method)),
            "{planned}"
        );
    }
    let certified = running.send(&email(&json!("samir@certs.test"), "in 30 days")).await;
    let keyed = running.send(&email(&json!("rosa@keys.test"), "in 30 days")).await;
    let plain = running.send(&email(&json!("pat@patient.test"), "in 30 days")).await;

    // The policy asks for more, the key goes, the domain turns out to fail TLS.
    let (_, mut policy) = running.get("/policies").await;
    policy["smime_without_gcm"] = json!("portal");
    if let Some(fields) = policy.as_object_mut() {
        fields.remove("object");
    }
    put("/policies", policy).await;
    let keys = "/recipients/rosa@keys.test/keys";
    let (_, listed) = running.get(keys).await;
    let key = format!("{keys}/{}", listed["data"][0]["id"].as_str().unwrap());
    assert_eq!(running.call(Method::DELETE, &key, None, &[]).await.0, 200);
    put("/recipient-domains/patient.test", json!({ "tls": "fails" })).await;

    running.system.advance(DAY * 30 + Duration::from_secs(5)).unwrap();
    for (id, method) in [(certified, "portal"), (keyed, "tls"), (plain, "portal")] {
        let email = done(&running, &id).await;
        let recipient = &email["recipients"][0];
        assert_eq!(
            (&recipient["status"], &recipient["method"]),
            (&json!("delivered"), &json!(method)),
            "{email}"
        );
    }

    // SES takes nothing for 15 hours after the time, then for two more: given up 16 hours after the time, not before.
    let throttle = |call: &Call, phase: Phase| match (call.operation.as_str(), phase) {
        ("SendEmail", Phase::Before) => Verdict::Fail(Failure::Throttled),
        _ => Verdict::Go,
    };
    let late = running.send(&email(&json!("late@mta-sts.test"), "in 10 days")).await;
    running.system.aws.set_faults(Some(Arc::new(throttle)));
    running.system.advance(DAY * 10 + Duration::from_secs(5)).unwrap();
    quiet_but(&running, &late, "postponed").await;
    running.system.advance(Duration::from_secs(15 * 3600)).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_ne!(statuses(&read(&running, &late).await), ["expired"]);
    running.system.advance(Duration::from_secs(2 * 3600)).unwrap();
    assert_eq!(statuses(&done(&running, &late).await), ["expired"]);
    running.system.aws.set_faults(None);
}

/// Waits until this event stands in the timeline of the only recipient.
async fn quiet_but(running: &Running, id: &str, event: &str) {
    for _ in 0..600 {
        if read(running, id).await["recipients"][0]["events"]
            .to_string()
            .contains(event)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} shows no {event}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_moved_both_ways_and_a_canceled_email_goes_to_nobody() {
    let running = Running::start().await;
    let to = |n: usize| json!((0..n).map(|n| format!("off{n}@patient.test")).collect::<Vec<_>>());
    let earlier = running.send(&email(&json!("earlier@patient.test"), "in 9 days")).await;
    let later = running.send(&email(&json!("later@patient.test"), "in 1 day")).await;
    let at_once = running.send(&email(&json!("hurry@patient.test"), "in 9 days")).await;
    let off = running.send(&email(&to(50), "in 2 days")).await;

    let answer = json!({ "object": "email", "id": &earlier });
    assert_eq!(change(&running, &earlier, "in 1 day").await, (200, answer));
    assert_eq!(change(&running, &later, "in 8 days").await.0, 200);
    assert_eq!(change(&running, &at_once, "2020-01-01T00:00:00Z").await.0, 200);
    assert_eq!(statuses(&done(&running, &at_once).await), ["delivered"]);
    for _ in 0..2 {
        let answer = json!({ "object": "email", "id": &off });
        assert_eq!(cancel(&running, &off).await, (200, answer));
    }
    let canceled = read(&running, &off).await;
    assert_eq!(statuses(&canceled), vec!["canceled"; 50]);
    assert_eq!(canceled["last_event"], "canceled");

    running.system.advance(DAY + Duration::from_secs(5)).unwrap();
    assert_eq!(statuses(&done(&running, &earlier).await), ["delivered"]);
    running.system.advance(DAY * 2).unwrap();
    quiet(&running).await;
    assert_eq!(statuses(&read(&running, &later).await), ["scheduled"]);
    assert_eq!(statuses(&read(&running, &off).await), vec!["canceled"; 50]);
    for n in 0..50 {
        assert!(running.mails(&format!("off{n}@patient.test")).await.is_empty());
    }
    running.system.advance(DAY * 5 + Duration::from_secs(60)).unwrap();
    assert_eq!(statuses(&done(&running, &later).await), ["delivered"]);

    // Too late, never scheduled, called off, unknown, another tenant's.
    let plain = running
        .send(&json!({"from": "care@clinic.test", "to": "a@patient.test", "subject": "a", "text": "b"}))
        .await;
    for (id, wanted) in [(&earlier, "too late"), (&plain, "not scheduled")] {
        for answer in [cancel(&running, id).await, change(&running, id, "in 1 day").await] {
            assert_eq!(
                (answer.0, answer.1["name"].as_str()),
                (409, Some("conflict")),
                "{}",
                answer.1
            );
            assert!(answer.1["message"].as_str().unwrap().contains(wanted), "{}", answer.1);
        }
    }
    let (status, answer) = change(&running, &off, "in 1 day").await;
    assert_eq!(status, 409);
    assert!(answer["message"].as_str().unwrap().contains("canceled"), "{answer}");
    for id in ["em_00000000000000000000000000", "what"] {
        assert_eq!(cancel(&running, id).await.0, 404);
        assert_eq!(change(&running, id, "in 1 day").await.0, 404);
    }
    let waiting = running.send(&email(&json!("w@patient.test"), "in 1 day")).await;
    for (body, pointer) in [
        (json!({ "scheduled_at": "xq7-secret" }), "/scheduled_at"),
        (json!({ "scheduled_at": "in 366 days" }), "/scheduled_at"),
        (json!({}), "/scheduled_at"),
        (json!({ "scheduled_at": "in 1 day", "id": off }), "/id"),
        (json!({ "scheduled_at": "in 1 day", "subject": "x" }), "/subject"),
    ] {
        let path = format!("/emails/{waiting}");
        let body = Some(body.to_string().into_bytes());
        let (status, answer) = running.call(Method::PATCH, &path, body, &[]).await;
        assert_eq!(
            (status, answer["errors"][0]["pointer"].as_str()),
            (422, Some(pointer)),
            "{answer}"
        );
        assert!(!answer.to_string().contains("xq7-secret"));
    }
    let reader = crate::send::read_key(&running).await;
    let reader = format!("Bearer {reader}");
    let path = format!("/emails/{waiting}/cancel");
    let refused = running
        .call(Method::POST, &path, None, &[("authorization", &reader)])
        .await;
    assert_eq!(refused.0, 403);
    assert_eq!(statuses(&read(&running, &waiting).await), ["scheduled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_whose_answer_was_lost_still_holds() {
    let running = Running::start().await;
    let id = running
        .send(&email(&json!(["a@patient.test", "b@patient.test"]), "in 1 day"))
        .await;
    let lose = |call: &Call, phase: Phase| match (call.role.contains("send"), call.operation.as_str(), phase) {
        (true, "TransactWriteItems", Phase::After) => Verdict::Fail(Failure::Reset),
        _ => Verdict::Go,
    };
    running.system.aws.set_faults(Some(Arc::new(lose)));
    assert_eq!(cancel(&running, &id).await.0, 503);
    running.system.aws.set_faults(None);
    running.system.advance(DAY + Duration::from_secs(5)).unwrap();
    quiet(&running).await;
    assert_eq!(cancel(&running, &id).await.0, 200);
    assert_eq!(statuses(&read(&running, &id).await), ["canceled", "canceled"]);
    for address in ["a@patient.test", "b@patient.test"] {
        assert!(running.mails(address).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_cancellation_and_a_worker_exactly_one_wins() {
    let running = Arc::new(Running::start().await);
    let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
    for round in 0..5_u64 {
        let mut emails = Vec::new();
        for n in 0..8 {
            let to: Vec<String> = (0..=n % 3).map(|m| format!("r{round}-{n}-{m}@patient.test")).collect();
            let id = running.send(&email(&json!(to), "in 1 hour")).await;
            emails.push((id, to));
        }
        // Moving the clock makes the sweep queue all of them at once; the cancellations come over the time of the firing.
        running.system.advance(Duration::from_secs(3601)).unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for (n, (id, to)) in emails.into_iter().enumerate() {
            let running = Arc::clone(&running);
            let wait = Duration::from_millis(u64::try_from(n).unwrap() * 12 + round * 4);
            calls.spawn(async move {
                tokio::time::sleep(wait).await;
                let mut status = 503;
                // Both want the same row; who is told to come again does so.
                while status == 503 {
                    status = cancel(&running, &id).await.0;
                }
                (id, to, status)
            });
        }
        while let Some(called) = calls.join_next().await {
            let (id, to, status) = called.unwrap();
            let email = done(&running, &id).await;
            *outcomes.entry(status).or_default() += 1;
            let (expected, n_mails) = match status {
                200 => ("canceled", 0),
                409 => ("delivered", 1),
                other => panic!("{other}: {email}"),
            };
            assert_eq!(statuses(&email), vec![expected; to.len()], "{status}");
            for address in to {
                assert_eq!(running.mails(&address).await.len(), n_mails, "{status} {address}");
            }
        }
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_between_a_workers_look_and_its_firing_wins() {
    let running = Running::start().await;
    let id = running
        .send(&email(&json!(["a@patient.test", "b@patient.test"]), "in 1 day"))
        .await;
    // The worker has read the email as due when its firing fails; before it comes again, the sender calls it off.
    let n_failed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_failed);
    let fail = move |call: &Call, phase: Phase| {
        if call.role.contains("encrypt") && call.operation == "TransactWriteItems" && phase == Phase::Before {
            counted.fetch_add(1, Ordering::SeqCst);
            return Verdict::Fail(Failure::ServerError);
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(Arc::new(fail)));
    running.system.advance(DAY + Duration::from_secs(5)).unwrap();
    for _ in 0..400 {
        if n_failed.load(Ordering::SeqCst) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(n_failed.load(Ordering::SeqCst) > 0, "no worker came");
    assert_eq!(cancel(&running, &id).await.0, 200);
    running.system.aws.set_faults(None);
    for _ in 0..3 {
        running.system.advance(Duration::from_secs(120)).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(statuses(&read(&running, &id).await), ["canceled", "canceled"]);
    for address in ["a@patient.test", "b@patient.test"] {
        assert!(running.mails(address).await.is_empty());
    }
}
