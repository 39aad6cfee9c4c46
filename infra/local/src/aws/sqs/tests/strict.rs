//! What SQS refuses, and what it may do that a consumer must not rely on the contrary of.

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use serde_json::json;

use super::{bodies, code, queue, receive, send, sqs};
use crate::aws::testing::{memory, sdk};

#[tokio::test]
async fn an_encrypted_queue_needs_a_key_that_can_be_used() {
    let aws = memory();
    let client = sqs(&aws);
    let kms = aws_sdk_kms::Client::new(&sdk(&aws, None));
    let key = kms
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap();
    let url = queue(&client, "q", &[(QueueAttributeName::KmsMasterKeyId, &key)]).await;
    send(&client, &url, "kept").await;
    let refused = async |expected: &str| {
        let sent = client.send_message().queue_url(&url).message_body("x").send().await;
        assert_eq!(code(sent), expected);
        let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder();
        let entry = entry.id("1").message_body("x").build().unwrap();
        assert_eq!(
            code(client.send_message_batch().queue_url(&url).entries(entry).send().await),
            expected
        );
        assert_eq!(code(client.receive_message().queue_url(&url).send().await), expected);
    };
    kms.disable_key().key_id(&key).send().await.unwrap();
    refused("KMS.DisabledException").await;
    kms.enable_key().key_id(&key).send().await.unwrap();
    let kept = receive(&client, &url).await;
    assert_eq!(bodies(&kept), ["kept"]);
    kms.schedule_key_deletion()
        .key_id(&key)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    refused("KMS.InvalidStateException").await;
    aws.clock.advance_ms(7 * 86_400_000);
    refused("KMS.NotFoundException").await;
    // The key that AWS manages is always there.
    let managed = queue(
        &client,
        "managed",
        &[(QueueAttributeName::KmsMasterKeyId, "alias/aws/sqs")],
    )
    .await;
    send(&client, &managed, "one").await;
    assert_eq!(bodies(&receive(&client, &managed).await), ["one"]);
}

#[tokio::test]
async fn a_topic_cannot_reach_a_queue_whose_key_is_disabled() {
    let aws = memory();
    let made = aws.kms.call("CreateKey", json!({})).await.unwrap();
    let key = &made["KeyMetadata"]["KeyId"];
    let policy =
        json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}).to_string();
    let body = json!({"QueueName": "q", "Attributes": {"KmsMasterKeyId": key, "Policy": policy}});
    aws.sqs.call("CreateQueue", body).await.unwrap();
    let deliver = || {
        aws.sqs
            .deliver("arn:aws:sqs:us-east-1:000000000000:q", "topic", "x", &json!({}))
    };
    deliver().unwrap();
    aws.kms.call("DisableKey", json!({"KeyId": key})).await.unwrap();
    assert_eq!(deliver().unwrap_err().code, "KmsDisabled");
}

#[tokio::test]
async fn a_queue_is_named_by_the_whole_path_of_its_url() {
    let client = sqs(&memory());
    let url = queue(&client, "q", &[]).await;
    let missing = "AWS.SimpleQueueService.NonExistentQueue";
    for (url, expected) in [
        ("q", "InvalidAddress"),
        ("/000000000000/q", "InvalidAddress"),
        ("http://sqs.test/q", "InvalidAddress"),
        ("http://sqs.test/111111111111/q", missing),
        ("http://sqs.test/000000000000/none", missing),
        ("http://sqs.test/000000000000/q/q", missing),
    ] {
        let sent = client.send_message().queue_url(url).message_body("x").send().await;
        assert_eq!(code(sent), expected, "{url}");
        assert_eq!(
            code(client.receive_message().queue_url(url).send().await),
            expected,
            "{url}"
        );
    }
    send(
        &client,
        &url.replace("sqs.us-east-1.localhost", "elsewhere.test:4566"),
        "x",
    )
    .await;
    assert_eq!(receive(&client, &url).await.len(), 1);
}

#[tokio::test]
async fn a_message_is_hidden_for_twelve_hours_after_its_receive_at_most() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[(QueueAttributeName::VisibilityTimeout, "43200")]).await;
    send(&client, &url, "one").await;
    let handle = receive(&client, &url).await[0].receipt_handle().unwrap().to_owned();
    let change = |seconds| {
        let call = client
            .change_message_visibility()
            .queue_url(&url)
            .receipt_handle(&handle);
        call.visibility_timeout(seconds).send()
    };
    aws.clock.advance_ms(3_600_000);
    assert_eq!(code(change(39_601).await), "InvalidParameterValue");
    // The clock goes on between two calls, so ten seconds are left for that.
    change(39_590).await.unwrap();
    aws.clock.advance_ms(39_580_000);
    assert!(receive(&client, &url).await.is_empty());
    aws.clock.advance_ms(10_000);
    assert_eq!(receive(&client, &url).await.len(), 1);
}

#[tokio::test]
async fn attributes_that_say_nothing_are_refused() {
    let client = sqs(&memory());
    let url = queue(&client, "q", &[]).await;
    let set = |name: QueueAttributeName, value: &str| {
        client
            .set_queue_attributes()
            .queue_url(&url)
            .attributes(name, value)
            .send()
    };
    for (name, value) in [
        (QueueAttributeName::Policy, "none"),
        (QueueAttributeName::Policy, "[]"),
        (QueueAttributeName::SqsManagedSseEnabled, "yes"),
        (QueueAttributeName::SqsManagedSseEnabled, ""),
    ] {
        assert_eq!(
            code(set(name.clone(), value).await),
            "InvalidAttributeValue",
            "{name} {value}"
        );
    }
    set(QueueAttributeName::Policy, "{\"Statement\":[]}").await.unwrap();
    set(QueueAttributeName::Policy, "").await.unwrap();
    set(QueueAttributeName::SqsManagedSseEnabled, "false").await.unwrap();
    let unknown = client
        .receive_message()
        .queue_url(&url)
        .message_system_attribute_names(MessageSystemAttributeName::from("Sender"));
    assert_eq!(code(unknown.send().await), "InvalidAttributeName");
}

#[tokio::test]
async fn a_shuffled_queue_keeps_every_message_and_no_order() {
    let aws = memory();
    let client = sqs(&aws);
    let url = queue(&client, "q", &[]).await;
    let sent: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    for body in &sent {
        send(&client, &url, body).await;
    }
    aws.sqs.shuffle(true);
    let mut received = Vec::new();
    for _ in 0..4 {
        let messages = receive(&client, &url).await;
        received.extend(bodies(&messages).into_iter().map(str::to_owned));
    }
    // One in 40! times this order is that of the sending.
    assert_ne!(received, sent);
    // What is drawn comes from the whole queue, not only from its beginning.
    assert!(received.iter().take(10).any(|body| *body > sent[9]));
    received.sort();
    assert_eq!(received, sent);
    aws.sqs.shuffle(false);
    send(&client, &url, "a").await;
    send(&client, &url, "b").await;
    assert_eq!(bodies(&receive(&client, &url).await), ["a", "b"]);
}
