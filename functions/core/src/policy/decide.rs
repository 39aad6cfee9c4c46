//! The decision itself.
//!
//! First each method is judged on its own: how it would go, or why it cannot. Then one is chosen by the order of the rules,
//! and the judgements of the others become the reasons against them. So no alternative can go without a reason, and no
//! method can be chosen that was judged out.

use super::{
    Blocked, Cipher, DaneFact, DataClass, DomainFact, KeyFact, Level, Message, Method, MtaStsFact, OnNoTls, Plan,
    Policy, Recipient, Rejected, Requested, RequestedMethod, SmimeWithoutGcm, Stop, TlsRecord, Verdict, WaivedLevel,
};

/// Why AES-256-CBC is the weaker cipher; told wherever it plays a part.
const CBC: &str = "AES-256-CBC does not show whether the mail was altered on its way (EFAIL, CVE-2017-17689)";

pub(super) fn decide(message: &Message, recipient: &Recipient, policy: &Policy) -> Verdict {
    let options = Options::judge(message, recipient, policy);
    match options.choose() {
        Ok(Chosen { rule, reason, choice }) => Verdict::Send(Plan {
            method: choice.method,
            level: choice.level,
            rule,
            reason,
            rejected: options.rejected(&choice, reason),
            cipher: choice.cipher,
            fingerprint: choice.fingerprint,
        }),
        Err(refused) => Verdict::Blocked(Blocked {
            rule: refused.rule,
            stop: refused.stop,
            reason: refused.reason,
            rejected: Method::ALL
                .map(|method| options.against(method, "the sender asked for something else"))
                .into(),
        }),
    }
}

/// How a method would go.
#[derive(Debug, Clone)]
struct Choice {
    method: Method,
    level: Level,
    cipher: Option<Cipher>,
    fingerprint: Option<String>,
}

struct Chosen {
    rule: &'static str,
    reason: &'static str,
    choice: Choice,
}

struct Refused {
    rule: &'static str,
    reason: &'static str,
    stop: Stop,
}

/// Why TLS cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoTls {
    Fails,
    KeyUnusable,
    NoGcm,
    Unclear,
    Class,
    Sender,
}

impl NoTls {
    fn text(self) -> &'static str {
        match self {
            NoTls::Fails => "the domain is recorded as failing required TLS",
            NoTls::KeyUnusable => {
                "a key on file is not usable, and TLS alone would give the recipient less than it promised"
            }
            NoTls::NoGcm => {
                "the tenant's policy chooses the portal for a certificate that is not known to read AES-256-GCM"
            }
            NoTls::Unclear => "what the domain publishes could not be found out, or does not hold",
            NoTls::Class => "sensitive data goes by TLS only to domains that publish MTA-STS enforce or DANE",
            NoTls::Sender => "the sender requires a higher level than TLS to this domain assures",
        }
    }
}

/// For each method either how it would go, or why it cannot.
struct Options {
    openpgp: Result<Choice, String>,
    smime: Result<Choice, String>,
    tls: Result<Choice, NoTls>,
    portal: Result<Choice, &'static str>,
    requested: Requested,
    portal_only: bool,
    prefers_portal: bool,
    is_waived: bool,
}

impl Options {
    fn judge(message: &Message, recipient: &Recipient, policy: &Policy) -> Self {
        let portal = if message.requested.level > Some(Level::P) {
            Err("the sender requires end-to-end encryption")
        } else {
            Ok(plain(Method::Portal, Level::P))
        };
        let tls = tls(message, recipient, policy);
        let unwaived = Recipient {
            waiver: None,
            ..recipient.clone()
        };
        let is_waived = tls.is_ok() && tls_level(message, &unwaived, policy).is_err();
        Self {
            openpgp: openpgp(&recipient.openpgp),
            smime: smime(&recipient.smime, policy),
            tls,
            portal,
            requested: message.requested,
            portal_only: message.portal_only,
            prefers_portal: recipient.prefers_portal,
            is_waived,
        }
    }

