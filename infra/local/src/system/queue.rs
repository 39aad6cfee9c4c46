//! What Lambda does between a queue and a function: receive batches, invoke, delete what was handled.
//!
//! The calls to SQS are made under the function's own role, as on AWS, and past the fault hook, since they are Lambda's and
//! not the product's. What is not deleted comes again when its visibility timeout has passed, and after the queue's number
//! of receives goes to its dead-letter queue; both are the queue's doing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Shared;
use super::function::{Failed, Function, request_id};
use crate::aws::wire::{Aws, Caller, Reply};
use crate::template::{self, QueueSource, REGION};

/// How long an empty queue is left alone.
const PAUSE: Duration = Duration::from_millis(50);
/// How many messages SQS gives in one call at most (API reference, ReceiveMessage).
const RECEIVE: u32 = 10;

/// Takes from one queue for one function.
pub(super) struct Poller {
    shared: Arc<Shared>,
    function: Arc<Function>,
    source: QueueSource,
    url: String,
    /// When the queue was found empty: what had happened by then, and when a message of it becomes visible by itself.
    empty: Mutex<Option<(u64, Option<i64>)>>,
}

impl Poller {
    /// Connects the two. Lambda looks at the queue first, by the function's role, and refuses one whose messages would come
    /// again while the function is still at work on them.
    pub(super) async fn new(
        shared: &Arc<Shared>,
        function: &Arc<Function>,
        source: &QueueSource,
        queue: &template::Queue,
    ) -> Result<Self> {
        let poller = Self {
            shared: Arc::clone(shared),
            function: Arc::clone(function),
            source: source.clone(),
            url: url(&shared.aws, &queue.name).await?,
            empty: Mutex::default(),
        };
        let request = json!({"QueueUrl": poller.url, "AttributeNames": ["VisibilityTimeout"]});
        let answer = poller.call("GetQueueAttributes", &request).await?;
        let attributes = answer.get("Attributes").context("a queue without attributes")?;
        let visibility_s: u64 = text(attributes, "VisibilityTimeout").parse()?;
        ensure!(
            visibility_s >= function.declared.timeout.as_secs(),
            "template.yaml, {}: messages come again before {} has run into its timeout",
            queue.logical,
            function.declared.logical
        );
        Ok(poller)
    }

    /// Polls until the system stops, then waits for the batches under way.
    pub(super) async fn run(self) {
        let this = Arc::new(self);
        let places = Arc::new(Semaphore::new(this.source.concurrency));
        let mut moved = this.shared.moved.subscribe();
        let mut batches = JoinSet::new();
        while !this.shared.stops() {
            while batches.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let received = this.receive().await.unwrap_or_else(|error| {
                tracing::error!(
                    function = this.function.declared.binary,
                    cause = format!("{error:#}"),
                    "the queue gave nothing"
                );
                Vec::new()
            });
            if received.is_empty() {
                drop(place);
                this.shared.pause(&mut moved, PAUSE).await;
                continue;
            }
            let poller = Arc::clone(&this);
            batches.spawn(async move {
                if let Err(error) = poller.handle(received).await {
                    let binary = &poller.function.declared.binary;
                    tracing::error!(
                        function = binary,
                        cause = format!("{error:#}"),
                        "handled messages will come again"
                    );
                }
                drop(place);
            });
        }
        while batches.join_next().await.is_some() {}
    }

    /// The function's name, and its queue's.
    pub(super) fn names(&self) -> (&str, &str) {
        let queue = self.source.arn.rsplit(':').next().unwrap_or_default();
        (&self.function.declared.binary, queue)
    }

    /// As many messages as one invocation gets. A queue in which nothing can have become visible is not asked.
    pub(super) async fn receive(&self) -> Result<Vec<Value>> {
        if self.is_still_empty()? {
            return Ok(Vec::new());
        }
        let n = self.source.batch_size.clamp(1, RECEIVE);
        let request = json!({
            "QueueUrl": self.url,
            "MaxNumberOfMessages": n,
            "WaitTimeSeconds": 0,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let mut answer = self.call("ReceiveMessage", &request).await?;
        match answer.get_mut("Messages").map(Value::take) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(messages)) => Ok(messages),
            Some(_) => bail!("the queue gave no list"),
        }
    }

