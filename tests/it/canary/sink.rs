//! Everything that leaves a function or stays behind, in the order in which it came.
//!
//! Most comes from the wire: every request to AWS, with address, headers and body. The rest are log lines and spans at the
//! finest level, panics, answers of the API and the portal, webhooks as a receiver got them, and what tables, buckets and
//! queues hold in the end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sealpost_local::aws::tap::Seen;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::allowed::ALLOWED;
use super::encoding::{Hit, Needles, fingerprint};
use super::field::Canaries;
use crate::system::Running;

/// Where something can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sink {
    /// A mail that SES got, by the way in which it is sealed.
    Mail(Way),
    /// Sender and recipient of a mail.
    Envelope,
    /// The tags of a mail, which stand in SES's events and metrics.
    MailTag,
    /// A log line or a span of a function in this process.
    Log,
    /// What a function's binary logs.
    Stderr,
    /// What a panic says.
    Panic,
    /// What a function's binary answers for an invocation that failed.
    LambdaError,
    /// A queue that we fill.
    Queue,
    /// The queue that SES fills.
    SesEvents,
    TableKey,
    TableAttribute,
    /// An audit entry.
    Audit,
    ObjectKey,
    ObjectMetadata,
    Object,
    /// The encryption context of KMS, which stands in CloudTrail.
    KmsContext,
    WebhookBody,
    /// Headers and address of a webhook.
    WebhookHeader,
    ErrorBody,
    /// An answer that has ids and codes alone.
    ThinBody,
    /// A page of the portal for somebody who has entered no code.
    Page,
    ResponseHeader,
    Location,
    /// Address, headers and whatever else of a request to AWS.
    Wire,
}

/// How a mail is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    Tls,
    Portal,
    OpenPgp,
    Smime,
}

/// Something that showed in a sink.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) sink: Sink,
    /// Where exactly, for people.
    pub(crate) at: String,
    pub(crate) bytes: Vec<u8>,
    /// The recipients of the mail that it is or belongs to.
    pub(crate) recipients: Vec<String>,
}

/// A canary where none may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leak {
    pub(crate) sink: Sink,
    pub(crate) at: String,
    pub(crate) hit: Hit,
}

/// What a search came to.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) leaks: BTreeSet<Leak>,
    /// How often each allowance was needed, by its place in the list.
    pub(crate) allowed: BTreeMap<usize, usize>,
    /// How often a mail showed its own recipient's address.
    pub(crate) n_own: usize,
    /// Items and bytes that were searched, by sink.
    pub(crate) searched: BTreeMap<Sink, (usize, usize)>,
}

/// Searches everything for everything.
pub(crate) fn search(items: &[Item], canaries: &Canaries) -> Found {
    let needles = Needles::new(&canaries.0);
    let mut found = Found::default();
    let mut seen = HashSet::new();
    for item in items {
        let searched = found.searched.entry(item.sink).or_default();
        searched.0 += 1;
        searched.1 += item.bytes.len();
        // The same words in the same place say nothing new.
        if !seen.insert((item.sink, &item.at, fingerprint(&item.bytes), &item.recipients)) {
            continue;
        }
        for hit in needles.search(&item.bytes) {
            let place = ALLOWED.iter().position(|allowance| allowance.covers(item, hit.field));
            let is_addressed = matches!(item.sink, Sink::Mail(_) | Sink::Envelope)
                && hit.field.ends_with(".local")
                && item.recipients.iter().any(|address| address.contains(&hit.canary));
            match place {
                // A hash without a key helps nobody but whoever tries values, so that no list allows it.
                _ if hit.encoding.contains("SHA-") => {}
                Some(place) => {
                    *found.allowed.entry(place).or_default() += 1;
                    continue;
                }
                // Nobody but the recipient gets the mail. A blind copy has no header field of its own address.
                None if is_addressed && item.sink != Sink::Mail(Way::Tls) => {
                    found.n_own += 1;
                    continue;
                }
                None => {}
            }
            found.leaks.insert(Leak {
                sink: item.sink,
                at: item.at.clone(),
                hit,
            });
        }
    }
    found
}

/// Takes down everything that shows.
#[derive(Default)]
pub(crate) struct Recorder {
    items: Mutex<Vec<Item>>,
    /// What was found at rest before.
    at_rest: Mutex<HashSet<(Sink, [u8; 32])>>,
}

static LISTENING: OnceLock<Arc<Recorder>> = OnceLock::new();