    fn choose(&self) -> Result<Chosen, Refused> {
        match self.requested.method {
            RequestedMethod::OpenPgp => {
                return asked(
                    &self.openpgp,
                    "asked-openpgp",
                    "The sender asked for OpenPGP, and a usable key is on file.",
                );
            }
            RequestedMethod::Smime => {
                return asked(
                    &self.smime,
                    "asked-smime",
                    "The sender asked for S/MIME, and a usable certificate is on file.",
                );
            }
            RequestedMethod::Auto | RequestedMethod::Tls | RequestedMethod::Portal => {}
        }
        // A key on file is used whatever weaker method is asked for: a request never lowers protection.
        if let Ok(choice) = &self.openpgp {
            return chosen("key-openpgp", "A usable OpenPGP key is on file.", choice);
        }
        if let Ok(choice) = &self.smime {
            return chosen("key-smime", "A usable S/MIME certificate is on file.", choice);
        }
        if self.requested.method == RequestedMethod::Portal {
            return self.to_portal("asked-portal", "The sender asked for the portal.");
        }
        if self.portal_only {
            let reason = "An earlier submission was in doubt or failed, so the portal takes over.";
            return self.instead_of_tls("portal-doubt", reason);
        }
        if self.prefers_portal {
            return self.to_portal("portal-preferred", "The recipient prefers the portal.");
        }
        match &self.tls {
            Ok(choice) => self.by_tls(choice),
            Err(NoTls::Fails) => {
                self.instead_of_tls("portal-fails-tls", "The domain is recorded as failing required TLS.")
            }
            Err(NoTls::KeyUnusable) => self.instead_of_tls(
                "portal-unclear",
                "The key on file cannot be used, and TLS alone is less than it promised.",
            ),
            // The portal is the tenant's own choice here, not the way out where TLS cannot be had.
            Err(NoTls::NoGcm) => self.to_portal(
                "portal-no-gcm",
                "The certificate on file is not known to read AES-256-GCM.",
            ),
            Err(NoTls::Unclear) => self.instead_of_tls(
                "portal-unclear",
                "What the domain publishes could not be found out, or does not hold.",
            ),
            Err(NoTls::Class | NoTls::Sender) => self.instead_of_tls(
                "portal-level",
                "TLS to this domain does not assure what the class or the sender requires.",
            ),
        }
    }

    fn by_tls(&self, choice: &Choice) -> Result<Chosen, Refused> {
        if self.is_waived {
            return chosen(
                "tls-waiver",
                "The recipient has waived what the class requires.",
                choice,
            );
        }
        if self.requested.method == RequestedMethod::Tls {
            return chosen(
                "asked-tls",
                "The sender asked for required TLS, which the class allows.",
                choice,
            );
        }
        match choice.level {
            Level::T3 => chosen("tls-t3", "The domain publishes DANE.", choice),
            Level::T2 => chosen("tls-t2", "The domain publishes MTA-STS enforce.", choice),
            Level::T0 => chosen("tls-t0", "The tenant allows this class without required TLS.", choice),
            _ => chosen(
                "tls-t1",
                "TLS is required, and nothing says that the domain fails it.",
                choice,
            ),
        }
    }

    /// The portal, unless the sender wants something else where TLS cannot be had.
    fn instead_of_tls(&self, rule: &'static str, reason: &'static str) -> Result<Chosen, Refused> {
        if self.requested.level >= Some(Level::P) {
            // The sender never meant TLS, so that what is to happen without it does not matter.
            return self.to_portal("portal-level", "The sender requires more than any TLS assures.");
        }
        let stop = match self.requested.on_no_tls.unwrap_or_default() {
            OnNoTls::Portal => return self.to_portal(rule, reason),
            OnNoTls::Hold => Stop::Hold,
            OnNoTls::Fail => Stop::Fail,
            OnNoTls::Drop => Stop::Drop,
        };
        Err(Refused {
            rule: "blocked-no-tls",
            reason: "TLS of the required level cannot be had, and the sender wants nothing else.",
            stop,
        })
    }

    fn to_portal(&self, rule: &'static str, reason: &'static str) -> Result<Chosen, Refused> {
        match &self.portal {
            Ok(choice) => chosen(rule, reason, choice),
            Err(_) => Err(Refused {
                rule: "blocked-level",
                reason: "No method reaches the level that the sender requires.",
                stop: Stop::Block,
            }),
        }
    }

