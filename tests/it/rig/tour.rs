//! What the users of a deployment do beside sending: an administrator goes through every route, a patient through the portal,
//! a reader follows the links of a marketing mail. Each of them asks again when nothing or an error comes back.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE, USER_AGENT};
use http::{Method, Request};
use sealpost_core::actor::Actor;
use sealpost_core::tenant::{self, NewTenant};
use sealpost_local::aws::ses::Filter;
use sealpost_local::demo::keys;
use sealpost_local::system::sim::{Answer, BEGIN_MS, Door, Mischief};
use serde_json::{Value, json};

use super::check::Checker;
use super::world::{Sent, World, verify};
use crate::engagement::BROWSER;
use crate::permissions::{code, link};
use crate::unsubscribe::links;

/// The tenant that does all of this.
const TENANT: usize = 1;
/// The patient whose domain takes no mail by TLS, so that a notice comes.
const PATIENT: &str = "peter@no-tls.test";
/// The patient who loses the notice.
const FORGETFUL: &str = "tess@tls-fails.test";
/// Who gets marketing.
const READER: &str = "ann@patient.test";
/// Where the portal is.
const PORTAL: &str = "http://portal.test";
/// How often somebody asks again.
const TRIES: usize = 40;

/// A user at work.
pub(crate) struct Tour<'t, 'm> {
    pub(crate) world: &'t mut World,
    pub(crate) mischief: &'t mut Mischief<'m>,
    pub(crate) checker: &'t mut Checker,
}

impl Tour<'_, '_> {
    /// Before the first mail: where events go, that openings count, and what is sent in test mode.
    pub(crate) async fn set_up(&mut self) {
        let hook = json!({ "endpoint": "https://hooks.example/in", "events": ["email.delivered", "email.bounced"] });
        self.api(Method::POST, "/webhooks", &hook).await;
        let mut policy = self.api(Method::GET, "/policies", &Value::Null).await;
        if let Some(fields) = policy.as_object_mut() {
            fields.remove("object");
        }
        policy["track_marketing"] = json!({ "opens": true, "clicks": true });
        self.api(Method::PUT, "/policies", &policy).await;
        let key = json!({ "name": "CI", "mode": "test" });
        let key = self.api(Method::POST, "/api-keys", &key).await;
        let token = text(&key, "token").to_owned();
        for to in ["delivered@simulator.test", "bounced@simulator.test"] {
            self.world.plan_test(TENANT, token.clone(), to);
        }
    }

    /// While mails wait: one that is scheduled is moved, another called off.
    pub(crate) async fn reschedule(&mut self, moved: usize, off: usize) {
        let id = |world: &World, n: usize| Some(world.sent[n].ids.as_ref()?.first()?.clone());
        if let Some(id) = id(self.world, moved) {
            let body = json!({ "scheduled_at": "in 3 min" });
            self.api(Method::PATCH, &format!("/emails/{id}"), &body).await;
        }
        if let Some(id) = id(self.world, off) {
            let request = |world: &World| {
                world.request(
                    TENANT,
                    Method::POST,
                    &format!("/emails/{id}/cancel"),
                    &Value::Null,
                    None,
                )
            };
            let answer = self.ask(Door::Api, request).await;
            self.world.sent[off].is_canceled |= answer.is_some_and(|answer| answer.status == 200);
        }
    }

    /// When the mails are out. Answers the path that has the endpoint told again that is left behind.
    pub(crate) async fn look_around(&mut self) -> String {
        self.take_in_a_tenant().await;
        self.read_in_portal().await;
        self.follow_links().await;
        self.administer().await;
        self.look_at_webhooks().await;
        self.suppress().await;
        self.renew().await;
        self.leave_an_endpoint_behind().await
    }

