//! The only reader of the environment.
//!
//! Every variable is a constant here and a line under `Globals` in `template.yaml`; a test compares the two. A missing one
//! stops the function at its start, with all missing names in one message.

use crate::error::{Error, Result};

/// Table of tenants, API keys, policies and period keys.
pub const DIRECTORY_TABLE: &str = "DIRECTORY_TABLE";
/// Table of emails, deliveries, idempotency, outbox and portal messages.
pub const MAIL_TABLE: &str = "MAIL_TABLE";
/// Table of recipient keys, domain facts and suppressions.
pub const PEOPLE_TABLE: &str = "PEOPLE_TABLE";
/// Table of the archive index and record keys.
pub const RECORDS_TABLE: &str = "RECORDS_TABLE";
/// Table of audit entries.
pub const LOG_TABLE: &str = "LOG_TABLE";
/// Bucket of archived messages: versioned, Object Lock.
pub const ARCHIVE_BUCKET: &str = "ARCHIVE_BUCKET";
/// Bucket of portal copies and sealed mails that wait: no lock, swept.
pub const WORK_BUCKET: &str = "WORK_BUCKET";
/// URL of the queue that leads to `encrypt`.
pub const OUTBOUND_QUEUE_URL: &str = "OUTBOUND_QUEUE_URL";
/// URL of the queue that leads to `webhook`.
pub const WEBHOOK_QUEUE_URL: &str = "WEBHOOK_QUEUE_URL";
/// URL of the queue of SES's events, which leads to `tracking`.
pub const SES_EVENTS_QUEUE_URL: &str = "SES_EVENTS_QUEUE_URL";
/// ARN of the deployment's KMS key.
pub const KMS_KEY_ARN: &str = "KMS_KEY_ARN";
/// SES configuration set whose TLS policy is REQUIRE.
pub const TLS_CONFIGURATION_SET: &str = "TLS_CONFIGURATION_SET";
/// SES configuration set of mails that are sealed themselves (OpenPGP, S/MIME) or hold nothing to protect (notices).
pub const SEALED_CONFIGURATION_SET: &str = "SEALED_CONFIGURATION_SET";
/// Where patients read their messages, such as `https://mail.clinic.example`; no slash at the end.
pub const PORTAL_URL: &str = "PORTAL_URL";
/// How mail domains are looked up: `dns` (the default), or `table` in the local run, where `.test` domains have set facts.
pub const DOMAIN_FACTS: &str = "DOMAIN_FACTS";
/// How much is logged: `error`, `warn`, `info` (the default) or `debug`.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// Every variable that a function reads, in the order of their declaration.
pub const VARIABLES: [&str; 16] = [
    DIRECTORY_TABLE,
    MAIL_TABLE,
    PEOPLE_TABLE,
    RECORDS_TABLE,
    LOG_TABLE,
    ARCHIVE_BUCKET,
    WORK_BUCKET,
    OUTBOUND_QUEUE_URL,
    WEBHOOK_QUEUE_URL,
    SES_EVENTS_QUEUE_URL,
    KMS_KEY_ARN,
    TLS_CONFIGURATION_SET,
    SEALED_CONFIGURATION_SET,
    PORTAL_URL,
    DOMAIN_FACTS,
    LOG_LEVEL,
];

/// The names of what this deployment owns.
#[derive(Debug, Clone)]
pub struct Config {
    /// See [`DIRECTORY_TABLE`].
    pub directory_table: String,
    /// See [`MAIL_TABLE`].
    pub mail_table: String,
    /// See [`PEOPLE_TABLE`].
    pub people_table: String,
    /// See [`RECORDS_TABLE`].
    pub records_table: String,
    /// See [`LOG_TABLE`].
    pub log_table: String,
    /// See [`ARCHIVE_BUCKET`].
    pub archive_bucket: String,
    /// See [`WORK_BUCKET`].
    pub work_bucket: String,
    /// See [`OUTBOUND_QUEUE_URL`].
    pub outbound_queue_url: String,
    /// See [`WEBHOOK_QUEUE_URL`].
    pub webhook_queue_url: String,
    /// See [`SES_EVENTS_QUEUE_URL`].
    pub ses_events_queue_url: String,
    /// See [`KMS_KEY_ARN`].
    pub kms_key_arn: String,
    /// See [`TLS_CONFIGURATION_SET`].
    pub tls_configuration_set: String,
    /// See [`SEALED_CONFIGURATION_SET`].
    pub sealed_configuration_set: String,
    /// See [`PORTAL_URL`].
    pub portal_url: String,
    /// See [`DOMAIN_FACTS`].
    pub domain_facts: DomainFacts,
    /// See [`LOG_LEVEL`].
    pub log_level: String,
}

/// Where facts about a mail domain come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainFacts {
    /// DNS and HTTPS, through the egress guard.
    Dns,
    /// A fixed table for the reserved domain `.test`; every other domain publishes nothing.
    Table,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Internal, naming every variable that is missing or has no valid value.
    pub fn from_env() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `lookup`, which answers `None` for one that is not set.
    ///
    /// # Errors
    /// Internal, naming every variable that is missing or has no valid value.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut missing = Vec::new();
        let mut take = |name: &'static str| {
            let value = lookup(name).filter(|value| !value.is_empty());
            value.unwrap_or_else(|| {
                missing.push(name);
                String::new()
            })
        };
        let config = Self {
            directory_table: take(DIRECTORY_TABLE),
            mail_table: take(MAIL_TABLE),
            people_table: take(PEOPLE_TABLE),
            records_table: take(RECORDS_TABLE),
            log_table: take(LOG_TABLE),
            archive_bucket: take(ARCHIVE_BUCKET),
            work_bucket: take(WORK_BUCKET),
            outbound_queue_url: take(OUTBOUND_QUEUE_URL),
            webhook_queue_url: take(WEBHOOK_QUEUE_URL),
            ses_events_queue_url: take(SES_EVENTS_QUEUE_URL),
            kms_key_arn: take(KMS_KEY_ARN),
            tls_configuration_set: take(TLS_CONFIGURATION_SET),
            sealed_configuration_set: take(SEALED_CONFIGURATION_SET),
            portal_url: take(PORTAL_URL).trim_end_matches('/').to_owned(),
            domain_facts: match lookup(DOMAIN_FACTS).as_deref() {
                None | Some("" | "dns") => DomainFacts::Dns,
                Some("table") => DomainFacts::Table,
                Some(_) => {
                    missing.push(DOMAIN_FACTS);
                    DomainFacts::Dns
                }
            },
            log_level: lookup(LOG_LEVEL)
                .filter(|level| !level.is_empty())
                .unwrap_or_else(|| "info".to_owned()),
        };
        if missing.is_empty() {
            Ok(config)
        } else {
            Err(Error::internal(format!(
                "Environment variables missing or not valid: {}.",
                missing.join(", ")
            )))
        }
    }
}
