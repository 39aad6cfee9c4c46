//! SQS through the real SDK client.

mod strict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use sealpost_core::clock::Clock;

use crate::aws::testing::{code, folder, memory, sdk};
use crate::aws::wire::Aws;

fn sqs(aws: &Arc<Aws>) -> Client {
    Client::new(&sdk(aws, None))
}

async fn queue(client: &Client, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
    let attributes = attributes
        .iter()
        .map(|(name, value)| (name.clone(), (*value).to_owned()))
        .collect();
    client
        .create_queue()
        .queue_name(name)
        .set_attributes(Some(attributes))
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap()
}

async fn send(client: &Client, url: &str, body: &str) {
    client
        .send_message()
        .queue_url(url)
        .message_body(body)
        .send()
        .await
        .unwrap();
}

async fn receive(client: &Client, url: &str) -> Vec<Message> {
    let call = client.receive_message().queue_url(url).max_number_of_messages(10);
    let call = call
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    call.send().await.unwrap().messages.unwrap_or_default()
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body().unwrap()).collect()
}

fn attribute(message: &Message, name: MessageSystemAttributeName) -> &str {
    message.attributes().unwrap().get(&name).unwrap()
}

async fn counts(client: &Client, url: &str) -> [String; 3] {
    let call = client
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::All);
    let all = call.send().await.unwrap().attributes.unwrap();
    [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ]
    .map(|name| all[&name].clone())
}

#[tokio::test]
async fn a_message_comes_back_until_it_is_deleted() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[(QueueAttributeName::VisibilityTimeout, "60")]).await;
    send(&client, &url, "one").await;
    assert_eq!(counts(&client, &url).await, ["1", "0", "0"]);
    let first = receive(&client, &url).await;
    assert_eq!(bodies(&first), ["one"]);
    assert_eq!(
        attribute(&first[0], MessageSystemAttributeName::ApproximateReceiveCount),
        "1"
    );
    assert_eq!(counts(&client, &url).await, ["0", "1", "0"]);
    assert!(receive(&client, &url).await.is_empty());
    aws.clock.advance_ms(60_000);
    let second = receive(&client, &url).await;
    assert_eq!(
        attribute(&second[0], MessageSystemAttributeName::ApproximateReceiveCount),
        "2"
    );
    assert_eq!(second[0].message_id(), first[0].message_id());
    let handle = |messages: &[Message]| messages[0].receipt_handle().unwrap().to_owned();
    // The handle of an earlier receive does nothing.
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle(&first))
        .send()
        .await
        .unwrap();
    assert_eq!(counts(&client, &url).await, ["0", "1", "0"]);
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle(&second))
        .send()
        .await
        .unwrap();
    assert_eq!(counts(&client, &url).await, ["0", "0", "0"]);
    let bad = client
        .delete_message()
        .queue_url(&url)
        .receipt_handle("nonsense")
        .send()
        .await;
    assert_eq!(code(bad), "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn visibility_can_be_changed_while_the_message_is_in_flight() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[]).await;
    send(&client, &url, "one").await;
    let handle = receive(&client, &url).await[0].receipt_handle().unwrap().to_owned();
    let change = |seconds| {
        client
            .change_message_visibility()
            .queue_url(&url)
            .receipt_handle(&handle)
            .visibility_timeout(seconds)
            .send()
    };
    change(600).await.unwrap();
    aws.clock.advance_ms(599_000);
    assert!(receive(&client, &url).await.is_empty());
    assert_eq!(code(change(43_201).await), "InvalidParameterValue");
    change(0).await.unwrap();
    assert_eq!(code(change(10).await), "AWS.SimpleQueueService.MessageNotInflight");
    assert_eq!(receive(&client, &url).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_is_received_too_often_goes_to_the_dead_letters_and_back() {
    let aws = memory();
    let client = sqs(&aws);
    let dead = queue(&client, "dead", &[]).await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":2}"#;
    let url = queue(&client, "q", &[(QueueAttributeName::RedrivePolicy, policy)]).await;
    send(&client, &url, "poison").await;
    for _ in 0..2 {
        assert_eq!(receive(&client, &url).await.len(), 1);
        aws.clock.advance_ms(30_000);
    }
    assert!(receive(&client, &url).await.is_empty());
    let buried = receive(&client, &dead).await;
    assert_eq!(bodies(&buried), ["poison"]);
    let source = attribute(&buried[0], MessageSystemAttributeName::DeadLetterQueueSourceArn);
    assert_eq!(source, "arn:aws:sqs:us-east-1:000000000000:q");
    aws.clock.advance_ms(30_000);
    let dead_arn = "arn:aws:sqs:us-east-1:000000000000:dead";
    client
        .start_message_move_task()
        .source_arn(dead_arn)
        .send()
        .await
        .unwrap();
    let moved = receive(&client, &url).await;
    assert_eq!(bodies(&moved), ["poison"]);
    // It is a new message.
    assert_ne!(moved[0].message_id(), buried[0].message_id());
    assert_eq!(
        attribute(&moved[0], MessageSystemAttributeName::ApproximateReceiveCount),
        "1"
    );
    let first = MessageSystemAttributeName::ApproximateFirstReceiveTimestamp;
    assert_ne!(attribute(&moved[0], first.clone()), attribute(&buried[0], first));
    let redrive = |source: &str| client.start_message_move_task().source_arn(source);
    assert_eq!(
        code(redrive("arn:aws:sqs:us-east-1:000000000000:q").send().await),
        "InvalidParameterValue"
    );
    assert_eq!(
        code(redrive("arn:aws:sqs:us-east-1:000000000000:none").send().await),
        "ResourceNotFoundException"
    );
    let slowly = redrive(dead_arn).max_number_of_messages_per_second(1).send().await;
    assert!(
        slowly
            .unwrap_err()
            .message()
            .unwrap()
            .contains("MaxNumberOfMessagesPerSecond")
    );
    let missing = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:none","maxReceiveCount":2}"#;
    let set = client
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::RedrivePolicy, missing);
    assert_eq!(code(set.send().await), "InvalidParameterValue");
}

#[tokio::test]
async fn delays_and_retention_go_by_the_clock() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[(QueueAttributeName::MessageRetentionPeriod, "600")]).await;
    client
        .send_message()
        .queue_url(&url)
        .message_body("late")
        .delay_seconds(300)
        .send()
        .await
        .unwrap();
    assert_eq!(counts(&client, &url).await, ["0", "0", "1"]);
    assert!(receive(&client, &url).await.is_empty());
    aws.clock.advance_ms(300_000);
    assert_eq!(bodies(&receive(&client, &url).await), ["late"]);
    aws.clock.advance_ms(300_000);
    assert_eq!(counts(&client, &url).await, ["0", "0", "0"]);
    let long = client
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .delay_seconds(901)
        .send()
        .await;
    assert_eq!(code(long), "InvalidParameterValue");
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_message() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[]).await;
    let waiting = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let sending = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        send(&client, &url, "now").await;
    };
    let both = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(waiting, sending).0 });
    assert_eq!(bodies(both.await.unwrap().unwrap().messages()), ["now"]);
    // Time that is moved makes a delayed message appear to who waits already.
    client
        .send_message()
        .queue_url(&url)
        .message_body("later")
        .delay_seconds(900)
        .send()
        .await
        .unwrap();
    let waiting = client
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(20)
        .max_number_of_messages(10)
        .send();
    let moving = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        aws.clock.advance_ms(900_000);
    };
    let both = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(waiting, moving).0 });
    assert!(bodies(both.await.unwrap().unwrap().messages()).contains(&"later"));
}

