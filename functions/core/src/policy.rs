//! The choice of method: a pure function of the message, the recipient and the tenant's policy.
//!
//! It answers a method with its level, the rule that decided and every alternative with the reason against it; or that the
//! message is blocked. A request, a rule or a failover may raise protection and never lower it; a live waiver alone lowers
//! it. What is unknown, late or contradictory goes to the portal or is blocked. The message, the policy and the plan stand
//! here, what is known of a recipient in `facts`, the decision in `decide`, the replacing of a policy in `store`.
//!
//! | rule | decides |
//! |---|---|
//! | `asked-openpgp`, `asked-smime`, `asked-portal`, `asked-tls` | the sender asked for a method that is allowed |
//! | `key-openpgp`, `key-smime` | a usable key is on file: end to end |
//! | `tls-t3` | the domain publishes DANE (RFC 7672) |
//! | `tls-t2` | the domain publishes MTA-STS enforce (RFC 8461) |
//! | `tls-t1` | nothing says that the domain fails required TLS |
//! | `tls-t0` | the tenant allows opportunistic TLS for this class |
//! | `tls-waiver` | a live waiver allows what the class does not |
//! | `portal-preferred` | the recipient prefers the portal |
//! | `portal-fails-tls` | the domain is recorded as failing required TLS |
//! | `portal-level` | TLS does not reach the level that the class or the sender requires |
//! | `portal-unclear` | a key on file is not usable, or what the domain publishes could not be found out |
//! | `portal-no-gcm` | the S/MIME certificate is not known to read AES-256-GCM, and the tenant chooses the portal then |
//! | `portal-doubt` | an earlier submission is in doubt, or TLS failed |
//! | `blocked-no-key`, `blocked-level`, `blocked-no-tls` | what was asked for cannot be had, and nothing else was allowed |

mod decide;
mod facts;
pub mod store;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::aws::keys::sha256;
pub use facts::{DaneFact, DomainFact, KeyFact, LiveWaiver, MtaStsFact, Recipient, TlsRecord, WaivedLevel};

/// One of the four ways to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Required TLS.
    Tls,
    /// A notice and a page.
    Portal,
    /// PGP/MIME.
    OpenPgp,
    /// S/MIME.
    Smime,
}

impl Method {
    /// Every method, strongest first.
    pub const ALL: [Method; 4] = [Method::OpenPgp, Method::Smime, Method::Portal, Method::Tls];

    /// The method as it stands in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Tls => "tls",
            Method::Portal => "portal",
            Method::OpenPgp => "openpgp",
            Method::Smime => "smime",
        }
    }
}

/// How much is assured on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Level {
    /// Opportunistic TLS.
    T0,
    /// TLS required.
    T1,
    /// TLS required, and the domain publishes MTA-STS enforce.
    T2,
    /// DANE (RFC 7672).
    T3,
    /// Portal.
    P,
    /// End to end.
    E,
}

impl Level {
    /// The level as it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::T0 => "T0",
            Level::T1 => "T1",
            Level::T2 => "T2",
            Level::T3 => "T3",
            Level::P => "P",
            Level::E => "E",
        }
    }

    /// Order of protection, weakest 0.
    #[must_use]
    pub fn strength(self) -> u8 {
        match self {
            Level::T0 => 0,
            Level::T1 => 1,
            Level::T2 => 2,
            Level::T3 => 3,
            Level::P => 4,
            Level::E => 5,
        }
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        self.strength().cmp(&other.strength())
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What sort of data a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataClass {
    /// Protected health information (45 CFR 160.103); the default.
    #[default]
    Phi,
    /// Behavioural health, substance use, reproductive health and the like.
    Sensitive,
    /// Nothing that the law protects.
    None,
}

impl DataClass {
    /// The class as it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DataClass::Phi => "phi",
            DataClass::Sensitive => "sensitive",
            DataClass::None => "none",
        }
    }
}

/// What a message is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Care of the patient (45 CFR 164.501).
    #[default]
    Treatment,
    /// Bills and claims.
    Payment,
    /// Health care operations.
    Operations,
    /// Marketing, which needs an authorisation (45 CFR 164.508(a)(3)).
    Marketing,
}

impl Purpose {
    /// The purpose as it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Treatment => "treatment",
            Purpose::Payment => "payment",
            Purpose::Operations => "operations",
            Purpose::Marketing => "marketing",
        }
    }
}

