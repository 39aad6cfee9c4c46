//! Promise: of a batch of ten messages exactly the failed ones come again, whichever they are: for each of the 1,024 sets of
//! failures, and for each function that takes from a queue.
//!
//! A record fails for one of three reasons: it is no message of ours, it is empty, or the row that it names cannot be read.
//! The others are messages whose work is done already, which come again and are done with.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Context, LambdaEvent};
use sealpost_local::aws::ses::Filter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::lambda::{events, fill};
use crate::rig::row;
use crate::system::Running;
use crate::webhook::{Receiver, email, hook};

/// What Lambda hands over at most at a time to these functions.
const N: usize = 10;
/// How many batches are under way at the same time.
const AT_ONCE: usize = 4;

/// Ten messages that are done with, and ten that name a row that cannot be read.
struct Messages {
    good: Vec<String>,
    broken: Vec<String>,
}

impl Messages {
    fn new(mut all: Vec<String>) -> Self {
        assert_eq!(all.len(), 2 * N);
        let broken = all.split_off(N);
        Self { good: all, broken }
    }

    /// The batch in which the records of this set fail.
    fn batch(&self, set: usize) -> Value {
        let record = |n: usize| {
            let body = match (set >> n & 1, (set + n) % 3) {
                (0, _) => self.good[n].as_str(),
                (_, 0) => "{\"tenant\":\"none of ours\"}",
                (_, 1) => "",
                _ => self.broken[n].as_str(),
            };
            json!({ "messageId": id(n), "receiptHandle": id(n), "body": body, "attributes": {}, "eventSource": "aws:sqs" })
        };
        json!({ "Records": (0..N).map(record).collect::<Vec<_>>() })
    }
}

fn id(n: usize) -> String {
    format!("{n:08}-1111-4111-8111-111111111111")
}

/// What a function has to answer for this set.
fn expected(set: usize) -> Value {
    let failed = (0..N).filter(|n| set >> n & 1 == 1);
    let failed = failed.map(|n| json!({ "itemIdentifier": id(n) }));
    json!({ "batchItemFailures": failed.collect::<Vec<_>>() })
}

/// Hands every set over, and compares every answer.
async fn every_set<E, R, F, Fut>(name: &str, messages: Messages, handle: F)
where
    E: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    F: Fn(LambdaEvent<E>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = sealpost_core::error::Result<R>> + Send + 'static,
{
    let messages = Arc::new(messages);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..AT_ONCE {
        let (messages, handle) = (Arc::clone(&messages), handle.clone());
        lanes.spawn(async move {
            let mut n_right = 0;
            for set in (0..1 << N).filter(|set| set % AT_ONCE == lane) {
                let event = serde_json::from_value(messages.batch(set)).unwrap();
                let answer = handle(LambdaEvent::new(event, Context::default())).await.unwrap();
                let answer = serde_json::to_value(answer).unwrap();
                assert_eq!(answer, expected(set), "set {set:010b}");
                n_right += 1;
            }
            n_right
        });
    }
    let n_right: usize = lanes.join_all().await.into_iter().sum();
    assert_eq!(n_right, 1 << N);
    row(&format!("sets of failures of a batch of ten: {name}"), n_right, 0);
}

/// Sends twenty emails and waits until all is done that follows from them.
async fn sent(running: &Running) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..2 * N {
        ids.push(running.send(&email(&format!("pat{n}@patient.test"))).await);
    }
    for id in &ids {
        running.settled(id).await;
    }
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(20))
            .await
            .unwrap()
    );
    ids
}