    /// The operator takes in another tenant, and tries again where that breaks off.
    async fn take_in_a_tenant(&mut self) {
        for n in 0..TRIES {
            let domain = format!("new{n}.example");
            verify(&self.world.sim, &domain).await;
            let new = NewTenant {
                name: "New".to_owned(),
                care_address: format!("care@{domain}"),
                domain,
            };
            let admin = self.world.sim.app("admin").unwrap();
            let made = tokio::spawn(async move { tenant::create(&admin, &Actor::Operator, new).await });
            while !made.is_finished() && self.step().await {}
            if made.is_finished() && made.await.unwrap().is_ok() {
                return;
            }
        }
    }

    /// A patient opens the notice, mistypes the code, enters it, reads, and leaves.
    async fn read_in_portal(&mut self) {
        let Some(notice) = self.mails(PATIENT).into_iter().next() else {
            return;
        };
        let path = path_of(&link(&notice));
        let mut cookies = String::new();
        self.page(Method::GET, "/", "", &mut cookies).await;
        self.page(Method::GET, &path, "", &mut cookies).await;
        self.page(Method::POST, &format!("{path}/code"), "", &mut cookies).await;
        self.rest().await;
        let Some(mail) = self.mails(PATIENT).into_iter().skip(1).last() else {
            return;
        };
        let right = code(&mail);
        let wrong = if right == "00000000" { "00000001" } else { "00000000" };
        for entered in [wrong, &right] {
            let form = format!("code={entered}");
            self.page(Method::POST, &format!("{path}/open"), &form, &mut cookies)
                .await;
        }
        for part in ["message", "body", "attachments/1"] {
            self.page(Method::GET, &format!("{path}/{part}"), "", &mut cookies)
                .await;
        }
        self.page(Method::POST, &format!("{path}/leave"), "", &mut cookies)
            .await;
    }

    /// A reader opens a marketing mail, follows its link, and wants no more of them.
    async fn follow_links(&mut self) {
        let Some(mail) = self.mails(READER).pop() else { return };
        let parsed = mail_parser::MessageParser::default().parse(&mail).unwrap();
        let html = parsed.body_html(0).unwrap_or_default().into_owned();
        let mut cookies = String::new();
        for word in html.split('"').filter(|word| word.starts_with(PORTAL)) {
            self.page(Method::GET, &path_of(word), "", &mut cookies).await;
        }
        let unsubscribe = path_of(&links(&mail)[0]);
        self.page(Method::GET, &unsubscribe, "", &mut cookies).await;
        self.page(Method::POST, &unsubscribe, "List-Unsubscribe=One-Click", &mut cookies)
            .await;
        self.api(Method::DELETE, &format!("/suppressions/{READER}"), &Value::Null)
            .await;
        self.page(Method::POST, &unsubscribe, "List-Unsubscribe=One-Click", &mut cookies)
            .await;
    }

    async fn administer(&mut self) {
        let key = self.api(Method::POST, "/api-keys", &json!({ "name": "one" })).await;
        self.api(Method::GET, "/api-keys", &Value::Null).await;
        self.api(Method::DELETE, &format!("/api-keys/{}", text(&key, "id")), &Value::Null)
            .await;
        for path in [
            "/emails?limit=3",
            "/events?limit=3",
            "/usage",
            "/streams",
            "/webhooks?limit=1",
        ] {
            self.api(Method::GET, path, &Value::Null).await;
        }
        let is_live = |sent: &&Sent| sent.tenant == TENANT && sent.api_key.is_none();
        let sent = self.world.sent.iter().filter(is_live);
        let ids: Vec<String> = sent.flat_map(|sent| sent.ids.iter().flatten().cloned()).collect();
        for id in ids {
            self.api(Method::GET, &format!("/emails/{id}"), &Value::Null).await;
        }
        let plan = json!({ "from": format!("care@{}", self.world.tenants[TENANT].domain), "to": "new@unseen.test",
                           "subject": "s", "text": "t" });
        self.api(Method::POST, "/encryption/plan", &plan).await;
        let domain = "/recipient-domains/other.test";
        self.api(Method::PUT, domain, &json!({ "tls": "fails" })).await;
        self.api(Method::GET, domain, &Value::Null).await;
        self.api(Method::DELETE, domain, &Value::Null).await;
        let begin_s = BEGIN_MS / 1000;
        let pair = keys::smime("Kim", "kim@certs.test", begin_s - 86_400, begin_s + 90 * 86_400).unwrap();
        let path = "/recipients/kim@certs.test/keys";
        let pinned = self
            .api(Method::POST, path, &json!({ "kind": pair.kind, "data": pair.public }))
            .await;
        self.api(Method::GET, path, &Value::Null).await;
        self.api(Method::DELETE, &format!("{path}/{}", text(&pinned, "id")), &Value::Null)
            .await;
        self.api(Method::POST, "/streams/marketing/resume", &Value::Null).await;
    }

