//! Promise: Resend's official SDKs work unchanged against our API, and what they send arrives as it was sent.

use mail_parser::{Message, MessageParser, MimeHeaders};
use tokio::process::Command;

use crate::system::Running;
use crate::tools::{NODE_MODULES, PYTHON, file, suite, tool};

/// What both suites attach.
const PDF: &[u8] = b"%PDF-1.7 \x00\xff not really";
/// What their picture begins with.
const PNG: &[u8] = b"\x89PNG\r\n";

/// A canceled email must not have arrived.
async fn assert_canceled(running: &Running, who: &str) {
    running
        .system
        .advance(std::time::Duration::from_secs(3 * 86_400))
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(30))
            .await
            .unwrap()
    );
    assert!(running.mails(&format!("{who}-off@patient.test")).await.is_empty());
}

/// The one mail that an address got.
async fn mail(running: &Running, to: &str) -> Vec<u8> {
    let mut mails = running.mails(to).await;
    assert_eq!(mails.len(), 1, "{to}");
    mails.remove(0)
}

/// Checks what the recipients of a suite got; its addresses begin with `who`, its first file is called `first`.
async fn assert_arrived(running: &Running, who: &str, first: &str) {
    assert!(
        running
            .system
            .settled(std::time::Duration::from_secs(30))
            .await
            .unwrap()
    );
    let raw = mail(running, &format!("{who}-files@patient.test")).await;
    let files = parse(&raw);
    assert_eq!(files.attachment_count(), 3);
    for (name, kind, content_id, content) in [
        (first, ("application", Some("pdf")), None, PDF),
        ("base64.pdf", ("application", Some("pdf")), None, PDF),
        ("pixel.png", ("image", Some("png")), Some("pixel"), PNG),
    ] {
        let part = files
            .attachments()
            .find(|part| part.attachment_name() == Some(name))
            .unwrap_or_else(|| panic!("{name} is not there: {}", String::from_utf8_lossy(&raw)));
        let found = part.content_type().map(|kind| (kind.ctype(), kind.subtype()));
        assert_eq!((found, part.content_id()), (Some(kind), content_id), "{name}");
        assert!(part.contents().starts_with(content), "{name}");
    }

    // Everybody gets the same fields, and nobody sees who is in Bcc.
    let (to, cc, bcc) = (["all", "cc", "bcc"])
        .map(|place| format!("{who}-{place}@patient.test"))
        .into();
    for address in [&to, &cc, &bcc] {
        let raw = mail(running, address).await;
        let all = parse(&raw);
        assert_eq!(all.subject(), Some("All fields"));
        assert_eq!(all.to().unwrap().first().unwrap().address(), Some(&*to));
        assert_eq!(all.cc().unwrap().first().unwrap().address(), Some(&*cc));
        assert_eq!(
            all.reply_to().unwrap().first().unwrap().address(),
            Some("desk@clinic.test")
        );
        assert_eq!(all.header("X-Clinic-Desk").unwrap().as_text(), Some("7"));
        assert!(
            !String::from_utf8_lossy(&raw).contains(&bcc),
            "{address} reads who is in Bcc"
        );
    }
    let n_once = running
        .mails(&format!("{who}@patient.test"))
        .await
        .iter()
        .filter(|raw| parse(raw).subject() == Some("Once"))
        .count();
    assert_eq!(n_once, 1, "the same idempotency key sends once");
    for n in running.mails(&format!("{who}-batch-1@patient.test")).await {
        assert_eq!(parse(&n).subject(), Some("Batch 1"));
    }
}

fn parse(raw: &[u8]) -> Message<'_> {
    MessageParser::default().parse(raw).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_works_unchanged() {
    let modules = tool(NODE_MODULES);
    assert!(
        std::path::Path::new(&modules).join("resend").exists(),
        "use tests/run, which installs it"
    );
    let running = Running::start().await;
    let mut command = Command::new("node");
    command
        .arg(file("sdk/node.mjs"))
        .env("SEALPOST_API", running.url(""))
        .env("SEALPOST_API_KEY", &running.api_key);
    suite(&mut command, 27).await;
    assert_arrived(&running, "node", "buffer.pdf").await;
    assert_canceled(&running, "node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_unchanged() {
    let running = Running::start().await;
    let mut command = Command::new(tool(PYTHON));
    command.arg(file("sdk/python_sdk.py"));
    command
        .env("SEALPOST_API", running.url(""))
        .env("SEALPOST_API_KEY", &running.api_key);
    suite(&mut command, 20).await;
    assert_arrived(&running, "python", "list.pdf").await;
    assert_canceled(&running, "python").await;
}
