//! Just enough of AWS for the handlers to run to their end: a tenant with two API keys, tables and buckets that keep what
//! they are told to, and keys of fixed octets. It answers every call with success, so whatever goes wrong is ours.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealpost_core::actor::Scope;
use sealpost_core::app::App;
use sealpost_core::clock::Clock;
use sealpost_core::config::{self, Config};
use sealpost_core::id::{ApiKeyId, TenantId};
use sealpost_core::key::Key;
use sealpost_core::random::Random;
use serde_json::{Value, json};

/// The secret of both keys, and its SHA-256.
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SECRET_SHA256: &str = "0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a";

/// The tables and buckets.
#[derive(Default)]
pub(crate) struct Store {
    /// Whether what is written is kept; else it is taken and forgotten, so that a long run stays small.
    is_keeping: bool,
    items: HashMap<(String, String), Value>,
    objects: HashMap<String, Vec<u8>>,
    /// What every run finds.
    fixed: HashMap<(String, String), Value>,
}

/// The stand-in, and the application on it.
pub(crate) struct Aws {
    pub(crate) app: Arc<App>,
    pub(crate) tenant: TenantId,
    pub(crate) live_key: String,
    pub(crate) test_key: String,
    store: Arc<Mutex<Store>>,
}

impl Aws {
    pub(crate) fn new() -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let tenant = TenantId::from_bytes([1; 16]);
        let mut keys = Vec::new();
        {
            let mut store = lock(&store);
            store.fix(&Key::Tenant(&tenant), tenant_row(&tenant));
            store.fix(&Key::Policy(&tenant), json!({"version": {"N": "1"}}));
            for (mode, number) in [("live", 2), ("test", 3)] {
                let key = ApiKeyId::from_bytes([number; 16]);
                store.fix(&Key::ApiKey(&tenant, &key), key_row(&key, mode));
                keys.push(format!("sp_{mode}_{}{}_{SECRET}", tenant.bare(), key.bare()));
            }
        }
        let config = Config::from_lookup(|name| {
            Some(match name {
                config::PORTAL_URL => "https://mail.clinic.example".to_owned(),
                config::DOMAIN_FACTS => "table".to_owned(),
                name => format!("http://aws.localhost/{}", name.to_ascii_lowercase()),
            })
        });
        let app = App::new(
            config.expect("every name is there"),
            &sdk(&store),
            Clock::system(),
            Random::system(),
        );
        let [live_key, test_key] = <[String; 2]>::try_from(keys).expect("there are two");
        Self {
            app,
            tenant,
            live_key,
            test_key,
            store,
        }
    }

    /// Forgets what was kept, and keeps what is written from now on or does not.
    pub(crate) fn keep(&self, is_keeping: bool) {
        let mut store = lock(&self.store);
        if is_keeping {
            store.items.clear();
            store.objects.clear();
        }
        store.is_keeping = is_keeping;
    }

    /// Puts an item where the tables keep theirs.
    pub(crate) fn put(&self, key: &Key<'_>, item: Value) {
        lock(&self.store).items.insert(key.parts(), with_key(key, item));
    }
}

impl Store {
    fn fix(&mut self, key: &Key<'_>, item: Value) {
        self.fixed.insert(key.parts(), with_key(key, item));
    }

    fn answer(&mut self, request: &HttpRequest) -> Answer {
        let body = request.body().bytes().unwrap_or_default();
        let operation = request
            .headers()
            .get("x-amz-target")
            .and_then(|target| target.rsplit('.').next());
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value["S"].as_str().unwrap_or_default().to_owned();
        match operation {
            Some("GetItem") => {
                let at = (text(&sent["Key"]["pk"]), text(&sent["Key"]["sk"]));
                let item = self.items.get(&at).or_else(|| self.fixed.get(&at));
                Answer::Json(item.map_or_else(|| json!({}), |item| json!({"Item": item})))
            }
            Some("TransactWriteItems") if self.is_keeping => {
                let changes = sent["TransactItems"].as_array().into_iter().flatten();
                for item in changes.filter_map(|change| change["Put"].get("Item")) {
                    self.items.insert((text(&item["pk"]), text(&item["sk"])), item.clone());
                }
                Answer::Json(json!({}))
            }
            Some("Query" | "Scan") => Answer::Json(json!({"Items": [], "Count": 0, "ScannedCount": 0})),
            Some("BatchGetItem") => Answer::Json(json!({"Responses": {}, "UnprocessedKeys": {}})),
            Some("GenerateDataKey") => Answer::Json(json!({
                "KeyId": "key", "CiphertextBlob": STANDARD.encode([8; 64]), "Plaintext": STANDARD.encode([8; 32]),
            })),
            Some("Decrypt") => Answer::Json(json!({"KeyId": "key", "Plaintext": STANDARD.encode([8; 32])})),
            Some("SendMessageBatch") => Answer::Json(json!({"Successful": [], "Failed": []})),
            Some(_) => Answer::Json(json!({})),
            // What names no operation goes to the object store.
            None => {
                let path = request.uri().split('?').next().unwrap_or_default().to_owned();
                if request.method() == "PUT" {
                    if self.is_keeping {
                        self.objects.insert(path, body.to_vec());
                    }
                    return Answer::Octets(Vec::new());
                }
                self.objects.get(&path).cloned().map_or(Answer::Missing, Answer::Octets)
            }
        }
    }
}

enum Answer {
    Json(Value),
    Octets(Vec<u8>),
    Missing,
}

#[derive(Clone)]
struct Wire(Arc<Mutex<Store>>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = match lock(&self.0).answer(&request) {
            Answer::Json(value) => (200, SdkBody::from(value.to_string())),
            Answer::Octets(octets) => (200, SdkBody::from(octets)),
            Answer::Missing => (
                404,
                SdkBody::from("<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"),
            ),
        };
        let status = StatusCode::try_from(status).expect("it is a status");
        let mut response = HttpResponse::new(status, body);
        // The archive keeps versions.
        response.headers_mut().insert("x-amz-version-id", "1");
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn sdk(store: &Arc<Mutex<Store>>) -> SdkConfig {
    let credentials = Credentials::new("fuzz", "fuzz", None, None, "fuzz");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url("http://aws.localhost")
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .http_client(SharedHttpClient::new(Wire(Arc::clone(store))))
        .build()
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_key(key: &Key<'_>, mut item: Value) -> Value {
    let (pk, sk) = key.parts();
    item["pk"] = json!({"S": pk});
    item["sk"] = json!({"S": sk});
    item
}

fn tenant_row(tenant: &TenantId) -> Value {
    json!({
        "id": {"S": tenant.as_str()},
        "name": {"S": "Clinic"},
        "domains": {"L": [{"S": "clinic.test"}]},
        "care_address": {"S": "Clinic <care@clinic.test>"},
        "signing_key_arn": {"S": "arn:aws:kms:us-east-1:000000000000:key/signer"},
        "signer_certificate": {"B": STANDARD.encode(include_bytes!("../keys/signer.der"))},
        "created_at_ms": {"N": "1790000000000"},
    })
}

fn key_row(key: &ApiKeyId, mode: &str) -> Value {
    let scopes: Vec<BTreeMap<&str, &str>> = Scope::ALL
        .iter()
        .map(|scope| BTreeMap::from([("S", scope.as_str())]))
        .collect();
    json!({
        "id": {"S": key.as_str()},
        "name": {"S": "fuzz"},
        "secret_sha256": {"S": SECRET_SHA256},
        "scopes": {"L": scopes},
        "mode": {"S": mode},
        "created_at_ms": {"N": "1790000000000"},
    })
}
