//! Three tenants, their patients, and the applications that send for them.

mod scenario;

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request};
use sealpost_core::actor::Actor;
use sealpost_core::id::TenantId;
use sealpost_core::key::{SHARDS, event_due_partition, outbox_partition, scheduled_partition, telling_due_partition};
use sealpost_core::tenant::{self, NewTenant};
use sealpost_local::aws::ses::Disturb;
use sealpost_local::demo::keys;
use sealpost_local::system::sim::{Answer, Asked, BEGIN_MS, Door, Mischief, Sim};
use serde_json::{Value, json};

use super::check::Checker;
use super::tables;

/// What stands in every message and nowhere else.
pub(crate) const CANARY: &str = "canary-rig-5e1f";

/// Who gets mail: where it goes decides the method and what becomes of it.
const ADDRESSES: [&str; 12] = [
    "rosa@mta-sts.test",
    "samir@certs.test",
    "maria@mta-sts.test",
    "pat@patient.test",
    "peter@no-tls.test",
    "tess@tls-fails.test",
    "lois@lost-reply.test",
    "bo@bounce.test",
    "cleo@complaint.test",
    "sol@slow.test",
    "ann@patient.test",
    "bea@clinic2.test",
];
const OPENPGP: &str = ADDRESSES[0];
const SMIME: &str = ADDRESSES[1];

/// One shard of the lines of a tenant.
type Partition = fn(&TenantId, u8) -> String;
/// Functions that sweep every minute, and the partitions that they look for lines in.
const SWEEPERS: [(&str, [Partition; 2]); 2] = [
    ("encrypt", [outbox_partition, scheduled_partition]),
    ("webhook", [event_due_partition, telling_due_partition]),
];
/// So much earlier than it is due a line is looked at, at most.
const AHEAD: Duration = Duration::from_secs(90);

/// What a tenant's policy does about a doubt; one tenant each.
pub(crate) const ON_DOUBT: [&str; 3] = ["hold", "resend_once", "portal"];

pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) api_key: String,
    pub(crate) domain: String,
    pub(crate) on_doubt: &'static str,
}

/// One request to send, and what its client knows of it.
pub(crate) struct Sent {
    pub(crate) tenant: usize,
    /// The key it is sent by, where that is not the tenant's first.
    pub(crate) api_key: Option<String>,
    path: &'static str,
    body: Value,
    key: Option<String>,
    n_tries: u32,
    asked: Option<Asked>,
    not_before_ms: i64,
    /// The ids in the first answer of success.
    pub(crate) ids: Option<Vec<String>>,
    /// Answers of success that differ from the first.
    pub(crate) contradictions: Vec<String>,
    pub(crate) recipients: Vec<Vec<&'static str>>,
    is_scheduled: bool,
    cancel: Option<Asked>,
    /// Its client was told that it will not go.
    pub(crate) is_canceled: bool,
    /// The client gave up on it.
    is_given_up: bool,
}

/// A deployment with its users.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) sent: Vec<Sent>,
    /// Of each tenant's policy, which version is in force, where an administrator knows.
    policies: Vec<Option<i64>>,
    /// What administrators asked of policies, and of which tenant.
    asked_policies: Vec<(Asked, usize)>,
    /// One of so many steps changes a policy, a domain or a suppression.
    pub(crate) change_every: u32,
}

/// What a certificate costs is paid once.
fn certificates() -> &'static [keys::Pair; 2] {
    static MADE: OnceLock<[keys::Pair; 2]> = OnceLock::new();
    MADE.get_or_init(|| {
        let begin_s = BEGIN_MS / 1000;
        [
            keys::openpgp("Rosa Vidal", OPENPGP).unwrap(),
            keys::smime("Samir Haddad", SMIME, begin_s - 86_400, begin_s + 90 * 86_400).unwrap(),
        ]
    })
}