/// Takes everything but their keys from the rows of the table of mail of which this holds.
async fn break_rows(running: &Running, is_meant: impl Fn(&str, &str) -> bool) {
    let dynamodb = aws_sdk_dynamodb::Client::new(&running.system.sdk());
    let tables = dynamodb.list_tables().send().await.unwrap();
    let table = tables.table_names().iter().find(|name| name.contains("Mail")).unwrap();
    let mut n_broken = 0;
    for item in dynamodb.scan().table_name(table).send().await.unwrap().items() {
        let text = |name: &str| item[name].as_s().unwrap().clone();
        let (pk, sk) = (text("pk"), text("sk"));
        if is_meant(&pk, &sk) {
            let row = dynamodb.put_item().table_name(table);
            let row = row.item("pk", AttributeValue::S(pk)).item("sk", AttributeValue::S(sk));
            row.send().await.unwrap();
            n_broken += 1;
        }
    }
    assert_eq!(n_broken, N);
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypt_hands_back_exactly_what_failed() {
    let running = Running::start().await;
    let ids = sent(&running).await;
    let mails = running.system.aws.ses.messages(&Filter::default()).unwrap();
    let ticket = |id: &String| {
        let mail = mails
            .iter()
            .find(|mail| mail.tags.iter().any(|(_, value)| value == id))
            .unwrap();
        let tag = |name: &str| mail.tags.iter().find(|(known, _)| known == name).unwrap().1.clone();
        json!({ "tenant": tag("tenant"), "email": id, "delivery": tag("delivery") }).to_string()
    };
    let messages = Messages::new(ids.iter().map(ticket).collect());
    break_rows(&running, |pk, sk| {
        sk == "EMAIL" && ids[N..].iter().any(|id| pk.ends_with(id))
    })
    .await;
    let app = running.system.app("encrypt").unwrap();
    every_set("encrypt", messages, move |event| {
        encrypt::handle(Arc::clone(&app), event)
    })
    .await;
    let n_mails = running.system.aws.ses.messages(&Filter::default()).unwrap().len();
    assert_eq!(n_mails, 2 * N, "a ticket that came again sent another mail");
}

#[tokio::test(flavor = "multi_thread")]
async fn tracking_hands_back_exactly_what_failed() {
    let running = Running::start().await;
    let ids = sent(&running).await;
    let sample = events("tracking")["delivery"]["Records"][0]["body"].clone();
    let mails = running.system.aws.ses.messages(&Filter::default()).unwrap();
    let event = |id: &String| {
        let mail = mails
            .iter()
            .find(|mail| mail.tags.iter().any(|(_, value)| value == id))
            .unwrap();
        let tag = |name: &'static str| {
            (
                name,
                mail.tags.iter().find(|(known, _)| known == name).unwrap().1.as_str(),
            )
        };
        let values = [
            tag("tenant"),
            tag("email"),
            tag("delivery"),
            tag("proof"),
            ("message_id", &mail.id),
        ];
        fill(&sample, &values).as_str().unwrap().to_owned()
    };
    let messages = Messages::new(ids.iter().map(event).collect());
    break_rows(&running, |pk, sk| {
        sk == "EMAIL" && ids[N..].iter().any(|id| pk.ends_with(id))
    })
    .await;
    let app = running.system.app("tracking").unwrap();
    every_set("tracking", messages, move |event| {
        tracking::handle(Arc::clone(&app), event)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_hands_back_exactly_what_failed() {
    let running = Running::start().await;
    let receiver = Receiver::start(&running).await;
    let (webhook, _) = hook(&running, &receiver.url, &["email.delivered"]).await;
    sent(&running).await;
    let told: Vec<String> = receiver
        .until(2 * N)
        .await
        .iter()
        .map(|got| got.id().to_owned())
        .collect();
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(20))
            .await
            .unwrap()
    );
    let tags = &running.system.aws.ses.messages(&Filter::default()).unwrap()[0].tags;
    let tenant = &tags.iter().find(|(name, _)| name == "tenant").unwrap().1;
    let hint = |event: &String| json!({ "tenant": tenant, "event": event, "webhook": webhook }).to_string();
    let messages = Messages::new(told.iter().map(hint).collect());
    break_rows(&running, |pk, sk| {
        pk.ends_with(&webhook) && told[N..].iter().any(|event| sk.ends_with(event))
    })
    .await;
    let app = running.system.app("webhook").unwrap();
    every_set("webhook", messages, move |event| {
        ::webhook::handle(Arc::clone(&app), event)
    })
    .await;
    assert_eq!(receiver.got().len(), 2 * N, "a hint that came again posted once more");
}

/// Defects of the batch itself: the message is taken off the queue although its work is not done.
#[cfg(feature = "planted")]
#[tokio::test]
async fn a_planted_batch_that_swallows_a_failure_is_found() {
    use sealpost_core::planted;

    let swallowed = async || {
        let event = json!({ "Records": [{ "messageId": id(0), "body": "" }] });
        let event = serde_json::from_value(event).unwrap();
        let answer = sealpost_handler::batch::each(event, |_| async { false }).await;
        serde_json::to_value(answer).unwrap() != expected(1)
    };
    assert!(!swallowed().await);
    for bug in ["bug_07", "bug_08"] {
        planted::set_here(Some(bug));
        let is_found = swallowed().await;
        planted::set_here(None);
        assert!(is_found, "{bug}");
        println!("{bug} is found by the sets of failures");
    }
}
