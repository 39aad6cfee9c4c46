use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const REQUESTED_METHODS: [RequestedMethod; 5] = [
    RequestedMethod::Auto,
    RequestedMethod::Tls,
    RequestedMethod::Portal,
    RequestedMethod::OpenPgp,
    RequestedMethod::Smime,
];
const LEVELS: [Option<Level>; 7] = [
    None,
    Some(Level::T0),
    Some(Level::T1),
    Some(Level::T2),
    Some(Level::T3),
    Some(Level::P),
    Some(Level::E),
];

fn message(data_class: DataClass) -> Message {
    Message {
        data_class,
        purpose: Purpose::Treatment,
        requested: Requested::default(),
        portal_only: false,
    }
}

fn asking(method: RequestedMethod) -> Message {
    Message {
        requested: Requested {
            method,
            ..Requested::default()
        },
        ..message(DataClass::Phi)
    }
}

fn domain(mta_sts: MtaStsFact) -> DomainFact {
    DomainFact {
        recorded: None,
        learned: None,
        mta_sts,
        dane: DaneFact::Unknown,
    }
}

fn at(mta_sts: MtaStsFact) -> Recipient {
    Recipient::unknown(domain(mta_sts))
}

fn fails() -> Recipient {
    Recipient::unknown(DomainFact {
        recorded: Some(TlsRecord::Fails),
        ..domain(MtaStsFact::Other)
    })
}

fn key(reads_gcm: bool) -> KeyFact {
    KeyFact::Usable {
        fingerprint: "ab12".to_owned(),
        reads_gcm,
    }
}

fn unusable(reason: &str) -> KeyFact {
    KeyFact::Unusable {
        reason: reason.to_owned(),
    }
}

fn sent(verdict: Verdict) -> Plan {
    match verdict {
        Verdict::Send(plan) => plan,
        Verdict::Blocked(blocked) => panic!("blocked by {}", blocked.rule),
    }
}

fn blocked(verdict: Verdict) -> Blocked {
    match verdict {
        Verdict::Blocked(blocked) => blocked,
        Verdict::Send(plan) => panic!("sent by {}", plan.rule),
    }
}

/// Protection of what was decided. Nothing is as safe as what is not sent; where the sender stops what would go to the portal,
/// the stop counts as the portal.
fn strength(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Send(plan) => plan.strength(),
        Verdict::Blocked(Blocked { stop: Stop::Block, .. }) => u8::MAX,
        Verdict::Blocked(_) => Level::P.strength(),
    }
}

fn against(plan: &Plan, method: Method) -> &str {
    &plan
        .rejected
        .iter()
        .find(|rejected| rejected.method == method)
        .unwrap()
        .reason
}