    /// Every method but the chosen one, strongest first, with the reason against it.
    fn rejected(&self, choice: &Choice, because: &str) -> Vec<Rejected> {
        let others = Method::ALL.into_iter().filter(|method| *method != choice.method);
        let mut rejected: Vec<Rejected> = others
            .map(|method| {
                let fallback = match (choice.method, method) {
                    (Method::OpenPgp, Method::Smime) => "OpenPGP goes first where both are on file",
                    (Method::OpenPgp | Method::Smime, Method::Tls | Method::Portal) => "a stronger method is available",
                    (Method::Tls, Method::Portal) => "TLS assures what is required here",
                    _ => because,
                };
                self.against(method, fallback)
            })
            .collect();
        if choice.cipher == Some(Cipher::Cbc) {
            let portal = rejected.iter_mut().filter(|rejected| rejected.method == Method::Portal);
            portal.for_each(|rejected| {
                rejected.reason = format!(
                    "the tenant's policy prefers S/MIME in AES-256-CBC to the portal for a recipient who is not known to \
                     read AES-256-GCM, although {CBC}"
                );
            });
        }
        rejected
    }

    /// Why not this method: what rules it out, else `fallback`.
    fn against(&self, method: Method, fallback: &str) -> Rejected {
        let ruled_out = match method {
            Method::OpenPgp => self.openpgp.as_ref().err().map(String::as_str),
            Method::Smime => self.smime.as_ref().err().map(String::as_str),
            Method::Tls => self.tls.as_ref().err().map(|no_tls| no_tls.text()),
            Method::Portal => self.portal.as_ref().err().copied(),
        };
        Rejected {
            method,
            reason: ruled_out.unwrap_or(fallback).to_owned(),
        }
    }
}

fn chosen(rule: &'static str, reason: &'static str, choice: &Choice) -> Result<Chosen, Refused> {
    Ok(Chosen {
        rule,
        reason,
        choice: choice.clone(),
    })
}

/// The sender wants this method of end-to-end encryption and no other.
fn asked(option: &Result<Choice, String>, rule: &'static str, reason: &'static str) -> Result<Chosen, Refused> {
    match option {
        Ok(choice) => chosen(rule, reason, choice),
        Err(_) => Err(Refused {
            rule: "blocked-no-key",
            reason: "The sender asked for a method for which the recipient has no key that may be used.",
            stop: Stop::Block,
        }),
    }
}

fn plain(method: Method, level: Level) -> Choice {
    Choice {
        method,
        level,
        cipher: None,
        fingerprint: None,
    }
}

fn openpgp(fact: &KeyFact) -> Result<Choice, String> {
    let (fingerprint, _) = usable("OpenPGP key", fact)?;
    Ok(Choice {
        method: Method::OpenPgp,
        level: Level::E,
        cipher: None,
        fingerprint: Some(fingerprint),
    })
}

fn smime(fact: &KeyFact, policy: &Policy) -> Result<Choice, String> {
    let (fingerprint, reads_gcm) = usable("S/MIME certificate", fact)?;
    let cipher = match policy.smime_without_gcm {
        _ if reads_gcm => Cipher::Gcm,
        SmimeWithoutGcm::Cbc => Cipher::Cbc,
        SmimeWithoutGcm::Portal => {
            return Err(format!(
                "the recipient is not known to read AES-256-GCM, and the tenant's policy rules out the alternative: {CBC}"
            ));
        }
    };
    Ok(Choice {
        method: Method::Smime,
        level: Level::E,
        cipher: Some(cipher),
        fingerprint: Some(fingerprint),
    })
}

