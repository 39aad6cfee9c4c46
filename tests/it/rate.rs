//! Promise: we never send faster than SES allows, a backlog drains at that rate, nobody's mail keeps another's waiting,
//! and care goes before marketing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sealpost_core::actor::Actor;
use sealpost_core::tenant::{self, NewTenant};
use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use sealpost_local::aws::ses::Filter;
use serde_json::{Value, json};

use crate::system::Running;

fn batch(from: &str, who: &str, n: usize, purpose: &str) -> Value {
    let email = |n: usize| {
        json!({
            "from": from, "to": format!("{who}{n}@patient.test"), "subject": "Note", "text": "Hello.",
            "purpose": purpose
        })
    };
    json!((0..n).map(email).collect::<Vec<_>>())
}

async fn accept(running: &Running, key: &str, batch: &Value) -> Vec<String> {
    let authorization = format!("Bearer {key}");
    let (status, answer) = running
        .call(
            reqwest::Method::POST,
            "/emails/batch",
            Some(batch.to_string().into_bytes()),
            &[("authorization", &authorization)],
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let ids = answer["data"].as_array().unwrap();
    ids.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Addresses in the order in which SES got their mails, with the milliseconds of their acceptance.
fn handed(running: &Running) -> Vec<(String, i64)> {
    let mut mails = running.system.aws.ses.messages(&Filter::default()).unwrap();
    mails.sort_by_key(|mail| mail.at_ms);
    mails
        .into_iter()
        .map(|mail| (mail.recipients[0].address.clone(), mail.at_ms))
        .collect()
}

async fn until_handed(running: &Running, n: usize) -> Vec<(String, i64)> {
    let start = Instant::now();
    loop {
        let mails = handed(running);
        if mails.len() >= n {
            return mails;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "only {} of {n} mails",
            mails.len()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Counts the calls by operation, and lets them all go on.
fn count(running: &Running) -> Arc<std::sync::Mutex<BTreeMap<String, usize>>> {
    let counts = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let counted = Arc::clone(&counts);
    let hook = move |call: &Call, phase: Phase| {
        if phase == Phase::Before {
            *counted.lock().unwrap().entry(call.operation.clone()).or_default() += 1;
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(Arc::new(hook)));
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drains_at_the_rate_without_a_storm() {
    let running = Running::start().await;
    running.system.aws.ses.set_max_send_rate(10.0);
    let counts = count(&running);
    let ids = accept(
        &running,
        &running.api_key,
        &batch("care@clinic.test", "p", 60, "treatment"),
    )
    .await;
    let mails = until_handed(&running, 60).await;
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let mut seconds: BTreeMap<i64, usize> = BTreeMap::new();
    for (_, at_ms) in &mails {
        *seconds.entry(at_ms.div_euclid(1000)).or_default() += 1;
    }
    println!("{seconds:?}");
    // Nine a second; a busy machine loses some of what it leased.
    let took_ms = mails.last().unwrap().1 - mails.first().unwrap().1;
    assert!((5_000..25_000).contains(&took_ms), "{took_ms} ms");
    let mut n_refused = 0;
    for id in ids {
        let (_, email) = running.get(&format!("/emails/{id}")).await;
        let events = email["recipients"][0]["events"].to_string();
        n_refused += events.matches("postponed").count();
    }
    // A token that a busy machine uses a moment late falls into the next second; that is no storm.
    assert!(n_refused <= 6, "SES refused {n_refused} of 60");
    let counts = counts.lock().unwrap().clone();
    println!("{counts:?}");
    assert_eq!(counts["SendEmail"], 60 + n_refused);
    // Once in each environment.
    let encrypt = running
        .system
        .template
        .functions
        .iter()
        .find(|function| function.binary == "encrypt");
    let most: usize = encrypt.unwrap().queues.iter().map(|queue| queue.concurrency).sum();
    assert!((1..=most).contains(&counts["GetAccount"]), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_account_needs_a_call_a_block_and_not_one_a_mail() {
    let running = Running::start().await;
    let counts = count(&running);
    accept(
        &running,
        &running.api_key,
        &batch("care@clinic.test", "p", 100, "treatment"),
    )
    .await;
    until_handed(&running, 100).await;
    let counts = counts.lock().unwrap().clone();
    println!("{counts:?}");
    assert_eq!(counts["SendEmail"], 100);
    assert!(counts["UpdateItem"] <= 50, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_backlog_and_ones_own_marketing_keep_nobody_waiting() {
    let running = Running::start().await;
    running.system.aws.ses.set_max_send_rate(10.0);
    let ses = aws_sdk_sesv2::Client::new(&running.system.sdk());
    ses.create_email_identity()
        .email_identity("other.test")
        .send()
        .await
        .unwrap();
    let other = tenant::create(
        &running.system.app("admin").unwrap(),
        &Actor::Operator,
        NewTenant {
            name: "Other".to_owned(),
            domain: "other.test".to_owned(),
            care_address: "care@other.test".to_owned(),
        },
    )
    .await
    .unwrap();
    accept(
        &running,
        &running.api_key,
        &batch("care@clinic.test", "flood", 100, "treatment"),
    )
    .await;
    accept(
        &running,
        &running.api_key,
        &batch("care@clinic.test", "promotion", 20, "marketing"),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let asked_ms = running.system.clock().now_ms();
    accept(
        &running,
        &other.api_key,
        &batch("care@other.test", "small", 5, "treatment"),
    )
    .await;
    let mails = until_handed(&running, 125).await;
    let last = |who: &str| {
        let mine = mails.iter().filter(|(address, _)| address.starts_with(who));
        mine.map(|(_, at_ms)| at_ms - asked_ms).max().unwrap()
    };
    println!(
        "small {} flood {} promotion {}",
        last("small"),
        last("flood"),
        last("promotion")
    );
    assert!(last("small") < last("flood"), "the small tenant waited for the flood");
    assert!(last("flood") < last("promotion"), "marketing was sent before care");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_rate_is_a_safe_one_and_a_throttle_is_no_attempt_too_many() {
    let running = Running::start().await;
    let n_throttled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_throttled);
    let hook = move |call: &Call, phase: Phase| match (call.operation.as_str(), phase) {
        ("GetAccount", Phase::Before) => Verdict::Fail(Failure::AccessDenied),
        ("SendEmail", Phase::Before) if counted.fetch_add(1, Ordering::SeqCst) < 3 => Verdict::Fail(Failure::Throttled),
        _ => Verdict::Go,
    };
    running.system.aws.set_faults(Some(Arc::new(hook)));
    accept(
        &running,
        &running.api_key,
        &batch("care@clinic.test", "p", 40, "treatment"),
    )
    .await;
    let mails = until_handed(&running, 40).await;
    let took_ms = mails.last().unwrap().1 - mails.first().unwrap().1;
    println!("{took_ms} ms");
    // Twelve a second without a quota, half of it after a throttle.
    assert!(took_ms > 2_000, "{took_ms} ms");
    assert_eq!(mails.len(), 40, "nobody gets it twice");
}
