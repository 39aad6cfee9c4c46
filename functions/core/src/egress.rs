//! The only DNS and HTTPS client besides AWS.
//!
//! A name that came from outside is resolved once, every address is checked, and only a checked address is dialled; one
//! address that is not global unicast refuses the whole name. HTTPS only, no redirect, no proxy, a capped body. What is
//! looked up takes five seconds at most and is asked on port 443; what is posted has its own limits in [`post`].

pub mod guard;
pub(crate) mod mta_sts;
pub(crate) mod post;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use tokio::sync::OnceCell;
use url::Url;

use crate::config::DomainFacts;

pub use mta_sts::MtaSts;

/// How long one look-up may take in all, its DNS queries included.
const TOTAL: Duration = Duration::from_secs(5);

/// Look-ups about other people's domains, and posts to their servers.
pub(crate) struct Egress {
    facts: DomainFacts,
    /// Made at the first use: a function that never looks anything up opens no socket.
    client: OnceCell<Option<Client>>,
    /// What posts to customers' endpoints, made at the first use too.
    poster: OnceCell<Option<post::Poster>>,
}

struct Client {
    dns: Arc<TokioResolver>,
    https: reqwest::Client,
}

/// Why nothing was fetched. It names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The URL is not one that may be fetched.
    #[error("the URL is not allowed")]
    Url,
    /// The name does not resolve, or to an address that is not allowed.
    #[error("the name does not resolve to allowed addresses")]
    Address,
    /// No answer in time, or a broken one.
    #[error("there was no proper answer")]
    Answer,
    /// The answer is larger than the limit.
    #[error("the answer is too large")]
    TooLarge,
}

impl Egress {
    pub(crate) fn new(facts: DomainFacts) -> Self {
        Self {
            facts,
            client: OnceCell::new(),
            poster: OnceCell::new(),
        }
    }

    /// What a mail domain publishes by MTA-STS. Whatever goes wrong, and whatever is late, is an answer too: unknown.
    pub(crate) async fn mta_sts(&self, domain: &str) -> MtaSts {
        match self.facts {
            DomainFacts::Table => mta_sts::from_table(domain),
            DomainFacts::Dns => match self.client.get_or_init(async || Client::open()).await {
                None => MtaSts::Unknown,
                Some(client) => client.mta_sts(domain).await,
            },
        }
    }
}

impl Client {
    fn open() -> Option<Self> {
        Self::on(TokioResolver::builder_tokio().ok()?)
    }

    fn on(mut resolver: ResolverBuilder<TokioRuntimeProvider>) -> Option<Self> {
        // A file on this machine has no say about other people's domains.
        resolver.options_mut().use_hosts_file = ResolveHosts::Never;
        let dns = Arc::new(resolver.build().ok()?);
        let https = settings(Guarded { dns: Arc::clone(&dns) }).build().ok()?;
        Some(Self { dns, https })
    }

    /// The text records of a name; `None` when the look-up failed or a record is no text, an empty list when there are none.
    async fn txt(&self, name: &str) -> Option<Vec<String>> {
        match self.dns.txt_lookup(format!("{name}.")).await {
            Ok(found) => {
                let texts = found.answers().iter().filter_map(|answer| match &answer.data {
                    RData::TXT(txt) => Some(txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect()),
                    _ => None,
                });
                texts.map(|bytes: Vec<u8>| String::from_utf8(bytes).ok()).collect()
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// The hosts that take mail for a domain, which is the domain itself where it names none (RFC 5321 section 5.1); `None`
    /// when the look-up failed.
    async fn mx(&self, domain: &str) -> Option<Vec<String>> {
        match self.dns.mx_lookup(format!("{domain}.")).await {
            Ok(found) => {
                let hosts = found.answers().iter().filter_map(|answer| match &answer.data {
                    RData::MX(mx) => Some(mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
                    _ => None,
                });
                Some(hosts.collect())
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Some(vec![domain.to_owned()]),
            Err(_) => None,
        }
    }

    /// Fetches a small text of type `text/plain`.
    async fn get(&self, url: &str, limit: usize) -> Result<String, EgressError> {
        self.fetch(guard::url(url).ok_or(EgressError::Url)?, limit).await
    }

    async fn fetch(&self, url: Url, limit: usize) -> Result<String, EgressError> {
        let mut response = self.https.get(url).send().await.map_err(|_| EgressError::Answer)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(EgressError::Answer);
        }
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !media_type.is_some_and(|value| value.eq_ignore_ascii_case("text/plain")) {
            return Err(EgressError::Answer);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| EgressError::Answer)? {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(EgressError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| EgressError::Answer)
    }
}

fn settings(resolver: Guarded) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(resolver)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .https_only(true)
        .timeout(TOTAL)
}

/// Resolves once, checks every address, and hands on nothing if one of them is not allowed.
struct Guarded {
    dns: Arc<TokioResolver>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let dns = Arc::clone(&self.dns);
        Box::pin(async move {
            let found = dns.lookup_ip(format!("{}.", name.as_str().trim_end_matches('.'))).await;
            let addresses = admit(found.map_err(|_| EgressError::Address)?.iter())?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The addresses to dial, if all of them may be dialled. The caller sets the port.
fn admit(addresses: impl Iterator<Item = IpAddr>) -> Result<Vec<SocketAddr>, EgressError> {
    let addresses: Vec<IpAddr> = addresses.collect();
    if addresses.is_empty() || !addresses.iter().all(|address| guard::is_global(*address)) {
        return Err(EgressError::Address);
    }
    Ok(addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, 0))
        .collect())
}

#[cfg(test)]
mod tests;
