//! Posts to servers that customers name: the way out for webhooks.
//!
//! A URL is judged when it is saved and again when it is dialled. A post resolves the name once, checks every address, and
//! the connection is made to those addresses and no other, under the name that the URL has (SNI and `Host`). A redirect is
//! a status like any other. The answer's body is read to at most 64 KiB and thrown away; all of it ends after 15 seconds.
//! A receiver may see a message twice, since one whose answer was lost is posted again.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::Response;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::{Client, Egress, EgressError, admit, guard};
use crate::config::DomainFacts;
use crate::error::{Error, Result};

/// How long one post may take in all: look-up, connection, request and answer. Standard Webhooks asks for 15 to 30 seconds.
const TOTAL: Duration = Duration::from_secs(15);

/// How long a connection with its TLS handshake may take, so that one dead address leaves time for the next.
const CONNECT: Duration = Duration::from_secs(5);

/// How much of an answer's body is read, in bytes. Nobody looks at it; it is read so that the connection can be used again.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a connection is kept for the next post to the same host. Receivers close theirs after 60 seconds or more.
const IDLE: Duration = Duration::from_secs(15);

/// The ports that a receiver may listen on.
const PORTS: [u16; 2] = [443, 8443];

/// The longest URL, in bytes.
const URL_LENGTH: usize = 2048;

/// The longest pause that a receiver can ask for, in seconds: one day.
const RETRY_AFTER_LIMIT_S: i64 = 86_400;

const CONNECT_FAILED: &str = "connect";
const DNS: &str = "dns";
const PROTOCOL: &str = "protocol";
const REFUSED_ADDRESS: &str = "refused_address";
const TIMEOUT: &str = "timeout";
const TLS: &str = "tls";
const TOO_LARGE: &str = "too_large";

/// How a post ended.
///
/// The status alone decides whether the receiver took the message. An error beside a status tells that the rest of the
/// answer was not read, which changes nothing; an error without a status tells why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    /// The status of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// When the receiver wants to be asked again, in seconds from now; at most a day.
    pub(crate) retry_after_s: Option<i64>,
    /// `refused_address`, `dns`, `connect`, `tls`, `timeout`, `too_large` or `protocol`.
    pub(crate) error: Option<&'static str>,
}

impl Posted {
    fn failed(error: &'static str) -> Self {
        Self {
            status: None,
            retry_after_s: None,
            error: Some(error),
        }
    }
}

/// What posts: its own client, since what the look-ups may ask and what posts may ask are not the same.
pub(super) struct Poster {
    /// Absent where facts about domains come from the table: there, no name resolves.
    dns: Option<Arc<TokioResolver>>,
    http: reqwest::Client,
}

impl Egress {
    /// The URL, if it may be posted to: HTTPS on port 443 or 8443, a host by its public name and in one spelling only, no user
    /// info, no fragment, at most 2,048 bytes.
    ///
    /// # Errors
    /// Invalid, of the field `/endpoint`.
    pub(crate) fn check_url(&self, url: &str) -> Result<Url> {
        let rule = match url {
            _ if url.len() > URL_LENGTH => "It may have 2,048 characters at most.",
            _ if url.contains('#') => "It may have no fragment.",
            _ => {
                "It must be an https URL on port 443 or 8443 that names a public host, without user name or password, in \
                 ASCII."
            }
        };
        let is_of_form = url.len() <= URL_LENGTH && !url.contains('#');
        let checked = guard::url_on(url, &PORTS).or_else(|| self.local_url(url));
        checked
            .filter(|_| is_of_form)
            .ok_or_else(|| Error::invalid("/endpoint", rule))
    }

    /// The one exception from HTTPS and public names, and the only place that knows it: where facts about domains come from
    /// the table of the local run, receivers run on the same machine, so `http://127.0.0.1`, spelled so, is allowed on any
    /// port. A deployment in AWS looks facts up and has no exception.
    fn local_url(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let is_loopback = url.host() == Some(Host::Ipv4(Ipv4Addr::LOCALHOST));
        let authority = text.strip_prefix("http://")?.split(['/', '?']).next()?;
        let port = authority.strip_prefix("127.0.0.1")?;
        let is_plain = port.is_empty() || port == format!(":{}", url.port_or_known_default()?);
        let is_printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\');
        (self.facts == DomainFacts::Table && is_loopback && is_plain && is_printable).then_some(url)
    }

