//! Promise: a suppressed address gets no mail of the suppressed sort, also when the suppression comes at the last moment,
//! and whoever sends to it is told (invariant I8).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use sealpost_codec::address::Address;
use sealpost_core::actor::{self, Actor};
use sealpost_core::app::App;
use sealpost_core::id::{DeliveryId, EmailId, TenantId};
use sealpost_core::suppression::{self, Source};
use sealpost_core::tenant::{self, NewTenant};
use sealpost_local::aws::fault::{Call, Phase, Verdict};
use serde_json::{Value, json};

use crate::system::Running;

const BOUNCES: Actor = Actor::System("tracking");

fn email(to: &str, purpose: &str) -> Value {
    json!({
        "from": "care@clinic.test", "to": to, "subject": "Your visit", "text": "See you on Monday.", "purpose": purpose
    })
}

/// How a mail of this purpose ends: its status, and why it was not sent.
async fn fate(running: &Running, to: &str, purpose: &str) -> (String, Value) {
    let n_before = running.mails(to).await.len();
    let id = running.send(&email(to, purpose)).await;
    let settled = running.settled(&id).await;
    let recipient = &settled["recipients"][0];
    let status = recipient["status"].as_str().unwrap().to_owned();
    let n_mails = running.mails(to).await.len() - n_before;
    assert_eq!(n_mails, usize::from(status == "delivered"), "{settled}");
    assert_eq!(settled["last_event"], status.as_str());
    (status, recipient["ended_because"].clone())
}

async fn suppress(running: &Running, body: Value) -> String {
    let (status, added) = running.post("/suppressions", &body).await;
    assert_eq!(status, 201, "{added}");
    added["id"].as_str().unwrap().to_owned()
}

async fn set_policy(running: &Running, field: &str, value: Value) {
    let (_, mut policy) = running.get("/policies").await;
    policy[field] = value;
    let body = policy.to_string().into_bytes();
    let (status, answer) = running.call(Method::PUT, "/policies", Some(body), &[]).await;
    assert_eq!(status, 200, "{answer}");
}

async fn owner(running: &Running) -> (Arc<App>, TenantId) {
    let app = running.system.app("admin").unwrap();
    let header = format!("Bearer {}", running.api_key);
    match actor::authenticate(&app, Some(&header)).await.unwrap() {
        Actor::ApiKey { tenant, .. } => (app, tenant),
        other => panic!("{other}"),
    }
}

fn source(n: u8) -> Source {
    Source {
        email: EmailId::from_bytes([n; 16]),
        delivery: DeliveryId::from_bytes([n; 16]),
    }
}

