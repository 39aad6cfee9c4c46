//! What is done with canaries: every way of sending, everything that can become of a mail.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::field::{self, Canaries, Filled};
use super::mistake;
#[cfg(feature = "planted")]
use super::sink::Sink;
use super::stage::{Asker, Stage};

/// Where mail goes by each of the four methods.
const DOMAINS: [(&str, &str); 4] = [
    ("tls", "patient.test"),
    ("portal", "no-tls.test"),
    ("openpgp", "keys.test"),
    ("smime", "certs.test"),
];

/// Something that is done on a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    EveryMethod,
    LaterAndMany,
    Marketing,
    Suppressions,
    Mistakes,
    WrongLinks,
    WrongEvents,
    EveryFate,
    Binaries,
    /// A mail by one method.
    #[cfg(feature = "planted")]
    Mail(&'static str),
    /// A mail that panics on its way.
    #[cfg(feature = "planted")]
    Lost,
    /// A value that is none of those allowed.
    #[cfg(feature = "planted")]
    Mistake,
    /// A mail that SES does not take, from a domain whose identity is gone.
    Refused,
}

/// Does it, and answers with which canaries. A panic in it is a surprise among others.
pub(crate) async fn done(stage: &Arc<Stage>, deed: Deed) -> Canaries {
    let on = Arc::clone(stage);
    let work = tokio::spawn(async move {
        let mut canaries = Canaries::default();
        let (stage, c) = (&*on, &mut canaries);
        match deed {
            Deed::EveryMethod => every_method(stage, c).await,
            Deed::LaterAndMany => later_and_many(stage, c).await,
            Deed::Marketing => marketing(stage, c).await,
            Deed::Suppressions => suppressions(stage, c).await,
            Deed::Mistakes => mistake::mistakes(stage, c).await,
            Deed::WrongLinks => mistake::wrong_links(stage, c).await,
            Deed::WrongEvents => mistake::wrong_events(stage, c).await,
            Deed::EveryFate => every_fate(stage, c).await,
            Deed::Binaries => mistake::binaries(stage, c).await,
            #[cfg(feature = "planted")]
            Deed::Mail(method) => drop(stage.deliver(&filled(stage, c, method).await).await),
            #[cfg(feature = "planted")]
            Deed::Lost => lost(stage, c).await,
            #[cfg(feature = "planted")]
            Deed::Mistake => {
                let body = json!({ "to": "a@patient.test", "data_class": c.make("unknown_variant") });
                stage.api(Asker::Owner, Method::POST, "/emails", Some(&body)).await;
            }
            Deed::Refused => refused(stage, c).await,
        }
        canaries
    });
    work.await.unwrap_or_else(|error| {
        stage.check(false, format!("{deed:?}: {error}"));
        Canaries::default()
    })
}

