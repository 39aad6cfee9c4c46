//! Batches: up to ten entries, of which each fails or succeeds by itself.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Call;
use super::message::{Draft, delete, hide};
use super::queue::Queue;
use crate::aws::arn::is_name;
use crate::aws::error::AwsError;
use crate::aws::parameters::Parameters;

/// The longest id of an entry (SendMessageBatchRequestEntry, SQS API Reference).
const LONGEST_ID: usize = 80;
/// Entries in a batch (SQS API Reference).
const MOST_ENTRIES: usize = 10;
/// All bodies and attributes of a batch together: 1 MiB (SQS API Reference).
const MOST_BYTES: usize = 1_048_576;

impl Call<'_> {
    pub(super) fn send_message_batch(mut self) -> Result<Value, AwsError> {
        let (queue, entries) = self.entries()?;
        let now_ms = self.now_ms;
        self.given.finish()?;
        queue.check_key(self.kms)?;
        let mut drafts = Vec::new();
        for (id, mut given) in entries {
            let draft = Draft::parse(&mut given);
            if draft.is_ok() {
                given.finish()?;
            }
            drafts.push((id, draft));
        }
        let size: usize = drafts
            .iter()
            .filter_map(|(_, draft)| draft.as_ref().ok())
            .map(Draft::size)
            .sum();
        if size > MOST_BYTES {
            let message = format!("Batch requests cannot be longer than {MOST_BYTES} bytes.");
            return Err(AwsError::bad_request("BatchRequestTooLong", message));
        }
        let sent = drafts
            .into_iter()
            .map(|(id, draft)| (id, draft.and_then(|draft| draft.send(self.tx, &queue, now_ms))));
        outcome(sent)
    }

    pub(super) fn delete_message_batch(mut self) -> Result<Value, AwsError> {
        let (queue, entries) = self.entries()?;
        self.given.finish()?;
        let one = |mut given: Parameters| {
            let handle: String = given.required("ReceiptHandle")?;
            given.finish()?;
            delete(self.tx, &queue, &handle).map(|()| Map::new())
        };
        outcome(entries.into_iter().map(|(id, given)| (id, one(given))))
    }

    pub(super) fn change_message_visibility_batch(mut self) -> Result<Value, AwsError> {
        let (queue, entries) = self.entries()?;
        let now_ms = self.now_ms;
        self.given.finish()?;
        let one = |mut given: Parameters| {
            let handle: String = given.required("ReceiptHandle")?;
            let hidden_s: i64 = given.required("VisibilityTimeout")?;
            given.finish()?;
            hide(self.tx, &queue, &handle, hidden_s, now_ms).map(|()| Map::new())
        };
        outcome(entries.into_iter().map(|(id, given)| (id, one(given))))
    }

    fn entries(&mut self) -> Result<(Queue, Vec<(String, Parameters)>), AwsError> {
        let queue = self.queue()?;
        let entries: Vec<Value> = self.given.optional("Entries")?.unwrap_or_default();
        let refuse = |code: &str, message: &str| Err(AwsError::bad_request(code, message));
        if entries.is_empty() {
            return refuse(
                "EmptyBatchRequest",
                "There should be at least one entry in the request.",
            );
        }
        if entries.len() > MOST_ENTRIES {
            return refuse(
                "TooManyEntriesInBatchRequest",
                "Maximum number of entries per request are 10.",
            );
        }
        let mut ids = BTreeSet::new();
        let mut parsed = Vec::new();
        for entry in entries {
            let mut given = Parameters::new("SQS", "batch entry", entry)?;
            let id: String = given.required("Id")?;
            if !is_name(&id, LONGEST_ID) {
                return refuse(
                    "InvalidBatchEntryId",
                    "A batch entry id can only contain alphanumeric characters, hyphens and underscores.",
                );
            }
            if !ids.insert(id.clone()) {
                return refuse("BatchEntryIdsNotDistinct", "Two or more entries have the same id.");
            }
            parsed.push((id, given));
        }
        Ok((queue, parsed))
    }
}

/// The answer of a batch. What this system does not implement fails the call as a whole, so that nobody overlooks it.
fn outcome(results: impl Iterator<Item = (String, Result<Map<String, Value>, AwsError>)>) -> Result<Value, AwsError> {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, result) in results {
        match result {
            Ok(mut entry) => {
                entry.insert("Id".to_owned(), json!(id));
                successful.push(Value::Object(entry));
            }
            Err(error) if error.status == StatusCode::BAD_REQUEST => failed.push(json!({
                "Id": id, "SenderFault": true, "Code": error.code, "Message": error.message
            })),
            Err(error) => return Err(error),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}
