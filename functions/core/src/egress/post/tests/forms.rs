//! Every way that we know to write an address that may not be posted to.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

use hickory_resolver::proto::rr::rdata::AAAA;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::*;
use crate::error::Kind;

/// Both ends, or some address, of each network that is not public; and one public address, since no literal is taken.
const V4: [&str; 28] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "203.0.113.9",
    "8.8.8.8",
];

const V6: [&str; 21] = [
    "::",
    "::1",
    "::7f00:1",
    "100::1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::1",
    "2606:4700::1111",
];

/// Names that lead inside, or are none.
const NAMES: [&str; 34] = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "loc%61lhost",
    "\u{ff4c}ocalhost",
    "local\u{ad}host",
    "receiver.localhost",
    "localhost.localdomain.local",
    "ip6-localhost",
    "metadata",
    "metadata.",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "metadata\u{3002}google\u{3002}internal",
    "instance-data",
    "instance-data.ec2.internal",
    "kubernetes.default.svc.cluster.local",
    "printer.local",
    "router.lan",
    "wiki.intranet",
    "nas.home",
    "nas.home.arpa",
    "1.0.0.127.in-addr.arpa",
    "hidden.onion",
    "hooks",
    "hooks.clinic.example.",
    "hooks.clinic.example\u{3002}",
    "hooks\u{3002}clinic.example",
    "hooks..clinic.example",
    ".clinic.example",
    "-hooks.clinic.example",
    "ho_oks.clinic.example",
    "hooks.clinic.1",
    "localhost%00.clinic.example",
];