/// Which method a sender asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RequestedMethod {
    /// The strongest that the recipient can receive.
    #[default]
    Auto,
    /// Required TLS, where policy leaves the choice.
    Tls,
    /// The portal, where policy leaves the choice.
    Portal,
    /// OpenPGP or nothing.
    OpenPgp,
    /// S/MIME or nothing.
    Smime,
}

/// What happens where required TLS cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnNoTls {
    /// The portal takes over.
    #[default]
    Portal,
    /// Nothing is sent until a person decides.
    Hold,
    /// Nothing is sent, and the delivery ends as failed.
    Fail,
    /// Nothing is sent, and nobody is to be troubled; it is still told and recorded.
    Drop,
}

/// What a sender asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
pub struct Requested {
    /// The method.
    pub method: RequestedMethod,
    /// At least this level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What happens where required TLS cannot be had; the portal by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_tls: Option<OnNoTls>,
}

impl Requested {
    /// The same request with at least the level of an earlier attempt, so that a failover never lowers protection.
    #[must_use]
    pub fn at_least(self, earlier: Option<Level>) -> Self {
        Self {
            level: self.level.max(earlier),
            ..self
        }
    }
}

/// What a plan needs to know of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// What sort of data it carries.
    pub data_class: DataClass,
    /// What it is sent for. It weighs on consent, not on the method: every purpose is sealed alike.
    pub purpose: Purpose,
    /// What the sender asks for.
    pub requested: Requested,
    /// A doubt or a failure of TLS moved it to the portal.
    pub portal_only: bool,
}

/// What an S/MIME recipient gets who is not known to read AES-256-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmimeWithoutGcm {
    /// A signed message in AES-256-CBC, which most clients open.
    #[default]
    Cbc,
    /// The portal.
    Portal,
}

/// What happens to a submission that nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDoubt {
    /// A person decides: at most one copy.
    Hold,
    /// It is sent once more: at most two copies. The default, since a result that never comes hurts more than one that comes
    /// twice, and SES's own events settle nearly every doubt before it comes to this.
    #[default]
    ResendOnce,
    /// A portal notice follows.
    Portal,
}

/// Which engagement of a mail's readers is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracking {
    /// Openings, by a picture that the mail loads. An opening is not a reading.
    #[serde(default)]
    pub opens: bool,
    /// Clicks, by links that lead through the portal's address.
    #[serde(default)]
    pub clicks: bool,
}

impl Tracking {
    /// What both count.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            opens: self.opens && other.opens,
            clicks: self.clicks && other.clicks,
        }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.opens && !self.clicks
    }
}

/// A tenant's policy. A version is never changed, only replaced by the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Grows with every replacement.
    #[serde(default)]
    pub version: u64,
    /// Whether the class `none` may go by opportunistic TLS.
    #[serde(default)]
    pub none_without_tls: bool,
    /// What an S/MIME recipient gets who is not known to read AES-256-GCM.
    #[serde(default)]
    pub smime_without_gcm: SmimeWithoutGcm,
    /// A doubt about a message of class `phi` or `none`. Mail for marketing is always held.
    #[serde(default)]
    pub on_doubt: OnDoubt,
    /// A doubt about a message of class `sensitive`.
    #[serde(default)]
    pub on_doubt_sensitive: OnDoubt,
    /// The purpose of a message that names none.
    #[serde(default)]
    pub default_purpose: Purpose,
    /// Whether a complaint stops mail of the patient's care as well as marketing. It does not by default: what somebody calls
    /// unwanted is seldom their appointment.
    #[serde(default)]
    pub complaint_stops_care: bool,
    /// What is counted of marketing mail of the class `none`; nothing by default.
    #[serde(default)]
    pub track_marketing: Tracking,
    /// What is counted of other mail of the class `none`; nothing by default.
    #[serde(default)]
    pub track_care: Tracking,
    /// How long a portal message can be opened, days, 1 to 365.
    #[serde(default = "default_expiry_days")]
    #[schema(minimum = 1, maximum = 365)]
    pub portal_expiry_days: u32,
    /// How long an archived message is locked, days. Six years, as for documentation (45 CFR 164.316(b)(2)(i)); HIPAA names
    /// no time for mail itself.
    #[serde(default = "default_retention_days")]
    #[schema(minimum = 1, maximum = 36500)]
    pub retention_days: u32,
}

fn default_expiry_days() -> u32 {
    30
}

fn default_retention_days() -> u32 {
    2192
}

