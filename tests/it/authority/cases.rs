//! One case an operation: the scope that it needs, what a good request looks like, and how that is answered.

use serde_json::{Value, json};

use super::NOBODY;

/// Every scope that a key can have.
pub(super) const SCOPES: [&str; 12] = [
    "emails:send",
    "emails:read",
    "recipients:read",
    "recipients:write",
    "policies:read",
    "policies:write",
    "webhooks:read",
    "webhooks:write",
    "events:read",
    "api_keys:write",
    "suppressions:read",
    "suppressions:write",
];

/// The scopes that a key in test mode can have.
pub(super) const TEST_SCOPES: [&str; 3] = ["emails:send", "emails:read", "events:read"];

/// Operation, scope (none where the operator alone may), and the status of a good request with a key that has this scope
/// alone. What removes a thing comes after what else is done with it.
pub(super) const CASES: [(&str, &str, u16); 46] = [
    ("createTenant", "", 0),
    ("listEmails", "emails:read", 200),
    ("getEmail", "emails:read", 200),
    ("readUsage", "emails:read", 200),
    ("planEmail", "emails:send", 200),
    ("sendEmail", "emails:send", 200),
    ("sendBatch", "emails:send", 200),
    ("changeEmail", "emails:send", 200),
    ("cancelEmail", "emails:send", 200),
    ("renewNotice", "emails:send", 409),
    ("listEvents", "events:read", 200),
    ("readPolicy", "policies:read", 200),
    ("replacePolicy", "policies:write", 200),
    ("readDomain", "recipients:read", 200),
    ("recordDomain", "recipients:write", 200),
    ("forgetDomain", "recipients:write", 200),
    ("listRecipientKeys", "recipients:read", 200),
    ("pinRecipientKey", "recipients:write", 201),
    ("removeRecipientKey", "recipients:write", 200),
    ("listStreams", "suppressions:read", 200),
    ("resumeStream", "suppressions:write", 409),
    ("listSuppressions", "suppressions:read", 200),
    ("getSuppression", "suppressions:read", 200),
    ("checkSuppressions", "suppressions:read", 200),
    ("exportSuppressions", "suppressions:read", 200),
    ("addSuppression", "suppressions:write", 200),
    ("addSuppressions", "suppressions:write", 200),
    ("importSuppressions", "suppressions:write", 200),
    ("removeSuppression", "suppressions:write", 200),
    ("removeSuppressions", "suppressions:write", 200),
    ("listWebhooks", "webhooks:read", 200),
    ("readWebhook", "webhooks:read", 200),
    ("listWebhookAttempts", "webhooks:read", 200),
    ("listWebhookEvents", "webhooks:read", 200),
    ("readWebhookEvent", "webhooks:read", 200),
    ("listWebhookEventAttempts", "webhooks:read", 200),
    ("createWebhook", "webhooks:write", 201),
    ("changeWebhook", "webhooks:write", 200),
    ("replayWebhook", "webhooks:write", 200),
    ("replayWebhookEvent", "webhooks:write", 200),
    ("rotateWebhookSecret", "webhooks:write", 200),
    ("rotateSigningSecret", "webhooks:write", 200),
    ("removeWebhook", "webhooks:write", 200),
    ("listApiKeys", "api_keys:write", 200),
    ("createApiKey", "api_keys:write", 201),
    ("revokeApiKey", "api_keys:write", 200),
];

/// What a tenant has: one thing behind every name that a path can have.
#[derive(Clone)]
pub(crate) struct Things {
    pub(super) email: String,
    pub(super) key: String,
    pub(super) address: String,
    pub(super) certificate: String,
    pub(super) public: String,
    pub(super) suppression: String,
    pub(super) suppressed: String,
    pub(super) webhook: String,
    pub(super) receiver: String,
    pub(super) event: String,
    pub(super) domain: String,
    pub(super) policy: Value,
}

impl Things {
    /// The same with ids that nobody was given.
    pub(super) fn unknown(&self) -> Self {
        let like = |id: &str| format!("{}_{NOBODY}", id.split('_').next().unwrap());
        Self {
            email: like(&self.email),
            key: like(&self.key),
            certificate: like(&self.certificate),
            suppression: like(&self.suppression),
            webhook: like(&self.webhook),
            event: like(&self.event),
            ..self.clone()
        }
    }

