use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, TXT};
use hickory_resolver::proto::rr::{Name as DnsName, RData, Record, RecordType};

use super::*;

pub(super) type Zone = HashMap<(&'static str, RecordType), Vec<RData>>;

pub(super) fn name(text: &str) -> DnsName {
    DnsName::from_str(text).unwrap()
}

pub(super) fn a(text: &str) -> RData {
    RData::A(A(Ipv4Addr::from_str(text).unwrap()))
}

fn zone() -> Zone {
    let txt = |text: &str| RData::TXT(TXT::new(vec![text.to_owned()]));
    HashMap::from([
        (("one-bad.example.", RecordType::A), vec![a("1.1.1.1"), a("127.0.0.1")]),
        (("metadata.example.", RecordType::A), vec![a("169.254.169.254")]),
        (
            ("alias.example.", RecordType::A),
            vec![RData::CNAME(CNAME(name("inside.example."))), a("10.0.0.7")],
        ),
        (
            ("alias-good.example.", RecordType::A),
            vec![RData::CNAME(CNAME(name("outside.example."))), a("8.8.8.8")],
        ),
        (("good.example.", RecordType::A), vec![a("1.1.1.1"), a("8.8.8.8")]),
        (
            ("_mta-sts.twice.example.", RecordType::TXT),
            vec![txt("v=STSv1; id=1;"), txt("v=STSv1; id=2;")],
        ),
        (("_mta-sts.other.example.", RecordType::TXT), vec![txt("v=spf1 -all")]),
        (
            ("_mta-sts.inward.example.", RecordType::TXT),
            vec![txt("v=STSv1; id=1;")],
        ),
        (("mta-sts.inward.example.", RecordType::A), vec![a("127.0.0.1")]),
        (
            ("mx.example.", RecordType::MX),
            vec![RData::MX(MX::new(10, name("A.MX.example.")))],
        ),
    ])
}

/// A name server on loopback that answers from `zone`; whatever it does not hold does not exist, `broken.` fails, `mute.`
/// gets no answer, and a name that begins with `turn.` gives its answers one at a time, the last one for good.
pub(super) fn serve(zone: Zone) -> (Client, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_asked);
    thread::spawn(move || {
        let mut bytes = [0_u8; 4096];
        let mut turn = 0;
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            counted.fetch_add(1, Ordering::SeqCst);
            let Ok(request) = Message::from_vec(&bytes[..length]) else {
                continue;
            };
            let query = request.queries[0].clone();
            let asked = query.name().to_ascii().to_ascii_lowercase();
            let mut answer = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
            answer.metadata.recursion_available = true;
            let known = zone.get(&(asked.as_str(), query.query_type()));
            answer.metadata.response_code = match known {
                _ if asked.contains("broken.") => ResponseCode::ServFail,
                Some(_) => ResponseCode::NoError,
                None if zone.keys().any(|(name, _)| *name == asked) => ResponseCode::NoError,
                None => ResponseCode::NXDomain,
            };
            let mut owner = query.name().clone();
            let mut known = known.map(Vec::as_slice).unwrap_or_default();
            if asked.starts_with("mute.") {
                continue;
            }
            if asked.starts_with("turn.") && !known.is_empty() {
                known = std::slice::from_ref(&known[turn.min(known.len() - 1)]);
                turn += 1;
            }
            for data in known {
                answer.add_answer(Record::from_rdata(owner.clone(), 0, data.clone()));
                if let RData::CNAME(alias) = data {
                    owner = alias.0.clone();
                }
            }
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
        }
    });
    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = port;
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    (Client::on(resolver).unwrap(), n_asked)
}

async fn resolve(client: &Client, host: &str) -> Option<Vec<SocketAddr>> {
    let guarded = Guarded {
        dns: Arc::clone(&client.dns),
    };
    let found = guarded.resolve(host.parse().unwrap()).await;
    found.ok().map(|addresses| {
        let mut addresses: Vec<SocketAddr> = addresses.collect();
        addresses.sort();
        addresses
    })
}

#[tokio::test]
async fn one_address_that_is_not_global_refuses_the_name() {
    let (client, n_asked) = serve(zone());
    for host in [
        "one-bad.example",
        "metadata.example",
        "alias.example",
        "localhost",
        "nowhere.example",
        "broken.example",
    ] {
        assert_eq!(resolve(&client, host).await, None, "{host}");
    }
    let good = ["1.1.1.1:0", "8.8.8.8:0"].map(|text| text.parse().unwrap());
    assert_eq!(resolve(&client, "good.example").await, Some(good.to_vec()));
    let alias = vec!["8.8.8.8:0".parse().unwrap()];
    assert_eq!(resolve(&client, "alias-good.example").await, Some(alias));
    assert!(n_asked.load(Ordering::SeqCst) > 0, "the names were asked for");
}

