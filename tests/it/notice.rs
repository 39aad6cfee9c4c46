//! Promise: a portal notice that was lost is answered with a fresh copy under a new link, which opens after a one-time code
//! as the first did; the old link ends, nobody else gets anything, and it cannot be used to flood a mailbox.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use serde_json::{Value, json};

use crate::permissions::{Patient, code, link};
use crate::system::Running;

const CANARY: &str = "canary-notice-51e8";

fn email(to: &Value) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": CANARY })
}

async fn renew(running: &Running, id: &str, to: &str) -> (u16, Value) {
    running
        .post(&format!("/emails/{id}/notices"), &json!({ "to": to }))
        .await
}

/// The newest mail to an address, once there are so many.
pub(crate) async fn mail(running: &Running, to: &str, n: usize) -> Vec<u8> {
    for _ in 0..600 {
        let mut mails = running.mails(to).await;
        if mails.len() >= n {
            assert_eq!(mails.len(), n, "{to}");
            return mails.remove(n - 1);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{to} does not get {n} mails")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_notice_is_answered_with_a_fresh_copy_after_a_code() {
    let running = Running::start().await;
    let (path, fails) = ("/recipient-domains/no-tls.test", json!({ "tls": "fails" }));
    let put = running
        .call(Method::PUT, path, Some(fails.to_string().into_bytes()), &[])
        .await;
    assert_eq!(put.0, 200, "{}", put.1);
    let (lost, other) = ("lena@no-tls.test", "otto@no-tls.test");
    let id = running.send(&email(&json!([lost, other]))).await;
    running.settled(&id).await;
    let old = link(&mail(&running, lost, 1).await);
    let others = link(&mail(&running, other, 1).await);

    let (status, answer) = renew(&running, &id, lost).await;
    assert_eq!((status, &answer), (200, &json!({ "object": "email", "id": id })));
    let notice = mail(&running, lost, 2).await;
    let new = link(&notice);
    assert_ne!(new, old);
    assert!(!running.shows(&notice, CANARY) && !running.shows(&notice, "Your results"));
    let read = running.settled(&id).await;
    let of = |address: &str| {
        let recipients = read["recipients"].as_array().unwrap().iter();
        recipients
            .clone()
            .find(|recipient| recipient["address"] == address)
            .unwrap()
            .clone()
    };
    assert!(of(lost)["events"].to_string().contains("renewed"), "{read}");
    assert!(!of(other)["events"].to_string().contains("renewed"), "{read}");

    // The old link answers as one that never was, octet for octet; the other recipient's is untouched.
    let http = reqwest::Client::new();
    let page = async |link: &str| {
        let answer = http.get(link).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let (portal, token) = old.rsplit_once('/').unwrap();
    let made_up: String = token.chars().rev().collect();
    assert_eq!(page(&old).await, page(&format!("{portal}/{made_up}")).await);
    assert_eq!(page(&old).await.0, 404);
    assert_eq!(page(&others).await.0, 200);
    // The new link alone shows nothing.
    let (status, entry) = page(&new).await;
    assert_eq!(status, 200);
    assert!(!running.shows(&entry, CANARY));

    let mut patient = Patient::new();
    patient.go(Method::POST, &format!("{new}/code"), "", 303).await;
    let code = code(&mail(&running, lost, 3).await);
    patient
        .go(Method::POST, &format!("{new}/open"), &format!("code={code}"), 303)
        .await;
    let message = patient.go(Method::GET, &format!("{new}/message"), "", 200).await;
    assert!(message.contains(CANARY));
    assert_eq!(running.mails(other).await.len(), 1, "nobody else gets anything");
    running
        .assert_no_side_channel(&[CANARY, lost, new.rsplit('/').next().unwrap()])
        .await;
    // A notice that was read can be lost too, and its old session ends with it.
    assert_eq!(renew(&running, &id, lost).await.0, 200);
    mail(&running, lost, 4).await;
    patient.go(Method::GET, &format!("{new}/message"), "", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_not_made_anew_for_whoever_has_none_nor_without_end() {
    let running = Running::start().await;
    let by_tls = running.send(&email(&json!("tom@patient.test"))).await;
    running.settled(&by_tls).await;
    let (status, answer) = renew(&running, &by_tls, "tom@patient.test").await;
    assert_eq!((status, &answer["name"]), (409, &json!("conflict")), "{answer}");

    let mut message = email(&json!("pia@patient.test"));
    message["security"] = json!({ "method": "portal" });
    let id = running.send(&message).await;
    running.settled(&id).await;
    let (status, answer) = renew(&running, &id, "somebody@else.test").await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (422, &json!("/to")),
        "{answer}"
    );
    assert!(!answer.to_string().contains("somebody"), "{answer}");
    // Unknown, malformed: one answer.
    let unknown = renew(&running, "em_00000000000000000000000000", "pia@patient.test").await;
    assert_eq!(unknown.0, 404);
    assert_eq!(unknown, renew(&running, "nothing", "pia@patient.test").await);
    let reader = crate::send::read_key(&running).await;
    let bearer = format!("Bearer {reader}");
    let body = json!({ "to": "pia@patient.test" }).to_string().into_bytes();
    let path = format!("/emails/{id}/notices");
    let refused = running
        .call(Method::POST, &path, Some(body), &[("authorization", &bearer)])
        .await;
    assert_eq!(refused.0, 403, "{}", refused.1);
    assert_eq!(running.mails("pia@patient.test").await.len(), 1);

    for n in 2..=4 {
        assert_eq!(renew(&running, &id, "pia@patient.test").await.0, 200);
        mail(&running, "pia@patient.test", n).await;
        running.settled(&id).await;
    }
    let (status, answer) = renew(&running, &id, "pia@patient.test").await;
    assert_eq!(
        (status, &answer["name"]),
        (429, &json!("rate_limit_exceeded")),
        "{answer}"
    );
    running.system.advance(Duration::from_secs(86_401)).unwrap();
    assert_eq!(renew(&running, &id, "pia@patient.test").await.0, 200);
    mail(&running, "pia@patient.test", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_notice_goes_although_the_queue_loses_it() {
    let running = Running::start().await;
    // Two recipients, so that the email's line in the outbox is long gone.
    let mut message = email(&json!(["ann@patient.test", "ben@patient.test"]));
    message["security"] = json!({ "method": "portal" });
    let id = running.send(&message).await;
    running.settled(&id).await;
    running.system.advance(Duration::from_secs(600)).unwrap();
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
    let lose = |call: &Call, phase: Phase| match (call.operation.as_str(), phase) {
        ("SendMessage" | "SendMessageBatch", Phase::Before) => Verdict::Fail(Failure::ServerError),
        _ => Verdict::Go,
    };
    running.system.aws.set_faults(Some(Arc::new(lose)));
    assert_eq!(renew(&running, &id, "ben@patient.test").await.0, 200);
    running.system.aws.set_faults(None);
    running.system.advance(Duration::from_secs(150)).unwrap();
    mail(&running, "ben@patient.test", 2).await;
    assert_eq!(running.mails("ann@patient.test").await.len(), 1);
}