impl World {
    /// A deployment with three tenants, each with a patient who has an OpenPGP key and one who has a certificate.
    pub(crate) async fn start(seed: u64) -> Self {
        let mut sim = Sim::start(seed).await.unwrap();
        let (mut tenants, mut policies) = (Vec::new(), Vec::new());
        for (n, on_doubt) in ON_DOUBT.into_iter().enumerate() {
            let domain = format!("clinic{n}.example");
            verify(&sim, &domain).await;
            let new = NewTenant {
                name: format!("Clinic {n}"),
                domain: domain.clone(),
                care_address: format!("Clinic {n} <care@{domain}>"),
            };
            let admin = sim.app("admin").unwrap();
            let created = tenant::create(&admin, &Actor::Operator, new).await.unwrap();
            let tenant = Tenant {
                id: created.tenant.to_string(),
                api_key: created.api_key,
                domain,
                on_doubt,
            };
            for (address, pair) in [OPENPGP, SMIME].into_iter().zip(certificates()) {
                let body = json!({ "kind": pair.kind, "data": pair.public });
                let answer = ok(
                    &mut sim,
                    &tenant,
                    Method::POST,
                    &format!("/recipients/{address}/keys"),
                    &body,
                )
                .await;
                assert_eq!(answer.status, 201, "{}", answer.json());
            }
            ok(
                &mut sim,
                &tenant,
                Method::PUT,
                "/recipient-domains/no-tls.test",
                &json!({ "tls": "fails" }),
            )
            .await;
            let mut policy = ok(&mut sim, &tenant, Method::GET, "/policies", &Value::Null)
                .await
                .json();
            policy.as_object_mut().unwrap().remove("object");
            policy["on_doubt"] = json!(on_doubt);
            policy["on_doubt_sensitive"] = json!(on_doubt);
            let put = ok(&mut sim, &tenant, Method::PUT, "/policies", &policy).await.json();
            policies.push(put["version"].as_i64());
            tenants.push(tenant);
        }
        Self {
            sim,
            tenants,
            sent: Vec::new(),
            policies,
            asked_policies: Vec::new(),
            change_every: 600,
        }
    }

    /// Lets the clients send what they want to, until they know what became of it.
    async fn send_all(&mut self, mischief: &mut Mischief<'_>, checker: &mut Checker, dice: &mut Rng) {
        for _ in 0..200_000 {
            let is_acting = self.act(dice);
            let has_stepped = self.sim.step(mischief).await.unwrap();
            checker.step(self).await;
            if has_stepped || is_acting {
                continue;
            }
            if self.is_said() {
                break;
            }
            self.advance(Duration::from_secs(20)).await;
        }
        if !self.is_said() {
            checker.broken("L1", "a client never gets an answer");
        }
    }

    /// Decides what is to be sent: at least `n` emails.
    pub(crate) fn plan(&mut self, n: usize, dice: &mut Rng) {
        let mut n_planned = 0;
        while n_planned < n {
            let tenant = dice.usize(..self.tenants.len());
            let n_here = if dice.u32(..6) == 0 { dice.usize(2..5) } else { 1 };
            let is_scheduled = n_here == 1 && dice.u32(..5) == 0;
            let mut recipients = Vec::new();
            let mut bodies = Vec::new();
            for _ in 0..n_here {
                let mut to: Vec<&'static str> = (0..dice.usize(1..3))
                    .map(|_| ADDRESSES[dice.usize(..ADDRESSES.len())])
                    .collect();
                to.sort_unstable();
                to.dedup();
                let class = ["phi", "phi", "sensitive", "none"][dice.usize(..4)];
                let purpose = ["treatment", "treatment", "treatment", "marketing"][dice.usize(..4)];
                let mut body = json!({
                    "from": format!("care@{}", self.tenants[tenant].domain), "subject": format!("{CANARY} results"),
                    "text": format!("{CANARY}: they are fine."),
                    "data_class": class, "purpose": purpose,
                });
                match (to.as_slice(), dice.bool()) {
                    ([first, second], true) => {
                        body["to"] = json!([first]);
                        body["bcc"] = json!([second]);
                    }
                    _ => body["to"] = json!(to),
                }
                if dice.u32(..4) == 0 {
                    body["attachments"] =
                        json!([{ "filename": "results.txt", "content": crate::system::base64(CANARY.as_bytes()) }]);
                }
                if is_scheduled {
                    body["scheduled_at"] = json!(format!("in {} min", dice.u32(1..40)));
                }
                recipients.push(to);
                bodies.push(body);
            }
            let (path, body) = match bodies.len() {
                1 => ("/emails", bodies.remove(0)),
                _ => ("/emails/batch", Value::Array(bodies)),
            };
            n_planned += n_here;
            // Tenants choose the same keys, which are no secrets between them.
            let n_before = self.sent.iter().filter(|sent| sent.tenant == tenant).count();
            let key = (dice.u32(..8) > 0).then(|| format!("key-{n_before}"));
            self.sent.push(Sent {
                is_scheduled,
                not_before_ms: BEGIN_MS + i64::from(dice.u32(..120_000)),
                ..Sent::new(tenant, path, body, key, recipients)
            });
        }
    }