    /// The same with this text for every id.
    pub(super) fn named(&self, text: &str) -> Self {
        let text = || text.to_owned();
        Self {
            email: text(),
            key: text(),
            certificate: text(),
            suppression: text(),
            webhook: text(),
            event: text(),
            ..self.clone()
        }
    }

    /// A path of the description that leads to them.
    pub(crate) fn path(&self, pattern: &str) -> String {
        let id = match pattern.split('/').nth(1).unwrap() {
            "emails" => &self.email,
            "api-keys" => &self.key,
            "recipients" => &self.certificate,
            "suppressions" => &self.suppression,
            "webhooks" => &self.webhook,
            _ => "",
        };
        let mut path = pattern.to_owned();
        for (name, value) in [
            ("{id}", id),
            ("{address}", &self.address),
            ("{domain}", &self.domain),
            ("{event}", &self.event),
            ("{stream}", "marketing"),
        ] {
            assert!(
                !path.contains(name) || !value.is_empty(),
                "{path}: nothing stands for {name}"
            );
            path = path.replace(name, value);
        }
        assert!(!path.contains('{'), "{path}: nothing stands for a parameter");
        path
    }

    /// Whether any of them can be read in a text.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let ids = [
            &self.email,
            &self.key,
            &self.certificate,
            &self.suppression,
            &self.webhook,
            &self.event,
            &self.suppressed,
            &self.receiver,
        ];
        ids.into_iter().any(|id| text.contains(id.as_str()))
    }
}

/// A request.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Asked {
    pub(super) fn get(path: &str) -> Self {
        Self {
            method: "get".to_owned(),
            path: path.to_owned(),
            body: None,
        }
    }
}

/// An operation of the description, and what holds for it.
pub(super) struct Case {
    pub(super) operation: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) scope: &'static str,
    pub(super) status: u16,
}

impl Case {
    /// A good request for these things.
    pub(super) fn asked(&self, things: &Things) -> Asked {
        Asked {
            method: self.method.clone(),
            path: things.path(&self.path),
            body: body(&self.operation, things),
        }
    }

    /// Whether the path names something that one tenant has, by an id that was given to it.
    pub(super) fn names_a_thing(&self) -> bool {
        self.path.contains("{id}")
    }

    /// Whether the answer repeats what was asked for.
    pub(super) fn echoes(&self) -> bool {
        matches!(
            self.operation.as_str(),
            "checkSuppressions" | "listWebhooks" | "listSuppressions" | "exportSuppressions"
        )
    }
}

pub(super) fn email(to: &str) -> Value {
    json!({ "from": "care@clinic.test", "to": to, "subject": "Your results", "text": "They are fine." })
}

/// The body of a good request.
pub(crate) fn body(operation: &str, things: &Things) -> Option<Value> {
    let emails = || json!({ "emails": [things.suppressed] });
    Some(match operation {
        "createTenant" => json!({ "name": "New", "domain": "new.test", "care_address": "care@new.test" }),
        "planEmail" | "sendEmail" => email("pat@patient.test"),
        "sendBatch" => json!([email("pat@patient.test")]),
        "renewNotice" => json!({ "to": "later@patient.test" }),
        "changeEmail" => json!({ "scheduled_at": "in 20 days" }),
        "replacePolicy" => things.policy.clone(),
        "recordDomain" => json!({ "tls": "works" }),
        "pinRecipientKey" => json!({ "kind": "openpgp", "data": things.public }),
        "checkSuppressions" | "addSuppressions" | "removeSuppressions" => emails(),
        "addSuppression" => json!({ "email": things.suppressed }),
        "importSuppressions" => json!({ "rows": [{ "email": things.suppressed }] }),
        "createWebhook" => json!({ "endpoint": things.receiver, "events": ["email.bounced"] }),
        "changeWebhook" => json!({ "events": ["email.delivered", "email.bounced"] }),
        "replayWebhook" => json!({}),
        "createApiKey" => json!({ "name": "New", "scopes": ["api_keys:write"] }),
        _ => return None,
    })
}
