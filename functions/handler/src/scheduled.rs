//! What invokes a function that works on a schedule, and one that takes from a queue as well.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use serde::{Deserialize, Serialize};

/// What invokes the function.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// Messages from its queue.
    Queue(SqsEvent),
    /// The schedule.
    Schedule(Schedule),
}

/// What invokes a function that has no queue. Where it is something else, the error does not repeat it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Scheduled {
    /// The schedule.
    Schedule(Schedule),
}

/// The input of the schedule in `template.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What is due.
    pub task: Task,
}

/// What a schedule asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Put on the queue again what it lost, and see to what is due.
    Sweep,
}

/// What the function answers: the failed messages of a batch, or nothing.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// The messages of the batch that are to come again.
    Batch(SqsBatchResponse),
    /// A schedule's run.
    Done {},
}