    /// A request of a tenant's application.
    pub(crate) fn request(
        &self,
        tenant: usize,
        method: Method,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Request<Bytes> {
        request(&self.tenants[tenant].api_key, method, path, body, key)
    }

    /// A request of the application that sent this.
    pub(crate) fn request_of(&self, sent: &Sent, method: Method, path: &str, body: &Value) -> Request<Bytes> {
        let tenant = &self.tenants[sent.tenant];
        let api_key = sent.api_key.as_ref().unwrap_or(&tenant.api_key);
        request(api_key, method, path, body, sent.key.as_deref())
    }

    /// Adds an email that is sent in test mode, under a key of that mode.
    pub(crate) fn plan_test(&mut self, tenant: usize, api_key: String, to: &'static str) {
        let from = format!("care@{}", self.tenants[tenant].domain);
        let body = json!({ "from": from, "to": to, "subject": format!("{CANARY} test"), "text": CANARY });
        let key = format!("key-{}", self.sent.len());
        self.sent.push(Sent {
            api_key: Some(api_key),
            ..Sent::new(tenant, "/emails", body, Some(key), vec![vec![to]])
        });
    }

    /// One thing that some user does now, if there is one to be done.
    pub(crate) fn act(&mut self, dice: &mut Rng) -> bool {
        self.listen();
        let now_ms = self.sim.now_ms();
        let waits = |sent: &Sent| {
            sent.asked.is_none()
                && sent.not_before_ms <= now_ms
                && !sent.is_given_up
                && (sent.ids.is_none() || sent.n_tries == 1 && sent.key.is_some())
        };
        let due: Vec<usize> = (0..self.sent.len()).filter(|n| waits(&self.sent[*n])).collect();
        if let Some(n) = due.get(dice.usize(..due.len().max(1))).copied() {
            let sent = &self.sent[n];
            let request = self.request_of(sent, Method::POST, sent.path, &sent.body);
            let asked = self.sim.ask(Door::Api, request);
            self.sent[n].asked = Some(asked);
            self.sent[n].n_tries += 1;
            return true;
        }
        // Some think better of it.
        let may_cancel =
            |sent: &Sent| sent.is_scheduled && sent.ids.is_some() && sent.cancel.is_none() && !sent.is_canceled;
        let candidates: Vec<usize> = (0..self.sent.len()).filter(|n| may_cancel(&self.sent[*n])).collect();
        if !candidates.is_empty() && dice.u32(..200) == 0 {
            let n = candidates[dice.usize(..candidates.len())];
            let sent = &self.sent[n];
            let path = format!("/emails/{}/cancel", sent.ids.as_ref().unwrap()[0]);
            let request = self.request(sent.tenant, Method::POST, &path, &Value::Null, None);
            self.sent[n].cancel = Some(self.sim.ask(Door::Api, request));
            return true;
        }
        if dice.u32(..self.change_every) == 0 {
            let tenant = dice.usize(..self.tenants.len());
            let address = ADDRESSES[dice.usize(2..ADDRESSES.len())];
            let (method, path, body) = match dice.u32(..3) {
                0 => (Method::POST, "/suppressions".to_owned(), json!({ "email": address })),
                1 => (
                    Method::PUT,
                    "/recipient-domains/patient.test".to_owned(),
                    json!({ "tls": "fails" }),
                ),
                _ => return self.change_policy(tenant),
            };
            let request = self.request(tenant, method, &path, &body, None);
            self.sim.ask(Door::Api, request);
            return true;
        }
        false
    }

    /// SES says nothing of its mails, or all it has to say.
    pub(crate) fn withhold_events(&self, withhold: bool) {
        let change = Disturb {
            withhold: Some(withhold),
            ..Disturb::default()
        };
        self.sim.aws.ses.disturb(change).unwrap();
    }

    /// An administrator replaces the policy of the version that is in force, or reads which that is.
    fn change_policy(&mut self, tenant: usize) -> bool {
        if self.asked_policies.iter().any(|(_, of)| *of == tenant) {
            return false;
        }
        let on_doubt = self.tenants[tenant].on_doubt;
        let (method, body) = match self.policies[tenant].take() {
            None => (Method::GET, Value::Null),
            Some(version) => {
                let policy = json!({ "on_doubt": on_doubt, "on_doubt_sensitive": on_doubt, "smime_without_gcm": "portal", "version": version });
                (Method::PUT, policy)
            }
        };
        let request = self.request(tenant, method, "/policies", &body, None);
        let asked = self.sim.ask(Door::Api, request);
        self.asked_policies.push((asked, tenant));
        true
    }

    /// Whether every client knows what it wants to know.
    pub(crate) fn is_said(&self) -> bool {
        self.sent
            .iter()
            .all(|sent| sent.asked.is_none() && sent.cancel.is_none() && (sent.ids.is_some() || sent.is_given_up))
    }

    /// Takes what came back to the clients.
    fn listen(&mut self) {
        for (asked, answer) in self.sim.answered() {
            self.hear(asked, answer.as_ref());
        }
    }

    /// Takes one answer to whoever asked.
    pub(crate) fn hear(&mut self, asked: Asked, answer: Option<&Answer>) {
        let now_ms = self.sim.now_ms();
        if let Some(n) = self.asked_policies.iter().position(|(of, _)| *of == asked) {
            let (_, tenant) = self.asked_policies.swap_remove(n);
            let answer = answer.filter(|answer| answer.status == 200).map(Answer::json);
            self.policies[tenant] = answer.and_then(|policy| policy["version"].as_i64());
        }
        for sent in &mut self.sent {
            if sent.asked == Some(asked) {
                sent.asked = None;
                sent.heard(answer, now_ms);
            }
            if sent.cancel == Some(asked) {
                sent.cancel = None;
                sent.is_canceled |= answer.is_some_and(|answer| answer.status == 200);
            }
        }
    }

    /// Everything goes right from now on, until nothing is left to be done at any time.
    pub(crate) async fn quiesce(&mut self, checker: &mut Checker) {
        let mut calm = Mischief::default();
        let mut dice = Rng::with_seed(0);
        loop {
            self.listen();
            let is_acting = self.act(&mut dice);
            let has_stepped = self.sim.step(&mut calm).await.unwrap();
            checker.step(self).await;
            if has_stepped || is_acting {
                continue;
            }
            self.listen();
            if self.is_said() {
                break;
            }
            self.advance(Duration::from_secs(30)).await;
        }
        self.pass(&mut calm, checker).await;
    }

    /// Lets the time pass in which leases, deadlines and watches end, one after the other.
    async fn pass(&mut self, mischief: &mut Mischief<'_>, checker: &mut Checker) {
        for minutes in [1, 2, 3, 12, 3, 12, 3, 30, 240, 360, 360, 3, 15] {
            self.pass_once(Duration::from_secs(minutes * 60 + 5), mischief, checker)
                .await;
        }
        // What is given up or rerouted after 16 hours begins anew, and what is sent then is watched for 16 hours more.
        for _ in 0..18 {
            if !self.has_line(&[outbox_partition], |_| true).await {
                return;
            }
            self.pass_once(Duration::from_secs(3_600), mischief, checker).await;
        }
    }

    async fn pass_once(&mut self, by: Duration, mischief: &mut Mischief<'_>, checker: &mut Checker) {
        self.advance(by).await;
        while self.sim.step(mischief).await.unwrap() {
            checker.step(self).await;
        }
    }

    /// Lets time pass. Sweeps that would find nothing due are left out: they are most of all calls.
    pub(crate) async fn advance(&mut self, by: Duration) {
        let until_ms = self.sim.now_ms() + i64::try_from((by + AHEAD).as_millis()).unwrap();
        // A line without a time of its own is due at once.
        let is_due = |line: &Value| {
            let mut times = ["look_at_ms", "at_ms", "due_ms"].iter();
            times.find_map(|name| line[name].as_i64()).unwrap_or_default() <= until_ms
        };
        for (function, partitions) in SWEEPERS {
            if !self.has_line(&partitions, is_due).await {
                self.sim.put_off(function, by);
            }
        }
        self.sim.advance(by).await;
    }

    /// Whether a tenant has such a line in one of these partitions.
    async fn has_line(&self, partitions: &[Partition], is_such: impl Fn(&Value) -> bool) -> bool {
        for tenant in &self.tenants {
            let id = TenantId::parse(&tenant.id).unwrap();
            for (partition, shard) in partitions
                .iter()
                .flat_map(|partition| (0..SHARDS).map(move |shard| (partition, shard)))
            {
                let lines = tables::query(&self.sim, "Mail", &partition(&id, shard)).await;
                if lines.iter().any(&is_such) {
                    return true;
                }
            }
        }
        false
    }
}

impl Sent {
    fn new(
        tenant: usize,
        path: &'static str,
        body: Value,
        key: Option<String>,
        recipients: Vec<Vec<&'static str>>,
    ) -> Self {
        Self {
            tenant,
            api_key: None,
            path,
            body,
            key,
            n_tries: 0,
            asked: None,
            not_before_ms: BEGIN_MS,
            ids: None,
            contradictions: Vec::new(),
            recipients,
            is_scheduled: false,
            cancel: None,
            is_canceled: false,
            is_given_up: false,
        }
    }

