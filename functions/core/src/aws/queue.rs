//! The outbound and the webhook queue. They are hints: the table tells what has to be done, a lost or doubled message harms
//! nothing. The queue of SES's events takes what a simulated recipient makes SES say.

use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use aws_smithy_types::error::operation::BuildError;
use serde::{Deserialize, Serialize};

use super::site::Site;
use crate::app::App;
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, EmailId, EventId, TenantId, WebhookId};
use crate::planted;
use crate::planted::slip;

/// A delivery that may be due: ids only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The tenant.
    pub tenant: TenantId,
    /// The email.
    pub email: EmailId,
    /// The delivery.
    pub delivery: DeliveryId,
}

/// An event that customers may have to be told of: ids only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// The tenant.
    pub tenant: TenantId,
    /// The event.
    pub event: EventId,
    /// The endpoint that it is to be posted to; none as long as nobody looked which endpoints want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
}

/// SendMessageBatch takes ten (API reference).
const BATCH: usize = 10;
/// The longest delay that SQS knows, in seconds.
pub(crate) const LONGEST_DELAY_S: i64 = 900;

impl App {
    /// Puts tickets on the outbound queue, to appear after `delay_ms` (900 s at most; the sweeper sees to the rest).
    ///
    /// # Errors
    /// Unavailable, when at least one ticket was not taken.
    #[track_caller]
    pub(crate) fn enqueue(&self, tickets: &[Ticket], delay_ms: i64) -> impl Future<Output = Result<()>> {
        Site::caller().scope(async move {
            let delay_s = delay_ms.max(0).div_euclid(1000);
            let tickets = tickets.iter().map(|ticket| (ticket, delay_s));
            self.put_on_queue(&self.config.outbound_queue_url, tickets).await
        })
    }

    /// Puts hints on the webhook queue, to appear after `delay_ms`, not before (900 s at most; the sweep sees to the rest).
    ///
    /// # Errors
    /// Unavailable, when at least one hint was not taken.
    #[track_caller]
    pub(crate) fn enqueue_hints(&self, hints: &[Hint], delay_ms: i64) -> impl Future<Output = Result<()>> {
        Site::caller().scope(async move {
            let delay_s = delay_ms.max(0).saturating_add(999).div_euclid(1000);
            let hints = hints.iter().map(|hint| (hint, delay_s));
            self.put_on_queue(&self.config.webhook_queue_url, hints).await
        })
    }

    /// Puts events in SES's form on the queue of its events, each to appear after so many seconds.
    ///
    /// # Errors
    /// Unavailable, when at least one was not taken.
    #[track_caller]
    pub(crate) fn enqueue_ses_events(&self, events: &[(serde_json::Value, i64)]) -> impl Future<Output = Result<()>> {
        Site::caller().scope(async move {
            let events = events.iter().map(|(event, delay_s)| (event, *delay_s));
            self.put_on_queue(&self.config.ses_events_queue_url, events).await
        })
    }

    /// Puts hints on the webhook queue. Whether that works changes nothing for the caller: the sweep finds what is lost.
    pub(crate) async fn hint(&self, hints: &[Hint]) {
        if let Err(error) = self.enqueue_hints(hints, 0).await {
            tracing::warn!(
                n_hints = hints.len(),
                "events were not put on the webhook queue: {error}"
            );
        }
    }

    /// Puts messages on a queue, each to appear after so many seconds.
    async fn put_on_queue<T: Serialize>(
        &self,
        queue_url: &str,
        messages: impl Iterator<Item = (T, i64)>,
    ) -> Result<()> {
        let unwritten = |error| Error::internal("A message could not be written.").because(error);
        let unbuilt = |error: BuildError| Error::internal("A message has no form.").because(error);
        let messages: Vec<_> = messages.collect();
        for some in messages.chunks(BATCH) {
            let mut call = self.aws.sqs.send_message_batch().queue_url(queue_url);
            for (n, (message, delay_s)) in some.iter().enumerate() {
                let delay = i32::try_from(*delay_s.min(&LONGEST_DELAY_S)).unwrap_or_default();
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(n.to_string())
                    .message_body(serde_json::to_string(message).map_err(unwritten)?)
                    .delay_seconds(delay);
                let entry = if planted!("leak_07") {
                    let preview = MessageAttributeValue::builder().data_type("String");
                    entry.message_attributes(
                        "preview",
                        preview.string_value(slip::last().text).build().map_err(unbuilt)?,
                    )
                } else {
                    entry
                };
                let entry = entry.build();
                call = call.entries(entry.map_err(unbuilt)?);
            }
            let answer = call
                .send()
                .await
                .map_err(|error| super::call_error("The queue", &error))?;
            if !answer.failed.is_empty() {
                return Err(Error::new(Kind::Unavailable, "The queue is not available."));
            }
        }
        Ok(())
    }
}