#[tokio::test]
async fn a_doubled_message_has_to_be_deleted_twice() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[]).await;
    send(&client, &url, "one").await;
    aws.sqs.duplicate_next(1);
    let first = receive(&client, &url).await;
    let handle = first[0].receipt_handle().unwrap();
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle)
        .send()
        .await
        .unwrap();
    let second = receive(&client, &url).await;
    assert_eq!(second[0].message_id(), first[0].message_id());
    let handle = second[0].receipt_handle().unwrap();
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle)
        .send()
        .await
        .unwrap();
    assert!(receive(&client, &url).await.is_empty());
    assert_eq!(counts(&client, &url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn attributes_travel_and_their_digest_is_that_of_the_developer_guide() {
    let client = sqs(&memory());
    let url = queue(&client, "q", &[]).await;
    let text = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("value")
        .build()
        .unwrap();
    let binary = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([1, 2]))
        .build()
        .unwrap();
    let sent = client
        .send_message()
        .queue_url(&url)
        .message_body("This is a test message");
    let sent = sent
        .message_attributes("b", binary.clone())
        .message_attributes("a", text.clone())
        .send()
        .await
        .unwrap();
    // RFC 1321 digests, made with another implementation (Python's hashlib).
    assert_eq!(sent.md5_of_message_body(), Some("fafb00f5732ab283681e124bf8747ed1"));
    assert_eq!(
        sent.md5_of_message_attributes(),
        Some("9b75dacda6d26a2941c301acf8e15118")
    );
    let received = receive(&client, &url).await;
    let attributes: BTreeMap<_, _> = received[0].message_attributes().unwrap().iter().collect();
    assert_eq!(attributes[&"a".to_owned()], &text);
    assert_eq!(attributes[&"b".to_owned()], &binary);
}

#[tokio::test]
async fn batches_fail_entry_by_entry() {
    let client = sqs(&memory());
    let url = queue(&client, "q", &[]).await;
    let entry = |id: &str, delay| {
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body("x")
            .delay_seconds(delay)
            .build()
            .unwrap()
    };
    let batch = |entries: Vec<_>| {
        client
            .send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send()
    };
    let mixed = batch(vec![entry("good", 0), entry("bad", 901)]).await.unwrap();
    assert_eq!(
        mixed.successful.iter().map(|entry| entry.id()).collect::<Vec<_>>(),
        ["good"]
    );
    assert_eq!(mixed.failed.iter().map(|entry| entry.id()).collect::<Vec<_>>(), ["bad"]);
    assert_eq!(counts(&client, &url).await, ["1", "0", "0"]);
    let prefix = "AWS.SimpleQueueService.";
    assert_eq!(code(batch(vec![]).await), format!("{prefix}EmptyBatchRequest"));
    let twice = batch(vec![entry("a", 0), entry("a", 0)]).await;
    assert_eq!(code(twice), format!("{prefix}BatchEntryIdsNotDistinct"));
    let many = (0..11).map(|n| entry(&n.to_string(), 0)).collect();
    assert_eq!(code(batch(many).await), format!("{prefix}TooManyEntriesInBatchRequest"));
    let big = |id: &str| {
        let body = "x".repeat(600_000);
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(body)
            .build()
            .unwrap()
    };
    assert_eq!(
        code(batch(vec![big("a"), big("b")]).await),
        format!("{prefix}BatchRequestTooLong")
    );
}

#[tokio::test]
async fn queues_are_made_once_and_named_when_they_are_missing() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[(QueueAttributeName::VisibilityTimeout, "60")]).await;
    assert_eq!(
        queue(&client, "q", &[(QueueAttributeName::VisibilityTimeout, "60")]).await,
        url
    );
    assert_eq!(
        client
            .get_queue_url()
            .queue_name("q")
            .send()
            .await
            .unwrap()
            .queue_url
            .unwrap(),
        url
    );
    let other = client
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::VisibilityTimeout, "61");
    assert_eq!(code(other.send().await), "QueueAlreadyExists");
    let missing = client.get_queue_url().queue_name("none").send().await;
    assert!(
        missing
            .as_ref()
            .unwrap_err()
            .as_service_error()
            .unwrap()
            .is_queue_does_not_exist()
    );
    assert_eq!(code(missing), "AWS.SimpleQueueService.NonExistentQueue");
    let fifo = client
        .create_queue()
        .queue_name("q2")
        .attributes(QueueAttributeName::FifoQueue, "true")
        .send()
        .await;
    assert!(fifo.unwrap_err().message().unwrap().contains("FifoQueue"));
    let group = client
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .message_group_id("g")
        .send()
        .await;
    assert!(group.unwrap_err().message().unwrap().contains("MessageGroupId"));
    for value in ["-1", "43201", "x"] {
        let wrong = client
            .create_queue()
            .queue_name("q3")
            .attributes(QueueAttributeName::VisibilityTimeout, value);
        assert_eq!(code(wrong.send().await), "InvalidAttributeValue", "{value}");
    }
    queue(&client, "r", &[]).await;
    let page = client.list_queues().max_results(1).send().await.unwrap();
    let rest = client
        .list_queues()
        .max_results(1)
        .next_token(page.next_token.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!((page.queue_urls.unwrap(), rest.next_token), (vec![url.clone()], None));
    send(&client, &url, "x").await;
    client.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(counts(&client, &url).await, ["0", "0", "0"]);
    let again = client.purge_queue().queue_url(&url).send().await;
    assert_eq!(code(again), "AWS.SimpleQueueService.PurgeQueueInProgress");
    let tags = HashMap::from([("a".to_owned(), "b".to_owned())]);
    client
        .tag_queue()
        .queue_url(&url)
        .set_tags(Some(tags.clone()))
        .send()
        .await
        .unwrap();
    assert_eq!(
        client
            .list_queue_tags()
            .queue_url(&url)
            .send()
            .await
            .unwrap()
            .tags
            .unwrap(),
        tags
    );
}

#[tokio::test]
async fn messages_survive_a_reopening() {
    let folder = folder("sqs");
    let url = {
        let client = sqs(&Aws::open(Some(&folder), Clock::system()).unwrap());
        let url = queue(&client, "q", &[]).await;
        send(&client, &url, "kept").await;
        url
    };
    let client = sqs(&Aws::open(Some(&folder), Clock::system()).unwrap());
    assert_eq!(bodies(&receive(&client, &url).await), ["kept"]);
    std::fs::remove_dir_all(folder).unwrap();
}