#[test]
fn a_new_tenant_sends_as_the_design_says() {
    use DataClass::{None as Unprotected, Phi, Sensitive};
    use MtaStsFact::{Enforce, Other, Unknown};
    let with_key = |openpgp, smime| Recipient {
        openpgp,
        smime,
        ..at(Other)
    };
    let learned = Recipient::unknown(DomainFact {
        learned: Some(TlsRecord::Fails),
        ..domain(Enforce)
    });
    let contradictory = DomainFact {
        recorded: Some(TlsRecord::Works),
        learned: Some(TlsRecord::Fails),
        ..domain(Other)
    };
    let vouched = DomainFact {
        recorded: Some(TlsRecord::Works),
        ..domain(Unknown)
    };
    let dane = |dane| {
        Recipient::unknown(DomainFact {
            dane,
            ..domain(Enforce)
        })
    };
    let cases = [
        (Phi, at(Other), Method::Tls, Level::T1, "tls-t1"),
        (Phi, at(Enforce), Method::Tls, Level::T2, "tls-t2"),
        (Phi, at(Unknown), Method::Portal, Level::P, "portal-unclear"),
        (Phi, Recipient::unknown(vouched), Method::Tls, Level::T1, "tls-t1"),
        (Phi, fails(), Method::Portal, Level::P, "portal-fails-tls"),
        (Phi, learned, Method::Portal, Level::P, "portal-fails-tls"),
        (
            Phi,
            Recipient::unknown(contradictory),
            Method::Portal,
            Level::P,
            "portal-fails-tls",
        ),
        (Phi, dane(DaneFact::Secure), Method::Tls, Level::T3, "tls-t3"),
        (Phi, dane(DaneFact::Bogus), Method::Portal, Level::P, "portal-unclear"),
        (Phi, dane(DaneFact::Other), Method::Tls, Level::T2, "tls-t2"),
        (
            Phi,
            with_key(key(false), KeyFact::None),
            Method::OpenPgp,
            Level::E,
            "key-openpgp",
        ),
        (
            Phi,
            with_key(KeyFact::None, key(true)),
            Method::Smime,
            Level::E,
            "key-smime",
        ),
        (
            Phi,
            with_key(key(false), key(true)),
            Method::OpenPgp,
            Level::E,
            "key-openpgp",
        ),
        (
            Phi,
            with_key(unusable("expired"), key(true)),
            Method::Smime,
            Level::E,
            "key-smime",
        ),
        (
            Phi,
            with_key(unusable("revoked"), KeyFact::None),
            Method::Portal,
            Level::P,
            "portal-unclear",
        ),
        (
            Phi,
            with_key(KeyFact::None, unusable("changed")),
            Method::Portal,
            Level::P,
            "portal-unclear",
        ),
        (Sensitive, at(Other), Method::Portal, Level::P, "portal-level"),
        (Sensitive, at(Enforce), Method::Tls, Level::T2, "tls-t2"),
        (Sensitive, at(Unknown), Method::Portal, Level::P, "portal-unclear"),
        (Sensitive, fails(), Method::Portal, Level::P, "portal-fails-tls"),
        (Unprotected, at(Other), Method::Tls, Level::T1, "tls-t1"),
        (Unprotected, at(Enforce), Method::Tls, Level::T2, "tls-t2"),
        (Unprotected, fails(), Method::Portal, Level::P, "portal-fails-tls"),
        (
            Phi,
            Recipient {
                prefers_portal: true,
                ..at(Other)
            },
            Method::Portal,
            Level::P,
            "portal-preferred",
        ),
    ];
    for (class, recipient, method, level, rule) in cases {
        let plan = sent(plan(&message(class), &recipient, &Policy::new_tenant()));
        assert_eq!(
            (plan.method, plan.level, plan.rule),
            (method, level, rule),
            "{class:?} {recipient:?}"
        );
    }
}

#[test]
fn a_sender_may_ask_for_more_and_not_for_less() {
    let other = || at(MtaStsFact::Other);
    let with_key = Recipient {
        openpgp: key(false),
        ..other()
    };
    let cases = [
        (asking(RequestedMethod::Tls), other(), Ok("asked-tls")),
        (asking(RequestedMethod::Portal), other(), Ok("asked-portal")),
        (
            asking(RequestedMethod::OpenPgp),
            other(),
            Err(("blocked-no-key", Stop::Block)),
        ),
        (
            asking(RequestedMethod::Smime),
            with_key.clone(),
            Err(("blocked-no-key", Stop::Block)),
        ),
        (asking(RequestedMethod::OpenPgp), with_key.clone(), Ok("asked-openpgp")),
        (asking(RequestedMethod::Tls), with_key.clone(), Ok("key-openpgp")),
        (asking(RequestedMethod::Portal), with_key.clone(), Ok("key-openpgp")),
        (asking(RequestedMethod::Tls), fails(), Ok("portal-fails-tls")),
    ];
    for (message, recipient, expected) in cases {
        let got = match plan(&message, &recipient, &Policy::new_tenant()) {
            Verdict::Send(plan) => Ok(plan.rule),
            Verdict::Blocked(blocked) => Err((blocked.rule, blocked.stop)),
        };
        assert_eq!(got, expected, "{message:?} {recipient:?}");
    }
    let levels = [
        (Level::T0, Ok("tls-t1")),
        (Level::T1, Ok("tls-t1")),
        (Level::T2, Ok("portal-level")),
        (Level::T3, Ok("portal-level")),
        (Level::P, Ok("portal-level")),
        (Level::E, Err(("blocked-level", Stop::Block))),
    ];
    for (level, expected) in levels {
        let message = Message {
            requested: Requested::default().at_least(Some(level)),
            ..message(DataClass::Phi)
        };
        let got = match plan(&message, &other(), &Policy::new_tenant()) {
            Verdict::Send(plan) => Ok(plan.rule),
            Verdict::Blocked(blocked) => Err((blocked.rule, blocked.stop)),
        };
        assert_eq!(got, expected, "{level:?}");
    }
}

