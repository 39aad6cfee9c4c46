//! Batches of which a service does only a part, as it may at any time, and what it says of the rest.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::aws::dynamodb;
use crate::aws::error::AwsError;
use crate::aws::wire::{Service, dynamodb_answer, error, json_answer};

/// What is left of a batch after its first half.
pub(crate) struct Rest {
    service: Service,
    /// How the answer names what was not done.
    name: &'static str,
    left: Value,
    is_all: bool,
}

/// Takes the second half out of a request; `None` for a call that is no batch.
pub(crate) fn halve(service: Service, operation: &str, request: &mut Request<Bytes>) -> Option<Rest> {
    let mut body: Value = serde_json::from_slice(request.body()).ok()?;
    let (name, left, is_all) = match (service, operation) {
        (Service::Sqs, "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch") => {
            let entries = body.get_mut("Entries")?.as_array_mut()?;
            let left = entries.split_off(entries.len() / 2);
            ("Failed", left.iter().map(failed).collect(), entries.is_empty())
        }
        (Service::Dynamodb, "BatchGetItem" | "BatchWriteItem") => {
            let tables = body.get_mut("RequestItems")?.as_object_mut()?;
            let mut keep = tables
                .values_mut()
                .filter_map(items)
                .map(|items| items.len())
                .sum::<usize>()
                / 2;
            let mut left = tables.clone();
            for (table, kept) in tables.iter_mut() {
                let (kept, left) = (items(kept)?, items(left.get_mut(table)?)?);
                kept.truncate(keep);
                left.drain(..kept.len());
                keep -= kept.len();
            }
            let has_some = |_: &String, request: &mut Value| items(request).is_some_and(|items| !items.is_empty());
            tables.retain(has_some);
            left.retain(has_some);
            let name = if operation == "BatchGetItem" {
                "UnprocessedKeys"
            } else {
                "UnprocessedItems"
            };
            (name, Value::Object(left), tables.is_empty())
        }
        _ => return None,
    };
    *request.body_mut() = Bytes::from(body.to_string());
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    Some(Rest {
        service,
        name,
        left,
        is_all,
    })
}

impl Rest {
    /// The answer when nothing at all was done, where the service must not be asked.
    pub(crate) fn alone(&self) -> Option<Response<Bytes>> {
        match self.service {
            _ if !self.is_all => None,
            Service::Sqs => Some(json_answer(
                self.service,
                &json!({ "Successful": [], "Failed": self.left }),
            )),
            // "If none of the items can be processed" (BatchGetItem in the DynamoDB API Reference).
            service => Some(error(
                Some(service),
                &AwsError::bad_request("ProvisionedThroughputExceededException", "Rate exceeded"),
            )),
        }
    }

    /// The answer to the first half, with the rest added to what was not done in it. A refusal stays as it is.
    pub(crate) fn add_to(self, answer: Response<Bytes>) -> Response<Bytes> {
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let Ok(mut body) = serde_json::from_slice::<Map<String, Value>>(answer.body()) else {
            return answer;
        };
        merge(body.entry(self.name).or_insert(Value::Null), self.left);
        let body = Value::Object(body);
        match self.service {
            Service::Dynamodb => dynamodb_answer(dynamodb::Answer {
                status: StatusCode::OK,
                body: body.to_string().into_bytes(),
            }),
            service => json_answer(service, &body),
        }
    }
}

/// An entry that failed through no fault of the sender (BatchResultErrorEntry in the SQS API Reference).
fn failed(entry: &Value) -> Value {
    json!({
        "Id": entry.get("Id"), "SenderFault": false, "Code": "InternalError", "Message": "The entry was not processed."
    })
}

/// The items of one table in a batch: requests to write, or the keys to read.
fn items(table: &mut Value) -> Option<&mut Vec<Value>> {
    match table {
        Value::Array(requests) => Some(requests),
        Value::Object(read) => read.get_mut("Keys")?.as_array_mut(),
        _ => None,
    }
}

/// Adds lists to lists and tables to tables.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Array(into), Value::Array(more)) => into.extend(more),
        (Value::Object(into), Value::Object(more)) => {
            for (name, more) in more {
                merge(into.entry(name).or_insert(Value::Null), more);
            }
        }
        (into @ Value::Null, more) => *into = more,
        _ => {}
    }
}