    async fn look_at_webhooks(&mut self) {
        let hooks = self.api(Method::GET, "/webhooks", &Value::Null).await;
        let hook = format!("/webhooks/{}", text(&hooks["data"][0], "id"));
        let events = self.api(Method::GET, &format!("{hook}/events"), &Value::Null).await;
        let event = format!("{hook}/events/{}", text(&events["data"][0], "id"));
        for path in [
            hook.clone(),
            format!("{hook}/attempts"),
            event.clone(),
            format!("{event}/attempts"),
        ] {
            self.api(Method::GET, &path, &Value::Null).await;
        }
        for path in [
            format!("{event}/replay"),
            format!("{hook}/replay"),
            format!("{hook}/rotate-secret"),
            format!("{hook}/signing-secret/rotate"),
        ] {
            self.api(Method::POST, &path, &json!({})).await;
        }
        self.a_minute().await;
        self.api(Method::PATCH, &hook, &json!({ "status": "disabled" })).await;
        self.api(Method::PATCH, &hook, &json!({ "status": "enabled" })).await;
        self.rest().await;
        self.api(Method::DELETE, &hook, &Value::Null).await;
        self.rest().await;
    }

    /// An endpoint that is told of everything and never answers.
    async fn leave_an_endpoint_behind(&mut self) -> String {
        let hook = json!({ "endpoint": "https://gone.example/in", "events": ["email.delivered"] });
        let hook = self.api(Method::POST, "/webhooks", &hook).await;
        let path = format!("/webhooks/{}", text(&hook, "id"));
        self.tell_again(&format!("{path}/replay")).await;
        let events = self.api(Method::GET, &format!("{path}/events"), &Value::Null).await;
        format!("{path}/events/{}/replay", text(&events["data"][0], "id"))
    }

    /// Has an endpoint told again.
    pub(crate) async fn tell_again(&mut self, path: &str) {
        self.api(Method::POST, path, &json!({})).await;
        self.a_minute().await;
    }

    async fn suppress(&mut self) {
        let (one, other) = ("stopped@patient.test", "another@patient.test");
        let both = json!({ "emails": [one, other] });
        self.api(Method::POST, "/suppressions", &json!({ "email": one })).await;
        for path in ["/suppressions", "/suppressions/export"] {
            self.api(Method::GET, path, &Value::Null).await;
        }
        let found = self
            .api(Method::GET, &format!("/suppressions/{one}"), &Value::Null)
            .await;
        self.api(
            Method::GET,
            &format!("/suppressions/{}", text(&found, "id")),
            &Value::Null,
        )
        .await;
        for path in ["check", "batch/add", "batch/remove"] {
            self.api(Method::POST, &format!("/suppressions/{path}"), &both).await;
        }
        let rows = json!({ "rows": [{ "email": one, "reason": "unsubscribe" }] });
        self.api(Method::POST, "/suppressions/import", &rows).await;
        self.api(Method::DELETE, &format!("/suppressions/{one}"), &Value::Null)
            .await;
    }