#[test]
fn without_tls_the_sender_says_what_happens() {
    for (on_no_tls, stop) in [
        (OnNoTls::Hold, Stop::Hold),
        (OnNoTls::Fail, Stop::Fail),
        (OnNoTls::Drop, Stop::Drop),
    ] {
        let requested = Requested {
            on_no_tls: Some(on_no_tls),
            ..Requested::default()
        };
        let message = Message {
            requested,
            ..message(DataClass::Phi)
        };
        let blocked = blocked(plan(&message, &fails(), &Policy::new_tenant()));
        assert_eq!((blocked.rule, blocked.stop), ("blocked-no-tls", stop));
        assert_eq!(blocked.rejected.len(), 4);
        assert_eq!(
            sent(plan(&message, &at(MtaStsFact::Other), &Policy::new_tenant())).rule,
            "tls-t1"
        );
    }
}

#[test]
fn only_a_live_waiver_lowers() {
    let sensitive = message(DataClass::Sensitive);
    let with = |recipient: Recipient, down_to| Recipient {
        waiver: Some(LiveWaiver { down_to }),
        ..recipient
    };
    let cases = [
        (
            with(at(MtaStsFact::Other), WaivedLevel::T1),
            Method::Tls,
            Level::T1,
            "tls-waiver",
        ),
        (
            with(at(MtaStsFact::Unknown), WaivedLevel::T1),
            Method::Tls,
            Level::T1,
            "tls-waiver",
        ),
        (
            with(at(MtaStsFact::Enforce), WaivedLevel::T0),
            Method::Tls,
            Level::T2,
            "tls-t2",
        ),
        (
            with(fails(), WaivedLevel::T1),
            Method::Portal,
            Level::P,
            "portal-fails-tls",
        ),
        (with(fails(), WaivedLevel::T0), Method::Tls, Level::T0, "tls-waiver"),
        (
            Recipient {
                openpgp: key(false),
                ..with(fails(), WaivedLevel::T0)
            },
            Method::OpenPgp,
            Level::E,
            "key-openpgp",
        ),
    ];
    for (recipient, method, level, rule) in cases {
        let plan = sent(plan(&sensitive, &recipient, &Policy::new_tenant()));
        assert_eq!(
            (plan.method, plan.level, plan.rule),
            (method, level, rule),
            "{recipient:?}"
        );
    }
    let asks = Message {
        requested: Requested {
            level: Some(Level::T1),
            ..Requested::default()
        },
        ..sensitive
    };
    let plan = sent(plan(&asks, &with(fails(), WaivedLevel::T0), &Policy::new_tenant()));
    assert_eq!(
        plan.method,
        Method::Portal,
        "a waiver lowers what the class requires, not what the sender does"
    );
}

#[test]
fn the_tenant_may_let_unprotected_data_go_without_required_tls() {
    let lenient = Policy {
        none_without_tls: true,
        ..Policy::new_tenant()
    };
    let none = message(DataClass::None);
    assert_eq!(sent(plan(&none, &at(MtaStsFact::Other), &lenient)).level, Level::T0);
    assert_eq!(sent(plan(&none, &at(MtaStsFact::Enforce), &lenient)).level, Level::T2);
    assert_eq!(sent(plan(&none, &fails(), &lenient)).method, Method::Portal);
    assert_eq!(
        sent(plan(&message(DataClass::Phi), &at(MtaStsFact::Other), &lenient)).level,
        Level::T1
    );
    let asks = Message {
        data_class: DataClass::None,
        ..asking(RequestedMethod::Tls)
    };
    assert_eq!(
        sent(plan(&asks, &at(MtaStsFact::Other), &lenient)).level,
        Level::T1,
        "asking for TLS means required TLS"
    );
}

