mod forms;
mod receiver;

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::OnceCell;
use tower::util::MapRequestLayer;

use super::*;
use crate::egress::tests::{Zone, a, name, serve};
use receiver::Receiver;

/// What the far side of a guarded post saw.
struct Seen {
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    n_connects: Arc<AtomicUsize>,
    n_queries: Arc<AtomicUsize>,
}

impl Seen {
    fn n_connects(&self) -> usize {
        self.n_connects.load(Ordering::SeqCst)
    }

    fn n_queries(&self) -> usize {
        self.n_queries.load(Ordering::SeqCst)
    }

    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

/// Takes the addresses as the client does, notes them, and leads the connection to a receiver on this machine instead.
struct Noted {
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    receiver: SocketAddr,
}

impl Resolve for Noted {
    fn resolve(&self, name: Name) -> Resolving {
        let pinned = Pinned.resolve(name);
        let (dialled, receiver) = (Arc::clone(&self.dialled), self.receiver);
        Box::pin(async move {
            let pinned = pinned.await?;
            dialled.lock().unwrap().extend(pinned);
            Ok(Box::new(std::iter::once(receiver)) as Addrs)
        })
    }
}

/// The way out as in AWS, but for the name server, the roots that are trusted, and where connections end.
fn far(zone: Zone, receiver: SocketAddr, roots: &[Vec<u8>]) -> (Egress, Seen) {
    let (client, n_queries) = serve(zone);
    let seen = Seen {
        dialled: Arc::default(),
        n_connects: Arc::default(),
        n_queries,
    };
    let noted = Noted {
        dialled: Arc::clone(&seen.dialled),
        receiver,
    };
    let n_connects = Arc::clone(&seen.n_connects);
    let counted = MapRequestLayer::new(move |request| {
        n_connects.fetch_add(1, Ordering::SeqCst);
        request
    });
    let roots = roots.iter().map(|der| reqwest::Certificate::from_der(der).unwrap());
    let http = settings(noted, DomainFacts::Dns)
        .connector_layer(counted)
        .tls_certs_only(roots)
        .build()
        .unwrap();
    let poster = Poster {
        dns: Some(Arc::clone(&client.dns)),
        http,
    };
    let egress = Egress {
        facts: DomainFacts::Dns,
        client: OnceCell::new(),
        poster: OnceCell::from(Some(poster)),
    };
    (egress, seen)
}

fn zone() -> Zone {
    HashMap::from([
        (("hooks.example.", RecordType::A), vec![a("1.1.1.1")]),
        (("two.example.", RecordType::A), vec![a("1.1.1.1"), a("8.8.8.8")]),
        (("one-bad.example.", RecordType::A), vec![a("1.1.1.1"), a("10.0.0.7")]),
        (
            ("turn.example.", RecordType::A),
            vec![a("1.1.1.1"), a("169.254.169.254")],
        ),
        (
            ("alias-bad.example.", RecordType::A),
            vec![RData::CNAME(CNAME(name("inside.example."))), a("10.0.0.7")],
        ),
        (
            ("alias.example.", RecordType::A),
            vec![RData::CNAME(CNAME(name("outside.example."))), a("8.8.8.8")],
        ),
        (("mute.example.", RecordType::A), vec![a("1.1.1.1")]),
        (("empty.example.", RecordType::TXT), Vec::new()),
    ])
}

async fn post(egress: &Egress, url: &str) -> Posted {
    let url = egress.check_url(url).unwrap();
    egress.post(&url, &[], b"{}".to_vec(), 0).await
}

/// The way out of the local run, and a path on a receiver there.
async fn post_local(receiver: &Receiver, path: &str) -> Posted {
    let egress = Egress::new(DomainFacts::Table);
    post(&egress, &format!("http://{}{path}", receiver.address)).await
}

fn answered(status: u16, error: Option<&'static str>) -> Posted {
    Posted {
        status: Some(status),
        retry_after_s: None,
        error,
    }
}

#[tokio::test]
async fn a_message_arrives_as_given_under_the_name_of_the_url() {
    let (receiver, root) = receiver::secure("hooks.example");
    let (egress, seen) = far(zone(), receiver.address, &[root]);
    let url = egress.check_url("https://hooks.example/status/204?a=b").unwrap();
    let headers = [
        ("webhook-id", "msg_1".to_owned()),
        ("webhook-signature", "v1,x v1a,y".to_owned()),
    ];
    let body = "{\"type\":\"email.delivered\"}";
    for _ in 0..2 {
        let posted = egress.post(&url, &headers, body.as_bytes().to_vec(), 0).await;
        assert_eq!(posted, answered(204, None));
    }
    let requests = receiver.requests.lock().unwrap();
    let (head, sent) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(sent, body);
    let mut lines: Vec<&str> = head.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r"
    POST /status/204?a=b HTTP/1.1
    accept: */*
    content-length: 26
    content-type: application/json
    host: hooks.example
    user-agent: Sealpost
    webhook-id: msg_1
    webhook-signature: v1,x v1a,y
    ");
    assert_eq!(*receiver.names.lock().unwrap(), ["hooks.example"]);
    assert_eq!(seen.dialled(), ["1.1.1.1:0"]);
    assert_eq!(
        (requests.len(), seen.n_connects()),
        (2, 1),
        "the connection is used again"
    );
}

#[tokio::test]
async fn only_addresses_that_were_checked_are_dialled() {
    let (receiver, root) = receiver::secure("two.example");
    let (egress, seen) = far(zone(), receiver.address, &[root]);
    for (url, expected) in [
        ("https://one-bad.example/", REFUSED_ADDRESS),
        ("https://alias-bad.example/", REFUSED_ADDRESS),
        ("https://nowhere.example/", DNS),
        ("https://empty.example/", DNS),
        ("https://broken.example/", DNS),
    ] {
        assert_eq!(post(&egress, url).await, Posted::failed(expected), "{url}");
    }
    assert_eq!((seen.n_connects(), seen.dialled()), (0, Vec::new()));
    let posted = post(&egress, "https://two.example/status/200").await;
    assert_eq!(posted, answered(200, None));
    let mut dialled = seen.dialled();
    dialled.sort();
    assert_eq!(dialled, ["1.1.1.1:0", "8.8.8.8:0"]);
    // The certificate is for another name, but the address behind the alias was good enough to dial.
    assert_eq!(post(&egress, "https://alias.example/").await, Posted::failed(TLS));
    assert_eq!((seen.n_connects(), seen.dialled().len()), (2, 3));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_asked_once_a_post_and_refused_then() {
    let (receiver, root) = receiver::secure("turn.example");
    let (egress, seen) = far(zone(), receiver.address, &[root]);
    let first = post(&egress, "https://turn.example/status/200").await;
    assert_eq!(first, answered(200, None));
    assert_eq!(seen.dialled(), ["1.1.1.1:0"]);
    assert_eq!(seen.n_queries(), 2, "once for each family of addresses");
    for _ in 0..3 {
        // The connection of the first post is still open; what the name says now counts.
        let later = post(&egress, "https://turn.example/status/200").await;
        assert_eq!(later, Posted::failed(REFUSED_ADDRESS));
    }
    assert_eq!((seen.n_connects(), seen.dialled().len()), (1, 1));
    assert_eq!(receiver.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn no_address_is_dialled_outside_of_a_post() {
    let client = settings(Pinned, DomainFacts::Dns).build().unwrap();
    let error = client.post("https://localhost/").send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert!(Pinned.resolve("localhost".parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn nothing_is_sent_without_a_proper_certificate() {
    let (known, root) = receiver::secure("hooks.example");
    let (stranger, _) = receiver::secure("hooks.example");
    let (other, other_root) = receiver::secure("two.example");
    let plain = receiver::plain();
    for (receiver, root) in [(&stranger, &root), (&other, &other_root), (&plain, &root)] {
        let (egress, seen) = far(zone(), receiver.address, std::slice::from_ref(root));
        let posted = post(&egress, "https://hooks.example/status/200").await;
        assert_eq!(posted, Posted::failed(TLS));
        assert_eq!(seen.n_connects(), 1);
    }
    for receiver in [&known, &stranger, &other, &plain] {
        assert!(receiver.requests.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (egress, _) = far(zone(), closed, &[]);
    let posted = post(&egress, "https://hooks.example/").await;
    assert_eq!(posted, Posted::failed(CONNECT_FAILED));
    let local = Egress::new(DomainFacts::Table);
    assert_eq!(
        post(&local, &format!("http://{closed}/")).await,
        Posted::failed(CONNECT_FAILED)
    );
    assert_eq!(post(&local, "https://hooks.example/").await, Posted::failed(DNS));
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (inside, outside) = (receiver::plain(), receiver::plain());
    for status in [301, 302, 303, 307, 308] {
        let posted = post_local(&outside, &format!("/status/{status}")).await;
        assert_eq!(posted, answered(status, None));
    }
    let posted = post_local(&outside, &format!("/moved/{}", inside.address)).await;
    assert_eq!(posted, answered(307, None));
    let posted = post_local(&outside, "/moved/169.254.169.254").await;
    assert_eq!(posted, answered(307, None));
    assert_eq!(inside.n_connections.load(Ordering::SeqCst), 0);
    assert_eq!(outside.requests.lock().unwrap().len(), 7);
}

#[tokio::test]
async fn any_status_is_handed_on() {
    let receiver = receiver::plain();
    for status in [200, 202, 204, 400, 410, 500, 503] {
        assert_eq!(
            post_local(&receiver, &format!("/status/{status}")).await,
            answered(status, None)
        );
    }
    let asked_to_wait = Posted {
        retry_after_s: Some(120),
        ..answered(429, None)
    };
    assert_eq!(post_local(&receiver, "/status/429").await, asked_to_wait);
}

#[tokio::test]
async fn an_answer_is_read_to_its_limit_and_judged_by_its_status() {
    let receiver = receiver::plain();
    for (path, expected) in [
        ("/small", answered(200, None)),
        ("/large", answered(200, Some(TOO_LARGE))),
        ("/endless", answered(200, Some(TOO_LARGE))),
        ("/gigabyte", answered(200, Some(TOO_LARGE))),
        ("/short", answered(200, Some(PROTOCOL))),
        ("/endless-head", Posted::failed(PROTOCOL)),
        ("/nonsense", Posted::failed(PROTOCOL)),
        ("/nothing", Posted::failed(PROTOCOL)),
    ] {
        let began = Instant::now();
        assert_eq!(post_local(&receiver, path).await, expected, "{path}");
        assert!(began.elapsed() < TOTAL, "{path}");
    }
    // What the operating system takes on its own account is a few megabytes; the rest stayed with the receiver.
    for _ in ["/endless", "/gigabyte", "/endless-head"] {
        let n_taken = receiver.n_taken.recv_timeout(TOTAL).unwrap();
        assert!(n_taken < 64 * 1024 * 1024, "{n_taken}");
    }
}

async fn timed(post: impl Future<Output = Posted>) -> Posted {
    let began = Instant::now();
    let posted = post.await;
    assert!(began.elapsed() < TOTAL + Duration::from_secs(2), "{posted:?}");
    posted
}

#[tokio::test]
async fn whatever_a_receiver_does_it_is_over_after_fifteen_seconds() {
    assert_eq!(TOTAL, Duration::from_secs(15));
    let receiver = receiver::plain();
    // It takes the connection, since the system does, but nobody is there to shake hands.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (to_deaf, _) = far(zone(), deaf.local_addr().unwrap(), &[]);
    let (silent, slow_head, slow_body, interim, no_handshake, no_name) = tokio::join!(
        timed(post_local(&receiver, "/silent")),
        timed(post_local(&receiver, "/slow-head")),
        timed(post_local(&receiver, "/slow-body")),
        timed(post_local(&receiver, "/interim")),
        timed(post(&to_deaf, "https://hooks.example/")),
        timed(post(&to_deaf, "https://mute.example/")),
    );
    assert_eq!(silent, Posted::failed(TIMEOUT));
    assert_eq!(slow_head, Posted::failed(TIMEOUT));
    assert_eq!(slow_body, answered(200, Some(TIMEOUT)));
    assert_eq!(interim, Posted::failed(TIMEOUT));
    assert_eq!(no_handshake, Posted::failed(TIMEOUT));
    assert!([TIMEOUT, DNS].map(Posted::failed).contains(&no_name), "{no_name:?}");
}

#[test]
fn the_pause_that_is_asked_for_is_a_day_at_most() {
    let now_ms = 784_111_777_000; // The date that RFC 9110 writes in three ways.
    for (text, expected) in [
        ("0", Some(0)),
        ("120", Some(120)),
        (" 120 ", Some(120)),
        ("86400", Some(86_400)),
        ("86401", Some(86_400)),
        ("99999999999999999999999999", Some(86_400)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("Sun Nov  6 08:50:37 1994", Some(60)),
        ("Sun, 06 Nov 1994 07:49:37 GMT", Some(0)),
        ("Thu, 06 Nov 2994 08:49:37 GMT", Some(86_400)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("soon", None),
        ("Sun, 31 Feb 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +0100", None),
    ] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        assert_eq!(retry_after_s(&headers, now_ms), expected, "{text}");
    }
    let headers = HeaderMap::from_iter([(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:38 GMT".parse().unwrap())]);
    assert_eq!(retry_after_s(&headers, now_ms + 1), Some(1), "a started second counts");
    assert_eq!(retry_after_s(&HeaderMap::new(), now_ms), None);
}
