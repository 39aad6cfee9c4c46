//! What the behaviour tests share: a running system, spoken to over HTTP as its users do.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealpost_local::demo;
use sealpost_local::system::{Options, System};
use serde_json::Value;

/// A system in memory with the demo tenant.
pub(crate) struct Running {
    pub(crate) system: System,
    pub(crate) api_key: String,
    http: reqwest::Client,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            data: None,
            api: any,
            portal: any,
            mailbox: any,
            aws: Some(any),
        };
        let system = System::start(options).await.unwrap();
        let seed = demo::seed(&system).await.unwrap();
        system.open_mailbox(std::sync::Arc::new(|_, _| None), String::new());
        Self {
            system,
            api_key: seed.api_key,
            http: reqwest::Client::new(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.system.api)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(reqwest::Method::POST, path, Some(body.to_string().into_bytes()), &[])
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(reqwest::Method::GET, path, None, &[]).await
    }

    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut request = self.http.request(method, self.url(path));
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            request = request.bearer_auth(&self.api_key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Sends an email that must be accepted.
    pub(crate) async fn send(&self, email: &Value) -> String {
        let (status, answer) = self.post("/emails", email).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// The email, once nothing of it is queued, being sent, or without word from the recipient's server.
    pub(crate) async fn settled(&self, id: &str) -> Value {
        self.until(id, |status| !matches!(status, "queued" | "sending" | "sent"))
            .await
    }

    /// The email, once the status of every recipient is such a one.
    pub(crate) async fn until(&self, id: &str, is_wanted: impl Fn(&str) -> bool) -> Value {
        let mut email = Value::Null;
        for _ in 0..600 {
            let (status, read) = self.get(&format!("/emails/{id}")).await;
            assert_eq!(status, 200, "{read}");
            email = read;
            let recipients = email["recipients"].as_array().unwrap();
            if recipients.iter().all(|r| is_wanted(r["status"].as_str().unwrap())) {
                return email;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} does not come to it within 30 seconds: {email}")
    }

    /// Turns a knob of the local system, at the mailbox's address.
    pub(crate) async fn control(&self, path: &str, body: &Value) {
        let url = format!("http://{}{path}", self.system.mailbox);
        let answer = self.http.post(url).body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }

    /// The raw mails that SES was handed for an address, oldest first.
    pub(crate) async fn mails(&self, address: &str) -> Vec<Vec<u8>> {
        let filter = sealpost_local::aws::ses::Filter {
            to: Some(address.to_owned()),
            id: None,
        };
        let handed = self.system.aws.ses.messages(&filter).unwrap();
        handed
            .iter()
            .map(|mail| self.system.aws.ses.raw(&mail.id).unwrap().unwrap())
            .collect()
    }

    /// Whether a canary can be read in some bytes: as it is, in base64 at any offset, or quoted-printable.
    pub(crate) fn shows(&self, bytes: &[u8], canary: &str) -> bool {
        let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let joined: Vec<u8> = bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        let contains_joined = |needle: &[u8]| joined.windows(needle.len()).any(|window| window == needle);
        let soft: Vec<u8> = String::from_utf8_lossy(bytes).replace("=\r\n", "").into_bytes();
        let in_soft = soft.windows(canary.len()).any(|window| window == canary.as_bytes());
        let in_base64 = (0..3).any(|offset| {
            let padded = [&vec![b' '; offset][..], canary.as_bytes()].concat();
            let encoded = STANDARD.encode(&padded);
            // The first and last characters depend on what stands around the canary.
            let inner = encoded.get(4..encoded.len().saturating_sub(4)).unwrap_or_default();
            contains_joined(inner.as_bytes())
        });
        contains(canary.as_bytes()) || in_soft || in_base64
    }

    /// Looks for canaries in every item of every table.
    pub(crate) async fn assert_no_side_channel_in_tables(&self, canaries: &[&str]) {
        let sdk = self.system.sdk();
        let dynamodb = aws_sdk_dynamodb::Client::new(&sdk);
        let mut n_items = 0;
        for table in dynamodb.list_tables().send().await.unwrap().table_names() {
            let items = dynamodb.scan().table_name(table).send().await.unwrap();
            for item in items.items() {
                n_items += 1;
                for (name, value) in item {
                    let shown = format!("{name} {value:?}");
                    let bytes = match value {
                        aws_sdk_dynamodb::types::AttributeValue::B(blob) => blob.as_ref().to_vec(),
                        _ => Vec::new(),
                    };
                    for canary in canaries {
                        assert!(
                            !shown.contains(canary) && !self.shows(&bytes, canary),
                            "{table}.{name} shows {canary}"
                        );
                    }
                }
            }
        }
        assert!(n_items > 10, "the tables were not looked at");
    }

    /// Looks for canaries where no part of a message may be: every table, every object's name and bytes, SES tags.
    pub(crate) async fn assert_no_side_channel(&self, canaries: &[&str]) {
        self.assert_no_side_channel_in_tables(canaries).await;
        let sdk = self.system.sdk();
        let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build());
        let mut n_objects = 0;
        for bucket in s3.list_buckets().send().await.unwrap().buckets() {
            let name = bucket.name().unwrap();
            for object in s3.list_objects_v2().bucket(name).send().await.unwrap().contents() {
                n_objects += 1;
                let key = object.key().unwrap();
                let bytes = s3.get_object().bucket(name).key(key).send().await.unwrap();
                let bytes = bytes.body.collect().await.unwrap().into_bytes();
                for canary in canaries {
                    assert!(
                        !key.contains(canary) && !self.shows(&bytes, canary),
                        "{name}/{key} shows {canary}"
                    );
                }
            }
        }
        assert!(n_objects > 0, "the buckets were not looked at");
        for mail in self
            .system
            .aws
            .ses
            .messages(&sealpost_local::aws::ses::Filter::default())
            .unwrap()
        {
            let tags = format!("{:?}", mail.tags);
            for canary in canaries {
                assert!(!tags.contains(canary), "an SES tag shows {canary}");
            }
        }
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
