//! A receiver on this machine that is posted to, so that what a post costs can be measured.
//!
//! What is done for a post is what a worker does between two writes of its row: sign by both algorithms, judge the URL, dial
//! or take a connection that is open, read the answer.

use super::post;
use super::signature::Secret;
use crate::clock::Clock;
use crate::config::DomainFacts;
use crate::egress::Egress;
use crate::error::Result;
use crate::random::Random;

/// A receiver and what it verifies by.
pub struct Sample {
    egress: Egress,
    clock: Clock,
    url: String,
    secrets: [Secret; 1],
}

impl Sample {
    /// A receiver at `http://127.0.0.1:<port>/…`.
    ///
    /// # Errors
    /// Internal, when there is no randomness for its secret.
    pub fn new(url: String) -> Result<Self> {
        Ok(Self {
            egress: Egress::new(DomainFacts::Table),
            clock: Clock::system(),
            url,
            secrets: [Secret::make(&Random::system())?],
        })
    }

    /// Posts one message; the status of the answer, if there is one.
    ///
    /// # Errors
    /// Internal, when it cannot be signed.
    pub async fn post(&self, id: &str, body: &[u8]) -> Result<Option<u16>> {
        let now_ms = self.clock.now_ms();
        let posted = post::send(&self.egress, &self.url, id, body.to_vec(), &self.secrets, now_ms).await?;
        Ok(posted.status)
    }
}
