//! What the description of the API says of all operations together: the key, the answers that each of them may give, and
//! where the ids in an answer lead.

use sealpost_handler::answer::Problem;
use utoipa::ToSchema;
use utoipa::openapi::content::Content;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

/// What any operation may answer, whatever is asked: the gateway limits, and either side of it may fail.
const ANY: [(&str, &str); 4] = [
    ("429", "Too many requests; try again later"),
    ("500", "Our mistake"),
    ("503", "Try again later"),
    (
        "504",
        "No answer in time; try again, under the same idempotency key where there is one",
    ),
];

/// Where an answer leads.
struct Lead {
    /// The operation that is answered, and the status of the answer.
    from: (&'static str, &'static str),
    /// What the next request takes from it: a parameter, or `body` for the whole body, and where that stands.
    takes: &'static [(&'static str, &'static str)],
    /// The operations that take it.
    to: &'static [&'static str],
}

const MADE: &[(&str, &str)] = &[("id", "$response.body#/id")];
const LISTED: &[(&str, &str)] = &[("id", "$response.body#/data/0/id")];
const EMAIL: &[&str] = &["getEmail", "changeEmail", "cancelEmail", "renewNotice"];
const SUPPRESSION: &[&str] = &["getSuppression", "removeSuppression"];
const WEBHOOK: &[&str] = &[
    "readWebhook",
    "changeWebhook",
    "listWebhookEvents",
    "listWebhookAttempts",
    "replayWebhook",
    "rotateWebhookSecret",
    "rotateSigningSecret",
    "removeWebhook",
];
const WEBHOOK_EVENT: &[&str] = &["readWebhookEvent", "listWebhookEventAttempts", "replayWebhookEvent"];

const LEADS: [Lead; 12] = [
    lead(("sendEmail", "200"), MADE, EMAIL),
    lead(("sendBatch", "200"), LISTED, EMAIL),
    lead(("listEmails", "200"), LISTED, EMAIL),
    lead(("createApiKey", "201"), MADE, &["revokeApiKey"]),
    lead(
        ("pinRecipientKey", "201"),
        &[("address", "$request.path.address"), ("id", "$response.body#/id")],
        &["removeRecipientKey"],
    ),
    lead(("addSuppression", "201"), MADE, SUPPRESSION),
    lead(("listSuppressions", "200"), LISTED, SUPPRESSION),
    lead(("createWebhook", "201"), MADE, WEBHOOK),
    lead(("listWebhooks", "200"), LISTED, WEBHOOK),
    lead(
        ("listWebhookEvents", "200"),
        &[("id", "$request.path.id"), ("event", "$response.body#/data/0/id")],
        WEBHOOK_EVENT,
    ),
    lead(("readPolicy", "200"), &[("body", "$response.body")], &["replacePolicy"]),
    lead(
        ("listEvents", "200"),
        &[("after", "$response.body#/next")],
        &["listEvents"],
    ),
];

const fn lead(
    from: (&'static str, &'static str),
    takes: &'static [(&'static str, &'static str)],
    to: &'static [&'static str],
) -> Lead {
    Lead { from, takes, to }
}

/// Adds to the operations what they have in common. For the whole API, since links lead from one function to another.
pub fn complete(api: &mut OpenApi) {
    let components = api.components.get_or_insert_with(Default::default);
    components.add_security_scheme("api_key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    for operation in api.paths.paths.values_mut().flat_map(operations) {
        for (status, description) in ANY {
            let responses = &mut operation.responses.responses;
            responses
                .entry(status.to_owned())
                .or_insert_with(|| RefOr::T(problem(description)));
        }
        let id = operation.operation_id.clone().unwrap_or_default();
        for Lead { from, takes, to } in LEADS.iter().filter(|lead| lead.from.0 == id) {
            if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(from.1) {
                let links = to
                    .iter()
                    .map(|target| ((*target).to_owned(), RefOr::T(link(target, takes))));
                response.links.extend(links);
            }
        }
    }
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

fn problem(description: &str) -> Response {
    let mut response = Response::new(description);
    let schema = Ref::from_schema_name(Problem::name());
    response
        .content
        .insert("application/json".to_owned(), RefOr::T(Content::new(Some(schema))));
    response
}

fn link(target: &str, takes: &[(&str, &str)]) -> Link {
    let link = Link::builder().operation_id(target);
    let add = |link: LinkBuilder, (name, from): &(&str, &str)| match *name {
        "body" => link.request_body(Some(*from)),
        name => link.parameter(name, *from),
    };
    takes.iter().fold(link, add).build()
}
