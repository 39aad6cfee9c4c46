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

/// Where an answer leads: the operation and its status, what the next request takes from it, and the operations that take it.
/// What `body` takes is the whole body.
const LINKS: [(&str, &str, &[(&str, &str)], &[&str]); 12] = [
    (
        "sendEmail",
        "200",
        &[("id", "$response.body#/id")],
        &["getEmail", "changeEmail", "cancelEmail"],
    ),
    (
        "sendBatch",
        "200",
        &[("id", "$response.body#/data/0/id")],
        &["getEmail", "changeEmail", "cancelEmail"],
    ),
    (
        "listEmails",
        "200",
        &[("id", "$response.body#/data/0/id")],
        &["getEmail", "changeEmail", "cancelEmail"],
    ),
    (
        "createApiKey",
        "201",
        &[("id", "$response.body#/id")],
        &["revokeApiKey"],
    ),
    (
        "pinRecipientKey",
        "201",
        &[("address", "$request.path.address"), ("id", "$response.body#/id")],
        &["removeRecipientKey"],
    ),
    (
        "addSuppression",
        "201",
        &[("id", "$response.body#/id")],
        &["getSuppression", "removeSuppression"],
    ),
    (
        "listSuppressions",
        "200",
        &[("id", "$response.body#/data/0/id")],
        &["getSuppression", "removeSuppression"],
    ),
    ("createWebhook", "201", &[("id", "$response.body#/id")], WEBHOOK),
    ("listWebhooks", "200", &[("id", "$response.body#/data/0/id")], WEBHOOK),
    (
        "listWebhookEvents",
        "200",
        &[("id", "$request.path.id"), ("event", "$response.body#/data/0/id")],
        &["readWebhookEvent", "listWebhookEventAttempts", "replayWebhookEvent"],
    ),
    ("readPolicy", "200", &[("body", "$response.body")], &["replacePolicy"]),
    (
        "listEvents",
        "200",
        &[("after", "$response.body#/next")],
        &["listEvents"],
    ),
];

/// What takes a webhook's id.
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
        for (_, status, named, targets) in LINKS.iter().filter(|(from, ..)| *from == id) {
            if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(*status) {
                for target in *targets {
                    response
                        .links
                        .insert((*target).to_owned(), RefOr::T(link(target, named)));
                }
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

fn link(target: &str, named: &[(&str, &str)]) -> Link {
    let link = Link::builder().operation_id(target);
    let add = |link: LinkBuilder, (name, from): &(&str, &str)| match *name {
        "body" => link.request_body(Some(*from)),
        name => link.parameter(name, *from),
    };
    named.iter().fold(link, add).build()
}
