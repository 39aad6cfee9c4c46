//! The account: whether it may send, and how much.

use std::sync::PoisonError;

use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use super::{AwsError, Ses, bad_request, only};
use crate::aws::store::Prepared;

impl Ses {
    pub(super) fn get_account(&self) -> Result<Value, AwsError> {
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner).per_second;
        let since_ms = self.clock.now_ms().saturating_sub(24 * 3600 * 1000);
        let (sent, is_enabled) = self.store.change(|tx| {
            let n: i64 = tx.row(
                "SELECT COALESCE(SUM(json_array_length(recipients)), 0) FROM mail WHERE at_ms > ?1",
                [since_ms],
                |row| row.get(0),
            )?;
            Ok::<_, AwsError>((n, is_sending_enabled(tx)?))
        })?;
        // A Max24HourSend of -1 is AWS's word for no limit.
        Ok(json!({
            "DedicatedIpAutoWarmupEnabled": false,
            "EnforcementStatus": "HEALTHY",
            "ProductionAccessEnabled": true,
            "SendQuota": {"Max24HourSend": -1.0, "MaxSendRate": rate, "SentLast24Hours": sent},
            "SendingEnabled": is_enabled,
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        }))
    }

    /// Stops the account from sending, or lets it send again. AWS does the same where bounces or complaints are too many.
    pub(super) fn put_sending(&self, body: &Value) -> Result<Value, AwsError> {
        only("PutAccountSendingAttributes", body, &["SendingEnabled"])?;
        // A member that is left out is false (SESv2 API Reference, PutAccountSendingAttributes).
        let is_enabled = match body.get("SendingEnabled") {
            None | Some(Value::Null) => false,
            Some(value) => value
                .as_bool()
                .ok_or_else(|| bad_request("SendingEnabled must be true or false."))?,
        };
        self.store.change(|tx| {
            let sql = "INSERT OR REPLACE INTO account (name, value) VALUES ('SendingEnabled', ?1)";
            tx.run(sql, [is_enabled])?;
            Ok(json!({}))
        })
    }
}

/// Whether the account may send; it may until somebody says otherwise.
pub(super) fn is_sending_enabled(tx: &Transaction<'_>) -> Result<bool, AwsError> {
    let sql = "SELECT value FROM account WHERE name = 'SendingEnabled'";
    Ok(tx.row(sql, [], |row| row.get(0)).optional()?.unwrap_or(true))
}
