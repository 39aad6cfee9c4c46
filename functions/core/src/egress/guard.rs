//! Which addresses and URLs may be asked: the global unicast ones, by name, over HTTPS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Networks that are not global unicast, or lead to such (IANA special-purpose address registries; Azure's and the
/// cloud's metadata addresses).
const V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Whether an address is global unicast. IPv6 is taken from the block that is assigned to it (2000::/3) without those parts
/// that embed or tunnel other addresses.
#[must_use]
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !V4.iter().any(|(network, length)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        bits & mask == network.to_bits() & mask
    })
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    if crate::planted!("bug_39") && address.to_ipv4_mapped().is_some() {
        return true;
    }
    let [first, second, ..] = address.segments();
    let is_assigned = first & 0xe000 == 0x2000;
    // 2001::/23 holds Teredo, ORCHID and benchmarking; 2001:db8::/32 and 3fff::/20 are for documentation; 2002::/16 is 6to4.
    let is_special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        || first == 0x2002
        || (first == 0x3fff && second < 0x1000);
    is_assigned && !is_special
}

/// Names that lead into a private network wherever they are resolved (RFC 6761, RFC 6762, RFC 8375, RFC 9476).
const PRIVATE_SUFFIXES: [&str; 8] = [
    ".localhost",
    ".local",
    ".internal",
    ".intranet",
    ".lan",
    ".home",
    ".arpa",
    ".onion",
];

/// The URL, if it may be fetched: HTTPS, port 443, a registered name with a dot, no user info. What another reader could
/// read as another host is refused: the text must name the host as it was understood.
#[must_use]
pub fn url(text: &str) -> Option<Url> {
    url_on(text, &[443])
}

/// The same, on one of `ports`.
pub(super) fn url_on(text: &str, ports: &[u16]) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let Some(Host::Domain(host)) = url.host() else {
        return None;
    };
    let rest = text.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let port = url.port_or_known_default()?;
    let is_plain = authority.eq_ignore_ascii_case(host) || authority.eq_ignore_ascii_case(&format!("{host}:{port}"));
    let is_printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\');
    let is_https = url.scheme() == "https" && ports.contains(&port);
    let has_no_user = url.username().is_empty() && url.password().is_none();
    let is_public = is_name(host) && !PRIVATE_SUFFIXES.iter().any(|suffix| host.ends_with(suffix));
    (is_plain && is_printable && is_https && has_no_user && is_public).then_some(url)
}

/// Labels of letters, digits and hyphens (RFC 1123 section 2.1), at least two, the last one not a number.
pub(super) fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_filled = (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
        is_filled && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last_is_word = host
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
    host.len() <= 253 && host.contains('.') && last_is_word && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_global_are_refused_in_every_notation() {
        let v4 = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ];
        let mut n_refused = 0;
        for text in v4 {
            let address: Ipv4Addr = text.parse().unwrap();
            let [a, b, c, d] = address.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let forms = [
                IpAddr::V4(address),
                format!("::ffff:{text}").parse().unwrap(),
                format!("::{text}").parse().unwrap(),
                format!("64:ff9b::{high:x}:{low:x}").parse().unwrap(),
                format!("64:ff9b:1::{high:x}:{low:x}").parse().unwrap(),
                format!("2002:{high:x}:{low:x}::1").parse().unwrap(),
                format!("2001:0:{high:x}:{low:x}::1").parse().unwrap(),
            ];
            for form in forms {
                assert!(!is_global(form), "{form}");
                n_refused += 1;
            }
            let number = address.to_bits();
            let urls = [
                format!("https://{text}/"),
                format!("https://{number}/"),
                format!("https://0x{number:08x}/"),
                format!("https://0{a:o}.0{b:o}.0{c:o}.0{d:o}/"),
                format!("https://0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}/"),
                format!("https://[::ffff:{text}]/"),
                format!("https://[::{text}]/"),
                format!("https://[64:ff9b::{high:x}:{low:x}]/"),
                format!("https://{text}./"),
                format!("https://user@{text}/"),
                format!("http://{text}/"),
            ];
            for form in urls {
                assert_eq!(url(&form), None, "{form}");
                n_refused += 1;
            }
        }
        for text in [
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_global(text.parse().unwrap()), "{text}");
            assert_eq!(url(&format!("https://[{text}]/")), None, "{text}");
            n_refused += 2;
        }
        assert!(n_refused >= 400, "{n_refused}");
    }

    #[cfg(feature = "bug_39")]
    #[test]
    fn a_planted_hole_for_mapped_addresses_is_found() {
        let mapped = "::ffff:169.254.169.254".parse().unwrap();
        crate::planted::set_here(Some("bug_39"));
        let passes = is_global(mapped);
        crate::planted::set_here(None);
        assert!(passes, "the hole is not there");
        assert!(!is_global(mapped));
    }

    #[test]
    fn global_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(is_global(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn only_plain_https_urls_pass() {
        for text in [
            "https://mta-sts.clinic.example/.well-known/mta-sts.txt",
            "https://mta-sts.clinic.example:443/",
            "https://xn--mnchen-3ya.example/a?b#c",
            "https://1.1.1.1.clinic.example/",
        ] {
            assert!(url(text).is_some(), "{text}");
        }
        for text in [
            "http://clinic.example/",
            "https://clinic.example:8443/",
            "https://user:password@clinic.example/",
            "https://localhost/",
            "https://printer.local/",
            "https://metadata.google.internal/",
            "https://clinic.example./",
            "https://clinic.example\\@evil.example/",
            "https://clinic。example/ ",
            "https://clinic.example/\r\nHost: evil.example",
            "ftp://clinic.example/",
            "file:///etc/passwd",
            "https:///path",
            "https:///clinic.example/",
            "https:clinic.example/",
            "https:/clinic.example/",
            "HTTPS://clinic.example/",
            " https://clinic.example/",
            "https://clinic.example/ ",
            "https://cli\tnic.example/",
            "https://@clinic.example/",
            "https://:@clinic.example/",
            "https://clinic.example:/",
            "https://clinic.example:80/",
            "https://clinic.example:0443/",
            "https://clinic%2eexample/",
            "https://127%2e0%2e0%2e1/",
            "https://clinic.example%00.evil.example/",
            "https://clinic.example#@evil.example:8443/\\",
            "https://1.1.1.1.clinic.example:22/",
            "https://127.1/",
            "https://127.0.1/",
            "https://0/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://1.2.3.4.5/",
            "https://256.256.256.256/",
            "https://①②⑦.0.0.1/",
            "https://clinic.example。/",
            "https://clinic..example/",
            "https://.clinic.example/",
            "https://-clinic.example/",
            "https://cli_nic.example/",
            "https://[fe80::1%25eth0]/",
            "https://[::]/",
            "https://clinic/",
            "https://router.lan/",
            "https://intra.home.arpa/",
            "https://a.localhost/",
            "https://hidden.onion/",
            "gopher://clinic.example/",
            "data:text/plain,v",
            "",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
    }
}
