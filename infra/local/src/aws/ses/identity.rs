//! Identities: the domains and addresses that may be sent from.

use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::behaviour::{domain, has_host_bytes};
use super::{AwsError, Ses, bad_request, listed, not_found, only, page, text};
use crate::aws::store::Prepared;

impl Ses {
    /// Marks an existing identity as verified, as SES does once it has seen the DNS records; answers whether it exists.
    ///
    /// # Errors
    /// What the local storage answers.
    pub fn verify(&self, name: &str) -> Result<bool, AwsError> {
        let sql = "UPDATE identity SET verified = 1 WHERE name = ?1";
        self.store
            .change(|tx| Ok(tx.run(sql, [name.to_ascii_lowercase()])? == 1))
    }

    pub(super) fn create_identity(&self, body: &Value) -> Result<Value, AwsError> {
        only(
            "CreateEmailIdentity",
            body,
            &["EmailIdentity", "Tags", "ConfigurationSetName"],
        )?;
        let name = text(body, "EmailIdentity")?.to_ascii_lowercase();
        let domain = domain(&name);
        let is_domain = domain.contains('.') && has_host_bytes(&domain);
        if !is_domain || name.starts_with('@') || name.matches('@').count() > 1 {
            return Err(bad_request("EmailIdentity must be an email address or a domain."));
        }
        let set = body.get("ConfigurationSetName").and_then(Value::as_str);
        let is_verified = matches!(domain.rsplit('.').next(), Some("test" | "example"));
        let tags = body.get("Tags").cloned().unwrap_or_else(|| json!([]));
        self.store.change(|tx| {
            if let Some(set) = set {
                super::configuration_set::load(tx, set)?;
            }
            let n = tx.run(
                "INSERT OR IGNORE INTO identity (name, verified, set_name, tags) VALUES (?1, ?2, ?3, ?4)",
                (&name, is_verified, set, tags.to_string()),
            )?;
            match n {
                0 => Err(AwsError::bad_request(
                    "AlreadyExistsException",
                    format!("Email identity {name} already exist."),
                )),
                _ => Ok(json!({
                    "IdentityType": kind(&name),
                    "VerifiedForSendingStatus": is_verified,
                    "DkimAttributes": dkim(&name, is_verified),
                })),
            }
        })
    }

    pub(super) fn get_identity(&self, name: &str) -> Result<Value, AwsError> {
        let name = name.to_ascii_lowercase();
        let found = self.store.change(|tx| {
            let row = tx.row(
                "SELECT verified, set_name, tags FROM identity WHERE name = ?1",
                [&name],
                |row| {
                    Ok((
                        row.get::<_, bool>(0)?,
                        row.get::<_, Option<String>>(1)?,
                        row.get::<_, String>(2)?,
                    ))
                },
            );
            Ok::<_, AwsError>(row.optional()?)
        })?;
        let (is_verified, set, tags) =
            found.ok_or_else(|| not_found(format!("Email identity <{name}> does not exist.")))?;
        let mut answer = json!({
            "IdentityType": kind(&name),
            "FeedbackForwardingStatus": true,
            "VerifiedForSendingStatus": is_verified,
            "DkimAttributes": dkim(&name, is_verified),
            "MailFromAttributes": {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"},
            "Policies": {},
            "Tags": serde_json::from_str::<Value>(&tags).unwrap_or_default(),
            "VerificationStatus": status(is_verified),
        });
        if let (Some(set), Some(answer)) = (set, answer.as_object_mut()) {
            answer.insert("ConfigurationSetName".to_owned(), Value::String(set));
        }
        Ok(answer)
    }

    pub(super) fn list_identities(&self, body: &Value) -> Result<Value, AwsError> {
        let rows = self.store.change(|tx| {
            let mut statement = tx.prepare_cached("SELECT name, verified FROM identity ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
            Ok::<_, AwsError>(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        let items = rows.into_iter().map(|(name, is_verified)| {
            let item = json!({
                "IdentityType": kind(&name),
                "IdentityName": name,
                "SendingEnabled": is_verified,
                "VerificationStatus": status(is_verified),
            });
            (name, item)
        });
        let token = body.get("NextToken").and_then(Value::as_str);
        let (items, next) = page(items.collect(), token, body.get("PageSize").and_then(Value::as_i64))?;
        Ok(listed("EmailIdentities", items, next))
    }

    pub(super) fn delete_identity(&self, name: &str) -> Result<Value, AwsError> {
        let name = name.to_ascii_lowercase();
        let sql = "DELETE FROM identity WHERE name = ?1";
        match self.store.change(|tx| Ok::<_, AwsError>(tx.run(sql, [&name])?))? {
            0 => Err(not_found(format!("Email identity <{name}> does not exist."))),
            _ => Ok(json!({})),
        }
    }
}

/// What the identities say of an address that is to be sent from.
pub(super) struct Sender {
    /// The verified identity that allows it; `None` where it may not be sent from.
    pub(super) identity: Option<String>,
    /// The default configuration set.
    pub(super) set: Option<String>,
}

/// Whether `address` may be sent from: it, its domain, or a domain above is verified (SES Developer Guide, "Verified
/// identities": a domain's verification covers its subdomains). The nearest identity counts, the address's own before the
/// domain's.
pub(super) fn sender(tx: &rusqlite::Transaction<'_>, address: &str) -> Result<Sender, AwsError> {
    let address = address.to_ascii_lowercase();
    let mut name = address.as_str();
    let (mut identity, mut set) = (None, None);
    loop {
        let row = tx.row(
            "SELECT verified, set_name FROM identity WHERE name = ?1",
            [name],
            |row| Ok((row.get::<_, bool>(0)?, row.get::<_, Option<String>>(1)?)),
        );
        if let Some((verified, set_name)) = row.optional()? {
            identity = identity.or_else(|| verified.then(|| name.to_owned()));
            set = set.or(set_name);
        }
        let Some((_, above)) = name.split_once('@').or_else(|| name.split_once('.')) else {
            return Ok(Sender { identity, set });
        };
        name = above;
    }
}

fn kind(name: &str) -> &'static str {
    if name.contains('@') { "EMAIL_ADDRESS" } else { "DOMAIN" }
}

fn status(is_verified: bool) -> &'static str {
    if is_verified { "SUCCESS" } else { "PENDING" }
}

/// Easy DKIM as for a new identity. The tokens are made from the name, since no DNS holds the records.
fn dkim(name: &str, is_verified: bool) -> Value {
    let token = |n: u8| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{n}.{name}").as_bytes());
        digest
            .as_ref()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    json!({
        "SigningEnabled": true,
        "Status": status(is_verified),
        "Tokens": [token(0), token(1), token(2)],
        "SigningAttributesOrigin": "AWS_SES",
    })
}
