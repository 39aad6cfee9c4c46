//! The choice of method against a second one, written apart from it: `tests/oracle/policy.py` (invariant I4).
//!
//! Both decide every row of two full cross products; each row must agree in method, level and cipher, or in being blocked.
//! What no oracle is needed for is asserted beside it: nothing goes weaker than its data class.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use sealpost_core::policy::{
    Cipher, DaneFact, DataClass, DomainFact, KeyFact, Level, LiveWaiver, Message, Method, MtaStsFact, OnNoTls, Policy,
    Purpose, Recipient, Requested, RequestedMethod, SmimeWithoutGcm, Stop, TlsRecord, Verdict, WaivedLevel, plan,
};
use serde_json::{Value, json};

const CLASSES: [DataClass; 3] = [DataClass::Phi, DataClass::Sensitive, DataClass::None];
const METHODS: [RequestedMethod; 5] = [
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
const RECORDS: [(Option<TlsRecord>, Option<TlsRecord>); 5] = [
    (None, None),
    (Some(TlsRecord::Works), None),
    (Some(TlsRecord::Fails), None),
    (None, Some(TlsRecord::Fails)),
    (Some(TlsRecord::Works), Some(TlsRecord::Fails)),
];
const MTA_STS: [MtaStsFact; 3] = [MtaStsFact::Enforce, MtaStsFact::Other, MtaStsFact::Unknown];
const DANE: [DaneFact; 4] = [DaneFact::Secure, DaneFact::Other, DaneFact::Bogus, DaneFact::Unknown];
const OPENPGP: [&str; 3] = ["none", "usable", "expired"];
const SMIME: [&str; 4] = ["none", "gcm", "cbc", "revoked"];

#[derive(Clone, Copy)]
struct Row {
    class: DataClass,
    method: RequestedMethod,
    level: Option<Level>,
    on_no_tls: OnNoTls,
    portal_only: bool,
    openpgp: &'static str,
    smime: &'static str,
    records: (Option<TlsRecord>, Option<TlsRecord>),
    mta_sts: MtaStsFact,
    dane: DaneFact,
    prefers_portal: bool,
    waiver: Option<WaivedLevel>,
    none_without_tls: bool,
    smime_without_gcm: SmimeWithoutGcm,
}

impl Row {
    const FIRST: Row = Row {
        class: DataClass::Phi,
        method: RequestedMethod::Auto,
        level: None,
        on_no_tls: OnNoTls::Portal,
        portal_only: false,
        openpgp: "none",
        smime: "none",
        records: (None, None),
        mta_sts: MtaStsFact::Other,
        dane: DaneFact::Unknown,
        prefers_portal: false,
        waiver: None,
        none_without_tls: false,
        smime_without_gcm: SmimeWithoutGcm::Cbc,
    };

    fn decide(&self) -> Verdict {
        let requested = Requested {
            method: self.method,
            level: self.level,
            on_no_tls: Some(self.on_no_tls),
        };
        let message = Message {
            data_class: self.class,
            purpose: Purpose::Treatment,
            requested,
            portal_only: self.portal_only,
        };
        let (recorded, learned) = self.records;
        let recipient = Recipient {
            openpgp: key(self.openpgp),
            smime: key(self.smime),
            domain: DomainFact {
                recorded,
                learned,
                mta_sts: self.mta_sts,
                dane: self.dane,
            },
            prefers_portal: self.prefers_portal,
            waiver: self.waiver.map(|down_to| LiveWaiver { down_to }),
        };
        let policy = Policy {
            none_without_tls: self.none_without_tls,
            smime_without_gcm: self.smime_without_gcm,
            ..Policy::new_tenant()
        };
        plan(&message, &recipient, &policy)
    }

    fn facts(&self) -> Value {
        json!({
            "data_class": self.class, "method": self.method, "level": self.level, "on_no_tls": self.on_no_tls,
            "portal_only": self.portal_only, "openpgp": self.openpgp, "smime": self.smime,
            "recorded": self.records.0, "learned": self.records.1, "mta_sts": self.mta_sts, "dane": self.dane,
            "prefers_portal": self.prefers_portal, "waiver": self.waiver, "none_without_tls": self.none_without_tls,
            "smime_without_gcm": self.smime_without_gcm,
        })
    }

    /// The weakest level that this class may go by.
    fn floor(&self) -> Level {
        match (self.waiver, self.class) {
            (Some(WaivedLevel::T0), _) => Level::T0,
            (_, DataClass::None) if self.none_without_tls => Level::T0,
            (None, DataClass::Sensitive) => Level::T2,
            _ => Level::T1,
        }
    }
}

fn key(kind: &str) -> KeyFact {
    match kind {
        "none" => KeyFact::None,
        "usable" | "gcm" | "cbc" => KeyFact::Usable {
            fingerprint: "ab12".to_owned(),
            reads_gcm: kind == "gcm",
        },
        reason => KeyFact::Unusable {
            reason: reason.to_owned(),
        },
    }
}

/// Every row with each of `values` set by `set`.
fn cross<T: Copy>(rows: &[Row], values: &[T], set: impl Fn(&mut Row, T)) -> Vec<Row> {
    let mut crossed = Vec::with_capacity(rows.len() * values.len());
    for row in rows {
        for value in values {
            let mut row = *row;
            set(&mut row, *value);
            crossed.push(row);
        }
    }
    crossed
}

/// Message, keys and domain, under a new tenant's policy.
fn by_new_tenants() -> Vec<Row> {
    let rows = cross(&[Row::FIRST], &CLASSES, |row, class| row.class = class);
    let rows = cross(&rows, &METHODS, |row, method| row.method = method);
    let rows = cross(&rows, &LEVELS, |row, level| row.level = level);
    let rows = cross(&rows, &[OnNoTls::Portal, OnNoTls::Hold], |row, on_no_tls| {
        row.on_no_tls = on_no_tls
    });
    let rows = cross(&rows, &OPENPGP, |row, openpgp| row.openpgp = openpgp);
    let rows = cross(&rows, &SMIME, |row, smime| row.smime = smime);
    let rows = cross(&rows, &RECORDS, |row, records| row.records = records);
    let rows = cross(&rows, &MTA_STS, |row, mta_sts| row.mta_sts = mta_sts);
    cross(
        &rows,
        &[DaneFact::Secure, DaneFact::Bogus, DaneFact::Unknown],
        |row, dane| row.dane = dane,
    )
}

/// Waivers, preferences, failovers and what else a tenant may set.
fn by_other_tenants() -> Vec<Row> {
    let rows = cross(&[Row::FIRST], &CLASSES, |row, class| row.class = class);
    let rows = cross(&rows, &[RequestedMethod::Auto, RequestedMethod::Tls], |row, method| {
        row.method = method
    });
    let rows = cross(&rows, &[None, Some(Level::T1), Some(Level::P)], |row, level| {
        row.level = level
    });
    let rows = cross(&rows, &[OnNoTls::Portal, OnNoTls::Drop], |row, on| row.on_no_tls = on);
    let rows = cross(&rows, &["none", "expired"], |row, openpgp| row.openpgp = openpgp);
    let rows = cross(&rows, &["none", "gcm", "cbc"], |row, smime| row.smime = smime);
    let rows = cross(&rows, &RECORDS[..3], |row, records| row.records = records);
    let rows = cross(&rows, &MTA_STS, |row, mta_sts| row.mta_sts = mta_sts);
    let rows = cross(&rows, &[DaneFact::Other], |row, dane| row.dane = dane);
    let rows = cross(&rows, &[false, true], |row, portal_only| row.portal_only = portal_only);
    let rows = cross(&rows, &[false, true], |row, prefers| row.prefers_portal = prefers);
    let waivers = [None, Some(WaivedLevel::T0), Some(WaivedLevel::T1)];
    let rows = cross(&rows, &waivers, |row, waiver| row.waiver = waiver);
    let rows = cross(&rows, &[false, true], |row, lenient| row.none_without_tls = lenient);
    let ciphers = [SmimeWithoutGcm::Cbc, SmimeWithoutGcm::Portal];
    cross(&rows, &ciphers, |row, cipher| row.smime_without_gcm = cipher)
}

fn answer(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Send(plan) => match plan.cipher {
            None => json!({ "method": plan.method, "level": plan.level }),
            Some(cipher) => json!({ "method": plan.method, "level": plan.level, "cipher": cipher }),
        },
        Verdict::Blocked(blocked) => json!({ "blocked": match blocked.stop {
            Stop::Block => "block",
            Stop::Hold => "hold",
            Stop::Fail => "fail",
            Stop::Drop => "drop",
        } }),
    }
}