impl Recorder {
    /// The one recorder of this process, which from now on hears every log line, span and panic in it.
    pub(crate) fn install() -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        LISTENING.set(Arc::clone(&recorder)).map_err(|_| ()).unwrap();
        const OURS: [&str; 11] = [
            "sealpost_core",
            "sealpost_codec",
            "sealpost_handler",
            "sealpost_local",
            "send",
            "encrypt",
            "tracking",
            "webhook",
            "retention",
            "portal",
            "admin",
        ];
        let ours = Targets::new().with_targets(OURS.map(|target| (target, LevelFilter::TRACE)));
        let lines = Lines(Arc::clone(&recorder)).with_filter(ours);
        Registry::default().with(lines).init();
        let before = std::panic::take_hook();
        let heard = Arc::clone(&recorder);
        std::panic::set_hook(Box::new(move |panic| {
            heard.add(Sink::Panic, "a panic", panic.to_string());
            before(panic);
        }));
        recorder
    }

    pub(crate) fn add(&self, sink: Sink, at: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.push(Item {
            sink,
            at: at.into(),
            bytes: bytes.into(),
            recipients: Vec::new(),
        });
    }

    fn rest(&self, sink: Sink, at: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if self.at_rest.lock().unwrap().insert((sink, fingerprint(&bytes))) {
            self.add(sink, at, bytes);
        }
    }

    fn push(&self, item: Item) {
        self.items.lock().unwrap().push(item);
    }

    /// Whether anything showed in a sink so far.
    #[cfg(feature = "planted")]
    pub(crate) fn has(&self, sink: Sink) -> bool {
        self.items.lock().unwrap().iter().any(|item| item.sink == sink)
    }

    /// Everything so far; from here on it begins anew.
    pub(crate) fn take(&self) -> Vec<Item> {
        std::mem::take(&mut *self.items.lock().unwrap())
    }

    /// Takes down a request to AWS.
    pub(crate) fn wire(&self, seen: Seen<'_>) {
        let (request, service, operation) = (seen.request, seen.service, seen.operation);
        let at = format!("{service} {operation} by {}", seen.role.unwrap_or("a program"));
        self.add(Sink::Wire, &*at, format!("{} {}", request.method(), request.uri()));
        let mut metadata = String::new();
        for (name, value) in request.headers() {
            let is_metadata = name.as_str().starts_with("x-amz-meta-") || name == "x-amz-tagging";
            let value = String::from_utf8_lossy(value.as_bytes());
            if is_metadata {
                writeln!(metadata, "{name}: {value}").unwrap();
                continue;
            }
            // A signature is different in every request, and says nothing.
            let value = value.split("Signature=").next().unwrap_or_default();
            self.add(Sink::Wire, &*at, format!("{name}: {value}"));
        }
        let body = request.body();
        if service == "s3" {
            self.add(Sink::ObjectKey, &*at, request.uri().path());
            self.add(Sink::ObjectMetadata, &*at, metadata);
            self.add(Sink::Object, &*at, &**body);
        } else {
            self.body(service, operation, &at, body);
        }
    }

    fn body(&self, service: &str, operation: &str, at: &str, body: &Bytes) {
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            return self.add(Sink::Wire, at, &**body);
        };
        match (service, operation) {
            ("ses", "SendEmail") => self.mail(at, &json),
            ("dynamodb", _) => {
                let mut parts = Parts::default();
                parts.read(&json, "", false);
                for (sink, text) in parts.0 {
                    self.add(sink, at, text);
                }
            }
            ("sqs", "SendMessage" | "SendMessageBatch") => self.add(Sink::Queue, at, json.to_string()),
            ("kms", _) => {
                self.add(Sink::KmsContext, at, json["EncryptionContext"].to_string());
                self.add(Sink::Wire, at, json.to_string());
            }
            _ => self.add(Sink::Wire, at, json.to_string()),
        }
    }

    fn mail(&self, at: &str, call: &Value) {
        let tags = call["EmailTags"].as_array().cloned().unwrap_or_default();
        let method = tags.iter().find(|tag| tag["Name"] == "method").map(|tag| &tag["Value"]);
        let way = match method.and_then(Value::as_str) {
            Some("tls") => Way::Tls,
            Some("openpgp") => Way::OpenPgp,
            Some("smime") => Way::Smime,
            _ => Way::Portal,
        };
        let raw = call["Content"]["Raw"]["Data"].as_str().unwrap_or_default();
        let raw = STANDARD.decode(raw).unwrap();
        let destination = call["Destination"].to_string();
        let envelope = format!("{} {destination}", call["FromEmailAddress"]);
        let mut rest = call.clone();
        for name in ["Content", "Destination", "FromEmailAddress", "EmailTags"] {
            rest.as_object_mut().unwrap().remove(name);
        }
        let recipients = vec![destination];
        let item = |sink, bytes: Vec<u8>| Item {
            sink,
            at: at.to_owned(),
            bytes,
            recipients: recipients.clone(),
        };
        self.push(item(Sink::Mail(way), raw));
        self.push(item(Sink::Envelope, envelope.into_bytes()));
        self.add(Sink::MailTag, at, Value::Array(tags).to_string());
        self.add(Sink::Wire, at, rest.to_string());
    }

    /// Takes down what tables, buckets and queues hold now, but for what they held when this was done before: what did not
    /// change since holds no newer canary.
    pub(crate) async fn at_rest(&self, running: &Running) {
        let sdk = running.system.sdk();
        let dynamodb = aws_sdk_dynamodb::Client::new(&sdk);
        for table in dynamodb.list_tables().send().await.unwrap().table_names() {
            let mut pages = dynamodb.scan().table_name(table).into_paginator().items().send();
            while let Some(item) = pages.next().await {
                let mut parts = Parts::default();
                for (name, value) in item.unwrap() {
                    parts
                        .0
                        .entry(sink_of(table, &name))
                        .or_default()
                        .push_str(&shown(&name, &value));
                }
                for (sink, text) in parts.0 {
                    self.rest(sink, format!("{table} at rest"), text);
                }
            }
        }
        let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build());
        for bucket in s3.list_buckets().send().await.unwrap().buckets() {
            let name = bucket.name().unwrap();
            let mut pages = s3.list_objects_v2().bucket(name).into_paginator().send();
            while let Some(page) = pages.next().await {
                for object in page.unwrap().contents() {
                    let key = object.key().unwrap();
                    let object = s3.get_object().bucket(name).key(key).send().await.unwrap();
                    let at = format!("{name} at rest");
                    let metadata = format!("{:?} {:?}", object.metadata(), object.content_disposition());
                    self.rest(Sink::ObjectKey, &*at, key);
                    self.rest(Sink::ObjectMetadata, &*at, metadata);
                    self.rest(Sink::Object, at, object.body.collect().await.unwrap().into_bytes());
                }
            }
        }
        for (queue, body, attributes) in running.system.aws.sqs.messages().unwrap() {
            let is_of_ses = queue.contains("SesEvents");
            let sink = if is_of_ses { Sink::SesEvents } else { Sink::Queue };
            self.rest(sink, format!("{queue} at rest"), format!("{body}\n{attributes}"));
        }
    }
}