#[test]
fn the_cipher_is_gcm_where_it_is_read_and_the_weakness_of_cbc_is_told() {
    let with = |reads_gcm| Recipient {
        smime: key(reads_gcm),
        ..at(MtaStsFact::Other)
    };
    let strict = Policy {
        smime_without_gcm: SmimeWithoutGcm::Portal,
        ..Policy::new_tenant()
    };
    let phi = message(DataClass::Phi);
    for policy in [&strict, &Policy::new_tenant()] {
        assert_eq!(sent(plan(&phi, &with(true), policy)).cipher, Some(Cipher::Gcm));
    }
    let cbc = sent(plan(&phi, &with(false), &Policy::new_tenant()));
    assert_eq!(cbc.cipher, Some(Cipher::Cbc));
    assert!(against(&cbc, Method::Portal).contains("EFAIL"), "{:?}", cbc.rejected);
    let portal = sent(plan(&asking(RequestedMethod::Portal), &with(false), &strict));
    assert_eq!(portal.method, Method::Portal);
    assert!(
        against(&portal, Method::Smime).contains("EFAIL"),
        "{:?}",
        portal.rejected
    );
    let blocked = blocked(plan(&asking(RequestedMethod::Smime), &with(false), &strict));
    assert_eq!(blocked.rule, "blocked-no-key");
}

#[test]
fn a_recipient_whose_tenant_rules_out_cbc_gets_the_portal() {
    let strict = Policy {
        smime_without_gcm: SmimeWithoutGcm::Portal,
        ..Policy::new_tenant()
    };
    let recipient = Recipient {
        smime: key(false),
        ..at(MtaStsFact::Enforce)
    };
    let plan = sent(plan(&message(DataClass::Phi), &recipient, &strict));
    assert_eq!((plan.method, plan.rule), (Method::Portal, "portal-no-gcm"));
}

#[test]
fn the_reason_against_a_key_says_what_is_wrong_with_it() {
    for (code, text) in [
        ("expired", "has expired"),
        ("revoked", "is revoked"),
        ("weak_key", "weak_key"),
    ] {
        let recipient = Recipient {
            smime: unusable(code),
            ..at(MtaStsFact::Other)
        };
        let plan = sent(plan(&message(DataClass::Phi), &recipient, &Policy::new_tenant()));
        assert!(against(&plan, Method::Smime).contains(text), "{:?}", plan.rejected);
    }
}

#[test]
fn every_part_of_a_plan_changes_its_hash() {
    let base = sent(plan(
        &message(DataClass::Phi),
        &at(MtaStsFact::Other),
        &Policy::new_tenant(),
    ));
    let changed = [
        Plan {
            method: Method::Portal,
            ..base.clone()
        },
        Plan {
            level: Level::T2,
            ..base.clone()
        },
        Plan {
            rule: "tls-t2",
            ..base.clone()
        },
        Plan {
            cipher: Some(Cipher::Cbc),
            ..base.clone()
        },
        Plan {
            fingerprint: Some("ab12".to_owned()),
            ..base.clone()
        },
    ];
    let mut hashes: Vec<String> = changed.iter().map(|plan| plan.sha256(1)).collect();
    hashes.extend([base.sha256(1), base.sha256(2)]);
    let n_hashes = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), n_hashes);
    assert_eq!(base.sha256(1), base.clone().sha256(1));
    assert_eq!(base.sha256(1).len(), 64);
}

#[test]
fn levels_are_ordered_by_protection() {
    let mut levels = LEVELS.to_vec();
    levels.reverse();
    levels.sort();
    assert_eq!(levels, LEVELS);
}

