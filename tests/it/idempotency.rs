//! Promise: one idempotency key of one tenant sends one email, however many ask at the same time and wherever the process
//! dies under them; all get the same answer, another body gets a conflict, and another tenant's key is another key.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use sealpost_core::actor::Actor;
use sealpost_core::tenant::{self, NewTenant};
use sealpost_local::aws::ses::Filter;
use serde_json::{Value, json};

use crate::kill::{Folder, Program, again};
use crate::system::Running;

/// How many ask at the same time.
const AT_ONCE: usize = 1_000;
/// How often a request that meets another one is repeated.
const PATIENCE: usize = 20;

fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

/// What many callers with one key got: the body of the one answer, and how many had to ask again.
struct Agreed {
    answer: String,
    n_again: usize,
}

/// Posts the same body under the same key from many connections; whoever is told that another one runs asks again.
async fn together(url: String, bearer: String, body: String, key: &str, n: usize) -> Agreed {
    let http = reqwest::Client::new();
    let start = Arc::new(tokio::sync::Barrier::new(n));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..n {
        let request = http
            .post(&url)
            .header("authorization", &bearer)
            .header("idempotency-key", key);
        let request = request.header("content-type", "application/json").body(body.clone());
        let start = Arc::clone(&start);
        callers.spawn(async move {
            start.wait().await;
            for n_again in 0..PATIENCE {
                let answer = request.try_clone().unwrap().send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                match status {
                    StatusCode::OK => return (text, n_again),
                    StatusCode::CONFLICT => assert!(text.contains("concurrent_idempotent_requests"), "{text}"),
                    _ => panic!("{status}: {text}"),
                }
            }
            panic!("a caller is told {PATIENCE} times that another one runs")
        });
    }
    let mut answers = BTreeSet::new();
    let mut n_again = 0;
    for (answer, n) in callers.join_all().await {
        answers.insert(answer);
        n_again += usize::from(n > 0);
    }
    assert_eq!(answers.len(), 1, "the callers disagree: {answers:?}");
    Agreed {
        answer: answers.pop_first().unwrap(),
        n_again,
    }
}

fn ids(answer: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let one = [answer.clone()];
    let emails = answer["data"].as_array().map_or(&one[..], Vec::as_slice);
    emails
        .iter()
        .map(|email| email["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_posts_with_one_key_are_one_email() {
    let running = Running::start().await;
    let bearer = format!("Bearer {}", running.api_key);
    let body = email("pat@patient.test").to_string();
    let agreed = together(running.url("/emails"), bearer, body.clone(), "visit-7", AT_ONCE).await;
    let id = ids(&agreed.answer).remove(0);
    running.settled(&id).await;
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(30))
            .await
            .unwrap()
    );
    assert_eq!(running.mails("pat@patient.test").await.len(), 1);
    let (_, listed) = running.get("/emails?limit=100").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["has_more"], false);

    // Another body, and the same body on another route, are other requests.
    let headers = [("idempotency-key", "visit-7")];
    for (path, body) in [
        ("/emails", email("pet@patient.test")),
        ("/emails/batch", json!([email("pat@patient.test")])),
    ] {
        let body = Some(body.to_string().into_bytes());
        let (status, answer) = running.call(Method::POST, path, body, &headers).await;
        let named = (status, answer["name"].as_str());
        assert_eq!(named, (409, Some("invalid_idempotent_request")), "{path}: {answer}");
    }
    // The answer is the first one for seven days, and then the key is free again.
    let post = || running.call(Method::POST, "/emails", Some(body.clone().into_bytes()), &headers);
    let days = |n: u64| std::time::Duration::from_secs(n * 86_400);
    running.system.advance(days(6)).unwrap();
    assert_eq!(post().await, (200, json!({ "id": id })));
    running.system.advance(days(2)).unwrap();
    let (status, anew) = post().await;
    assert_eq!(status, 200, "{anew}");
    assert_ne!(anew["id"], json!(id));
    running.settled(anew["id"].as_str().unwrap()).await;
    assert_eq!(running.mails("pat@patient.test").await.len(), 2);
    println!("{AT_ONCE} posts, one email, {} asked again", agreed.n_again);
    crate::rig::row("posts at the same time with one idempotency key", AT_ONCE, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_with_one_key_are_one_batch() {
    let running = Running::start().await;
    let bearer = format!("Bearer {}", running.api_key);
    let addresses = ["one@patient.test", "two@patient.test", "three@patient.test"];
    let body = Value::from_iter(addresses.map(email)).to_string();
    let agreed = together(running.url("/emails/batch"), bearer, body, "recall-7", 100).await;
    for id in ids(&agreed.answer) {
        running.settled(&id).await;
    }
    for address in addresses {
        assert_eq!(running.mails(address).await.len(), 1, "{address}");
    }
    let (_, listed) = running.get("/emails?limit=100").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), addresses.len(), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_in_the_hands_of_two_tenants_and_of_a_test_is_three_keys() {
    let running = Running::start().await;
    let ses = aws_sdk_sesv2::Client::new(&running.system.sdk());
    ses.create_email_identity()
        .email_identity("other.test")
        .send()
        .await
        .unwrap();
    let other = NewTenant {
        name: "Other".to_owned(),
        domain: "other.test".to_owned(),
        care_address: "care@other.test".to_owned(),
    };
    let admin = running.system.app("admin").unwrap();
    let other = tenant::create(&admin, &Actor::Operator, other).await.unwrap();
    let (_, test) = running
        .post("/api-keys", &json!({ "name": "CI", "mode": "test" }))
        .await;
    let simulated = email("delivered@simulator.test");
    let mut foreign = email("pat@patient.test");
    foreign["from"] = json!("care@other.test");
    let callers = [
        (running.api_key.clone(), email("pat@patient.test")),
        (other.api_key, foreign),
        (test["token"].as_str().unwrap().to_owned(), simulated),
    ];
    let mut all = tokio::task::JoinSet::new();
    for (key, body) in callers {
        let url = running.url("/emails");
        all.spawn(together(url, format!("Bearer {key}"), body.to_string(), "shared", 20));
    }
    let answers: BTreeSet<String> = all.join_all().await.into_iter().map(|agreed| agreed.answer).collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(30))
            .await
            .unwrap()
    );
    assert_eq!(running.mails("pat@patient.test").await.len(), 2);
    assert_eq!(running.system.aws.ses.messages(&Filter::default()).unwrap().len(), 2);
}