    fn is_still_empty(&self) -> Result<bool> {
        let sqs = &self.shared.aws.sqs;
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let n_changes = sqs.n_changes();
        let next_ms = match *empty {
            Some((known, next_ms)) if known == n_changes => next_ms,
            _ => {
                let next_ms = sqs.next_visible_ms(self.names().1);
                let next_ms = next_ms.map_err(|error| anyhow::anyhow!("{}", error.code))?;
                *empty = Some((n_changes, next_ms));
                next_ms
            }
        };
        let is_empty = next_ms.is_none_or(|next_ms| next_ms > self.shared.clock.now_ms());
        if !is_empty {
            // What is received becomes visible later.
            *empty = None;
        }
        Ok(is_empty)
    }

    /// One invocation, and the deletion of what it handled.
    async fn handle(&self, messages: Vec<Value>) -> Result<()> {
        for message in self.invoke(&messages, &request_id()).await {
            self.delete(message).await?;
        }
        Ok(())
    }

    /// One invocation under this id; answers what it handled.
    pub(super) async fn invoke<'m>(&self, messages: &'m [Value], id: &str) -> Vec<&'m Value> {
        let records: Vec<Value> = messages
            .iter()
            .map(|message| record(message, &self.source.arn))
            .collect();
        let ids: Vec<&str> = messages.iter().map(|message| text(message, "MessageId")).collect();
        let failed = match self.function.invoke(json!({"Records": records}), id).await {
            Ok(answer) if self.source.reports_failures => failures(&answer, &ids),
            Ok(_) => Some(HashSet::new()),
            Err(failed) => {
                let cause = match &failed {
                    Failed::Error(error) => format!("{error:#}"),
                    Failed::TimedOut | Failed::Panicked => String::new(),
                };
                tracing::error!(
                    function = self.function.declared.binary,
                    request_id = id,
                    cause,
                    "{failed}"
                );
                None
            }
        };
        let Some(failed) = failed else {
            return Vec::new();
        };
        let is_handled = |message: &&Value| !failed.contains(text(message, "MessageId"));
        messages.iter().filter(is_handled).collect()
    }

    /// Takes a received message off the queue.
    pub(super) async fn delete(&self, message: &Value) -> Result<()> {
        let request = json!({"QueueUrl": self.url, "ReceiptHandle": text(message, "ReceiptHandle")});
        self.call("DeleteMessage", &request).await?;
        Ok(())
    }

    /// Lets a received message be received again so much later; at once for 0.
    pub(super) async fn release(&self, message: &Value, after_s: u32) -> Result<()> {
        let handle = text(message, "ReceiptHandle");
        let request = json!({"QueueUrl": self.url, "ReceiptHandle": handle, "VisibilityTimeout": after_s});
        let caller = Caller::default();
        sqs(&self.shared.aws, &caller, "ChangeMessageVisibility", &request).await?;
        Ok(())
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<Value> {
        let caller = Caller {
            role: Some(Arc::clone(&self.function.role)),
        };
        sqs(&self.shared.aws, &caller, operation, body).await
    }
}

/// Whether every queue that a function takes from is empty, no function is at work and no event of SES is due.
pub(super) async fn is_quiet(shared: &Shared) -> Result<bool> {
    let n_published = shared.aws.ses.n_published();
    if has_due_events(shared)? {
        return Ok(false);
    }
    for function in &shared.functions {
        for source in &function.declared.queues {
            let name = source.arn.rsplit(':').next().context("an ARN without a name")?;
            let request = json!({"QueueUrl": url(&shared.aws, name).await?, "AttributeNames": ["All"]});
            let answer = sqs(&shared.aws, &Caller::default(), "GetQueueAttributes", &request).await?;
            let counts = answer.get("Attributes").context("a queue without attributes")?;
            let counted = ["", "NotVisible", "Delayed"].iter();
            let mut counted = counted.map(|which| text(counts, &format!("ApproximateNumberOfMessages{which}")));
            if !counted.all(|count| count == "0") {
                return Ok(false);
            }
        }
    }
    let is_at_work = shared.functions.iter().any(|function| function.n_running() > 0);
    // A function that ended meanwhile may have sent mail, whose events were published after their queue was looked at.
    Ok(!is_at_work && !has_due_events(shared)? && shared.aws.ses.n_published() == n_published)
}

