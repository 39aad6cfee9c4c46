//! What SES was handed, for the mailbox page and for tests.

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use super::behaviour::{Event, TlsPolicy, state};
use super::{AwsError, Ses};
use crate::aws::store::Prepared;

/// One email that SES accepted.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The mailbox's own id, `msg_` and a number that grows.
    pub id: String,
    /// The id that SES answered.
    pub message_id: String,
    /// When SES accepted it, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients and what happens to each.
    pub recipients: Vec<Recipient>,
    /// The outer subject, decoded; empty where there is none.
    pub subject: String,
    /// The configuration set in force, by name or as the identity's default.
    pub configuration_set: Option<String>,
    /// The TLS policy in force.
    pub tls_policy: TlsPolicy,
    /// The message tags, name and value.
    pub tags: Vec<(String, String)>,
    /// The first 16 KiB of the message, which hold the header of any usual one.
    pub head: Vec<u8>,
}

/// One recipient of an email and all that happens to its copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// As in the envelope.
    pub address: String,
    /// Oldest first; those with a later time than the clock's have not happened yet.
    pub events: Vec<Event>,
}

impl Recipient {
    /// The state at `now_ms`: `accepted`, `delayed`, `delivered`, `bounced`, `suppressed`, `tls_failed`, `rejected`
    /// or `complained`.
    #[must_use]
    pub fn state(&self, now_ms: i64) -> &'static str {
        state(&self.events, now_ms)
    }
}

impl Handed {
    /// The state of the first recipient at `now_ms`, or `mixed` where the recipients differ.
    #[must_use]
    pub fn state(&self, now_ms: i64) -> &'static str {
        let mut states = self.recipients.iter().map(|recipient| recipient.state(now_ms));
        let first = states.next().unwrap_or("accepted");
        if states.all(|state| state == first) {
            first
        } else {
            "mixed"
        }
    }
}

/// Which emails to answer; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those with this recipient, whatever the case of its letters.
    pub to: Option<String>,
    /// Only the one with this mailbox id.
    pub id: Option<String>,
}

impl Ses {
    /// The emails that match, oldest first.
    ///
    /// # Errors
    /// What the local storage answers.
    pub fn messages(&self, filter: &Filter) -> Result<Vec<Handed>, AwsError> {
        let seq = match &filter.id {
            None => None,
            Some(id) => match sequence(id) {
                None => return Ok(Vec::new()),
                seq => seq,
            },
        };
        let mut messages = self.store.change(|tx| {
            let sql = "SELECT seq, message_id, at_ms, sender, recipients, subject, set_name, tls_policy, tags, \
                       substr(raw, 1, 16384) FROM mail \
                       WHERE ?1 IS NULL OR seq = ?1 ORDER BY seq";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map([seq], |row| {
                Ok(Handed {
                    id: format!("msg_{}", row.get::<_, i64>(0)?),
                    message_id: row.get(1)?,
                    at_ms: row.get(2)?,
                    from: row.get(3)?,
                    recipients: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
                    subject: row.get(5)?,
                    configuration_set: row.get(6)?,
                    tls_policy: match row.get::<_, String>(7)?.as_str() {
                        "REQUIRE" => TlsPolicy::Require,
                        _ => TlsPolicy::Optional,
                    },
                    tags: serde_json::from_str(&row.get::<_, String>(8)?).unwrap_or_default(),
                    head: row.get(9)?,
                })
            })?;
            Ok::<_, AwsError>(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        if let Some(to) = &filter.to {
            messages.retain(|mail| {
                mail.recipients
                    .iter()
                    .any(|recipient| recipient.address.eq_ignore_ascii_case(to))
            });
        }
        Ok(messages)
    }

    /// The octets of one email as its recipients get them; `None` for an unknown mailbox id.
    ///
    /// # Errors
    /// What the local storage answers.
    pub fn raw(&self, id: &str) -> Result<Option<Vec<u8>>, AwsError> {
        let Some(seq) = sequence(id) else { return Ok(None) };
        self.store.change(|tx| {
            let row = tx.row("SELECT raw FROM mail WHERE seq = ?1", [seq], |row| row.get(0));
            Ok(row.optional()?)
        })
    }
}

fn sequence(id: &str) -> Option<i64> {
    id.strip_prefix("msg_").and_then(|number| number.parse().ok())
}
