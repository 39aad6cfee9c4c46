//! Promise: `encrypt` as Lambda runs it sends what a ticket names once, and hands back exactly the messages that it could
//! not do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::lambda::{CANARY, Function, assert_every_event_is_used, events, fill};
use crate::system::Running;

/// A queue that the running system does not take from, so that the tickets come to this test.
async fn queue(running: &Running) -> (aws_sdk_sqs::Client, String) {
    let sqs = aws_sdk_sqs::Client::new(&running.system.sdk());
    let made = sqs.create_queue().queue_name("tickets-of-a-test").send().await.unwrap();
    (sqs, made.queue_url.unwrap())
}

async fn ticket(sqs: &aws_sdk_sqs::Client, queue: &str) -> String {
    let received = sqs
        .receive_message()
        .queue_url(queue)
        .wait_time_seconds(5)
        .send()
        .await
        .unwrap();
    let message = received.messages().first().expect("send puts a ticket on the queue");
    message.body().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_and_a_ticket_is_sent_once() {
    let running = Running::start().await;
    let (sqs, queue) = queue(&running).await;
    let mut send = Function::start(&running, "send", &[("OUTBOUND_QUEUE_URL", &queue)]).await;
    let mut encrypt = Function::start(&running, "encrypt", &[("OUTBOUND_QUEUE_URL", &queue)]).await;
    let accepted = send
        .request(&fill(
            &crate::lambda::events("send")["send"],
            &[("api_key", &running.api_key)],
        ))
        .await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    let ticket = ticket(&sqs, &queue).await;
    let names: Vec<String> = serde_json::from_str::<serde_json::Map<String, Value>>(&ticket)
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(names, ["delivery", "email", "tenant"], "a ticket carries ids only");
    assert!(!ticket.contains(CANARY) && !ticket.contains('@'), "{ticket}");
    assert!(
        running.mails("lambda@patient.test").await.is_empty(),
        "only a ticket makes it go"
    );

    let events = events("encrypt");
    assert_every_event_is_used("encrypt", ["batch", "again", "sweep", "unknown-task"]);
    let event = |name: &str| fill(&events[name], &[("ticket", &ticket)]);

    let batch = encrypt.invoke(&event("batch")).await.unwrap();
    let failed: Vec<&Value> = batch["batchItemFailures"].as_array().unwrap().iter().collect();
    assert_eq!(
        failed,
        [&json!({ "itemIdentifier": "22222222-2222-4222-8222-222222222222" })],
        "{}",
        encrypt.log()
    );
    let mails = running.mails("lambda@patient.test").await;
    assert_eq!(mails.len(), 1);
    assert!(running.shows(&mails[0], CANARY));

    let again = encrypt.invoke(&event("again")).await.unwrap();
    assert_eq!(again, json!({ "batchItemFailures": [] }));
    assert_eq!(encrypt.invoke(&event("sweep")).await, Ok(json!({})));
    assert_eq!(
        running.mails("lambda@patient.test").await.len(),
        1,
        "a ticket that comes again sends nothing"
    );

    let error = encrypt.invoke(&event("unknown-task")).await.unwrap_err();
    assert!(
        !error.to_string().contains(CANARY),
        "the error repeats the event: {error}"
    );
    let log = encrypt.log();
    assert!(!log.contains(CANARY) && !log.contains("@patient.test"), "{log}");
    assert!(running.system.settled(Duration::from_secs(10)).await.unwrap());
}
