//! Configuration sets: the TLS policy and the delivery time that an email is handed over with.

use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::behaviour::{LONGEST_DELIVERY_S, TlsPolicy};
use super::{AwsError, Ses, bad_request, destination, listed, not_found, only, page, text};
use crate::aws::arn::is_name;
use crate::aws::store::Prepared;

/// The shortest time that SES may be told to try, in seconds (SESv2 API Reference, DeliveryOptions).
const SHORTEST_DELIVERY_S: i64 = 300;
/// The parts of a set that this system keeps; all others are refused by name.
const PARTS: &[&str] = &[
    "ConfigurationSetName",
    "DeliveryOptions",
    "ReputationOptions",
    "SendingOptions",
    "SuppressionOptions",
    "Tags",
];

/// What sending needs of a set.
pub(super) struct Options {
    pub(super) tls_policy: TlsPolicy,
    pub(super) max_delivery_s: i64,
    pub(super) is_sending_enabled: bool,
    /// The reasons for which the account's suppression list applies.
    pub(super) suppressed_reasons: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls_policy: TlsPolicy::Optional,
            max_delivery_s: LONGEST_DELIVERY_S,
            is_sending_enabled: true,
            suppressed_reasons: vec!["BOUNCE".to_owned(), "COMPLAINT".to_owned()],
        }
    }
}

impl Options {
    /// The options of a set's document, SES's defaults where it says nothing.
    pub(super) fn read(document: &Value) -> Self {
        let default = Self::default();
        let at = |pointer: &str| document.pointer(pointer);
        let is_required = at("/DeliveryOptions/TlsPolicy").and_then(Value::as_str) == Some("REQUIRE");
        let reasons = at("/SuppressionOptions/SuppressedReasons").and_then(Value::as_array);
        Self {
            tls_policy: if is_required {
                TlsPolicy::Require
            } else {
                TlsPolicy::Optional
            },
            max_delivery_s: at("/DeliveryOptions/MaxDeliverySeconds")
                .and_then(Value::as_i64)
                .unwrap_or(default.max_delivery_s),
            is_sending_enabled: at("/SendingOptions/SendingEnabled")
                .and_then(Value::as_bool)
                .unwrap_or(true),
            suppressed_reasons: reasons.map_or(default.suppressed_reasons, |reasons| {
                reasons.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }),
        }
    }
}

impl Ses {
    pub(super) fn create_configuration_set(&self, mut body: Value) -> Result<Value, AwsError> {
        only("CreateConfigurationSet", &body, PARTS)?;
        let name = text(&body, "ConfigurationSetName")?.to_owned();
        if !is_name(&name, 64) {
            return Err(bad_request(
                "Configuration set name must be 1 to 64 letters, digits, hyphens or underscores.",
            ));
        }
        if let Some(options) = body.get("DeliveryOptions") {
            check_delivery(options)?;
        }
        if let Some(options) = body.get("SuppressionOptions") {
            check_suppression(options)?;
        }
        if let Some(document) = body.as_object_mut() {
            document.retain(|_, value| !value.is_null());
        }
        self.store.change(|tx| {
            let n = tx.run(
                "INSERT OR IGNORE INTO configuration_set (name, document) VALUES (?1, ?2)",
                (&name, body.to_string()),
            )?;
            match n {
                0 => Err(AwsError::bad_request(
                    "AlreadyExistsException",
                    format!("Configuration set <{name}> already exists."),
                )),
                _ => Ok(json!({})),
            }
        })
    }

    pub(super) fn get_configuration_set(&self, name: &str) -> Result<Value, AwsError> {
        let mut document = self.store.change(|tx| load(tx, name))?;
        if let Some(document) = document.as_object_mut() {
            let defaults = [
                ("DeliveryOptions", json!({"TlsPolicy": "OPTIONAL"})),
                ("SendingOptions", json!({"SendingEnabled": true})),
                ("ReputationOptions", json!({"ReputationMetricsEnabled": false})),
                ("Tags", json!([])),
            ];
            for (part, default) in defaults {
                document.entry(part).or_insert(default);
            }
        }
        Ok(document)
    }

