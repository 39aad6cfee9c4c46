//! Faults on the wire between a function's client and the services.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{KeysAndAttributes, PutRequest, WriteRequest};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde_json::json;

use super::{n_items, new_item, put, role, table, text};
use crate::aws::fault::{Call, Failure, Phase, Verdict};
use crate::aws::testing::{code, memory, sdk};
use crate::aws::wire::Aws;

/// Fails every call before its effect.
fn fail(aws: &Arc<Aws>, failure: Failure) {
    aws.set_faults(Some(Arc::new(move |_: &Call, phase| match phase {
        Phase::Before => Verdict::Fail(failure),
        Phase::After => Verdict::Go,
    })));
}

#[tokio::test]
async fn a_fault_hits_the_call_it_is_meant_for() {
    let aws = memory();
    let own = table(&aws).await;
    let role = role(&[json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })]);
    let client = Client::new(&sdk(&aws, Some(&role)));
    for (failure, phase, n_after) in [
        (Failure::Throttled, Phase::Before, 0),
        (Failure::ServerError, Phase::Before, 0),
        (Failure::TimedOut, Phase::Before, 0),
        (Failure::Reset, Phase::Before, 0),
        (Failure::AccessDenied, Phase::Before, 0),
        (Failure::TimedOut, Phase::After, 1),
        (Failure::Garbage, Phase::After, 2),
        (Failure::Reset, Phase::After, 3),
    ] {
        let seen = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&seen);
        aws.set_faults(Some(Arc::new(move |call: &Call, at| {
            counted.fetch_add(1, Ordering::SeqCst);
            assert_eq!(
                (call.service, call.operation.as_str(), call.role.as_str()),
                ("dynamodb", "PutItem", "send")
            );
            if at == phase {
                Verdict::Fail(failure)
            } else {
                Verdict::Go
            }
        })));
        let pk = format!("{failure:?}{phase:?}");
        let error = put(&client, &pk).send().await.unwrap_err();
        match failure {
            Failure::Conflict | Failure::Partial => panic!("not among the cases"),
            Failure::Throttled => assert_eq!(error.code(), Some("ThrottlingException")),
            Failure::AccessDenied => assert_eq!(error.code(), Some("AccessDeniedException")),
            Failure::ServerError => assert_eq!(error.raw_response().unwrap().status().as_u16(), 500),
            Failure::TimedOut | Failure::Reset => assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}"),
            Failure::Garbage => assert!(!matches!(error, SdkError::DispatchFailure(_)), "{error:?}"),
        }
        assert_eq!(seen.load(Ordering::SeqCst), if phase == Phase::Before { 1 } else { 2 });
        assert_eq!(n_items(&own).await, n_after, "{failure:?} {phase:?}");
        assert_eq!(aws.n_calls(), 1);
    }
    aws.set_faults(None);
    put(&client, "at last").send().await.unwrap();
}

#[tokio::test]
async fn a_conflict_cancels_a_transaction_and_names_the_item() {
    let aws = memory();
    let own = table(&aws).await;
    let role = role(&[json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })]);
    let client = Client::new(&sdk(&aws, Some(&role)));
    fail(&aws, Failure::Conflict);
    let both = client
        .transact_write_items()
        .transact_items(new_item("a"))
        .transact_items(new_item("b"));
    let TransactWriteItemsError::TransactionCanceledException(why) =
        both.send().await.unwrap_err().into_service_error()
    else {
        panic!("another error")
    };
    let reasons: Vec<_> = why
        .cancellation_reasons()
        .iter()
        .map(|reason| reason.code().unwrap())
        .collect();
    assert_eq!(reasons, ["TransactionConflict", "None"]);
    assert!(why.message().unwrap().ends_with("[TransactionConflict, None]"));
    assert_eq!(code(put(&client, "a").send().await), "TransactionConflictException");
    // A read never conflicts, and a test that asks for it is told so.
    let read = client.scan().table_name("Mail").send().await;
    assert!(
        read.unwrap_err()
            .message()
            .unwrap()
            .contains("the fault Conflict of dynamodb Scan")
    );
    assert_eq!(n_items(&own).await, 0);
    aws.set_faults(None);
    client
        .transact_write_items()
        .transact_items(new_item("a"))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_batch_is_done_by_half_and_the_rest_comes_back() {
    let aws = memory();
    let own = table(&aws).await;
    let role = role(&[json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })]);
    let config = sdk(&aws, Some(&role));
    let client = Client::new(&config);
    fail(&aws, Failure::Partial);
    let write = |pk: &str| {
        let put = PutRequest::builder()
            .item("pk", text(pk))
            .item("sk", text("s"))
            .build()
            .unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let three = vec![write("a"), write("b"), write("c")];
    let written = client
        .batch_write_item()
        .request_items("Mail", three)
        .send()
        .await
        .unwrap();
    assert_eq!(written.unprocessed_items().unwrap()["Mail"], [write("b"), write("c")]);
    assert_eq!(n_items(&own).await, 1);
    let key = |pk: &str| [("pk".to_owned(), text(pk)), ("sk".to_owned(), text("s"))].into();
    let read = |keys: &[&str]| {
        let keys = keys.iter().map(|pk| key(pk)).collect();
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()
            .unwrap();
        client.batch_get_item().request_items("Mail", keys).send()
    };
    let got = read(&["a", "b"]).await.unwrap();
    assert_eq!(got.responses().unwrap()["Mail"].len(), 1);
    let left = &got.unprocessed_keys().unwrap()["Mail"];
    assert_eq!(
        (left.keys(), left.consistent_read()),
        ([key("b")].as_slice(), Some(true))
    );
    assert_eq!(code(read(&["a"]).await), "ProvisionedThroughputExceededException");
    let sqs = aws_sdk_sqs::Client::new(&config);
    let queue = aws_sdk_sqs::Client::new(&sdk(&aws, None))
        .create_queue()
        .queue_name("q")
        .send()
        .await;
    let url = queue.unwrap().queue_url.unwrap();
    let send = |ids: &[&str]| {
        let entry = |id: &&str| {
            SendMessageBatchRequestEntry::builder()
                .id(*id)
                .message_body("x")
                .build()
                .unwrap()
        };
        let entries = ids.iter().map(entry).collect();
        sqs.send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send()
    };
    for (ids, sent, lost) in [
        (&["1", "2", "3"][..], &["1"][..], &["2", "3"][..]),
        (&["1"], &[], &["1"]),
    ] {
        let answer = send(ids).await.unwrap();
        let successful: Vec<_> = answer.successful.iter().map(|entry| entry.id()).collect();
        let failed: Vec<_> = answer
            .failed
            .iter()
            .map(|entry| (entry.id(), entry.sender_fault()))
            .collect();
        assert_eq!(successful, sent);
        assert_eq!(failed, lost.iter().map(|id| (*id, false)).collect::<Vec<_>>());
    }
    fail(&aws, Failure::Throttled);
    assert_eq!(code(send(&["1"]).await), "RequestThrottled");
}