    /// A patient lost the notice and gets another.
    async fn renew(&mut self) {
        let is_to_patient =
            |sent: &&Sent| sent.tenant == TENANT && sent.recipients.iter().flatten().any(|to| *to == FORGETFUL);
        let sent = self.world.sent.iter().find(is_to_patient);
        if let Some(id) = sent.and_then(|sent| sent.ids.as_ref()?.first().cloned()) {
            self.api(
                Method::POST,
                &format!("/emails/{id}/notices"),
                &json!({ "to": FORGETFUL }),
            )
            .await;
        }
        self.rest().await;
    }

    /// A request of the tenant's, until it is answered for good.
    async fn api(&mut self, method: Method, path: &str, body: &Value) -> Value {
        let request = |world: &World| world.request(TENANT, method.clone(), path, body, None);
        let answer = self.ask(Door::Api, request).await;
        let answered = answer.as_ref().map(|answer| (answer.status, answer.json()));
        let (status, answer) = answered.unwrap_or_default();
        // Streams that nothing stopped are not resumed: that one is refused.
        assert!(
            self.checker.has_faults || status < 400 || status == 409,
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// A request of a browser's.
    async fn page(&mut self, method: Method, path: &str, form: &str, cookies: &mut String) {
        let request = |_: &World| {
            Request::builder()
                .method(method.clone())
                .uri(path)
                .header(USER_AGENT, BROWSER)
                .header(COOKIE, cookies.as_str())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Bytes::from(form.to_owned()))
                .unwrap()
        };
        let answer = self.ask(Door::Portal, request).await;
        for cookie in answer.iter().flat_map(|answer| answer.headers.get_all(SET_COOKIE)) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let name = pair.split('=').next().unwrap();
            let others = cookies
                .split("; ")
                .filter(|known| known.split('=').next() != Some(name));
            *cookies = others.chain([pair]).collect::<Vec<_>>().join("; ");
        }
    }

    async fn ask(&mut self, door: Door, request: impl Fn(&World) -> Request<Bytes>) -> Option<Answer> {
        let mut last = None;
        for _ in 0..TRIES {
            let asked = self.world.sim.ask(door, request(self.world));
            let mut is_answered = false;
            while !is_answered {
                self.step().await;
                for (of, answer) in self.world.sim.answered() {
                    if of == asked {
                        is_answered = true;
                        last = answer;
                    } else {
                        self.world.hear(of, answer.as_ref());
                    }
                }
            }
            let is_final = |answer: &Answer| !matches!(answer.status, 429 | 500..);
            if last.as_ref().is_some_and(is_final) {
                return last;
            }
            self.world.sim.advance(Duration::from_secs(3)).await;
        }
        self.checker.broken("L1", "a request fails for ever");
        last
    }

    /// Lets everything end that is under way.
    async fn rest(&mut self) {
        while self.step().await {}
    }

    /// Lets a minute pass, after which every schedule has come.
    pub(crate) async fn a_minute(&mut self) {
        self.rest().await;
        self.world.advance(Duration::from_secs(62)).await;
        self.rest().await;
    }

    async fn step(&mut self) -> bool {
        let has_stepped = self.world.sim.step(self.mischief).await.unwrap();
        self.checker.step(self.world).await;
        has_stepped
    }

    fn mails(&self, address: &str) -> Vec<Vec<u8>> {
        let filter = Filter {
            to: Some(address.to_owned()),
            id: None,
        };
        let ses = &self.world.sim.aws.ses;
        let mails = ses.messages(&filter).unwrap();
        mails.iter().map(|mail| ses.raw(&mail.id).unwrap().unwrap()).collect()
    }
}

fn path_of(url: &str) -> String {
    let path = url.strip_prefix(PORTAL).unwrap_or_else(|| panic!("{url} is not ours"));
    path.replace("&amp;", "&")
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