    pub(super) fn put_delivery_options(&self, name: &str, body: &Value) -> Result<Value, AwsError> {
        check_delivery(body)?;
        self.replace_part(name, "DeliveryOptions", body)
    }

    pub(super) fn put_suppression_options(&self, name: &str, body: &Value) -> Result<Value, AwsError> {
        check_suppression(body)?;
        self.replace_part(name, "SuppressionOptions", body)
    }

    pub(super) fn list_configuration_sets(&self, body: &Value) -> Result<Value, AwsError> {
        let names = self.store.change(|tx| {
            let mut statement = tx.prepare_cached("SELECT name FROM configuration_set ORDER BY name")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok::<_, AwsError>(names.collect::<Result<Vec<_>, _>>()?)
        })?;
        let items = names
            .into_iter()
            .map(|name| (name.clone(), Value::String(name)))
            .collect();
        let token = body.get("NextToken").and_then(Value::as_str);
        let (items, next) = page(items, token, body.get("PageSize").and_then(Value::as_i64))?;
        Ok(listed("ConfigurationSets", items, next))
    }

    pub(super) fn delete_configuration_set(&self, name: &str) -> Result<Value, AwsError> {
        self.store.change(|tx| {
            load(tx, name)?;
            tx.run("DELETE FROM configuration_set WHERE name = ?1", [name])?;
            destination::forget(tx, name)?;
            Ok(json!({}))
        })
    }

    fn replace_part(&self, name: &str, part: &str, options: &Value) -> Result<Value, AwsError> {
        self.store.change(|tx| {
            let mut document = load(tx, name)?;
            if let Some(document) = document.as_object_mut() {
                document.insert(part.to_owned(), options.clone());
            }
            tx.run(
                "UPDATE configuration_set SET document = ?2 WHERE name = ?1",
                (name, document.to_string()),
            )?;
            Ok(json!({}))
        })
    }
}

/// The set's document as it was created and changed.
///
/// # Errors
/// NotFoundException, worded as SES words it.
pub(super) fn load(tx: &rusqlite::Transaction<'_>, name: &str) -> Result<Value, AwsError> {
    let sql = "SELECT document FROM configuration_set WHERE name = ?1";
    let document: Option<String> = tx.row(sql, [name], |row| row.get(0)).optional()?;
    let document = document.ok_or_else(|| not_found(format!("Configuration set <{name}> does not exist.")))?;
    Ok(serde_json::from_str(&document).unwrap_or_default())
}

fn check_delivery(options: &Value) -> Result<(), AwsError> {
    only("DeliveryOptions", options, &["TlsPolicy", "MaxDeliverySeconds"])?;
    match options.get("TlsPolicy").map(Value::as_str) {
        None | Some(Some("REQUIRE" | "OPTIONAL")) => {}
        _ => return Err(bad_request("TlsPolicy must be REQUIRE or OPTIONAL.")),
    }
    let Some(seconds) = options.get("MaxDeliverySeconds").filter(|seconds| !seconds.is_null()) else {
        return Ok(());
    };
    match seconds.as_i64() {
        Some(SHORTEST_DELIVERY_S..=LONGEST_DELIVERY_S) => Ok(()),
        _ => Err(bad_request(format!(
            "MaxDeliverySeconds must be between {SHORTEST_DELIVERY_S} and {LONGEST_DELIVERY_S}."
        ))),
    }
}

fn check_suppression(options: &Value) -> Result<(), AwsError> {
    only("SuppressionOptions", options, &["SuppressedReasons"])?;
    let reasons = options
        .get("SuppressedReasons")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    match reasons
        .map(Value::as_str)
        .all(|reason| matches!(reason, Some("BOUNCE" | "COMPLAINT")))
    {
        true => Ok(()),
        false => Err(bad_request("SuppressedReasons must be BOUNCE or COMPLAINT.")),
    }
}