    /// Posts `body`, which is JSON, with these headers. It does not fail: what goes wrong is an answer too.
    pub(crate) async fn post(&self, url: &Url, headers: &[(&str, String)], body: Vec<u8>, now_ms: i64) -> Posted {
        // A URL that was saved under an older rule is judged by this one.
        let Ok(url) = self.check_url(url.as_str()) else {
            return Posted::failed(REFUSED_ADDRESS);
        };
        let Some(poster) = self.poster.get_or_init(async || Poster::open(self.facts)).await else {
            return Posted::failed(CONNECT_FAILED);
        };
        let deadline = Instant::now() + TOTAL;
        let response = match timeout_at(deadline, poster.send(url, headers, body)).await {
            Err(_) => return Posted::failed(TIMEOUT),
            Ok(Err(error)) => return Posted::failed(error),
            Ok(Ok(response)) => response,
        };
        let status = response.status().as_u16();
        let retry_after_s = retry_after_s(response.headers(), now_ms);
        let read = timeout_at(deadline, drain(response)).await;
        Posted {
            status: Some(status),
            retry_after_s,
            error: read.unwrap_or(Err(TIMEOUT)).err(),
        }
    }
}

impl Poster {
    fn open(facts: DomainFacts) -> Option<Self> {
        let dns = match facts {
            DomainFacts::Table => None,
            DomainFacts::Dns => Some(Client::open()?.dns),
        };
        Some(Self {
            dns,
            http: settings(Pinned, facts).build().ok()?,
        })
    }

    async fn send(
        &self,
        url: Url,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> std::result::Result<Response, &'static str> {
        let addresses = self.addresses(&url).await?;
        let is_https = url.scheme() == "https";
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "Sealpost");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, value));
        let sent = PINNED.scope(addresses, request.body(body).send()).await;
        sent.map_err(|error| reason(&error, is_https))
    }

    /// The addresses to dial, every one of them checked. A host that is no name is the local exception, which the URL
    /// itself pins.
    async fn addresses(&self, url: &Url) -> std::result::Result<Vec<SocketAddr>, &'static str> {
        let Some(Host::Domain(host)) = url.host() else {
            return Ok(Vec::new());
        };
        let found = self.dns.as_ref().ok_or(DNS)?.lookup_ip(format!("{host}.")).await;
        let found: Vec<IpAddr> = found.map_err(|_| DNS)?.iter().collect();
        if found.is_empty() {
            return Err(DNS);
        }
        admit(found.into_iter()).map_err(|_| REFUSED_ADDRESS)
    }
}

tokio::task_local! {
    /// The checked addresses of the post that this task makes.
    static PINNED: Vec<SocketAddr>;
}

/// Hands on what the post has checked already. It asks nobody, so between check and connection no name can change its
/// mind; outside of a post it has no address at all.
struct Pinned;

impl Resolve for Pinned {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses = PINNED.try_with(Clone::clone);
        Box::pin(async move {
            let addresses = addresses.map_err(|_| EgressError::Address)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn settings(resolver: impl Resolve + 'static, facts: DomainFacts) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(resolver))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .https_only(facts == DomainFacts::Dns)
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(2)
}

/// Reads the body and throws it away. One that is longer than the limit is left, which closes the connection.
async fn drain(mut response: Response) -> std::result::Result<(), &'static str> {
    let mut n_read: usize = 0;
    while let Some(chunk) = response.chunk().await.map_err(|_| PROTOCOL)? {
        n_read = n_read.saturating_add(chunk.len());
        if n_read > BODY_LIMIT {
            return Err(TOO_LARGE);
        }
    }
    Ok(())
}

/// Why there was no answer.
fn reason(error: &reqwest::Error, is_https: bool) -> &'static str {
    if error.is_timeout() {
        return TIMEOUT;
    }
    if !error.is_connect() {
        return PROTOCOL;
    }
    // What the operating system refused is a connection that was never made; all else on the way to a connection is the
    // handshake on it.
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    let mut is_of_system = false;
    while let Some(error) = source {
        let system = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        is_of_system |= system.is_some();
        source = error.source();
    }
    if is_of_system || !is_https { CONNECT_FAILED } else { TLS }
}

/// When the receiver wants to be asked again (RFC 9110 section 10.2.3), in seconds from now, between none and a day.
pub(crate) fn retry_after_s(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let after_s = if is_number {
        // More digits than a number has are more than a day.
        text.parse().unwrap_or(i64::MAX)
    } else {
        let left_ms = http_date(text)?.as_millisecond().saturating_sub(now_ms);
        // A started second is waited to its end.
        left_ms.saturating_add(999).div_euclid(1000)
    };
    Some(after_s.clamp(0, RETRY_AFTER_LIMIT_S))
}

/// A date in one of the three forms that a recipient must read (RFC 9110 section 5.6.7), always in GMT.
fn http_date(text: &str) -> Option<Timestamp> {
    let forms = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ];
    let parsed = forms.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    TimeZone::UTC.to_timestamp(parsed).ok()
}

#[cfg(test)]
mod tests;