/// The rows of a table in which each of these names has this value.
async fn rows(running: &Running, table: &str, wanted: &[(&str, &str)]) -> Vec<String> {
    let dynamodb = aws_sdk_dynamodb::Client::new(&running.system.sdk());
    let names = dynamodb.list_tables().send().await.unwrap();
    let name = names.table_names().iter().find(|name| name.contains(table)).unwrap();
    let items = dynamodb.scan().table_name(name).send().await.unwrap();
    let is_wanted = |item: &&std::collections::HashMap<String, AttributeValue>| {
        wanted.iter().all(|(name, value)| {
            item.get(*name)
                .and_then(|found| found.as_s().ok())
                .is_some_and(|s| s == value)
        })
    };
    let found = items.items().iter().filter(is_wanted);
    found.map(|item| format!("{item:?}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppressed_address_gets_nothing_and_its_sender_is_told() {
    let running = Running::start().await;
    let (all, marketing) = ("Canary-All@patient.test", "canary-some@patient.test");
    let id = suppress(&running, json!({ "email": all })).await;
    suppress(&running, json!({ "email": marketing, "scope": "marketing" })).await;
    let manual = |status: &str| (status.to_owned(), json!("suppressed_manual"));
    let sent = ("delivered".to_owned(), Value::Null);
    // The case of the local part makes no second recipient.
    assert_eq!(
        fate(&running, "canary-all@patient.test", "treatment").await,
        manual("suppressed")
    );
    assert_eq!(fate(&running, marketing, "treatment").await, sent);
    assert_eq!(fate(&running, marketing, "marketing").await, manual("suppressed"));
    assert_eq!(rows(&running, "Mail", &[("type", "email.suppressed")]).await.len(), 2);
    let entries = rows(&running, "Log", &[("action", "delivery.ended")]).await;
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.contains("suppressed_manual")));
    let (_, plan) = running.post("/encryption/plan", &email(all, "treatment")).await;
    assert_eq!(plan["recipients"][0]["suppressed"], true, "{plan}");

    let other = json!({ "emails": [all, marketing, "free@patient.test"], "purpose": "treatment" });
    let (status, check) = running.post("/suppressions/check", &other).await;
    assert_eq!((status, &check["purpose"]), (200, &json!("treatment")));
    let would: Vec<&Value> = check["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["would_send"])
        .collect();
    assert_eq!(would, [false, true, true]);
    assert_eq!(check["data"][0]["suppression"]["id"], id.as_str());

    let (status, removed) = running
        .call(Method::DELETE, &format!("/suppressions/{id}"), None, &[])
        .await;
    assert_eq!((status, removed["deleted"].as_bool()), (200, Some(true)));
    assert_eq!(fate(&running, all, "treatment").await, sent);
    for (kind, n) in [("suppression.added", 2), ("suppression.removed", 1)] {
        assert_eq!(rows(&running, "Mail", &[("type", kind)]).await.len(), n, "{kind}");
        assert_eq!(rows(&running, "Log", &[("action", kind)]).await.len(), n, "{kind}");
    }
    running
        .assert_no_side_channel(&["anary-All", "anary-all", "anary-some"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_between_plan_and_submission_stops_the_mail() {
    let running = Running::start().await;
    let address = "late@patient.test";
    let (reached, is_reached) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let is_first = AtomicBool::new(true);
    // The lock is stamped after the recipient was looked at and before the fence is written.
    let hold = move |call: &Call, phase: Phase| {
        if call.operation == "PutObjectRetention" && phase == Phase::Before && is_first.swap(false, Ordering::SeqCst) {
            tokio::task::block_in_place(|| {
                reached.send(()).unwrap();
                may_go.lock().unwrap().recv_timeout(Duration::from_secs(30)).unwrap();
            });
        }
        Verdict::Go
    };
    running.system.aws.set_faults(Some(Arc::new(hold)));
    let id = running.send(&email(address, "treatment")).await;
    tokio::task::block_in_place(|| is_reached.recv_timeout(Duration::from_secs(30))).unwrap();
    suppress(&running, json!({ "email": address })).await;
    go.send(()).unwrap();
    // The claim of the refused attempt ends first.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        running.system.advance(Duration::from_secs(60)).unwrap();
    }
    let settled = running.settled(&id).await;
    running.system.aws.set_faults(None);
    let recipient = &settled["recipients"][0];
    assert_eq!(recipient["status"], "suppressed", "{settled}");
    let events: Vec<&Value> = recipient["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["type"])
        .collect();
    assert_eq!(
        events,
        ["queued", "suppressed"],
        "it was never about to be handed to SES"
    );
    assert_eq!(running.mails(address).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounces_complaints_and_unsubscriptions_stop_what_each_should() {
    let running = Running::start().await;
    let (app, tenant) = owner(&running).await;
    let [gone, angry, tired] = ["gone", "angry", "tired"].map(|who| format!("{who}@patient.test"));
    let parse = |text: &str| Address::parse(text).unwrap();
    let bounced = suppression::on_hard_bounce(&app, &BOUNCES, &tenant, &parse(&gone), &source(1))
        .await
        .unwrap();
    assert!(bounced.is_new);
    suppression::on_complaint(&app, &BOUNCES, &tenant, &parse(&angry), &source(2))
        .await
        .unwrap();
    suppression::on_unsubscribe(&app, &BOUNCES, &tenant, &parse(&tired), &source(3))
        .await
        .unwrap();
    for (to, purpose, status, because) in [
        (&gone, "treatment", "suppressed", "suppressed_hard_bounce"),
        (&gone, "marketing", "suppressed", "suppressed_hard_bounce"),
        (&angry, "treatment", "delivered", ""),
        (&angry, "marketing", "suppressed", "suppressed_complaint"),
        (&tired, "payment", "delivered", ""),
        (&tired, "marketing", "suppressed", "suppressed_unsubscribe"),
    ] {
        let (found, why) = fate(&running, to, purpose).await;
        assert_eq!(
            (found.as_str(), why.as_str().unwrap_or_default()),
            (status, because),
            "{to} {purpose}"
        );
    }
    let (_, read) = running.get(&format!("/suppressions/{gone}")).await;
    assert_eq!(
        (&read["origin"], &read["reason"], &read["scope"], &read["source_id"]),
        (
            &json!("bounce"),
            &json!("hard_bounce"),
            &json!("all"),
            &json!(source(1).email.as_str())
        )
    );
    set_policy(&running, "complaint_stops_care", json!(true)).await;
    assert_eq!(
        fate(&running, &angry, "treatment").await.1,
        json!("suppressed_complaint")
    );
    assert_eq!(fate(&running, &tired, "treatment").await.0, "delivered");

    // Told again, nothing changes; told again after it was taken back, nothing comes back.
    let again = suppression::on_hard_bounce(&app, &BOUNCES, &tenant, &parse(&gone), &source(1))
        .await
        .unwrap();
    assert_eq!((again.is_new, &again.id), (false, &bounced.id));
    assert_eq!(
        running
            .call(Method::DELETE, &format!("/suppressions/{gone}"), None, &[])
            .await
            .0,
        200
    );
    suppression::on_hard_bounce(&app, &BOUNCES, &tenant, &parse(&gone), &source(1))
        .await
        .unwrap();
    assert_eq!(fate(&running, &gone, "treatment").await.0, "delivered");
    suppression::on_hard_bounce(&app, &BOUNCES, &tenant, &parse(&gone), &source(4))
        .await
        .unwrap();
    assert_eq!(fate(&running, &gone, "treatment").await.0, "suppressed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_ends_at_its_time_without_anybody_doing_anything() {
    let running = Running::start().await;
    let until = running.system.clock().now_ms() + 3_600_000;
    let until = rfc3339(until);
    let body = json!({ "email": "short@patient.test", "expires_at": until });
    let id = suppress(&running, body).await;
    assert_eq!(fate(&running, "short@patient.test", "treatment").await.0, "suppressed");
    running.system.advance(Duration::from_secs(3_601)).unwrap();
    assert_eq!(running.get(&format!("/suppressions/{id}")).await.0, 404);
    assert_eq!(running.get("/suppressions").await.1["data"], json!([]));
    assert_eq!(fate(&running, "short@patient.test", "treatment").await.0, "delivered");
    let past = json!({ "email": "short@patient.test", "expires_at": until });
    assert_eq!(
        running.post("/suppressions", &past).await.1["errors"][0]["pointer"],
        "/expires_at"
    );
    // An expired one makes room for a new one, which alone stands in the list.
    let renewed = suppress(&running, json!({ "email": "short@patient.test" })).await;
    let (_, list) = running.get("/suppressions").await;
    assert_eq!(
        (list["data"].as_array().unwrap().len(), &list["data"][0]["id"]),
        (1, &json!(renewed))
    );
}

/// A time as RFC 3339, to the second.
fn rfc3339(ms: i64) -> String {
    let (days, seconds) = (ms.div_euclid(86_400_000), ms.div_euclid(1000).rem_euclid(86_400));
    // Civil date from days since the epoch (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_answers_for_each_row_and_an_export_gives_all_of_them_back() {
    let running = Running::start().await;
    let mut rows: Vec<Value> = (0..60)
        .map(|n| json!({ "email": format!("p{n}@patient.test"), "reason": "hard_bounce" }))
        .collect();
    rows.push(json!({ "email": "not an address" }));
    rows.push(json!({ "email": "P0@patient.test", "reason": "complaint", "scope": "all" }));
    rows.push(json!({ "email": "p1@patient.test" }));
    let (status, result) = running.post("/suppressions/import", &json!({ "rows": rows })).await;
    assert_eq!(status, 200, "{result}");
    let counts = ["added", "unchanged", "invalid", "failed"].map(|name| result[name].as_u64().unwrap());
    assert_eq!(counts, [61, 1, 1, 0], "{result}");
    let statuses: Vec<&str> = result["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses[60..], ["invalid", "added", "unchanged"]);
    assert!(
        !result["data"][60]["error"].as_str().unwrap().contains("not an"),
        "{result}"
    );
    assert_eq!(
        running.get("/suppressions/p0@patient.test").await.1["reason"],
        "complaint"
    );

    let http = reqwest::Client::new();
    let mut emails = Vec::new();
    let mut next = Some("/suppressions/export?limit=25".to_owned());
    while let Some(path) = next.take() {
        let answer = http
            .get(running.url(&path))
            .bearer_auth(&running.api_key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        let link = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        let lines = answer.text().await.unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() <= 25 && emails.len() < 100);
        emails.extend(lines.iter().map(|line| line["email"].as_str().unwrap().to_owned()));
    }
    emails.sort();
    let mut expected: Vec<String> = (0..60).map(|n| format!("p{n}@patient.test")).collect();
    expected.sort();
    assert_eq!(emails, expected);
    let csv = http
        .get(running.url("/suppressions/export?format=csv"))
        .bearer_auth(&running.api_key);
    let csv = csv.send().await.unwrap().text().await.unwrap();
    assert_eq!(csv.lines().count(), 61);
    assert!(
        csv.contains("\"p59@patient.test\",\"hard_bounce\",\"all\",\"bounce\""),
        "{csv}"
    );

    let too_many: Vec<Value> = (0..1001)
        .map(|n| json!({ "email": format!("q{n}@patient.test") }))
        .collect();
    let (status, answer) = running.post("/suppressions/import", &json!({ "rows": too_many })).await;
    assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/rows")));
    assert_eq!(running.get("/suppressions/q0@patient.test").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tenant_and_no_other_scope_reaches_a_suppression() {
    let running = Running::start().await;
    let id = suppress(&running, json!({ "email": "pat@patient.test" })).await;
    let ses = aws_sdk_sesv2::Client::new(&running.system.sdk());
    ses.create_email_identity()
        .email_identity("practice.test")
        .send()
        .await
        .unwrap();
    let new = NewTenant {
        name: "Practice".to_owned(),
        domain: "practice.test".to_owned(),
        care_address: "Practice <care@practice.test>".to_owned(),
    };
    let other = tenant::create(&running.system.app("admin").unwrap(), &Actor::Operator, new)
        .await
        .unwrap();
    let foreign = format!("Bearer {}", other.api_key);
    let foreign = [("authorization", &*foreign)];
    for path in [
        format!("/suppressions/{id}"),
        "/suppressions/pat@patient.test".to_owned(),
    ] {
        for method in [Method::GET, Method::DELETE] {
            let (status, answer) = running.call(method.clone(), &path, None, &foreign).await;
            let unknown = running
                .call(method, "/suppressions/sup_00000000000000000000000000", None, &foreign)
                .await;
            assert_eq!((status, answer), unknown);
        }
    }
    assert_eq!(
        running.call(Method::GET, "/suppressions", None, &foreign).await.1["data"],
        json!([])
    );
    assert_eq!(running.get(&format!("/suppressions/{id}")).await.0, 200);

    let scopes = json!({ "name": "reader", "scopes": ["suppressions:read"] });
    let reader = running.post("/api-keys", &scopes).await.1["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let reader = format!("Bearer {reader}");
    let reader = [("authorization", &*reader)];
    assert_eq!(running.call(Method::GET, "/suppressions", None, &reader).await.0, 200);
    let emails = json!({ "emails": ["pat@patient.test"] });
    for (method, path, body) in [
        (Method::POST, "/suppressions", json!({ "email": "pat@patient.test" })),
        (Method::POST, "/suppressions/batch/add", emails.clone()),
        (Method::POST, "/suppressions/batch/remove", emails),
        (
            Method::POST,
            "/suppressions/import",
            json!({ "rows": [{ "email": "pat@patient.test" }] }),
        ),
        (Method::DELETE, "/suppressions/pat@patient.test", Value::Null),
    ] {
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        let (status, answer) = running.call(method, path, body, &reader).await;
        assert_eq!((status, &answer["name"]), (403, &json!("restricted_api_key")), "{path}");
    }
}