impl Policy {
    /// The policy that a new tenant begins with.
    #[must_use]
    pub fn new_tenant() -> Self {
        Self {
            version: 1,
            none_without_tls: false,
            smime_without_gcm: SmimeWithoutGcm::default(),
            on_doubt: OnDoubt::default(),
            on_doubt_sensitive: OnDoubt::default(),
            default_purpose: Purpose::default(),
            complaint_stops_care: false,
            track_marketing: Tracking::default(),
            track_care: Tracking::default(),
            portal_expiry_days: default_expiry_days(),
            retention_days: default_retention_days(),
        }
    }

    /// What may be counted of a mail. Nothing of one that carries what the law protects: that somebody opened a letter about
    /// their health is protected as the letter is (HHS bulletin on online tracking technologies, 2022, revised 2024).
    #[must_use]
    pub fn tracking(&self, purpose: Purpose, class: DataClass) -> Tracking {
        match (class, purpose) {
            (DataClass::Phi | DataClass::Sensitive, _) => Tracking::default(),
            (DataClass::None, Purpose::Marketing) => self.track_marketing,
            (DataClass::None, _) => self.track_care,
        }
    }

    /// What happens to an unanswered submission of this class.
    #[must_use]
    pub fn on_doubt(&self, class: DataClass) -> OnDoubt {
        match class {
            DataClass::Sensitive => self.on_doubt_sensitive,
            DataClass::Phi | DataClass::None => self.on_doubt,
        }
    }
}

/// The content cipher of an S/MIME message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cipher {
    /// AES-256-GCM (RFC 5084).
    Gcm,
    /// AES-256-CBC, inside which the message is signed.
    Cbc,
}

/// A method that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejected {
    /// The method.
    pub method: Method,
    /// Why not.
    pub reason: String,
}

/// How a message goes to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The method.
    pub method: Method,
    /// What it assures.
    pub level: Level,
    /// Which rule decided.
    pub rule: &'static str,
    /// Why, for people.
    pub reason: &'static str,
    /// Every other method, and why it was not chosen.
    pub rejected: Vec<Rejected>,
    /// S/MIME: the content cipher.
    pub cipher: Option<Cipher>,
    /// OpenPGP, S/MIME: the key.
    pub fingerprint: Option<String>,
}

impl Plan {
    /// Order of protection, weakest 0.
    #[must_use]
    pub fn strength(&self) -> u8 {
        self.level.strength()
    }

    /// SHA-256 of what decides on the sealed bytes, hex: a later attempt that goes the same way for another reason sends the
    /// same bytes, and a notice of the portal leads to the same message.
    #[must_use]
    pub fn way_sha256(&self) -> String {
        let fingerprint = self.fingerprint.as_deref().unwrap_or_default();
        sha256(format!("way\n{}\n{}\n{fingerprint}", self.method.as_str(), self.cipher()).as_bytes())
    }

    fn cipher(&self) -> &'static str {
        match self.cipher {
            None => "",
            Some(Cipher::Gcm) => "gcm",
            Some(Cipher::Cbc) => "cbc",
        }
    }

    /// SHA-256 of what was decided, hex; the same facts under the same policy version give the same hash.
    #[must_use]
    pub fn sha256(&self, policy_version: u64) -> String {
        let cipher = self.cipher();
        let fingerprint = self.fingerprint.as_deref().unwrap_or_default();
        let (method, level) = (self.method.as_str(), self.level.as_str());
        sha256(
            format!(
                "plan\n{policy_version}\n{method}\n{level}\n{}\n{cipher}\n{fingerprint}",
                self.rule
            )
            .as_bytes(),
        )
    }
}

/// What becomes of a delivery that is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// It ends as blocked by policy.
    Block,
    /// It waits for a person, as the sender asked.
    Hold,
    /// It ends as failed, as the sender asked.
    Fail,
    /// It ends without an alarm, as the sender asked.
    Drop,
}

/// That and why nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Which rule decided.
    pub rule: &'static str,
    /// What becomes of the delivery.
    pub stop: Stop,
    /// Why, for people.
    pub reason: &'static str,
    /// Every method, and why it was not chosen.
    pub rejected: Vec<Rejected>,
}

/// What was decided. A blocked message has no method, so that it cannot be mistaken for one that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Send(Plan),
    /// It does not.
    Blocked(Blocked),
}

/// Decides how a message goes to a recipient. Total, and a function of its arguments alone.
#[must_use]
pub fn plan(message: &Message, recipient: &Recipient, policy: &Policy) -> Verdict {
    decide::decide(message, recipient, policy)
}

#[cfg(test)]
mod tests;
