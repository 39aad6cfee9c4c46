//! Promise: openings and clicks are counted only where policy, stream and data class allow it; a counted link leads where the
//! sender's did and nowhere else, whatever is asked; machines are counted apart; and following every link of a mail, as
//! filters do, changes no consent, burns no code and is no reading.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::system::Running;

pub(crate) const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const FIRST: &str = "https://clinic.example/flu?day=1&room=2#top";

fn email(to: &str) -> Value {
    json!({
        "from": "care@clinic.test", "to": to, "subject": "News", "purpose": "marketing", "data_class": "none",
        "text": "We have a new clinic: https://clinic.example/flu",
        "html": "<html><body><p><a href=\"https://clinic.example/flu?day=1&amp;room=2#top\">Flu shots</a> \
                 <a href='https://map.example/'>Map</a> <a href=\"mailto:care@clinic.test\">Write</a> \
                 <a href=\"javascript:alert(1)\">x</a> <a href=\"//evil.example\">y</a> \
                 <a href=\"https://clinic.example@evil.example/\">z</a></p></body></html>",
    })
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(Policy::none()).build().unwrap()
}

async fn get(url: &str, agent: &str) -> reqwest::Response {
    client().get(url).header("user-agent", agent).send().await.unwrap()
}

fn location(answer: &reqwest::Response) -> Option<String> {
    let location = answer.headers().get("location")?;
    Some(location.to_str().unwrap().to_owned())
}

pub(crate) async fn allow(running: &Running, stream: &str, tracking: Value) {
    let (_, mut policy) = running.get("/policies").await;
    policy.as_object_mut().unwrap().remove("object");
    policy[stream] = tracking;
    let body = policy.to_string().into_bytes();
    let (status, answer) = running.call(reqwest::Method::PUT, "/policies", Some(body), &[]).await;
    assert_eq!(status, 200, "{answer}");
}

/// The HTML of the newest mail for an address.
pub(crate) async fn html(running: &Running, address: &str) -> String {
    let mail = running.mails(address).await.pop().unwrap();
    let parsed = mail_parser::MessageParser::default().parse(&mail).unwrap();
    parsed.body_html(0).unwrap().into_owned()
}

/// Every address in a mail's HTML that is ours.
pub(crate) fn ours(running: &Running, html: &str) -> Vec<String> {
    let base = format!("http://{}", running.system.portal);
    let words = html.split('"').filter(|word| word.starts_with(&base));
    words.map(str::to_owned).collect()
}