/// Calls of the acceptance at which the process dies under thirty callers; before and after the call's effect.
const DEATHS: [&str; 12] = [
    "1:before",
    "3:after",
    "5:before",
    "8:after",
    "12:before",
    "20:after",
    "40:before",
    "70:after",
    "100:before",
    "130:after",
    "160:before",
    "200:after",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_under_many_callers_leaves_one_email() {
    let seeded = Folder::new("idempotency");
    again(&seeded).await.child.kill().await.unwrap();
    let mut n_killed = 0;
    for at in DEATHS {
        let folder = seeded.copy(&format!("idempotency-{}", at.replace(':', "-")));
        let mut first = Program::start(&folder, Some(at)).await;
        let url = format!("{}/emails", first.api);
        let body = email("pat@patient.test").to_string();
        let http = reqwest::Client::new();
        let bearer = format!("Bearer {}", first.api_key);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let request = http.post(&url).header("authorization", &bearer).body(body.clone());
            let request = request.header("idempotency-key", "visit-7");
            callers.spawn(async move {
                let answer = request.send().await.ok()?;
                let status = answer.status();
                let text = answer.text().await.ok()?;
                (status == StatusCode::OK).then_some(text)
            });
        }
        let accepted: BTreeSet<String> = callers.join_all().await.into_iter().flatten().collect();
        assert!(accepted.len() <= 1, "{at}: {accepted:?}");
        n_killed += usize::from(first.death(std::time::Duration::from_millis(1500)).await.is_some());
        // One that was not killed by then is killed now.
        if first.child.try_wait().unwrap().is_none() {
            first.child.kill().await.unwrap();
        }
        let second = again(&folder).await;
        let url = format!("{}/emails", second.api);
        let agreed = together(url, bearer, body, "visit-7", 30).await;
        if let Some(earlier) = accepted.first() {
            assert_eq!(
                *earlier, agreed.answer,
                "{at}: the answer is another one after the crash"
            );
        }
        one_mail(&second, &ids(&agreed.answer)[0], at).await;
    }
    println!(
        "{} crashes under 30 callers each, {n_killed} at the very call",
        DEATHS.len()
    );
    assert!(n_killed >= 6, "only {n_killed} runs died at their call");
}

/// After leases and deadlines have passed, SES was handed one mail.
async fn one_mail(program: &Program, id: &str, at: &str) {
    for by in ["PT2M", "PT2M", "PT11M", "PT2M"] {
        program.advance(by).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    for _ in 0..100 {
        let path = format!("/emails/{id}");
        let (status, email) = program.call(Method::GET, &path, None, "").await.unwrap();
        assert_eq!(status, 200, "{at}: {email}");
        if email["last_event"] == "delivered" {
            assert_eq!(program.n_mails("pat@patient.test").await, 1, "{at}: {email}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{at}: {id} is not delivered")
}