/// The oracle's answer to each row.
fn oracle(rows: &[Row]) -> Vec<Value> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("policy-{}.ndjson", std::process::id()));
    let mut file = BufWriter::new(File::create(&path).unwrap());
    for row in rows {
        writeln!(file, "{}", row.facts()).unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/policy.py");
    let output = Command::new("python3")
        .arg(script)
        .stdin(File::open(&path).unwrap())
        .output();
    let output = output.expect("this test needs python3");
    fs::remove_file(&path).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_choice_of_method_agrees_with_the_oracle_on_every_row() {
    let mut rows = by_new_tenants();
    rows.extend(by_other_tenants());
    assert!(rows.len() >= 5_000, "{}", rows.len());
    let expected = oracle(&rows);
    assert_eq!(expected.len(), rows.len());
    let mut n_by_method = [0_usize; 4];
    let mut n_blocked = 0_usize;
    let mut differences = Vec::new();
    for (row, expected) in rows.iter().zip(&expected) {
        let verdict = row.decide();
        if answer(&verdict) != *expected {
            differences.push(format!("{} expected {expected} got {}", row.facts(), answer(&verdict)));
        }
        match verdict {
            Verdict::Blocked(_) => n_blocked += 1,
            Verdict::Send(plan) => {
                assert!(plan.level >= row.floor(), "{} {plan:?}", row.facts());
                assert!(Some(plan.level) >= row.level, "{} {plan:?}", row.facts());
                assert!(
                    plan.cipher != Some(Cipher::Gcm) || row.smime == "gcm",
                    "{}",
                    row.facts()
                );
                let n = Method::ALL.iter().position(|method| *method == plan.method).unwrap();
                n_by_method[n] += 1;
            }
        }
    }
    let first: Vec<&String> = differences.iter().take(5).collect();
    assert!(
        differences.is_empty(),
        "{} of {} rows differ: {first:#?}",
        differences.len(),
        rows.len()
    );
    println!(
        "{} rows agree; by method {n_by_method:?}, blocked {n_blocked}",
        rows.len()
    );
    assert!(
        n_by_method.iter().all(|n| *n > 0) && n_blocked > 0,
        "every outcome is covered"
    );
    assert!(DANE.iter().all(|dane| rows.iter().any(|row| row.dane == *dane)));
}
