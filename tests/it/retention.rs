//! Promise: what was stored and never accepted is gone after a day, what was sealed is gone when its time is over, and
//! nothing that somebody may still ask for is ever touched.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use sealpost_core::actor::Actor;
use sealpost_core::retention::{self, Swept};
use sealpost_local::aws::fault::{Call, Failure, Phase, Verdict};
use serde_json::{Value, json};

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events};
use crate::notice::mail;
use crate::permissions::link;
use crate::system::Running;
use crate::tracking::put_policy;

const HOUR: Duration = Duration::from_secs(3_600);

fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

fn by_portal(to: &str, expires_in: &str) -> Value {
    let mut email = email(to);
    email["security"] = json!({ "method": "portal", "expires_in": expires_in });
    email
}

/// One run, beside whatever the schedule starts.
async fn sweep(running: &Running) -> Result<Swept, sealpost_core::error::Error> {
    let app = running.system.app("retention").unwrap();
    retention::sweep(&app, &Actor::System("retention")).await
}

/// The paths of all objects of one sort, in every version.
async fn objects(running: &Running, bucket: &str, prefix: &str) -> BTreeSet<String> {
    let sdk = running.system.sdk();
    let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build());
    let declared = running.system.template.buckets.iter();
    let bucket = &declared.clone().find(|one| one.logical == bucket).unwrap().name;
    let listed = s3
        .list_object_versions()
        .bucket(bucket)
        .prefix(prefix)
        .send()
        .await
        .unwrap();
    assert!(listed.delete_markers().is_empty(), "nothing is only hidden");
    let versions = listed.versions().iter();
    versions.map(|version| version.key().unwrap().to_owned()).collect()
}

async fn archive(running: &Running) -> BTreeSet<String> {
    objects(running, "ArchiveBucket", "").await
}

/// Every row of a table whose partition or sort key holds a word, as text.
async fn rows(running: &Running, table: &str, word: &str) -> Vec<String> {
    let declared = running.system.template.tables.iter();
    let table = &declared.clone().find(|one| one.logical == table).unwrap().name;
    let dynamodb = aws_sdk_dynamodb::Client::new(&running.system.sdk());
    let all = dynamodb.scan().table_name(table).send().await.unwrap();
    let key = |item: &std::collections::HashMap<String, AttributeValue>| {
        format!("{} {}", item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap())
    };
    let shown = all.items().iter().filter(|item| key(item).contains(word));
    shown.map(|item| format!("{} {item:?}", key(item))).collect()
}

