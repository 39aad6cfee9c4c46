//! The account's suppression list: addresses that SES accepts email for and then does not deliver to.

use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::behaviour::Listed;
use super::{AwsError, Ses, bad_request, listed, not_found, only, page, text};
use crate::aws::store::Prepared;

impl Ses {
    pub(super) fn put_suppressed(&self, body: &Value) -> Result<Value, AwsError> {
        only("PutSuppressedDestination", body, &["EmailAddress", "Reason"])?;
        let address = text(body, "EmailAddress")?.to_ascii_lowercase();
        let reason = text(body, "Reason")?;
        if !matches!(reason, "BOUNCE" | "COMPLAINT") {
            return Err(bad_request("Reason must be BOUNCE or COMPLAINT."));
        }
        if !address.contains('@') {
            return Err(bad_request("EmailAddress must be an email address."));
        }
        let now_ms = self.clock.now_ms();
        self.store.change(|tx| {
            // A new entry replaces an old one: one address, one reason.
            tx.run(
                "INSERT OR REPLACE INTO suppression (address, reason, since_ms) VALUES (?1, ?2, ?3)",
                (&address, reason, now_ms),
            )?;
            Ok(json!({}))
        })
    }

    pub(super) fn get_suppressed(&self, address: &str) -> Result<Value, AwsError> {
        let address = address.to_ascii_lowercase();
        let now_ms = self.clock.now_ms();
        let found = self.store.change(|tx| {
            let sql = "SELECT reason, since_ms FROM suppression WHERE address = ?1 AND since_ms <= ?2";
            let row = tx.row(sql, (&address, now_ms), |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?))
            });
            Ok::<_, AwsError>(row.optional()?)
        })?;
        let (reason, since_ms) = found.ok_or_else(|| missing(&address))?;
        Ok(json!({"SuppressedDestination": entry(&address, &reason, since_ms)}))
    }

    pub(super) fn list_suppressed(&self, query: &[(String, String)]) -> Result<Value, AwsError> {
        let known = ["Reason", "NextToken", "PageSize"];
        if let Some((name, _)) = query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(AwsError::not_implemented(&format!(
                "SESv2 ListSuppressedDestinations: {name}"
            )));
        }
        let value = |name: &str| {
            query
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let reasons: Vec<&str> = query
            .iter()
            .filter(|(key, _)| key == "Reason")
            .map(|(_, value)| value.as_str())
            .collect();
        let now_ms = self.clock.now_ms();
        let rows = self.store.change(|tx| {
            let sql = "SELECT address, reason, since_ms FROM suppression WHERE since_ms <= ?1 ORDER BY address";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map([now_ms], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            })?;
            Ok::<_, AwsError>(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        let rows = rows
            .into_iter()
            .filter(|(_, reason, _)| reasons.is_empty() || reasons.contains(&reason.as_str()));
        let items = rows.map(|(address, reason, since_ms)| {
            let item = entry(&address, &reason, since_ms);
            (address, item)
        });
        let size = value("PageSize").map(|size| size.parse::<i64>().unwrap_or(0));
        let (items, next) = page(items.collect(), value("NextToken"), size)?;
        Ok(listed("SuppressedDestinationSummaries", items, next))
    }

    pub(super) fn delete_suppressed(&self, address: &str) -> Result<Value, AwsError> {
        let address = address.to_ascii_lowercase();
        let sql = "DELETE FROM suppression WHERE address = ?1";
        match self.store.change(|tx| Ok::<_, AwsError>(tx.run(sql, [&address])?))? {
            0 => Err(missing(&address)),
            _ => Ok(json!({})),
        }
    }
}

/// Why the list stops email to `address` at `now_ms`, for a set that applies it for `reasons`; `None` where it does not.
pub(super) fn stops(
    tx: &rusqlite::Transaction<'_>,
    address: &str,
    reasons: &[String],
    now_ms: i64,
) -> Result<Option<Listed>, AwsError> {
    let sql = "SELECT reason FROM suppression WHERE address = ?1 AND since_ms <= ?2";
    let row = tx.row(sql, (address.to_ascii_lowercase(), now_ms), |row| {
        row.get::<_, String>(0)
    });
    let reason = row.optional()?.filter(|reason| reasons.contains(reason));
    Ok(reason.map(|reason| match reason.as_str() {
        "COMPLAINT" => Listed::Complained,
        _ => Listed::Bounced,
    }))
}

/// Puts `address` on the list from `since_ms` on, as SES does after a hard bounce or a complaint; an earlier entry stays.
pub(super) fn learn(
    tx: &rusqlite::Transaction<'_>,
    address: &str,
    reason: &str,
    since_ms: i64,
) -> Result<(), AwsError> {
    let sql = "INSERT OR IGNORE INTO suppression (address, reason, since_ms) VALUES (?1, ?2, ?3)";
    tx.run(sql, (address.to_ascii_lowercase(), reason, since_ms))?;
    Ok(())
}

fn missing(address: &str) -> AwsError {
    not_found(format!(
        "Email address {address} does not exist on your suppression list."
    ))
}

fn entry(address: &str, reason: &str, since_ms: i64) -> Value {
    // REST JSON writes times as seconds since the epoch.
    json!({"EmailAddress": address, "Reason": reason, "LastUpdateTime": since_ms / 1000})
}