    /// Whether there may be an email of it that its client knows nothing of.
    pub(crate) fn may_be_unknown(&self) -> bool {
        self.is_given_up && self.key.is_none() && self.path == "/emails"
    }

    /// Whether it was asked for under an idempotency key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    fn heard(&mut self, answer: Option<&Answer>, now_ms: i64) {
        let status = answer.map_or(0, |answer| answer.status);
        let body = answer.map(Answer::json).unwrap_or_default();
        if status == 200 {
            let one = [body.clone()];
            let all = body["data"].as_array().map_or(&one[..], Vec::as_slice);
            let ids: Vec<String> = all
                .iter()
                .map(|email| email["id"].as_str().unwrap_or_default().to_owned())
                .collect();
            match &self.ids {
                None => self.ids = Some(ids),
                Some(first) if *first != ids => self.contradictions.push(format!("{first:?} and then {ids:?}")),
                Some(_) => {}
            }
            return;
        }
        if self.ids.is_some() {
            return;
        }
        if body["name"] == "invalid_idempotent_request" {
            self.contradictions
                .push("its key stands for another request".to_owned());
            self.is_given_up = true;
            return;
        }
        // No answer, or one that says that a later attempt may succeed. Without a key nobody dares.
        let may_again = matches!(status, 0 | 409 | 429 | 500..=599);
        if may_again && self.key.is_some() {
            self.not_before_ms = now_ms + 20_000;
        } else {
            assert!(may_again, "{status} {body}");
            self.is_given_up = true;
        }
    }
}

/// Makes a domain one that SES sends for.
pub(crate) async fn verify(sim: &Sim, domain: &str) {
    let ses = aws_sdk_sesv2::Client::new(&sim.sdk());
    ses.create_email_identity().email_identity(domain).send().await.unwrap();
}

/// A request under a key.
pub(crate) fn request(api_key: &str, method: Method, path: &str, body: &Value, key: Option<&str>) -> Request<Bytes> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {api_key}"));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let body = match body {
        Value::Null => Bytes::new(),
        body => {
            request = request.header("content-type", "application/json");
            Bytes::from(body.to_string())
        }
    };
    request.body(body).unwrap()
}

async fn ok(sim: &mut Sim, tenant: &Tenant, method: Method, path: &str, body: &Value) -> Answer {
    let answer = sim
        .call(Door::Api, request(&tenant.api_key, method, path, body, None))
        .await
        .unwrap();
    assert!(answer.status < 300, "{path}: {}", answer.json());
    answer
}