#[tokio::test]
async fn nothing_is_fetched_from_a_name_that_leads_inside() {
    let (client, _) = serve(zone());
    for host in ["metadata.example", "one-bad.example"] {
        assert_eq!(
            client.get(&format!("https://{host}/"), 10).await,
            Err(EgressError::Answer),
            "{host}"
        );
    }
    assert_eq!(
        client.get("https://169.254.169.254/latest/", 10).await,
        Err(EgressError::Url)
    );
}

/// A web server on loopback that answers each path in its own way, and counts what it is asked.
fn serve_pages() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut bytes = [0_u8; 4096];
            let length = stream.read(&mut bytes).unwrap();
            let request = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let body = "version: STSv1";
            let (status, media_type, body) = match request.split(' ').nth(1).unwrap() {
                "/text" => ("200 OK", "text/plain; charset=utf-8", body.to_owned()),
                "/page" => ("200 OK", "text/html", body.to_owned()),
                "/large" => ("200 OK", "text/plain", "x".repeat(65)),
                "/moved" => ("302 Found\r\nLocation: /text", "text/plain", body.to_owned()),
                _ => ("404 Not Found", "text/plain", body.to_owned()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
    });
    (address, n_asked)
}

#[tokio::test]
async fn only_a_small_text_that_was_not_moved_is_taken() {
    let (guarded, _) = serve(zone());
    let (address, n_asked) = serve_pages();
    // The same settings but for HTTPS, since the server speaks none; the guard of URLs is passed by.
    let https = settings(Guarded {
        dns: Arc::clone(&guarded.dns),
    })
    .https_only(false)
    .build()
    .unwrap();
    let client = Client { https, ..guarded };
    let cases = [
        ("text", Ok("version: STSv1".to_owned())),
        ("page", Err(EgressError::Answer)),
        ("large", Err(EgressError::TooLarge)),
        ("moved", Err(EgressError::Answer)),
        ("none", Err(EgressError::Answer)),
    ];
    for (path, expected) in &cases {
        let url = Url::parse(&format!("http://{address}/{path}")).unwrap();
        assert_eq!(client.fetch(url, 64).await, *expected, "{path}");
    }
    assert_eq!(n_asked.load(Ordering::SeqCst), cases.len(), "no redirect was followed");
    let plain = Url::parse(&format!("http://{address}/text")).unwrap();
    let (strict, _) = serve(zone());
    assert_eq!(strict.fetch(plain, 64).await, Err(EgressError::Answer));
    assert_eq!(
        n_asked.load(Ordering::SeqCst),
        cases.len(),
        "nothing is asked without HTTPS"
    );
}

#[tokio::test]
async fn what_cannot_be_found_out_is_unknown_and_never_enforce() {
    let (client, _) = serve(zone());
    for (domain, expected) in [
        ("silent.example", MtaSts::Other),
        ("other.example", MtaSts::Other),
        ("twice.example", MtaSts::Unknown),
        ("inward.example", MtaSts::Unknown),
        ("broken.example", MtaSts::Unknown),
        ("1.2.3.4", MtaSts::Other),
    ] {
        assert_eq!(client.mta_sts(domain).await, expected, "{domain}");
    }
}

#[tokio::test]
async fn a_domain_without_mail_hosts_takes_its_own_mail() {
    let (client, _) = serve(zone());
    assert_eq!(client.mx("mx.example").await, Some(vec!["a.mx.example".to_owned()]));
    assert_eq!(
        client.mx("silent.example").await,
        Some(vec!["silent.example".to_owned()])
    );
    assert_eq!(client.mx("broken.example").await, None);
}

#[tokio::test]
async fn the_table_opens_no_socket() {
    let egress = Egress::new(DomainFacts::Table);
    assert_eq!(egress.mta_sts("mta-sts.test").await, MtaSts::Enforce);
    assert_eq!(egress.mta_sts("clinic.example").await, MtaSts::Other);
    assert!(egress.client.get().is_none());
}

#[test]
fn addresses_are_admitted_together_or_not_at_all() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    assert_eq!(admit(addresses(&[]).into_iter()), Err(EgressError::Address));
    assert_eq!(
        admit(addresses(&["1.1.1.1", "::1"]).into_iter()),
        Err(EgressError::Address)
    );
    assert_eq!(
        admit(addresses(&["1.1.1.1", "2606:4700::1111"]).into_iter()).map(|all| all.len()),
        Ok(2)
    );
}
