//! Takes what SES says of deliveries from the queue, and makes it their state.

use std::sync::Arc;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use sealpost_core::actor::Actor;
use sealpost_core::app::App;
use sealpost_core::delivery::notification::{self, Read};
use sealpost_core::delivery::track;
use sealpost_core::error::Result;
use sealpost_handler::batch;

/// The actor of what this function does.
const ACTOR: Actor = Actor::System("tracking");

/// Handles one batch of SES's events.
///
/// # Errors
/// None; the messages of the batch fail one by one instead.
pub async fn handle(app: Arc<App>, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse> {
    let work = |body: String| take(Arc::clone(&app), body);
    Ok(batch::each(event.payload, work).await)
}

/// Takes one event; whether its message is done with.
async fn take(app: Arc<App>, body: String) -> bool {
    match notification::read(&body) {
        // What cannot be read stays, and ends in the dead-letter queue, where it is seen.
        Read::Malformed => {
            tracing::error!("a message on the queue of SES's events is none");
            false
        }
        Read::Other => true,
        Read::Event(event) => match track::track(&app, &ACTOR, &event).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(delivery = %event.delivery, kind = ?error.kind(), "an event was not taken: {error}");
                false
            }
        },
    }
}