/// A mail that panics on its way.
#[cfg(feature = "planted")]
async fn lost(stage: &Stage, canaries: &mut Canaries) {
    let email = filled(stage, canaries, "tls").await;
    stage.send(&email).await;
    for _ in 0..200 {
        if stage.recorder.has(Sink::Panic) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A mail that SES does not take, from a domain whose identity is gone.
async fn refused(stage: &Stage, canaries: &mut Canaries) {
    let ses = aws_sdk_sesv2::Client::new(&stage.running.system.sdk());
    let gone = ses.delete_email_identity().email_identity("clinic.test").send().await;
    let email = filled(stage, canaries, "tls").await;
    stage.deliver(&email).await;
    let back = ses.create_email_identity().email_identity("clinic.test").send().await;
    stage.check(gone.is_ok() && back.is_ok(), format!("{gone:?} {back:?}"));
}

/// An email with all fields filled, to three people who get it by this method.
async fn filled(stage: &Stage, canaries: &mut Canaries, method: &str) -> Filled {
    let (_, domain) = DOMAINS.iter().find(|(known, _)| *known == method).unwrap();
    let email = field::email(canaries, domain);
    if matches!(method, "openpgp" | "smime") {
        for address in &email.recipients {
            stage.pin(canaries, method, address).await;
        }
    }
    email
}

/// One email by each method, read back by its sender, and read in the portal by a patient.
async fn every_method(stage: &Stage, canaries: &mut Canaries) {
    for (method, _) in DOMAINS {
        let email = filled(stage, canaries, method).await;
        let plan = stage
            .api(Asker::Owner, Method::POST, "/encryption/plan", Some(&email.body))
            .await;
        stage.same(
            plan.json()["recipients"][0]["method"].as_str(),
            Some(method),
            plan.json(),
        );
        let id = stage.deliver(&email).await;
        let shown = stage
            .api(Asker::Owner, Method::GET, &format!("/emails/{id}"), None)
            .await
            .json();
        let recipients = shown["recipients"].as_array().unwrap();
        stage.check(
            recipients
                .iter()
                .all(|one| one["method"] == method && one["status"] == "delivered"),
            format!("{shown}"),
        );
        if method == "portal" {
            stage.read(canaries, &email.recipients[0]).await;
        }
    }
    stage.api(Asker::Owner, Method::GET, "/emails?limit=10", None).await;
}

/// A batch, a scheduled email that goes, one that is called off, one in test mode.
async fn later_and_many(stage: &Stage, canaries: &mut Canaries) {
    let batch = [
        filled(stage, canaries, "tls").await,
        filled(stage, canaries, "portal").await,
    ];
    let body = json!([batch[0].body, batch[1].body]);
    let sent = stage.api(Asker::Thin, Method::POST, "/emails/batch", Some(&body)).await;
    stage.same(sent.status, 200, sent.json());
    let batched: Vec<String> = sent.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();

    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut email = filled(stage, canaries, "tls").await;
        email.body["scheduled_at"] = json!("in 1 hour");
        ids.push(stage.send(&email).await);
    }
    let path = |id: &str| format!("/emails/{id}");
    let sooner = json!({ "scheduled_at": "in 30 min" });
    let changed = stage
        .api(Asker::Thin, Method::PATCH, &path(&ids[0]), Some(&sooner))
        .await;
    stage.same(changed.status, 200, changed.json());
    let canceled = stage
        .api(Asker::Thin, Method::POST, &format!("{}/cancel", path(&ids[1])), None)
        .await;
    stage.same(canceled.status, 200, canceled.json());
    stage.running.system.advance(Duration::from_secs(31 * 60)).unwrap();
    for id in batched.iter().chain([&ids[0]]) {
        stage
            .running
            .until(id, |status| {
                !matches!(status, "scheduled" | "queued" | "sending" | "sent")
            })
            .await;
    }

    let key = json!({ "name": "tests", "mode": "test", "scopes": ["emails:send"] });
    let key = stage
        .api(Asker::Owner, Method::POST, "/api-keys", Some(&key))
        .await
        .json();
    let bearer = format!("Bearer {}", key["token"].as_str().unwrap());
    let mut email = field::email(canaries, "patient.test");
    for (field, outcome) in [("to", "delivered"), ("cc", "bounced"), ("bcc", "portal")] {
        let label = canaries.make("simulated.local");
        email.body[field] = json!(format!(
            "{} <{outcome}+{label}@simulator.test>",
            canaries.make("simulated.name")
        ));
    }
    let headers = [("authorization", &*bearer)];
    let body = Some(email.body.to_string().into_bytes());
    let answer = stage
        .api_with(Asker::Thin, Method::POST, "/emails", &headers, body)
        .await;
    stage.same(answer.status, 200, answer.json());
}

/// Everything that can become of a mail.
async fn every_fate(stage: &Stage, canaries: &mut Canaries) {
    let mut ids = Vec::new();
    for domain in [
        "bounce.test",
        "complaint.test",
        "slow.test",
        "rejected.test",
        "tls-fails.test",
        "lost-reply.test",
    ] {
        let email = field::email(canaries, domain);
        ids.push(stage.send(&email).await);
    }
    let suppressed = canaries.address("suppressed.local", "patient.test");
    let body = json!({ "email": suppressed });
    stage.same(
        stage
            .api(Asker::Owner, Method::POST, "/suppressions", Some(&body))
            .await
            .status,
        201,
        "another answer",
    );
    let mut email = field::email(canaries, "patient.test");
    email.body["to"] = json!(suppressed);
    ids.push(stage.send(&email).await);
    stage.pass(12).await;
    for id in &ids {
        stage.running.settled(id).await;
    }
    // Whoever bounced is suppressed, and stays so when he is written to again.
    let fields = ["/events", "/streams", "/usage", "/webhooks"];
    for path in fields {
        stage.same(stage.api(Asker::Thin, Method::GET, path, None).await.status, 200, path);
    }
}

/// Marketing mail, whose links are followed.
async fn marketing(stage: &Stage, canaries: &mut Canaries) {
    let mut email = field::email(canaries, "patient.test");
    email.body["purpose"] = json!("marketing");
    email.body["data_class"] = json!("none");
    stage.deliver(&email).await;
    let mail = stage.mail(&email.recipients[0]).await;
    let agent = canaries.make("portal.user_agent");
    let visitor = [("user-agent", &*agent)];
    for (piece, status) in [("/o/", 200), ("/c/", 302), ("/u/", 200)] {
        let link = stage.link(&mail, piece);
        let answer = stage.ask(Asker::Stranger, Method::GET, &link, &visitor, None).await;
        stage.check(
            answer.status == status || (300..400).contains(&answer.status),
            format!("{piece}: {}", answer.status),
        );
    }
    let link = stage.link(&mail, "/u/");
    let form = format!("List-Unsubscribe=One-Click&why={}", canaries.make("unsubscribe.form"));
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("user-agent", &*agent),
    ];
    let answer = stage
        .ask(Asker::Stranger, Method::POST, &link, &headers, Some(form.into_bytes()))
        .await;
    stage.same(answer.status, 200, "another answer");
}

