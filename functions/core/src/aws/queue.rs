//! The outbound queue. It is a hint: the table tells what has to be done, a lost or doubled message harms nothing.

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, EmailId, TenantId};

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

/// SendMessageBatch takes ten (API reference).
const BATCH: usize = 10;
/// The longest delay that SQS knows, in seconds.
const LONGEST_DELAY_S: i64 = 900;

impl App {
    /// Puts tickets on the outbound queue, to appear after `delay_ms` (900 s at most; the sweeper sees to the rest).
    ///
    /// # Errors
    /// Unavailable, when at least one ticket was not taken.
    pub(crate) async fn enqueue(&self, tickets: &[Ticket], delay_ms: i64) -> Result<()> {
        let delay = i32::try_from(delay_ms.max(0).div_euclid(1000).min(LONGEST_DELAY_S)).unwrap_or_default();
        for some in tickets.chunks(BATCH) {
            let mut call = self
                .aws
                .sqs
                .send_message_batch()
                .queue_url(&self.config.outbound_queue_url);
            for (n, ticket) in some.iter().enumerate() {
                let body = serde_json::to_string(ticket)
                    .map_err(|error| Error::internal("A ticket could not be written.").because(error))?;
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(n.to_string())
                    .message_body(body)
                    .delay_seconds(delay);
                call = call.entries(
                    entry
                        .build()
                        .map_err(|error| Error::internal("A ticket could not be written.").because(error))?,
                );
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