/// The fingerprint of a usable key, and whether its owner is known to read AES-256-GCM.
fn usable(noun: &str, fact: &KeyFact) -> Result<(String, bool), String> {
    match fact {
        KeyFact::None => Err(format!("no {noun} is on file")),
        KeyFact::Unusable { reason } => Err(match reason.as_str() {
            "expired" => format!("the {noun} on file has expired"),
            "revoked" => format!("the {noun} on file is revoked"),
            "not_yet_valid" => format!("the {noun} on file is not valid yet"),
            "changed" => format!("another {noun} than the pinned one was found, and nobody has approved it"),
            code => format!("the {noun} on file may not be used: {code}"),
        }),
        KeyFact::Usable { fingerprint, reads_gcm } => Ok((fingerprint.clone(), *reads_gcm)),
    }
}

fn tls(message: &Message, recipient: &Recipient, policy: &Policy) -> Result<Choice, NoTls> {
    Ok(plain(Method::Tls, tls_level(message, recipient, policy)?))
}

/// The level of TLS that a message would go by, or why it cannot.
fn tls_level(message: &Message, recipient: &Recipient, policy: &Policy) -> Result<Level, NoTls> {
    let domain = &recipient.domain;
    let waived = recipient.waiver.map(|waiver| waiver.down_to);
    let requested = message.requested.level.unwrap_or(Level::T0);
    // Whoever asks for the method means required TLS.
    let requested = if message.requested.method == RequestedMethod::Tls {
        requested.max(Level::T1)
    } else {
        requested
    };
    let by_tenant = match message.data_class {
        DataClass::Sensitive => Level::T2,
        DataClass::None if policy.none_without_tls => Level::T0,
        DataClass::Phi | DataClass::None => Level::T1,
    };
    if fails_tls(domain) {
        // Opportunistic TLS to such a domain is plain text. The tenant's leave for a class does not go that far.
        return match waived {
            Some(WaivedLevel::T0) if requested == Level::T0 => Ok(Level::T0),
            _ => Err(NoTls::Fails),
        };
    }
    let is_lenient = by_tenant == Level::T0 && requested == Level::T0;
    let published = published(domain);
    if waived.is_none() && !is_lenient {
        if has_unusable_key(recipient) {
            return Err(NoTls::KeyUnusable);
        }
        if matches!(recipient.smime, KeyFact::Usable { .. }) && smime(&recipient.smime, policy).is_err() {
            return Err(NoTls::NoGcm);
        }
        if published.is_none() {
            return Err(NoTls::Unclear);
        }
    }
    let level = published.unwrap_or(Level::T1);
    let floor = match waived {
        Some(WaivedLevel::T0) => Level::T0,
        Some(WaivedLevel::T1) => by_tenant.min(Level::T1),
        None => by_tenant,
    };
    if level < floor {
        return Err(NoTls::Class);
    }
    if level < requested {
        return Err(NoTls::Sender);
    }
    Ok(if is_lenient && level == Level::T1 {
        Level::T0
    } else {
        level
    })
}

/// Whether the domain is to be taken as failing required TLS. A domain that the tenant says works and that was learned to
/// fail is contradictory, and contradictions do not go by TLS.
fn fails_tls(domain: &DomainFact) -> bool {
    domain.recorded == Some(TlsRecord::Fails) || domain.learned == Some(TlsRecord::Fails)
}

fn has_unusable_key(recipient: &Recipient) -> bool {
    [&recipient.openpgp, &recipient.smime]
        .into_iter()
        .any(|fact| matches!(fact, KeyFact::Unusable { .. }))
}

/// The level that rests on what the domain publishes; `None` where that is not clear. A look-up that failed may have been
/// made to fail, so that nobody sees what is published; then only the tenant's own word counts.
fn published(domain: &DomainFact) -> Option<Level> {
    match (domain.dane, domain.mta_sts) {
        // RFC 8461 section 2: MTA-STS must not override a DANE result that failed.
        (DaneFact::Bogus, _) => None,
        (DaneFact::Secure, _) => Some(Level::T3),
        (DaneFact::Other | DaneFact::Unknown, MtaStsFact::Enforce) => Some(Level::T2),
        (DaneFact::Other | DaneFact::Unknown, MtaStsFact::Other) => Some(Level::T1),
        (DaneFact::Other | DaneFact::Unknown, MtaStsFact::Unknown) => {
            (domain.recorded == Some(TlsRecord::Works)).then_some(Level::T1)
        }
    }
}
