//! What decides whom we ask and post to, and what they answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sealpost_core::config::DomainFacts;
use sealpost_core::egress::guard;
use sealpost_core::fuzz;
use url::{Host, Url};

use crate::NOW_S;
use crate::field::Fields;

/// A URL that is taken names one public host, to every reader.
pub(crate) fn webhook_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(url) = guard::url(&text) {
        assert_eq!(url.port_or_known_default(), Some(443));
        assert_public(&text, &url);
    }
    if let Ok(url) = fuzz::webhook_url(&text, DomainFacts::Dns) {
        assert!(matches!(url.port_or_known_default(), Some(443 | 8443)) && !text.contains('#') && text.len() <= 2048);
        assert_public(&text, &url);
        // What was saved is judged again when it is dialled.
        assert!(fuzz::webhook_url(url.as_str(), DomainFacts::Dns).is_ok());
    }
    if let Ok(url) = fuzz::webhook_url(&text, DomainFacts::Table) {
        let is_loopback = url.host() == Some(Host::Ipv4(Ipv4Addr::LOCALHOST)) && text.starts_with("http://127.0.0.1");
        assert!(is_loopback || fuzz::webhook_url(&text, DomainFacts::Dns).is_ok());
    }
}

fn assert_public(text: &str, url: &Url) {
    assert_eq!(url.scheme(), "https");
    assert!(text.is_ascii() && !text.contains(['\\', ' ', '\t', '\r', '\n']));
    let Some(Host::Domain(host)) = url.host() else {
        panic!("{text} names no domain");
    };
    // As the simplest reader takes it: what stands between the slashes, without the port.
    let authority = text["https://".len()..]
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    assert!(!authority.contains(['@', '[', ']', '%']), "{text}");
    let simple = authority.split(':').next().unwrap_or_default();
    assert!(simple.eq_ignore_ascii_case(host), "{text}: {host}");
    assert!(host.contains('.') && !host.ends_with('.') && host.parse::<IpAddr>().is_err());
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last
        .strip_prefix("0x")
        .map_or(last.bytes().all(|b| b.is_ascii_digit()), |digits| {
            digits.bytes().all(|b| b.is_ascii_hexdigit())
        });
    assert!(!is_number, "{host} may be a number");
    for private in ["localhost", "local", "internal", "arpa", "onion", "lan", "home"] {
        assert_ne!(last, private, "{host}");
    }
}

/// An address is global only when no rule of the registries says otherwise, in whatever form it is embedded.
pub(crate) fn ip_address(data: &[u8]) {
    let octets: [u8; 16] = std::array::from_fn(|place| data.get(place).copied().unwrap_or_default());
    let [a, b, c, d, ..] = octets;
    let v4 = Ipv4Addr::new(a, b, c, d);
    if guard::is_global(IpAddr::V4(v4)) {
        assert!(
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast() || v4.is_documentation())
                && !(v4.is_multicast() || v4.is_unspecified())
                && !(a == 0 || a >= 240 || (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18)),
            "{v4}"
        );
    }
    let v6 = Ipv6Addr::from(octets);
    if guard::is_global(IpAddr::V6(v6)) {
        let [first, second, ..] = v6.segments();
        assert!(
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4().is_some())
                && (first & 0xfe00 != 0xfc00 && first & 0xff80 != 0xfe80 && first != 0x64 && first != 0x2002)
                && !(first == 0x2001 && (second == 0 || second == 0xdb8)),
            "{v6}"
        );
    }
    for embedded in [v4.to_ipv6_mapped(), v4.to_ipv6_compatible()] {
        assert!(!guard::is_global(IpAddr::V6(embedded)));
    }
}

/// Records and policies of MTA-STS: what is enforced names hosts, and only those are covered.
pub(crate) fn mta_sts(data: &[u8]) {
    let mut fields = Fields::new(data);
    let records: Vec<String> = fields.text().lines().map(str::to_owned).collect();
    if fuzz::mta_sts_records(&records) == Some(true) {
        assert_eq!(
            records.iter().filter(|record| record.starts_with("v=STSv1;")).count(),
            1
        );
    }
    let host = fields.text().to_ascii_lowercase();
    let text = String::from_utf8_lossy(fields.rest());
    let Some(patterns) = fuzz::mta_sts_policy(&text) else {
        return;
    };
    assert!(!patterns.is_empty() && text.contains("enforce") && text.contains("STSv1"));
    for pattern in &patterns {
        let name = pattern.strip_prefix("*.").unwrap_or(pattern);
        assert!(
            name.contains('.') && name.parse::<IpAddr>().is_err() && !name.contains('*'),
            "{pattern}"
        );
        assert!(!fuzz::mta_sts_covers(
            std::slice::from_ref(pattern),
            &[format!("evil.example.{name}.evil.example")]
        ));
    }
    if fuzz::mta_sts_covers(&patterns, std::slice::from_ref(&host)) {
        let is_named = |pattern: &String| match pattern.strip_prefix("*") {
            Some(suffix) => host.ends_with(suffix) && !host[..host.len() - suffix.len()].contains('.'),
            None => *pattern == host,
        };
        assert!(patterns.iter().any(is_named));
    }
    assert!(!fuzz::mta_sts_covers(&patterns, &[]));
}

/// A pause is between none and a day.
pub(crate) fn retry_after(data: &[u8]) {
    if let Some(after_s) = fuzz::retry_after_s(data, NOW_S * 1000) {
        assert!((0..=86_400).contains(&after_s));
    }
}
