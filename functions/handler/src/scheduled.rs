//! What invokes a function that takes from a queue and sweeps on a schedule what the queue lost.

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
