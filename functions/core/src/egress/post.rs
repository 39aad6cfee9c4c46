//! Posts to a URL that a customer gave.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use url::Url;

use super::{Client, Egress, guard};
use crate::config::DomainFacts;
use crate::error::{Error, Result};

/// How long one post may take.
const TOTAL: Duration = Duration::from_secs(15);

/// What became of a post.
pub(crate) struct Posted {
    /// The HTTP status, if there was one.
    pub(crate) status: Option<u16>,
    /// For how long the receiver asks to be left alone.
    pub(crate) retry_after_s: Option<i64>,
    /// A short code, where there was no answer.
    pub(crate) error: Option<&'static str>,
}

impl Egress {
    /// The URL, if it may be posted to.
    ///
    /// # Errors
    /// Invalid.
    pub(crate) fn check_url(&self, url: &str) -> Result<Url> {
        let is_loopback = |url: &Url| url.scheme() == "http" && url.host_str() == Some("127.0.0.1");
        let local = Url::parse(url).ok().filter(|url| self.facts == DomainFacts::Table && is_loopback(url));
        guard::url(url).or(local).ok_or_else(|| {
            Error::invalid("/endpoint", "An endpoint is an https URL at a public host name, at port 443, without user and password.")
        })
    }

    /// Posts a body.
    pub(crate) async fn post(&self, url: &Url, headers: &[(&str, String)], body: Vec<u8>, _now_ms: i64) -> Posted {
        let failed = |error| Posted { status: None, retry_after_s: None, error: Some(error) };
        if self.check_url(url.as_str()).is_err() {
            return failed("refused_address");
        }
        let local;
        let client = if url.scheme() == "http" {
            let built = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
            let Ok(built) = built else { return failed("protocol") };
            local = built;
            &local
        } else if self.facts == DomainFacts::Table {
            return failed("dns");
        } else {
            match self.client.get_or_init(async || Client::open()).await {
                Some(client) => &client.https,
                None => return failed("dns"),
            }
        };
        let mut request = client.post(url.clone()).body(body).timeout(TOTAL);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send().await {
            Ok(answer) => Posted {
                status: Some(answer.status().as_u16()),
                retry_after_s: answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()),
                error: None,
            },
            Err(error) if error.is_timeout() => failed("timeout"),
            Err(error) if error.is_connect() => failed("connect"),
            Err(_) => failed("protocol"),
        }
    }
}