fn sink_of(table: &str, attribute: &str) -> Sink {
    match attribute {
        "pk" | "sk" => Sink::TableKey,
        _ if table.to_ascii_lowercase().contains("log") => Sink::Audit,
        _ => Sink::TableAttribute,
    }
}

/// An attribute as text, its bytes in base64 as on the wire.
fn shown(name: &str, value: &AttributeValue) -> String {
    match value {
        AttributeValue::B(bytes) => format!("{name} {}\n", STANDARD.encode(bytes.as_ref())),
        AttributeValue::M(fields) => fields
            .iter()
            .map(|(inner, value)| shown(&format!("{name}.{inner}"), value))
            .collect(),
        AttributeValue::L(values) => values.iter().map(|value| shown(name, value)).collect(),
        AttributeValue::S(text) | AttributeValue::N(text) => format!("{name} {text}\n"),
        other => format!("{name} {other:?}\n"),
    }
}

/// A request to DynamoDB, taken apart.
#[derive(Default)]
struct Parts(BTreeMap<Sink, String>);

impl Parts {
    /// Sorts every text below a value; `table` is the one that a parent names, and keys hold nothing but key attributes.
    fn read(&mut self, value: &Value, table: &str, is_key: bool) {
        match value {
            Value::Object(fields) => {
                let table = fields.get("TableName").and_then(Value::as_str).unwrap_or(table);
                for (name, value) in fields {
                    let is_key = is_key || matches!(&**name, "pk" | "sk" | "Key");
                    let sink = if is_key { Sink::TableKey } else { sink_of(table, name) };
                    let text = self.0.entry(sink).or_default();
                    writeln!(text, "{name}").unwrap();
                    self.read(value, table, is_key);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.read(value, table, is_key)),
            other => {
                let sink = if is_key { Sink::TableKey } else { sink_of(table, "") };
                let text = self.0.entry(sink).or_default();
                match other {
                    Value::String(plain) => writeln!(text, "{plain}").unwrap(),
                    other => writeln!(text, "{other}").unwrap(),
                }
            }
        }
    }
}

/// Hears what the functions in this process log.
struct Lines(Arc<Recorder>);

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {}={value}", field.name()).unwrap();
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.add(Sink::Log, event.metadata().target(), line.0);
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut line = Line::default();
        span.record(&mut line);
        let metadata = span.metadata();
        self.0
            .add(Sink::Log, metadata.target(), format!("{}{}", metadata.name(), line.0));
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        values.record(&mut line);
        self.0.add(Sink::Log, "a span", line.0);
    }
}
