//! Promise: every marketing mail has a way out that works with one click, for its recipient alone, at once; opening a link
//! changes nothing, and no made-up link does anything.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::system::Running;

fn email(to: &str, purpose: &str) -> Value {
    json!({
        "from": "care@clinic.test", "to": to, "subject": "News", "text": "We have a new clinic.",
        "html": "<html><body><p>We have a new clinic.</p></body></html>", "purpose": purpose,
    })
}

/// The links of a mail that lead to unsubscribing, the header's first.
pub(crate) fn links(mail: &[u8]) -> Vec<String> {
    let parsed = mail_parser::MessageParser::default().parse(mail).unwrap();
    let header = parsed
        .header_raw("List-Unsubscribe")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let header: String = header.split_whitespace().collect();
    let mut links = vec![header.trim_matches(['<', '>']).to_owned()];
    let bodies = [parsed.body_text(0), parsed.body_html(0)];
    for body in bodies.into_iter().flatten() {
        let words = body.split(|c: char| c.is_whitespace() || c == '"');
        links.extend(words.filter(|word| word.contains("/u/")).map(str::to_owned));
    }
    links
}

async fn status_of_next(running: &Running, address: &str, purpose: &str) -> Value {
    let id = running.send(&email(address, purpose)).await;
    running.settled(&id).await["recipients"][0]["status"].clone()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_click_ends_marketing_at_once_and_care_goes_on() {
    let running = Running::start().await;
    running
        .settled(&running.send(&email("una@patient.test", "marketing")).await)
        .await;
    let mail = running.mails("una@patient.test").await.remove(0);
    let parsed = mail_parser::MessageParser::default().parse(&mail).unwrap();
    let post = parsed.header_raw("List-Unsubscribe-Post").unwrap().trim();
    assert_eq!(post, "List-Unsubscribe=One-Click");
    let links = links(&mail);
    assert_eq!(links.len(), 3, "header, text and html: {links:?}");
    assert!(links.iter().all(|link| *link == links[0]), "{links:?}");
    assert!(!links[0].contains("una") && !links[0].contains('@'), "{}", links[0]);

    // Scanners open and probe every link.
    for _ in 0..3 {
        assert_eq!(client().get(&links[0]).send().await.unwrap().status(), 200);
        client().head(&links[0]).send().await.unwrap();
    }
    assert_eq!(
        status_of_next(&running, "una@patient.test", "marketing").await,
        "delivered"
    );

    // The mail client's own POST: no cookie, no redirect (RFC 8058 section 3.2).
    for _ in 0..2 {
        let answer = client()
            .post(&links[0])
            .header("content-type", "application/x-www-form-urlencoded")
            .body("List-Unsubscribe=One-Click")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().get("set-cookie").is_none());
    }
    assert_eq!(
        status_of_next(&running, "una@patient.test", "marketing").await,
        "suppressed"
    );
    assert_eq!(
        status_of_next(&running, "una@patient.test", "treatment").await,
        "delivered"
    );
    assert_eq!(
        status_of_next(&running, "ulf@patient.test", "marketing").await,
        "delivered"
    );
    let (_, list) = running.get("/suppressions").await;
    assert_eq!(list["data"][0]["reason"], "unsubscribe", "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_sealing_has_the_way_out_and_care_has_none() {
    let running = Running::start().await;
    let (status, answer) = running
        .call(
            reqwest::Method::PUT,
            "/recipient-domains/no-tls.test",
            Some(json!({ "tls": "fails" }).to_string().into_bytes()),
            &[],
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    for address in ["pia@no-tls.test", "pat@patient.test"] {
        running.settled(&running.send(&email(address, "marketing")).await).await;
        let link = links(&running.mails(address).await[0]).remove(0);
        assert_eq!(
            client().get(&link).send().await.unwrap().status(),
            200,
            "{address}: {link}"
        );
    }
    running
        .settled(&running.send(&email("cara@patient.test", "treatment")).await)
        .await;
    let mail = running.mails("cara@patient.test").await.remove(0);
    assert_eq!(links(&mail), [String::new()], "mail of care needs no way out");
}

/// What somebody may make of a good token, another one, and a place to lead people to.
fn payloads(good: &str, other: &str) -> BTreeSet<String> {
    let mut payloads = BTreeSet::new();
    for at in 0..good.len() {
        let mut changed: Vec<char> = good.chars().collect();
        changed[at] = if changed[at] == 'A' { 'B' } else { 'A' };
        payloads.insert(changed.into_iter().collect());
        payloads.insert(good[..at].to_owned());
        payloads.insert(format!("{}{}", &good[..at], &other[at..]));
    }
    let targets = [
        "//evil.example",
        "https:%2f%2fevil.example",
        "javascript:alert(1)",
        "data:text%2fhtml,x",
        "%0d%0aLocation:x",
        "%5c%5cevil.example",
        "a@evil.example",
        "%e3%80%82",
        "..%2f..%2f",
        "%252e%252e",
        "?next=https://evil.example",
        "#https://evil.example",
        "%00",
        ";",
        "+",
        " ",
    ];
    for target in targets {
        payloads.insert(target.to_owned());
        payloads.insert(format!("{good}{target}"));
        payloads.insert(format!("{target}{good}"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(good).unwrap();
    for (from, to) in [(0, 16), (16, 32), (32, 48)] {
        for byte in from..to {
            let mut changed = bytes.clone();
            changed[byte] ^= 1;
            payloads.insert(URL_SAFE_NO_PAD.encode(changed));
        }
    }
    // A fragment never reaches the server, and what follows a question mark is no part of the token.
    payloads.retain(|payload| {
        payload != good && !payload.starts_with(&format!("{good}?")) && !payload.starts_with(&format!("{good}#"))
    });
    payloads
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_made_up_links_do_nothing_and_lead_nowhere() {
    let running = Running::start().await;
    let mut tokens = Vec::new();
    for address in ["una@patient.test", "ulf@patient.test"] {
        running.settled(&running.send(&email(address, "marketing")).await).await;
        let link = links(&running.mails(address).await[0]).remove(0);
        tokens.push(link.rsplit('/').next().unwrap().to_owned());
    }
    let payloads = payloads(&tokens[0], &tokens[1]);
    assert!(payloads.len() >= 300, "{}", payloads.len());
    let base = format!("http://{}/u/", running.system.portal);
    for payload in payloads {
        let Ok(url) = reqwest::Url::parse(&format!("{base}{payload}")) else {
            continue;
        };
        // Whoever parses a URL drops some characters at its end; what is left is a good link.
        if tokens.iter().any(|token| url.path() == format!("/u/{token}")) {
            continue;
        }
        let answer = client().post(url.clone()).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!((400..500).contains(&status), "{url}: {status}");
        assert!(answer.headers().get("location").is_none(), "{url}");
    }
    for address in ["una@patient.test", "ulf@patient.test"] {
        assert_eq!(status_of_next(&running, address, "marketing").await, "delivered");
    }
}
