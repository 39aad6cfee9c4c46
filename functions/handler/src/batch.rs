//! Batches from SQS: each message on its own, the failed ones reported.

use std::sync::Arc;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use sealpost_core::planted;

/// Runs `work` for the body of every message at the same time and reports exactly the messages for which it answers
/// `false`; the others are done with.
pub async fn each<F, Fut>(event: SqsEvent, work: F) -> SqsBatchResponse
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = bool> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    let ids: Arc<[String]> = event
        .records
        .iter()
        .map(|record| record.message_id.clone().unwrap_or_default())
        .collect();
    for (n, record) in event.records.into_iter().enumerate() {
        let work = work(record.body.unwrap_or_default());
        running.spawn(async move { (n, work.await) });
    }
    if planted::is_on("bug_07") {
        running.detach_all();
        return SqsBatchResponse::default();
    }
    let mut done = vec![false; ids.len()];
    while let Some(finished) = running.join_next().await {
        // A task that panicked reports nothing and so counts as failed.
        if let Ok((n, is_done)) = finished
            && let Some(place) = done.get_mut(n)
        {
            *place = is_done;
        }
    }
    let mut response = SqsBatchResponse::default();
    for (id, is_done) in ids.iter().zip(done) {
        if !is_done && !planted::is_on("bug_08") {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier.clone_from(id);
            response.batch_item_failures.push(failure);
        }
    }
    response
}
