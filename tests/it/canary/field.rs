//! A fresh canary for every field that a person, or somebody who writes about one, can fill in.

use serde_json::{Value, json};

use crate::system::base64;

/// 26 letters of five bits each.
const LENGTH: usize = 26;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A value that stands nowhere else in the world, and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    /// The field, such as `to.local`.
    pub(crate) field: &'static str,
    /// 128 bits and two more, in base32, small letters.
    pub(crate) text: String,
    /// The whole values that hold it: what somebody would hash.
    pub(crate) values: Vec<String>,
}

/// All canaries of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Canaries(pub(crate) Vec<Canary>);

impl Canaries {
    /// A new canary for a field.
    pub(crate) fn make(&mut self, field: &'static str) -> String {
        let mut bytes = [0; LENGTH];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let text: String = bytes
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
            .collect();
        self.0.push(Canary {
            field,
            text: text.clone(),
            values: vec![text.clone()],
        });
        text
    }

    /// A new address, whose local part is a canary.
    pub(crate) fn address(&mut self, field: &'static str, domain: &str) -> String {
        let address = format!("{}@{domain}", self.make(field));
        let canary = self.0.last_mut().unwrap();
        canary.values.push(address.clone());
        address
    }

    /// The fields, each once.
    pub(crate) fn fields(&self) -> std::collections::BTreeSet<&'static str> {
        self.0.iter().map(|canary| canary.field).collect()
    }
}

/// An email with a canary in every field.
#[derive(Debug, Clone)]
pub(crate) struct Filled {
    pub(crate) body: Value,
    /// To, Cc, Bcc.
    pub(crate) recipients: [String; 3],
    pub(crate) idempotency_key: String,
}

/// An email with fresh canaries in every field, to three people at this domain.
pub(crate) fn email(canaries: &mut Canaries, domain: &str) -> Filled {
    let c = canaries;
    let recipients = [
        c.address("to.local", domain),
        c.address("cc.local", domain),
        c.address("bcc.local", domain),
    ];
    let [to, cc, bcc] = &recipients;
    let from = c.address("from.local", "clinic.test");
    let reply_to = c.address("reply_to.local", "clinic.test");
    let content_id = c.make("attachment.content_id");
    let body = json!({
        "from": format!("{} <{from}>", c.make("from.name")),
        "to": [format!("{} <{to}>", c.make("to.name"))],
        "cc": [format!("{} <{cc}>", c.make("cc.name"))],
        "bcc": [format!("{} <{bcc}>", c.make("bcc.name"))],
        "reply_to": format!("{} <{reply_to}>", c.make("reply_to.name")),
        "subject": format!("Results of {}", c.make("subject")),
        "text": format!("Dear {}, all is well.", c.make("text")),
        "html": format!(
            "<html><body><p>Dear {}</p><a href=\"https://clinic.example/{}?p={}\">More</a><img src=\"cid:{content_id}\" \
             alt=\"{}\"></body></html>",
            c.make("html"),
            c.make("html.link.path"),
            c.make("html.link.query"),
            c.make("html.alt"),
        ),
        "headers": { (format!("X-{}", c.make("header.name"))): c.make("header.value") },
        "attachments": [
            {
                "filename": format!("{}.png", c.make("picture.filename")),
                "content": base64(c.make("picture.content").as_bytes()),
                "content_type": "image/png",
                "content_id": content_id,
            },
            {
                "filename": format!("Laboratory {}.pdf", c.make("attachment.filename")),
                "content": base64(format!("%PDF {}", c.make("attachment.content")).as_bytes()),
                "content_type": format!("application/x-{}", c.make("attachment.content_type")),
            },
        ],
        "tags": [{ "name": c.make("tag.name"), "value": c.make("tag.value") }],
        "patient_ref": format!("MRN {}", c.make("patient_ref")),
    });
    Filled {
        body,
        recipients,
        idempotency_key: c.make("idempotency_key"),
    }
}