pub(crate) fn of_kind<'l>(links: &'l [String], kind: &str) -> Vec<&'l String> {
    links
        .iter()
        .filter(|link| link.contains(&format!("/{kind}/")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_counted_unless_policy_stream_and_class_allow_it() {
    let running = Running::start().await;
    let sent = async |body: &Value, address: &str| {
        running.settled(&running.send(body).await).await;
        let html = html(&running, address).await;
        let links = ours(&running, &html);
        (of_kind(&links, "o").len(), of_kind(&links, "c").len(), html)
    };
    let (opens, clicks, written) = sent(&email("ann@patient.test"), "ann@patient.test").await;
    assert_eq!((opens, clicks), (0, 0), "off by default: {written}");
    let mut body = email("ann@patient.test");
    body["tracking"] = json!({ "opens": true });
    let (status, answer) = running.post("/emails", &body).await;
    let pointer = json!("/tracking/opens");
    assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &pointer), "{answer}");

    allow(&running, "track_marketing", json!({ "opens": true, "clicks": true })).await;
    let (opens, clicks, written) = sent(&email("bea@patient.test"), "bea@patient.test").await;
    assert_eq!((opens, clicks), (1, 2), "{written}");
    for kept in [
        "mailto:care@clinic.test",
        "javascript:alert(1)",
        "//evil.example",
        "https://clinic.example@evil.example/",
    ] {
        assert!(
            written.contains(&format!("\"{kept}\"")),
            "{kept} was touched: {written}"
        );
    }
    for (field, value) in [
        ("data_class", "phi"),
        ("data_class", "sensitive"),
        ("purpose", "treatment"),
    ] {
        let address = format!("{value}@patient.test");
        let mut body = email(&address);
        body[field] = json!(value);
        if value == "sensitive" {
            // It goes by the portal, whose notice has nothing of the message.
            running.settled(&running.send(&body).await).await;
            assert_eq!(of_kind(&ours(&running, &html(&running, &address).await), "c").len(), 0);
            continue;
        }
        let (opens, clicks, written) = sent(&body, &address).await;
        assert_eq!((opens, clicks), (0, 0), "{value}: {written}");
    }
    let mut less = email("cid@patient.test");
    less["tracking"] = json!({ "opens": false });
    let (opens, clicks, _) = sent(&less, "cid@patient.test").await;
    assert_eq!((opens, clicks), (0, 2), "a sender may want less");

    // What was allowed at acceptance and no longer is when the mail goes out is not counted.
    let mut later = email("dan@patient.test");
    later["scheduled_at"] = json!("in 1 hour");
    let id = running.send(&later).await;
    allow(&running, "track_marketing", json!({})).await;
    running.system.advance(Duration::from_secs(3_605)).unwrap();
    running.until(&id, |status| status == "delivered").await;
    let links = ours(&running, &html(&running, "dan@patient.test").await);
    assert_eq!((of_kind(&links, "o").len(), of_kind(&links, "c").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_counted_apart_from_machines_and_led_where_the_sender_said() {
    let running = Running::start().await;
    allow(&running, "track_marketing", json!({ "opens": true, "clicks": true })).await;
    let id = running.send(&email("ann@patient.test")).await;
    running.settled(&id).await;
    let links = ours(&running, &html(&running, "ann@patient.test").await);
    let (open, clicks) = (of_kind(&links, "o")[0], of_kind(&links, "c"));
    assert!(
        links
            .iter()
            .all(|link| !link.contains("ann") && !link.contains("clinic.example")),
        "{links:?}"
    );

    // At once: faster than the mail. Later: a person. And machines at any time.
    assert_eq!(location(&get(clicks[0], BROWSER).await).as_deref(), Some(FIRST));
    running.system.advance(Duration::from_secs(60)).unwrap();
    for _ in 0..2 {
        let answer = get(clicks[0], BROWSER).await;
        assert_eq!(
            (answer.status().as_u16(), location(&answer).as_deref()),
            (302, Some(FIRST))
        );
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    }
    assert_eq!(
        location(&get(clicks[1], "curl/8").await).as_deref(),
        Some("https://map.example/")
    );
    let answer = client()
        .head(clicks[1].as_str())
        .header("user-agent", BROWSER)
        .send()
        .await
        .unwrap();
    assert_eq!(
        location(&answer).as_deref(),
        Some("https://map.example/"),
        "asked, and not counted"
    );
    let picture = get(open, BROWSER).await;
    assert_eq!(picture.headers()["content-type"], "image/gif");
    assert_eq!(picture.headers()["cross-origin-resource-policy"], "cross-origin");
    assert!(picture.bytes().await.unwrap().starts_with(b"GIF89a"));
    get(open, "Mozilla/5.0 (via ggpht.com GoogleImageProxy)").await;

    let (_, email) = running.get(&format!("/emails/{id}")).await;
    let counted = json!({ "opens": 1, "machine_opens": 1, "clicks": 2, "machine_clicks": 2 });
    assert_eq!(email["recipients"][0]["engagement"], counted, "{email}");
    assert_eq!(
        email["recipients"][0]["status"], "delivered",
        "an opening is not a reading"
    );
    assert_eq!(email["links"], json!([FIRST, "https://map.example/"]));

    // Customers are told once of each, without an address of a page.
    running.system.advance(Duration::from_secs(10)).unwrap();
    let (_, feed) = running.get("/events?limit=100").await;
    let mut told: Vec<(String, String, String)> = Vec::new();
    for event in feed["data"].as_array().unwrap() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if matches!(event["type"].as_str(), Some("email.opened" | "email.clicked")) {
            told.push((
                text(&event["type"]),
                text(&event["data"]["link"]),
                text(&event["data"]["by"]),
            ));
        }
    }
    let expected = [
        ("email.clicked", "1", "early"),
        ("email.clicked", "1", "person"),
        ("email.clicked", "2", "scanner"),
        ("email.opened", "", "person"),
        ("email.opened", "", "proxy"),
    ];
    told.sort();
    let told: Vec<(&str, &str, &str)> = told
        .iter()
        .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
        .collect();
    assert_eq!(told, expected, "{feed}");
    assert!(!feed.to_string().contains("clinic.example"), "{feed}");
    running
        .assert_no_side_channel_in_tables(&["clinic.example/flu", "map.example", "ann@patient.test"])
        .await;
}

/// What somebody may make of a good link to lead people elsewhere.
fn payloads(base: &str, good: &str, other: &str) -> BTreeSet<String> {
    let targets = [
        "//evil.example",
        "/%2f%2fevil.example",
        "https://evil.example",
        "https:%2f%2fevil.example",
        "https%3A//evil.example",
        "%68ttps://evil.example",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java%09script:alert(1)",
        "%6aavascript:alert(1)",
        "data:text/html,x",
        "data:text%2fhtml;base64,eA==",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:x",
        "%0d%0aLocation:%20https://evil.example",
        "%0aSet-Cookie:a=b",
        "%5c%5cevil.example",
        "/%5cevil.example",
        "\\\\evil.example",
        "https://clinic.example@evil.example",
        "https://clinic.example%40evil.example",
        "@evil.example",
        "%e3%80%82evil.example",
        "https://xn--clinic-9za.example",
        "https://\u{441}linic.example",
        "%252f%252fevil.example",
        "%25252fevil.example",
        "..%2f..%2fevil",
        "%2e%2e/%2e%2e/",
        "../u/",
        "..;/",
        "%00",
        "%ff",
        "\u{202e}",
        ";",
        "+",
        "%20",
        "?url=https://evil.example",
        "?next=//evil.example",
        "#https://evil.example",
        "?u=javascript:alert(1)#x",
        "%3furl=https://evil.example",
        "%23https://evil.example",
        ".evil.example",
        ":80",
        "::",
        "*",
        "'",
        "%22",
        "<script>",
        "%3cscript%3e",
        "${jndi:x}",
        "{{7*7}}",
    ];
    let mut payloads = BTreeSet::new();
    for target in targets {
        for made in [
            format!("{base}/c/{target}"),
            format!("{base}/c/{good}{target}"),
            format!("{base}/c/{good}/{target}"),
            format!("{base}/c/{target}{good}"),
            format!("{base}/o/{good}{target}"),
            format!("{base}/{target}/c/{good}"),
        ] {
            payloads.insert(made);
        }
    }
    for at in (0..good.len()).step_by(2) {
        let mut changed: Vec<char> = good.chars().collect();
        changed[at] = if changed[at] == 'A' { 'B' } else { 'A' };
        payloads.insert(format!("{base}/c/{}", changed.into_iter().collect::<String>()));
        payloads.insert(format!("{base}/c/{}{}", &good[..at], &other[at..]));
        payloads.insert(format!("{base}/c/{}", &good[..at]));
    }
    // Another number, another use of the same link.
    let bytes = URL_SAFE_NO_PAD.decode(good).unwrap();
    for n in [0_u8, 2, 3, 200, 255] {
        let mut changed = bytes.clone();
        changed[49] = n;
        payloads.insert(format!("{base}/c/{}", URL_SAFE_NO_PAD.encode(changed)));
    }
    for kind in ["o", "u", "m"] {
        payloads.insert(format!("{base}/{kind}/{good}"));
    }
    payloads
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_redirect_payloads_lead_nowhere() {
    let running = Running::start().await;
    allow(&running, "track_marketing", json!({ "opens": true, "clicks": true })).await;
    let mut tokens = Vec::new();
    for address in ["ann@patient.test", "bea@patient.test"] {
        running.settled(&running.send(&email(address)).await).await;
        let links = ours(&running, &html(&running, address).await);
        tokens.push(of_kind(&links, "c")[0].rsplit('/').next().unwrap().to_owned());
    }
    let base = format!("http://{}", running.system.portal);
    let payloads = payloads(&base, &tokens[0], &tokens[1]);
    let (mut n_refused, mut n_kept) = (0, 0);
    for payload in payloads {
        let Ok(url) = reqwest::Url::parse(&payload) else {
            continue;
        };
        let answer = client()
            .get(url.clone())
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "host=evil.example")
            .header("referer", "https://evil.example/")
            .send()
            .await
            .unwrap();
        let (status, location) = (answer.status().as_u16(), location(&answer));
        // A query, a fragment or what a URL parser takes away is no part of the link: it leads where it always does.
        if url.path() == format!("/c/{}", tokens[0]) || url.path() == format!("/c/{}", tokens[1]) {
            assert_eq!((status, location.as_deref()), (302, Some(FIRST)), "{url}");
            n_kept += 1;
            continue;
        }
        assert_eq!(location, None, "{url}");
        // Of some payloads only the fragment is left of all that names a link: they are the home page.
        if url.path() == "/" {
            assert_eq!(status, 200, "{url}");
            n_kept += 1;
            continue;
        }
        assert!((400..500).contains(&status), "{url}: {status}");
        n_refused += 1;
    }
    assert!(n_refused >= 300, "only {n_refused} were refused, {n_kept} kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_follows_every_link_changes_no_consent_and_burns_no_code() {
    let running = Running::start().await;
    allow(&running, "track_marketing", json!({ "opens": true, "clicks": true })).await;
    let id = running.send(&email("ann@patient.test")).await;
    running.settled(&id).await;
    let mut secret = email("bea@patient.test");
    secret["data_class"] = json!("sensitive");
    let portal = running.send(&secret).await;
    running.settled(&portal).await;
    let base = format!("http://{}", running.system.portal);
    for address in ["ann@patient.test", "bea@patient.test"] {
        let links = ours(&running, &html(&running, address).await);
        assert!(!links.is_empty());
        let (_, before) = running.get("/suppressions").await;
        for link in &links {
            for _ in 0..3 {
                get(link, "Mozilla/5.0 (compatible; Barracuda Sentinel)").await;
                get(link, BROWSER).await;
                client().head(link.as_str()).send().await.unwrap();
            }
        }
        assert_eq!(running.get("/suppressions").await.1, before);
        // A code that was asked for is still good after all links were followed again.
        if let Some(link) = links.iter().find(|link| link.starts_with(&format!("{base}/m/"))) {
            let answer = client().post(format!("{link}/code")).send().await.unwrap();
            let cookie = answer.headers()["set-cookie"].to_str().unwrap();
            let cookie = cookie.split(';').next().unwrap().to_owned();
            for link in &links {
                get(link, "curl/8").await;
            }
            let mail = running.mails(address).await.pop().unwrap();
            let parsed = mail_parser::MessageParser::default().parse(&mail).unwrap();
            let text = parsed.body_text(0).unwrap().into_owned();
            let is_code = |word: &&str| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
            let code: String = text.split_whitespace().filter(is_code).take(2).collect();
            let answer = client()
                .post(format!("{link}/open"))
                .header("cookie", cookie)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("code={code}"))
                .send()
                .await
                .unwrap();
            assert!(location(&answer).unwrap().ends_with("/message"), "the code was burnt");
        }
    }
    // A code that was entered opens the message; only who asks for it has read it.
    for id in [&id, &portal] {
        let (_, email) = running.get(&format!("/emails/{id}")).await;
        assert_eq!(email["recipients"][0]["status"], "delivered", "{email}");
    }
    let again = running.settled(&running.send(&email("ann@patient.test")).await).await;
    assert_eq!(again["recipients"][0]["status"], "delivered", "nobody was unsubscribed");
}