fn keys() -> impl Strategy<Value = KeyFact> {
    prop_oneof![
        Just(KeyFact::None),
        any::<bool>().prop_map(key),
        select(vec!["expired", "revoked", "changed", "malformed"]).prop_map(unusable),
    ]
}

fn records() -> impl Strategy<Value = Option<TlsRecord>> {
    select(vec![None, Some(TlsRecord::Works), Some(TlsRecord::Fails)])
}

fn recipients() -> impl Strategy<Value = Recipient> {
    let mta_sts = select(vec![MtaStsFact::Enforce, MtaStsFact::Other, MtaStsFact::Unknown]);
    let dane = select(vec![
        DaneFact::Secure,
        DaneFact::Other,
        DaneFact::Bogus,
        DaneFact::Unknown,
    ]);
    let waiver = select(vec![None, Some(WaivedLevel::T0), Some(WaivedLevel::T1)]);
    (
        keys(),
        keys(),
        records(),
        records(),
        mta_sts,
        dane,
        any::<bool>(),
        waiver,
    )
        .prop_map(
            |(openpgp, smime, recorded, learned, mta_sts, dane, prefers_portal, waiver)| Recipient {
                openpgp,
                smime,
                domain: DomainFact {
                    recorded,
                    learned,
                    mta_sts,
                    dane,
                },
                prefers_portal,
                waiver: waiver.map(|down_to| LiveWaiver { down_to }),
            },
        )
}

fn messages() -> impl Strategy<Value = Message> {
    let class = select(vec![DataClass::Phi, DataClass::Sensitive, DataClass::None]);
    let on_no_tls = select(vec![
        None,
        Some(OnNoTls::Portal),
        Some(OnNoTls::Hold),
        Some(OnNoTls::Fail),
        Some(OnNoTls::Drop),
    ]);
    (
        class,
        select(REQUESTED_METHODS.to_vec()),
        select(LEVELS.to_vec()),
        on_no_tls,
        any::<bool>(),
    )
        .prop_map(|(data_class, method, level, on_no_tls, portal_only)| Message {
            data_class,
            purpose: Purpose::Operations,
            requested: Requested {
                method,
                level,
                on_no_tls,
            },
            portal_only,
        })
}

fn policies() -> impl Strategy<Value = Policy> {
    (
        any::<bool>(),
        select(vec![SmimeWithoutGcm::Cbc, SmimeWithoutGcm::Portal]),
    )
        .prop_map(|(none_without_tls, smime_without_gcm)| Policy {
            none_without_tls,
            smime_without_gcm,
            ..Policy::new_tenant()
        })
}

