//! The choice of method: whatever is known and asked for, protection is not lowered.

use arbitrary::{Arbitrary, Unstructured};
use sealpost_core::json;
use sealpost_core::policy::{
    self, DaneFact, DataClass, DomainFact, KeyFact, Level, LiveWaiver, Message, Method, MtaStsFact, OnNoTls, Policy,
    Purpose, Recipient, Requested, RequestedMethod, TlsRecord, Verdict, WaivedLevel,
};

/// What a plan is made of, as numbers.
#[derive(Debug, Arbitrary)]
struct Given {
    class: u8,
    purpose: u8,
    method: u8,
    level: u8,
    on_no_tls: u8,
    openpgp: u8,
    smime: u8,
    recorded: u8,
    learned: u8,
    mta_sts: u8,
    dane: u8,
    portal_only: bool,
    prefers_portal: bool,
    waiver: u8,
}

/// The first octets are what is known; the rest is a policy document, or else the policy is a new tenant's.
pub(crate) fn plan(data: &[u8]) {
    let mut unstructured = Unstructured::new(data);
    let Ok(given) = Given::arbitrary(&mut unstructured) else {
        return;
    };
    let document = unstructured.take_rest();
    let policy = json::read::<Policy>(document).unwrap_or_else(|_| Policy::new_tenant());
    let written = serde_json::to_vec(&policy).expect("a policy is written");
    assert!(json::read::<Policy>(&written).is_ok_and(|again| again == policy));
    let (message, recipient) = (message(&given), recipient(&given));
    let verdict = policy::plan(&message, &recipient, &policy);
    assert_eq!(policy::plan(&message, &recipient, &policy), verdict);
    let Verdict::Send(plan) = verdict else {
        return;
    };
    let is_usable = |fact: &KeyFact| matches!(fact, KeyFact::Usable { .. });
    match plan.method {
        Method::OpenPgp => assert!(is_usable(&recipient.openpgp) && plan.level == Level::E),
        Method::Smime => assert!(is_usable(&recipient.smime) && plan.level == Level::E && plan.cipher.is_some()),
        Method::Portal => assert_eq!(plan.level, Level::P),
        Method::Tls => {
            assert!(!message.portal_only && plan.level <= Level::T3);
            let may_be_plain = message.data_class == DataClass::None && policy.none_without_tls
                || recipient.waiver.is_some_and(|waiver| waiver.down_to == WaivedLevel::T0);
            assert!(plan.level > Level::T0 || may_be_plain, "plain without leave");
            let may_be_weak = message.data_class != DataClass::Sensitive || recipient.waiver.is_some();
            assert!(plan.level >= Level::T2 || may_be_weak, "sensitive by {:?}", plan.level);
        }
    }
    let is_waived = recipient.waiver.is_some();
    assert!(
        message.requested.level.is_none_or(|asked| plan.level >= asked) || is_waived,
        "less than was asked for"
    );
    let rejected: Vec<Method> = plan.rejected.iter().map(|one| one.method).collect();
    assert!(!rejected.contains(&plan.method) && rejected.len() == 3);
}

fn pick<T: Copy>(number: u8, of: &[T]) -> T {
    of[usize::from(number) % of.len()]
}

fn message(given: &Given) -> Message {
    use RequestedMethod::{Auto, OpenPgp, Portal, Smime, Tls};
    Message {
        data_class: pick(given.class, &[DataClass::Phi, DataClass::Sensitive, DataClass::None]),
        purpose: pick(
            given.purpose,
            &[
                Purpose::Treatment,
                Purpose::Payment,
                Purpose::Operations,
                Purpose::Marketing,
            ],
        ),
        requested: Requested {
            method: pick(given.method, &[Auto, Tls, Portal, OpenPgp, Smime]),
            level: pick(
                given.level,
                &[
                    None,
                    Some(Level::T0),
                    Some(Level::T1),
                    Some(Level::T2),
                    Some(Level::T3),
                    Some(Level::P),
                    Some(Level::E),
                ],
            ),
            on_no_tls: pick(
                given.on_no_tls,
                &[
                    None,
                    Some(OnNoTls::Portal),
                    Some(OnNoTls::Hold),
                    Some(OnNoTls::Fail),
                    Some(OnNoTls::Drop),
                ],
            ),
        },
        portal_only: given.portal_only,
    }
}

fn recipient(given: &Given) -> Recipient {
    let records = [None, Some(TlsRecord::Works), Some(TlsRecord::Fails)];
    let key = |number: u8| match number % 4 {
        0 => KeyFact::None,
        1 => KeyFact::Unusable {
            reason: "expired".to_owned(),
        },
        n => KeyFact::Usable {
            fingerprint: "AB".to_owned(),
            reads_gcm: n == 2,
        },
    };
    let waivers = [None, None, Some(WaivedLevel::T0), Some(WaivedLevel::T1)];
    Recipient {
        openpgp: key(given.openpgp),
        smime: key(given.smime),
        domain: DomainFact {
            recorded: pick(given.recorded, &records),
            learned: pick(given.learned, &records),
            mta_sts: pick(
                given.mta_sts,
                &[MtaStsFact::Enforce, MtaStsFact::Other, MtaStsFact::Unknown],
            ),
            dane: pick(
                given.dane,
                &[DaneFact::Secure, DaneFact::Other, DaneFact::Bogus, DaneFact::Unknown],
            ),
        },
        prefers_portal: given.prefers_portal,
        waiver: pick(given.waiver, &waivers).map(|down_to| LiveWaiver { down_to }),
    }
}
