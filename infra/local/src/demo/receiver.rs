//! A customer's system in the demo: takes webhooks and checks their signatures, as any receiver does.
//!
//! It checks by the specification (Standard Webhooks 1.0.0) and shares no code with the sender, so that what it accepts was
//! signed as written there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How far a webhook's time may be off, seconds.
const TOLERANCE_S: i64 = 300;

/// A running receiver; it stops when it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    taken: Arc<Taken>,
    server: JoinHandle<()>,
}

struct Taken {
    clock: sealpost_core::clock::Clock,
    keys: Mutex<Option<Keys>>,
    events: Mutex<BTreeMap<String, Value>>,
    n_refused: Mutex<usize>,
}

/// What signatures are checked with.
struct Keys {
    secret: Vec<u8>,
    public_key: Vec<u8>,
}

impl Receiver {
    /// Starts one on a port of its own.
    pub(super) async fn start(clock: sealpost_core::clock::Clock) -> Result<Self> {
        let taken = Arc::new(Taken {
            clock,
            keys: Mutex::new(None),
            events: Mutex::default(),
            n_refused: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&taken));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!("the demo's receiver ended: {error}");
            }
        });
        Ok(Self { address, taken, server })
    }

    /// What `POST /webhooks` answered: the secret and the public key.
    pub(super) fn trust(&self, webhook: &Value) -> Result<()> {
        let text = |name: &str| webhook.get(name).and_then(Value::as_str).unwrap_or_default();
        let decode = |text: &str, prefix: &str| {
            let encoded = text.strip_prefix(prefix).context("a key does not have its form")?;
            STANDARD.decode(encoded).context("a key does not have its form")
        };
        *lock(&self.taken.keys) = Some(Keys {
            secret: decode(text("signing_secret"), "whsec_")?,
            public_key: decode(text("public_key"), "whpk_")?,
        });
        Ok(())
    }

    /// The events that were taken, by their ids.
    pub(super) fn events(&self) -> Vec<Value> {
        lock(&self.taken.events).values().cloned().collect()
    }

    /// How many posts were refused.
    pub(super) fn n_refused(&self) -> usize {
        *lock(&self.taken.n_refused)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(taken): State<Arc<Taken>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match taken.check(&headers, &body) {
        Ok((id, event)) => {
            lock(&taken.events).insert(id, event);
            StatusCode::NO_CONTENT
        }
        Err(error) => {
            tracing::warn!("the demo's receiver refused a webhook: {error:#}");
            *lock(&taken.n_refused) += 1;
            StatusCode::UNAUTHORIZED
        }
    }
}

impl Taken {
    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(String, Value)> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.with_context(|| format!("no {name}"))
        };
        let (id, at) = (text("webhook-id")?, text("webhook-timestamp")?);
        let late_s = self.clock.now_ms().div_euclid(1000) - at.parse::<i64>().context("no time")?;
        ensure!(late_s.abs() <= TOLERANCE_S, "the time is off");
        let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
        let keys = lock(&self.keys);
        let keys = keys.as_ref().context("no keys yet")?;
        let (mut by_secret, mut by_key) = (false, false);
        for signature in text("webhook-signature")?.split(' ') {
            let (version, signature) = signature.split_once(',').context("no signature")?;
            let signature = STANDARD.decode(signature).context("no signature")?;
            match version {
                "v1" => {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.secret);
                    by_secret |= hmac::verify(&key, &signed, &signature).is_ok();
                }
                "v1a" => {
                    let key = UnparsedPublicKey::new(&ED25519, &keys.public_key);
                    by_key |= key.verify(&signed, &signature).is_ok();
                }
                _ => {}
            }
        }
        ensure!(by_secret, "the HMAC is wrong");
        ensure!(by_key, "the Ed25519 signature is wrong");
        Ok((id.to_owned(), serde_json::from_slice(body)?))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
