//! What is known of a recipient: keys on file, the domain's TLS, preferences and waivers. Each fact also says when it is not
//! known, and nothing is guessed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is known of a recipient's key of one kind. A key on file is pinned: one that was found elsewhere and differs from it
/// makes it unusable (`changed`) until a person approves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFact {
    /// None is on file.
    None,
    /// One is on file and good.
    Usable {
        /// Its fingerprint.
        fingerprint: String,
        /// S/MIME: the recipient is known to read AES-256-GCM.
        reads_gcm: bool,
    },
    /// One is on file and must not be used. The recipient is then owed more than required TLS: the portal, until the key is
    /// replaced or removed.
    Unusable {
        /// Why, as a code in snake case: `expired`, `revoked`, `changed` …
        reason: String,
    },
}

/// Whether required TLS works for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsRecord {
    /// It works.
    Works,
    /// It fails.
    Fails,
}

impl TlsRecord {
    /// The record as it stands in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TlsRecord::Works => "works",
            TlsRecord::Fails => "fails",
        }
    }
}

/// What a domain publishes by MTA-STS (RFC 8461).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MtaStsFact {
    /// A valid policy with mode `enforce`.
    Enforce,
    /// No policy, or one that does not enforce.
    Other,
    /// The look-up failed, was late or contradicted itself.
    Unknown,
}

/// What a domain publishes by DANE (RFC 7672). No look-up is made yet, so that the fact is `Unknown` and no plan claims T3:
/// SES does not say that it honours TLSA records, and Lambda's resolver may strip the signatures that they rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaneFact {
    /// MX and TLSA records, both signed and valid.
    Secure,
    /// Nothing that can be used.
    Other,
    /// Signatures that do not hold: somebody may be in the way.
    Bogus,
    /// Not looked up.
    #[default]
    Unknown,
}

/// What is known of a domain's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainFact {
    /// What the tenant says.
    pub recorded: Option<TlsRecord>,
    /// What earlier submissions taught.
    pub learned: Option<TlsRecord>,
    /// What it publishes by MTA-STS.
    pub mta_sts: MtaStsFact,
    /// What it publishes by DANE.
    pub dane: DaneFact,
}

/// A waiver of this recipient that holds for this message: signed, not expired, not revoked, all of which the caller has
/// checked at the time of delivery (45 CFR 164.522(b), 164.524(c)(2)(ii)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LiveWaiver {
    /// Down to which level of TLS it lets a message go.
    pub down_to: WaivedLevel,
}

/// How far a waiver may lower the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WaivedLevel {
    /// Opportunistic TLS, and with it plain text.
    T0,
    /// Required TLS.
    T1,
}

/// Everything that is known of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The OpenPGP certificate.
    pub openpgp: KeyFact,
    /// The S/MIME certificate.
    pub smime: KeyFact,
    /// The mail domain.
    pub domain: DomainFact,
    /// Whether the recipient would rather read in the portal than get the message by TLS.
    pub prefers_portal: bool,
    /// A waiver that holds for this message.
    pub waiver: Option<LiveWaiver>,
}

impl Recipient {
    /// A recipient of whom nothing but the domain is known.
    #[must_use]
    pub fn unknown(domain: DomainFact) -> Self {
        Self {
            openpgp: KeyFact::None,
            smime: KeyFact::None,
            domain,
            prefers_portal: false,
            waiver: None,
        }
    }
}