fn v4_hosts(text: &str) -> Vec<String> {
    let address: Ipv4Addr = text.parse().unwrap();
    let [a, b, c, d] = address.octets();
    let number = address.to_bits();
    let (high, low) = (number >> 16, number & 0xffff);
    let every = |from: char, to: &str| text.replace(from, to);
    let digits = |make: fn(u32) -> String| -> String {
        let each = |letter: char| letter.to_digit(10).map_or(letter.to_string(), make);
        text.chars().map(each).collect()
    };
    vec![
        text.to_owned(),
        number.to_string(),
        format!("{number:#x}"),
        format!("{number:#010X}").replace("0X", "0x"),
        format!("0{number:o}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a:#06o}.{b}.{c}.{d}").replace("0o", "0"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("{a:#x}.{b}.0{c:o}.{d}"),
        format!("{a}.{b}.{}", u32::from(c) << 8 | u32::from(d)),
        format!("{a}.{}", number & 0x00ff_ffff),
        format!("{text}."),
        format!("{number}."),
        every('.', "\u{3002}"),
        every('.', "\u{ff0e}"),
        every('.', "\u{ff61}"),
        every('.', "%2e"),
        every('.', "%E3%80%82"),
        text.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        digits(|digit| char::from_u32(0xff10 + digit).unwrap().to_string()),
        digits(|digit| {
            char::from_u32(if digit == 0 { 0x24ea } else { 0x245f + digit })
                .unwrap()
                .to_string()
        }),
        format!("{a}\u{ad}.{b}.{c}.{d}"),
        format!("{a}\u{200b}.{b}.{c}.{d}"),
        format!("{a}.{b}\t.{c}.{d}"),
        format!("{a}.{b}\n.{c}.{d}"),
        format!("[{text}]"),
        format!("[::ffff:{text}]"),
        format!("[::FFFF:{high:X}:{low:X}]"),
        format!("[0:0:0:0:0:ffff:{high:x}:{low:x}]"),
        format!("[::ffff:0:{text}]"),
        format!("[::{text}]"),
        format!("[64:ff9b::{text}]"),
        format!("[64:ff9b:1::{text}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
        format!("[2001:0:{high:x}:{low:x}::1]"),
        format!("[fe80::5efe:{text}]"),
        format!("[::ffff:{text}%25lo]"),
    ]
}

fn v6_hosts(text: &str) -> Vec<String> {
    let address: Ipv6Addr = text.parse().unwrap();
    let long: Vec<String> = address.segments().iter().map(|part| format!("{part:04x}")).collect();
    vec![
        format!("[{text}]"),
        format!("[{}]", text.to_uppercase()),
        format!("[{}]", long.join(":")),
        format!("[{text}%25eth0]"),
        format!("[{text}%eth0]"),
        format!("[[{text}]]"),
        format!("[{text}]."),
        format!("[ {text}]"),
        text.to_owned(),
        text.replace(':', "%3a"),
        format!("%5B{text}%5D"),
    ]
}

/// The URLs that nobody may post to, not even in the local run; each differs from all others.
fn forms() -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let hosts = V4.iter().flat_map(|text| v4_hosts(text));
    let hosts = hosts.chain(V6.iter().flat_map(|text| v6_hosts(text)));
    for host in hosts.chain(NAMES.map(str::to_owned)) {
        forms.extend([
            format!("https://{host}/"),
            format!("https://{host}:8443/hooks"),
            format!("https://hooks.clinic.example@{host}/"),
        ]);
    }
    for host in V4 {
        forms.extend([
            format!("https:{host}"),
            format!("https:/{host}/"),
            format!("https:///{host}/"),
            format!("https:\\\\{host}\\"),
            format!("//{host}/"),
            format!("HTTPS://{host}/"),
            format!(" https://{host}/"),
            format!("ftp://{host}/"),
            format!("gopher://{host}:443/_"),
            format!("ws://{host}/"),
            format!("https://{host}@hooks.clinic.example/"),
            format!("https://hooks.clinic.example:443@{host}/"),
            format!("https://hooks.clinic.example#@{host}/"),
            format!("https://hooks.clinic.example\\@{host}/"),
            format!("https://hooks.clinic.example%40{host}/"),
            format!("https://{host}%2f@hooks.clinic.example/"),
            format!("https://{host}%23.clinic.example/"),
            format!("https://{host}\\.clinic.example/"),
            format!("https://{host}:443:8443/"),
            format!("https://{host}:65536/"),
        ]);
    }
    for rest in [
        ":80/",
        ":22/",
        ":8080/",
        ":444/",
        ":0443/",
        ":+443/",
        ":/",
        ":8443#part",
        "/#",
        "/a b",
        "/\u{e9}",
        "/\r\nhost: 127.0.0.1",
        "\\hooks",
    ] {
        forms.insert(format!("https://hooks.clinic.example{rest}"));
    }
    for whole in [
        "",
        "hooks.clinic.example",
        "hooks.clinic.example:443/",
        "https:",
        "https://",
        "https://.",
        "https:///",
        "https://:443/",
        "https://@/",
        "https://user@hooks.clinic.example/",
        "https://user:word@hooks.clinic.example/",
        "https://@hooks.clinic.example/",
        "http://hooks.clinic.example/",
        "http://hooks.clinic.example:443/",
        "file:///etc/passwd",
        "data:text/plain,x",
        "javascript:0",
        "unix:///var/run/docker.sock",
    ] {
        forms.insert(whole.to_owned());
    }
    forms
}

/// Every address above under a name of its own, with a public one beside it where `beside` says so.
fn named(beside: &[&str]) -> (Vec<String>, Zone) {
    let mut zone: Zone = HashMap::new();
    let v4 = V4.iter().map(|text| (RecordType::A, a(text)));
    let v6 = V6
        .iter()
        .map(|text| (RecordType::AAAA, RData::AAAA(AAAA(text.parse().unwrap()))));
    let mapped = V4.iter().map(|text| {
        let address: Ipv4Addr = text.parse().unwrap();
        (RecordType::AAAA, RData::AAAA(AAAA(address.to_ipv6_mapped())))
    });
    let is_public =
        |data: &RData| *data == a("8.8.8.8") || *data == RData::AAAA(AAAA("2606:4700::1111".parse().unwrap()));
    let inward: Vec<_> = v4
        .chain(v6)
        .chain(mapped)
        .filter(|(_, data)| !is_public(data))
        .collect();
    let mut hosts = Vec::new();
    for (n, (kind, data)) in inward.into_iter().enumerate() {
        let host = format!("inward{n}-{}.clinic.example", beside.len());
        let owner: &'static str = Box::leak(format!("{host}.").into_boxed_str());
        zone.entry((owner, kind)).or_default().push(data);
        zone.entry((owner, RecordType::A))
            .or_default()
            .extend(beside.iter().map(|text| a(text)));
        hosts.push(host);
    }
    (hosts, zone)
}

#[tokio::test]
async fn no_form_of_an_address_that_is_not_public_is_posted_to() {
    let forms = forms();
    let (egress, seen) = far(zone(), "127.0.0.1:1".parse().unwrap(), &[]);
    let local = Egress::new(DomainFacts::Table);
    let mut n = 0;
    for form in &forms {
        for egress in [&egress, &local] {
            let refused = egress.check_url(form).expect_err(form);
            assert_eq!(refused.kind(), Kind::Invalid, "{form}");
            assert_eq!(refused.fields()[0].pointer, "/endpoint", "{form}");
            assert!(
                form.is_empty() || !refused.message().contains(form.as_str()),
                "the message holds nothing of the input"
            );
            if let Ok(url) = Url::parse(form) {
                let posted = egress.post(&url, &[], b"{}".to_vec(), 0).await;
                // What the parser makes of some forms is a proper URL; its host does not resolve.
                let expected = if egress.check_url(url.as_str()).is_ok() {
                    DNS
                } else {
                    REFUSED_ADDRESS
                };
                assert_eq!(posted, Posted::failed(expected), "{form}");
            }
        }
        n += 1;
    }
    assert!(n >= 400, "{n}");
    assert_eq!(seen.n_connects(), 0);
    assert!(local.client.get().is_none(), "the local run looks no name up");
}

#[tokio::test]
async fn no_name_that_resolves_to_such_an_address_is_connected_to() {
    let mut n = 0;
    for beside in [&[][..], &["1.1.1.1"], &["1.1.1.1", "8.8.8.8"]] {
        let (hosts, zone) = named(beside);
        let (egress, seen) = far(zone, "127.0.0.1:1".parse().unwrap(), &[]);
        for host in &hosts {
            for port in ["", ":8443"] {
                let url = egress.check_url(&format!("https://{host}{port}/")).unwrap();
                let posted = egress.post(&url, &[], b"{}".to_vec(), 0).await;
                assert_eq!(posted, Posted::failed(REFUSED_ADDRESS), "{url}");
                n += 1;
            }
        }
        assert_eq!(seen.n_connects(), 0);
    }
    assert!(n >= 400, "{n}");
}

#[test]
fn proper_urls_are_taken() {
    let egress = Egress::new(DomainFacts::Dns);
    let long = |length: usize| format!("https://hooks.clinic.example/{}", "x".repeat(length - 29));
    for form in [
        "https://hooks.clinic.example",
        "https://hooks.clinic.example/",
        "https://HOOKS.Clinic.example/sealpost?a=b&c=%20",
        "https://hooks.clinic.example:443/",
        "https://hooks.clinic.example:8443/hooks",
        "https://xn--mnchen-3ya.example/",
        "https://1.1.1.1.clinic.example/",
        "https://hooks.clinic.example/@127.0.0.1/",
        &long(2048),
    ] {
        let url = egress.check_url(form).unwrap();
        assert_eq!(egress.check_url(url.as_str()).unwrap(), url, "{form}");
    }
    assert_eq!(long(2048).len(), 2048);
    assert!(egress.check_url(&long(2049)).is_err());
}

#[test]
fn loopback_is_taken_in_the_local_run_and_in_one_spelling_alone() {
    let (aws, local) = (Egress::new(DomainFacts::Dns), Egress::new(DomainFacts::Table));
    for form in [
        "http://127.0.0.1/",
        "http://127.0.0.1",
        "http://127.0.0.1:80/",
        "http://127.0.0.1:8080/hooks?a=b",
        "http://127.0.0.1:65535/",
    ] {
        assert!(local.check_url(form).is_ok(), "{form}");
        assert!(aws.check_url(form).is_err(), "{form}");
    }
    for form in [
        "http://127.1/",
        "http://127.0.0.1.:8080/",
        "http://127.0.0.2:8080/",
        "http://2130706433:8080/",
        "http://0x7f000001:8080/",
        "http://0177.0.0.1:8080/",
        "http://[::1]:8080/",
        "http://[::ffff:127.0.0.1]:8080/",
        "http://localhost:8080/",
        "http://169.254.169.254/",
        "http://user@127.0.0.1:8080/",
        "http://127.0.0.1@hooks.clinic.example/",
        "http://127.0.0.1:8080@hooks.clinic.example/",
        "http://127.0.0.1:8080@169.254.169.254/",
        "http://127.0.0.1\\@169.254.169.254/",
        "http://127.0.0.1.clinic.example/",
        "http://127.0.0.1:8080/#part",
        "http://127.0.0.1:08080/",
        "http://127%2e0.0.1/",
        "http://127.0\t.0.1/",
        "http:127.0.0.1/",
        "HTTP://127.0.0.1/",
        "https://127.0.0.1/",
        "https://127.0.0.1:8443/",
    ] {
        assert!(local.check_url(form).is_err(), "{form}");
        assert!(aws.check_url(form).is_err(), "{form}");
    }
}