/// Suppressions by every route that takes addresses.
async fn suppressions(stage: &Stage, canaries: &mut Canaries) {
    let address = |canaries: &mut Canaries| canaries.address("suppression.email", "patient.test");
    let (one, two, three) = (address(canaries), address(canaries), address(canaries));
    let post = async |path: &str, body: Value| stage.api(Asker::Owner, Method::POST, path, Some(&body)).await.status;
    stage.same(
        post("/suppressions", json!({ "email": one })).await,
        201,
        "another answer",
    );
    stage.check(
        post("/suppressions/batch/add", json!({ "emails": [two] })).await < 300,
        "another answer",
    );
    let rows = json!({ "rows": [
        { "email": three, "reason": "complaint" },
        { "email": format!("no address {}", canaries.make("suppression.row")) },
    ] });
    stage.same(post("/suppressions/import", rows).await, 200, "another answer");
    stage.same(
        post("/suppressions/check", json!({ "emails": [one, two] })).await,
        200,
        "another answer",
    );
    for path in [
        "/suppressions?limit=2",
        "/suppressions/export?limit=1",
        "/suppressions/export?format=csv",
    ] {
        stage.same(stage.api(Asker::Owner, Method::GET, path, None).await.status, 200, path);
    }
    let path = format!("/suppressions/{one}");
    stage.same(
        stage.api(Asker::Owner, Method::GET, &path, None).await.status,
        200,
        "another answer",
    );
    stage.same(
        stage.api(Asker::Owner, Method::DELETE, &path, None).await.status,
        200,
        "another answer",
    );
    stage.check(
        post("/suppressions/batch/remove", json!({ "emails": [two] })).await < 300,
        "another answer",
    );
}
