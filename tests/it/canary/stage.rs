//! A running system whose every sink is listened to, and what people do with it: send, read, mistake.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, Response};
use sealpost_core::event::EventType;
use sealpost_local::demo::keys;
use serde_json::{Value, json};

use super::field::{Canaries, Filled};
use super::sink::{Recorder, Sink};
use crate::system::Running;
use crate::webhook::{Receiver, hook};

/// Who asks, which decides what an answer may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The tenant, who may be answered what is its own.
    Owner,
    /// The tenant, where the answer has ids and codes alone.
    Thin,
    /// Whoever has a link.
    Stranger,
    /// A patient who entered the right code.
    Patient,
}

/// A running system and those who listen.
pub(crate) struct Stage {
    pub(crate) running: Running,
    pub(crate) recorder: Arc<Recorder>,
    receiver: Receiver,
    /// How many webhooks were taken down.
    n_webhooks: AtomicUsize,
    http: reqwest::Client,
    /// What did not go as it should.
    surprises: Mutex<Vec<String>>,
}

/// An answer: status, headers, body.
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// What a `Set-Cookie` sets, as a browser sends it back.
    fn cookies(&self) -> Vec<String> {
        let set = self.headers.get_all("set-cookie").iter();
        let set = set.filter_map(|value| value.to_str().ok()?.split(';').next());
        set.filter(|pair| !pair.ends_with('=')).map(str::to_owned).collect()
    }
}

impl Stage {
    pub(crate) async fn open(recorder: Arc<Recorder>) -> Self {
        let running = Running::start().await;
        let wire = Arc::clone(&recorder);
        running.system.aws.set_tap(Some(Arc::new(move |seen| wire.wire(seen))));
        let receiver = Receiver::start(&running).await;
        let every = EventType::ALL.map(EventType::as_str);
        hook(&running, &receiver.url, &every).await;
        let stage = Self {
            running,
            recorder,
            receiver,
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            n_webhooks: AtomicUsize::default(),
            surprises: Mutex::default(),
        };
        stage.allow_counting().await;
        stage
    }

    /// Notes what did not go as it should: a search says little when nothing was done.
    #[track_caller]
    pub(crate) fn check(&self, holds: bool, what: impl std::fmt::Display) {
        if !holds {
            let at = std::panic::Location::caller();
            self.surprises
                .lock()
                .unwrap()
                .push(format!("{}:{}: {what}", at.file(), at.line()));
        }
    }

    #[track_caller]
    pub(crate) fn same<T: PartialEq + std::fmt::Debug>(&self, is: T, should: T, what: impl std::fmt::Display) {
        self.check(is == should, format!("{is:?} instead of {should:?}: {what}"));
    }

    /// Everything that did not go as it should since the last time.
    pub(crate) fn surprises(&self) -> Vec<String> {
        std::mem::take(&mut *self.surprises.lock().unwrap())
    }

    /// Lets openings and clicks of marketing mail be counted.
    async fn allow_counting(&self) {
        let (_, mut policy) = self.running.get("/policies").await;
        policy.as_object_mut().unwrap().remove("object");
        policy["track_marketing"] = json!({ "opens": true, "clicks": true });
        let body = policy.to_string().into_bytes();
        assert_eq!(
            self.running.call(Method::PUT, "/policies", Some(body), &[]).await.0,
            200
        );
    }

    /// Asks, and takes down what of the answer is no secret of the asker's.
    pub(crate) async fn ask(
        &self,
        asker: Asker,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Heard {
        let at = format!("{method} {url}");
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer: Response = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.unwrap().to_vec();
        for (name, value) in &headers {
            let sink = if name == "location" {
                Sink::Location
            } else {
                Sink::ResponseHeader
            };
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes()].concat();
            self.recorder.add(sink, &*at, line);
        }
        let sink = match asker {
            Asker::Stranger => Some(Sink::Page),
            _ if status >= 400 => Some(Sink::ErrorBody),
            Asker::Thin => Some(Sink::ThinBody),
            Asker::Owner | Asker::Patient => None,
        };
        if let Some(sink) = sink {
            self.recorder.add(sink, at, body.clone());
        }
        Heard { status, headers, body }
    }

    /// Asks the API with the tenant's key.
    pub(crate) async fn api(&self, asker: Asker, method: Method, path: &str, body: Option<&Value>) -> Heard {
        let body = body.map(|body| body.to_string().into_bytes());
        self.api_with(asker, method, path, &[], body).await
    }