fn has_due_events(shared: &Shared) -> Result<bool> {
    let next_ms = shared.aws.ses.next_due_ms()?;
    Ok(next_ms.is_some_and(|next_ms| next_ms <= shared.clock.now_ms()))
}

/// Which messages a function reports as failed; `None` when the answer makes the whole batch fail, as an unknown or an
/// empty id does (Lambda developer guide, "Reporting batch item failures").
fn failures<'a>(answer: &Value, ids: &[&'a str]) -> Option<HashSet<&'a str>> {
    let failures = match answer.get("batchItemFailures") {
        None | Some(Value::Null) => return Some(HashSet::new()),
        Some(failures) => failures.as_array()?,
    };
    let named = |failure: &Value| {
        let id = failure.get("itemIdentifier")?.as_str()?;
        ids.iter().find(|known| **known == id).copied()
    };
    failures.iter().map(named).collect()
}

/// A received message as a Lambda event carries it.
fn record(message: &Value, arn: &str) -> Value {
    let attributes = message.get("MessageAttributes").and_then(Value::as_object);
    let attributes: serde_json::Map<String, Value> = attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let value = json!({
                "stringValue": value.get("StringValue"),
                "binaryValue": value.get("BinaryValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value.get("DataType"),
            });
            (name.clone(), value)
        })
        .collect();
    json!({
        "messageId": text(message, "MessageId"),
        "receiptHandle": text(message, "ReceiptHandle"),
        "body": text(message, "Body"),
        "md5OfBody": text(message, "MD5OfBody"),
        "attributes": message.get("Attributes").cloned().unwrap_or_else(|| json!({})),
        "messageAttributes": attributes,
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    })
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

async fn url(aws: &Aws, name: &str) -> Result<String> {
    let answer = sqs(aws, &Caller::default(), "GetQueueUrl", &json!({"QueueName": name})).await?;
    Ok(text(&answer, "QueueUrl").to_owned())
}

/// A call to SQS as it goes over the wire, past the fault hook.
async fn sqs(aws: &Aws, caller: &Caller, operation: &str, body: &Value) -> Result<Value> {
    let request = Request::post("/")
        .header("host", format!("sqs.{REGION}.amazonaws.com"))
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .body(Bytes::from(serde_json::to_vec(body)?))?;
    let Reply::Answer(answer) = aws.dispatch(caller, request).await else {
        bail!("{operation}: the reply was lost");
    };
    if !answer.status().is_success() {
        let refusal: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        bail!(
            "{operation}: {} {}",
            text(&refusal, "__type"),
            text(&refusal, "message")
        );
    }
    if answer.body().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer.body()).with_context(|| format!("{operation}: an answer that is no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_named_messages_failed_and_a_wrong_name_fails_all() {
        let ids = ["a", "b", "c"];
        for (answer, expected) in [
            (json!({"batchItemFailures": []}), Some(vec![])),
            (json!({}), Some(vec![])),
            (Value::Null, Some(vec![])),
            (json!({"batchItemFailures": [{"itemIdentifier": "b"}]}), Some(vec!["b"])),
            (
                json!({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "c"}]}),
                Some(vec!["a", "c"]),
            ),
            (json!({"batchItemFailures": [{"itemIdentifier": "x"}]}), None),
            (json!({"batchItemFailures": [{"itemIdentifier": ""}]}), None),
            (json!({"batchItemFailures": [{"itemIdentifier": null}]}), None),
            (json!({"batchItemFailures": [{"id": "a"}]}), None),
            (json!({"batchItemFailures": "a"}), None),
        ] {
            assert_eq!(failures(&answer, &ids), expected.map(HashSet::from_iter), "{answer}");
        }
    }
}