/// Lets `send` write so many transactions, and fails it before every further one, as a process that died there would.
fn die_after(running: &Running, n_transactions: usize) {
    let n_seen = AtomicUsize::new(0);
    let hook = move |call: &Call, phase: Phase| {
        let is_one = call.role.ends_with("send") && call.operation == "TransactWriteItems" && phase == Phase::Before;
        if is_one && n_seen.fetch_add(1, Ordering::SeqCst) >= n_transactions {
            return Verdict::Fail(Failure::AccessDenied);
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(Arc::new(hook)));
}

async fn refused(running: &Running, path: &str, body: &Value) {
    let (status, answer) = running.post(path, body).await;
    assert!(status >= 500, "{path}: {answer}");
    running.system.aws.set_faults(None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered() {
    let running = Running::start().await;
    let mut function = Function::start(&running, "retention", &[]).await;
    let events = events("retention");
    assert_every_event_is_used("retention", ["sweep", "unknown-task"]);
    assert_eq!(function.invoke(&events["sweep"]).await, Ok(json!({})));
    let error = function.invoke(&events["unknown-task"]).await.unwrap_err();
    assert!(
        !error.to_string().contains(CANARY) && !function.log().contains(CANARY),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_accepted_goes_after_a_day_and_no_live_message_ever() {
    let running = Running::start().await;
    let mut later = email("later@patient.test");
    later["scheduled_at"] = json!("in 30 days");
    let mut live = vec![
        running.send(&email("pat@patient.test")).await,
        running.send(&later).await,
    ];
    let (status, batch) = running
        .post("/emails/batch", &json!([email("ann@patient.test"), later]))
        .await;
    assert_eq!(status, 200, "{batch}");
    for one in batch["data"].as_array().unwrap() {
        live.push(one["id"].as_str().unwrap().to_owned());
    }
    running.settled(&live[0]).await;
    running.settled(&live[2]).await;
    let kept = archive(&running).await;
    assert_eq!(kept.len(), 4);

    // Acceptance ends between the object and the transaction; and in a batch before the commit mark, which is its last.
    die_after(&running, 0);
    refused(&running, "/emails", &email("orphan@patient.test")).await;
    die_after(&running, 1);
    refused(&running, "/emails/batch", &json!([email("half@patient.test"), later])).await;
    die_after(&running, 2);
    refused(&running, "/emails/batch", &json!([email("whole@patient.test"), later])).await;
    assert_eq!(archive(&running).await.len(), 4 + 1 + 2 + 2);
    assert_eq!(rows(&running, "MailTable", " EMAIL").await.len(), 4 + 1 + 2);

    running.system.advance(23 * HOUR).unwrap();
    assert_eq!(sweep(&running).await.unwrap(), Swept::default());
    assert_eq!(archive(&running).await.len(), 9, "a day is not over");

    // A run that breaks off is taken up by the next one.
    let hook = |call: &Call, phase: Phase| match (call.operation.as_str(), phase) {
        ("DeleteObject", Phase::Before) => Verdict::Fail(Failure::AccessDenied),
        _ => Verdict::Go,
    };
    running.system.aws.set_faults(Some(Arc::new(hook)));
    running.system.advance(2 * HOUR).unwrap();
    assert!(sweep(&running).await.is_err());
    assert_eq!(archive(&running).await.len(), 9);
    running.system.aws.set_faults(None);
    sweep(&running).await.unwrap();

    assert_eq!(archive(&running).await, kept, "every live message and nothing else");
    for word in [" EMAIL", " DELIVERY"] {
        assert_eq!(rows(&running, "MailTable", word).await.len(), 4, "{word}");
    }
    assert_eq!(rows(&running, "MailTable", "#EMAILS#").await.len(), 4);
    assert_eq!(rows(&running, "MailTable", "#SCHEDULED#").await.len(), 2);
    // What is left of the others is that they are gone: no record key.
    let records = rows(&running, "RecordsTable", " RECORD").await;
    assert_eq!(records.len(), 9);
    assert_eq!(records.iter().filter(|row| row.contains("wrapped_key")).count(), 4);
    let log = rows(&running, "LogTable", "").await.join("\n");
    for (action, n) in [("orphan.removed", 2), ("batch.given_up", 2), ("email.given_up", 3)] {
        assert_eq!(log.matches(action).count(), n, "{action}");
    }
    for id in &live {
        let (status, read) = running.get(&format!("/emails/{id}")).await;
        assert_eq!(
            (status, read["text"].as_str().map(str::trim)),
            (200, Some("They are fine."))
        );
    }
    for to in ["orphan", "half", "whole"] {
        assert!(running.mails(&format!("{to}@patient.test")).await.is_empty());
    }
    // The scheduled ones still go, however often the sweep has come by.
    for _ in 0..28 {
        running.system.advance(24 * HOUR).unwrap();
        sweep(&running).await.unwrap();
    }
    assert_eq!(archive(&running).await, kept);
    running.system.advance(23 * HOUR + Duration::from_secs(60)).unwrap();
    for id in &live {
        running.until(id, |status| status == "delivered").await;
    }
    assert_eq!(running.mails("later@patient.test").await.len(), 2);
    sweep(&running).await.unwrap();
    assert_eq!(archive(&running).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_that_was_accepted_unknown_to_its_sender_is_kept() {
    let running = Running::start().await;
    // The first email of all makes the keys of the month.
    running.settled(&running.send(&email("first@patient.test")).await).await;
    // The effect stands, the answer is lost, and so are those of all further tries.
    let hook = |call: &Call, phase: Phase| {
        let is_one = call.role.ends_with("send") && call.operation == "TransactWriteItems" && phase == Phase::After;
        if is_one {
            Verdict::Fail(Failure::Reset)
        } else {
            Verdict::Go
        }
    };
    running.system.aws.set_faults(Some(Arc::new(hook)));
    refused(&running, "/emails", &email("pat@patient.test")).await;
    let (_, list) = running.get("/emails").await;
    let id = list["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{list}"));
    running.system.advance(49 * HOUR).unwrap();
    sweep(&running).await.unwrap();
    assert_eq!(running.get(&format!("/emails/{id}")).await.0, 200);
    assert_eq!(archive(&running).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_mails_and_portal_copies_go_when_their_time_is_over() {
    let running = Running::start().await;
    put_policy(&running, "on_doubt", "hold").await;
    let (short, long) = ("short@patient.test", "long@patient.test");
    let (first, second) = (
        running.send(&by_portal(short, "P3D")).await,
        running.send(&by_portal(long, "P60D")).await,
    );
    running.settled(&first).await;
    running.settled(&second).await;
    // One whose end nobody knows waits for a person, with what was sealed for it.
    running.control("/events", &json!({ "withhold": true })).await;
    let held = running.send(&by_portal("lois@lost-reply.test", "P60D")).await;
    for _ in 0..600 {
        if running
            .get(&format!("/emails/{held}"))
            .await
            .1
            .to_string()
            .contains("unanswered")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.system.advance(Duration::from_secs(700)).unwrap();
    running.until(&held, |status| status == "held").await;

    let sealed = async || objects(&running, "WorkBucket", "sealed/").await;
    let copies = async || objects(&running, "WorkBucket", "portal/").await;
    assert_eq!((sealed().await.len(), copies().await.len()), (3, 3));
    running.system.advance(22 * HOUR).unwrap();
    assert_eq!(sweep(&running).await.unwrap(), Swept::default());
    assert_eq!((sealed().await.len(), copies().await.len()), (3, 3));
    running.system.advance(3 * HOUR).unwrap();
    sweep(&running).await.unwrap();
    let left = sealed().await;
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|path| path.contains(&held)), "{left:?}");
    assert_eq!(copies().await.len(), 3, "the links are still good");
    let http = reqwest::Client::new();
    let page = async |link: &str| http.get(link).send().await.unwrap().status().as_u16();
    let short_link = link(&mail(&running, short, 1).await);
    assert_eq!(page(&short_link).await, 200);

    // A notice that is made anew ends the old copy at once.
    running.control("/events", &json!({ "withhold": false })).await;
    let renewed = running
        .post(&format!("/emails/{second}/notices"), &json!({ "to": long }))
        .await;
    assert_eq!(renewed.0, 200, "{}", renewed.1);
    let long_link = link(&mail(&running, long, 2).await);
    assert_eq!(copies().await.len(), 4);
    sweep(&running).await.unwrap();
    assert_eq!(copies().await.len(), 3);
    assert_eq!(page(&long_link).await, 200);

    // A message whose time is over loses its server half and its copy; the others stay.
    running.system.advance(48 * HOUR).unwrap();
    assert_eq!(page(&short_link).await, 404);
    sweep(&running).await.unwrap();
    assert_eq!(copies().await.len(), 2);
    assert_eq!(rows(&running, "MailTable", " PICKUP").await.len(), 2);
    assert_eq!(
        rows(&running, "LogTable", "")
            .await
            .join("\n")
            .matches("pickup.expired")
            .count(),
        1
    );
    assert_eq!(page(&long_link).await, 200);
    assert_eq!(archive(&running).await.len(), 3, "the archive keeps all three");
}