    pub(crate) async fn api_with(
        &self,
        asker: Asker,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Heard {
        let bearer = format!("Bearer {}", self.running.api_key);
        let mut headers = vec![("content-type", "application/json")];
        if !more.iter().any(|(name, _)| *name == "authorization") {
            headers.push(("authorization", &bearer));
        }
        headers.extend(more);
        self.ask(asker, method, &self.running.url(path), &headers, body).await
    }

    /// Sends an email under its idempotency key; its id.
    pub(crate) async fn send(&self, email: &Filled) -> String {
        let headers = [("idempotency-key", &*email.idempotency_key)];
        let body = Some(email.body.to_string().into_bytes());
        let answer = self
            .api_with(Asker::Thin, Method::POST, "/emails", &headers, body)
            .await;
        self.same(answer.status, 200, answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Sends an email and waits until everybody has it, or ends without.
    pub(crate) async fn deliver(&self, email: &Filled) -> String {
        let id = self.send(email).await;
        self.running.settled(&id).await;
        id
    }

    /// Pins a fresh OpenPGP key or S/MIME certificate, with the person's name in it.
    pub(crate) async fn pin(&self, canaries: &mut Canaries, kind: &str, address: &str) {
        let pair = if kind == "openpgp" {
            keys::openpgp(&canaries.make("key.openpgp.name"), address)
        } else {
            let now_s = self.running.system.clock().now_ms() / 1000;
            keys::smime(&canaries.make("key.smime.name"), address, now_s, now_s + 86_400 * 30)
        };
        let body = json!({ "kind": kind, "data": pair.unwrap().public });
        let path = format!("/recipients/{address}/keys");
        let answer = self.api(Asker::Owner, Method::POST, &path, Some(&body)).await;
        self.same(answer.status, 201, answer.json());
    }

    /// Moves the clock in steps of two minutes.
    pub(crate) async fn pass(&self, minutes: u64) {
        for _ in 0..minutes.div_ceil(2) {
            self.running.system.advance(Duration::from_secs(120)).unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// The newest mail for an address.
    pub(crate) async fn mail(&self, address: &str) -> Vec<u8> {
        self.running.mails(address).await.pop().unwrap()
    }

    /// The first address with this piece in a mail's text or HTML.
    pub(crate) fn link(&self, mail: &[u8], piece: &str) -> String {
        let parsed = mail_parser::MessageParser::default().parse(mail).unwrap();
        let bodies = [parsed.body_text(0), parsed.body_html(0)];
        let links = bodies.iter().flatten().flat_map(|body| {
            let words = body.split(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>'));
            words.filter(|word| word.starts_with("http") && word.contains(piece))
        });
        links
            .map(str::to_owned)
            .next()
            .unwrap_or_else(|| panic!("no {piece} in a mail"))
    }

    /// A patient reads a portal message: link, code, a wrong guess, message, pictures, files, and leaves.
    pub(crate) async fn read(&self, canaries: &mut Canaries, address: &str) {
        let link = self.link(&self.mail(address).await, "/m/");
        let agent = canaries.make("portal.user_agent");
        let referer = format!("https://mail.example/{}", canaries.make("portal.referer"));
        let visitor = [
            ("user-agent", &*agent),
            ("referer", &*referer),
            ("accept-language", "es"),
        ];
        let stranger = Asker::Stranger;
        let asked = format!(
            "{link}?lang={}&step={}",
            canaries.make("portal.query"),
            canaries.make("portal.query")
        );
        self.same(
            self.ask(stranger, Method::GET, &asked, &visitor, None).await.status,
            200,
            "another answer",
        );
        let sent = self
            .ask(stranger, Method::POST, &format!("{link}/code"), &visitor, None)
            .await;
        self.same(sent.status, 303, "another answer");
        let cookie = sent.cookies().join("; ");
        let form = |code: &str| Some(format!("code={code}").into_bytes());
        let mut entering = visitor.to_vec();
        entering.extend([
            ("cookie", &*cookie),
            ("content-type", "application/x-www-form-urlencoded"),
        ]);
        let open = format!("{link}/open");
        for guess in [
            canaries.make("portal.code"),
            format!("1234+5678+{}", canaries.make("portal.code")),
        ] {
            self.same(
                self.ask(stranger, Method::POST, &open, &entering, form(&guess))
                    .await
                    .status,
                422,
                "another answer",
            );
        }
        let text = String::from_utf8(self.mail(address).await).unwrap();
        let parsed = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
        let text = parsed.body_text(0).unwrap();
        let digits: String = text
            .split(|c: char| !(c.is_ascii_digit() || c == ' '))
            .map(|run| run.chars().filter(char::is_ascii_digit).collect::<String>())
            .find(|run| run.len() == 8)
            .unwrap();
        let opened = self.ask(stranger, Method::POST, &open, &entering, form(&digits)).await;
        self.same(opened.status, 303, format!("{}", String::from_utf8_lossy(&opened.body)));
        let session = opened.cookies().join("; ");
        let reading = [("cookie", &*session), ("user-agent", &*agent)];
        for page in ["message", "body", "attachments/1", "attachments/2"] {
            let url = format!("{link}/{page}");
            let answer = self.ask(Asker::Patient, Method::GET, &url, &reading, None).await;
            self.same(answer.status, 200, page);
        }
        self.ask(Asker::Patient, Method::POST, &format!("{link}/leave"), &reading, None)
            .await;
    }

    /// Waits for quiet, and takes down what stays.
    pub(crate) async fn listen_to_the_end(&self) {
        self.running.system.settled(Duration::from_secs(5)).await.unwrap();
        let got = self.receiver.got();
        let n_before = self.n_webhooks.swap(got.len(), Ordering::SeqCst);
        for got in got.into_iter().skip(n_before) {
            let headers: BTreeMap<_, _> = got.headers;
            self.recorder
                .add(Sink::WebhookHeader, "a webhook", format!("{headers:?}"));
            self.recorder.add(Sink::WebhookBody, "a webhook", got.body);
        }
        self.recorder.at_rest(&self.running).await;
    }
}