/// How much a key fact says for end-to-end encryption.
fn rank(fact: &KeyFact) -> u8 {
    match fact {
        KeyFact::None => 0,
        KeyFact::Unusable { .. } => 1,
        KeyFact::Usable { reads_gcm: false, .. } => 2,
        KeyFact::Usable { reads_gcm: true, .. } => 3,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn nothing_goes_weaker_than_its_class_and_its_request(
        message in messages(), recipient in recipients(), policy in policies()
    ) {
        if let Verdict::Send(plan) = plan(&message, &recipient, &policy) {
            prop_assert!(Some(plan.level) >= message.requested.level);
            let floor = match (message.data_class, recipient.waiver) {
                (_, Some(LiveWaiver { down_to: WaivedLevel::T0 })) => Level::T0,
                (DataClass::None, _) if policy.none_without_tls => Level::T0,
                (DataClass::Sensitive, None) => Level::T2,
                _ => Level::T1,
            };
            prop_assert!(plan.level >= floor, "{plan:?}");
            if message.portal_only {
                prop_assert!(plan.level >= Level::P);
            }
            if let (Method::Tls, None) = (plan.method, recipient.waiver) {
                prop_assert!(recipient.domain.recorded != Some(TlsRecord::Fails));
                prop_assert!(recipient.domain.learned != Some(TlsRecord::Fails));
            }
        }
    }

    #[test]
    fn every_method_is_chosen_or_rejected_with_a_reason_and_every_rule_is_in_the_table(
        message in messages(), recipient in recipients(), policy in policies()
    ) {
        let (chosen, rejected, rule) = match plan(&message, &recipient, &policy) {
            Verdict::Send(plan) => (Some(plan.method), plan.rejected, plan.rule),
            Verdict::Blocked(blocked) => (None, blocked.rejected, blocked.rule),
        };
        prop_assert!(rejected.iter().all(|rejected| !rejected.reason.is_empty()));
        let seen: Vec<Method> = rejected.iter().map(|rejected| rejected.method).chain(chosen).collect();
        prop_assert_eq!(seen.len(), 4);
        prop_assert!(Method::ALL.iter().all(|method| seen.contains(method)));
        let text = include_str!("../policy.rs");
        let (table, _) = text.split_once("mod decide;").unwrap();
        let cell = format!("`{rule}`");
        prop_assert!(table.contains(&cell), "{}", rule);
    }

    #[test]
    fn a_plan_fits_its_method(message in messages(), recipient in recipients(), policy in policies()) {
        if let Verdict::Send(plan) = plan(&message, &recipient, &policy) {
            prop_assert_eq!(plan.cipher.is_some(), plan.method == Method::Smime);
            prop_assert_eq!(plan.fingerprint.is_some(), plan.level == Level::E);
            let fits = match plan.method {
                Method::Tls => plan.level <= Level::T3,
                Method::Portal => plan.level == Level::P,
                Method::OpenPgp => plan.level == Level::E && rank(&recipient.openpgp) >= 2,
                Method::Smime => plan.level == Level::E && rank(&recipient.smime) >= 2,
            };
            prop_assert!(fits, "{:?}", plan);
        }
    }

    #[test]
    fn raising_what_is_asked_or_required_never_lowers_what_is_done(
        message in messages(), recipient in recipients(), policy in policies(),
        level in select(LEVELS.to_vec()), method in select(REQUESTED_METHODS.to_vec()), better in keys()
    ) {
        let before = strength(&plan(&message, &recipient, &policy));
        let requested = message.requested;
        let from_auto = Message { requested: Requested { method: RequestedMethod::Auto, ..requested }, ..message };
        let asked = Message { requested: Requested { method, ..requested }, ..message };
        prop_assert!(
            strength(&plan(&asked, &recipient, &policy)) >= strength(&plan(&from_auto, &recipient, &policy)),
            "a method that is asked for never lowers"
        );
        let raised = [
            (Message { requested: requested.at_least(level), ..message }, recipient.clone(), policy.clone()),
            (Message { portal_only: true, ..message }, recipient.clone(), policy.clone()),
            (message, Recipient { prefers_portal: true, ..recipient.clone() }, policy.clone()),
            (message, Recipient { waiver: None, ..recipient.clone() }, policy.clone()),
            (message, recipient.clone(), Policy { none_without_tls: false, ..policy.clone() }),
        ];
        for (message, recipient, policy) in &raised {
            let after = strength(&plan(message, recipient, policy));
            prop_assert!(after >= before, "{:?} {:?}", message, recipient);
        }
        let class = if message.data_class == DataClass::None { DataClass::Phi } else { DataClass::Sensitive };
        let as_protected = Message { data_class: class, ..message };
        prop_assert!(strength(&plan(&as_protected, &recipient, &policy)) >= before);
        if rank(&better) >= rank(&recipient.openpgp) && requested.method == RequestedMethod::Auto {
            let with_better = Recipient { openpgp: better, ..recipient.clone() };
            let after = plan(&message, &with_better, &policy);
            // A key makes sendable what was blocked for want of one, which lowers nothing.
            prop_assert!(before == u8::MAX || strength(&after) >= before);
        }
        if recipient.waiver.is_none() {
            let failing = DomainFact { learned: Some(TlsRecord::Fails), ..recipient.domain };
            let failing = Recipient { domain: failing, ..recipient.clone() };
            prop_assert!(strength(&plan(&message, &failing, &policy)) >= before, "a failure never lowers");
        }
    }
}
