//! Answers in Resend's shapes, and ours beside them.

use jiff::Timestamp;
use sealpost_core::email::plan::Planned;
use sealpost_core::email::read::{Email, Recipient};
use sealpost_core::id::EmailId;
use sealpost_core::policy::{Level, Method, Rejected, Verdict};
use serde::Serialize;
use utoipa::ToSchema;

/// The id of something that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reference {
    /// The id.
    #[schema(example = "em_01kaz3v0r4m2q8t5w7y9b1d3f5")]
    pub(crate) id: String,
}

/// The ids of a batch, in its order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ids {
    /// One for each email.
    pub(crate) data: Vec<Reference>,
}

/// An email that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Changed {
    object: &'static str,
    id: String,
}

impl Changed {
    pub(crate) fn new(id: &EmailId) -> Self {
        Self {
            object: "email",
            id: id.to_string(),
        }
    }
}

/// An email.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmailView {
    object: &'static str,
    id: String,
    from: String,
    to: Vec<String>,
    cc: Vec<String>,
    bcc: Vec<String>,
    reply_to: Vec<String>,
    subject: String,
    html: Option<String>,
    text: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// The time that its sender asked for, RFC 3339.
    scheduled_at: Option<String>,
    /// The status of the recipient that is furthest from done.
    last_event: &'static str,
    tags: Vec<TagView>,
    data_class: &'static str,
    purpose: &'static str,
    patient_ref: Option<String>,
    /// Whether its recipients are simulated.
    test: bool,
    /// Where its counted links lead; `email.clicked` names one by its place, which begins at 1.
    links: Vec<String>,
    recipients: Vec<RecipientView>,
}

/// A tag.
#[derive(Serialize, ToSchema)]
pub(crate) struct TagView {
    name: String,
    value: String,
}

/// What became of an email for one recipient.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecipientView {
    address: String,
    /// Names the delivery in events and webhooks.
    delivery_id: String,
    status: &'static str,
    /// How it was sealed, once that is decided.
    method: Option<Method>,
    /// What that assures.
    level: Option<Level>,
    /// Which rule decided.
    rule: Option<String>,
    /// Why, for people.
    reason: Option<String>,
    /// What was not chosen, and why.
    rejected: Vec<Rejected>,
    /// Why it ended without being sent.
    ended_because: Option<String>,
    /// What its reader did, where that is counted.
    engagement: Option<EngagementView>,
    events: Vec<TimelineView>,
}

/// How often a mail was opened and its links followed. An opening is not a reading.
#[derive(Serialize, ToSchema)]
pub(crate) struct EngagementView {
    /// By somebody who may be a person.
    opens: i64,
    /// By a mail filter, a mail service's proxy, or a browser that loads ahead.
    machine_opens: i64,
    /// As `opens`.
    clicks: i64,
    /// As `machine_opens`.
    machine_clicks: i64,
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub(crate) struct TimelineView {
    #[serde(rename = "type")]
    kind: String,
    /// RFC 3339.
    at: String,
}

/// An email in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmailLine {
    id: String,
    from: String,
    to: Vec<String>,
    cc: Vec<String>,
    bcc: Vec<String>,
    reply_to: Vec<String>,
    subject: String,
    created_at: String,
    scheduled_at: Option<String>,
    last_event: &'static str,
}

/// A page of emails.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmailList {
    object: &'static str,
    has_more: bool,
    data: Vec<EmailLine>,
}

/// How an email would go.
#[derive(Serialize, ToSchema)]
pub(crate) struct Plans {
    object: &'static str,
    recipients: Vec<PlanView>,
}

/// How an email would go to one recipient. A blocked one has neither method nor level.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanView {
    address: String,
    method: Option<Method>,
    level: Option<Level>,
    /// Whether policy would refuse to send it.
    blocked: bool,
    /// Whether a suppression of the address would stop it.
    suppressed: bool,
    rule: &'static str,
    reason: &'static str,
    rejected: Vec<Rejected>,
}

impl EmailView {
    pub(crate) fn new(email: Email) -> Self {
        Self {
            object: "email",
            id: email.id.to_string(),
            from: email.from,
            to: email.to,
            cc: email.cc,
            bcc: email.bcc,
            reply_to: email.reply_to,
            subject: email.subject,
            html: email.html,
            text: email.text,
            created_at: email.created_at.to_string(),
            scheduled_at: email.scheduled_at.map(|at| at.to_string()),
            last_event: email.last_event.as_str(),
            tags: email
                .tags
                .into_iter()
                .map(|(name, value)| TagView { name, value })
                .collect(),
            data_class: email.data_class.as_str(),
            purpose: email.purpose.as_str(),
            patient_ref: email.patient_ref,
            test: email.is_test,
            links: email.links,
            recipients: email.recipients.into_iter().map(RecipientView::new).collect(),
        }
    }
}

impl RecipientView {
    fn new(recipient: Recipient) -> Self {
        let delivery = recipient.delivery;
        let status = delivery.status().as_str();
        let events = delivery
            .timeline()
            .into_iter()
            .map(|event| TimelineView {
                kind: event.kind,
                at: at(event.at_ms),
            })
            .collect();
        let (method, level, rule, reason, rejected) = match delivery.decision {
            None => (None, None, None, None, Vec::new()),
            Some(decision) => (
                Some(decision.method),
                Some(decision.level),
                Some(decision.rule),
                Some(decision.reason),
                decision.rejected,
            ),
        };
        Self {
            address: recipient.address,
            delivery_id: delivery.id.to_string(),
            status,
            method,
            level,
            rule,
            reason,
            rejected,
            ended_because: delivery.ended_because,
            engagement: recipient.engagement.map(|counted| EngagementView {
                opens: counted.n_opens,
                machine_opens: counted.n_machine_opens,
                clicks: counted.n_clicks,
                machine_clicks: counted.n_machine_clicks,
            }),
            events,
        }
    }
}

impl EmailList {
    pub(crate) fn new(emails: Vec<Email>, has_more: bool) -> Self {
        let line = |email: Email| EmailLine {
            id: email.id.to_string(),
            from: email.from,
            to: email.to,
            cc: email.cc,
            bcc: email.bcc,
            reply_to: email.reply_to,
            subject: email.subject,
            created_at: email.created_at.to_string(),
            scheduled_at: email.scheduled_at.map(|at| at.to_string()),
            last_event: email.last_event.as_str(),
        };
        Self {
            object: "list",
            has_more,
            data: emails.into_iter().map(line).collect(),
        }
    }
}

impl Plans {
    pub(crate) fn new(planned: Vec<Planned>) -> Self {
        let view = |planned: Planned| match planned.verdict {
            Verdict::Send(plan) => PlanView {
                address: planned.address,
                method: Some(plan.method),
                level: Some(plan.level),
                blocked: false,
                suppressed: planned.is_suppressed,
                rule: plan.rule,
                reason: plan.reason,
                rejected: plan.rejected,
            },
            Verdict::Blocked(blocked) => PlanView {
                address: planned.address,
                method: None,
                level: None,
                blocked: true,
                suppressed: planned.is_suppressed,
                rule: blocked.rule,
                reason: blocked.reason,
                rejected: blocked.rejected,
            },
        };
        Self {
            object: "plan",
            recipients: planned.into_iter().map(view).collect(),
        }
    }
}

fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}
