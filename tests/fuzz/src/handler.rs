//! The handlers themselves: HTTP through their routers, everything else through their `handle`, on a stand-in for AWS.

use std::cell::RefCell;
use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use lambda_runtime::{Context, LambdaEvent};
use sealpost_core::app::App;
use sealpost_core::fuzz;
use sealpost_core::id::PickupId;
use sealpost_core::key::Key;
use sealpost_core::tenant::TenantRow;
use sealpost_handler::scheduled::Event;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::aws::Aws;
use crate::field::{Fields, choice};

/// One process's handlers, made at their first use.
struct Handlers {
    aws: Aws,
    runtime: Runtime,
    api: Router,
    portal: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

thread_local! {
    static HANDLERS: RefCell<Option<Handlers>> = const { RefCell::new(None) };
}

fn with<T>(work: impl FnOnce(&Handlers) -> T) -> T {
    HANDLERS.with(|handlers| {
        let mut handlers = handlers.borrow_mut();
        work(handlers.get_or_insert_with(Handlers::new))
    })
}

impl Handlers {
    fn new() -> Self {
        let aws = Aws::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self {
            // Both have a fallback of their own, so they are tried one after the other and not merged.
            api: send::router(Arc::clone(&aws.app)),
            portal: portal::router(Arc::clone(&aws.app)),
            aws,
            runtime: runtime.expect("there is a runtime"),
        }
    }

    fn ask(&self, router: Router, request: Request<Body>) -> Answer {
        self.runtime.block_on(async {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("the body is whole").to_bytes().to_vec();
            Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            }
        })
    }

    fn app(&self) -> Arc<App> {
        Arc::clone(&self.aws.app)
    }
}

/// Any route of the API, any parameters, any body: an answer that says what is wrong, and never that it is our fault.
pub(crate) fn api(data: &[u8]) {
    let (which, data) = choice(data);
    let (flags, data) = choice(data);
    let mut fields = Fields::new(data);
    let parameters = [fields.text(), fields.text()];
    let (query, key, authorization) = (fields.text(), fields.bytes(), fields.bytes());
    let routes: Vec<_> = send::ROUTES.iter().chain(&admin::ROUTES).collect();
    let place = usize::from(which) % routes.len();
    let (method, template) = routes[place];
    let mut path = String::new();
    let mut parameters = parameters.iter();
    for piece in template.split_inclusive('/') {
        match piece.starts_with('{') {
            true => path.push_str(&format!(
                "{}{}",
                parameters.next().map_or("", |text| &**text),
                if piece.ends_with('/') { "/" } else { "" }
            )),
            false => path.push_str(piece),
        }
    }
    if !query.is_empty() {
        path.push_str(&format!("?{query}"));
    }
    with(|handlers| {
        let mut request = Request::builder()
            .method(*method)
            .uri(path)
            .header("content-type", "application/json");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let good = if flags & 1 == 0 {
            &handlers.aws.live_key
        } else {
            &handlers.aws.test_key
        };
        request = match authorization {
            [] => request.header(header::AUTHORIZATION, format!("Bearer {good}")),
            other => request.header(header::AUTHORIZATION, other),
        };
        let Ok(request) = request.body(Body::from(fields.rest().to_vec())) else {
            return;
        };
        let router = if place < send::ROUTES.len() {
            handlers.api.clone()
        } else {
            admin::router(handlers.app())
        };
        let answer = handlers.ask(router, request);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(
            answer.status.as_u16() < 500,
            "{method} {template}: {} {text}",
            answer.status
        );
        assert!(
            !authorization.is_empty() || answer.status != StatusCode::UNAUTHORIZED,
            "{method} {template}"
        );
        if answer.status.is_client_error() {
            let problem: Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
            assert_eq!(problem["status"], answer.status.as_u16(), "{method} {template}");
            assert!(problem["errors"].is_array() && problem["name"].is_string() && problem["message"].is_string());
        }
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    });
}

/// Any page of the portal: an answer with its walls up, and never that it is our fault.
pub(crate) fn portal(data: &[u8]) {
    let (which, data) = choice(data);
    let mut fields = Fields::new(data);
    let token = fields.text();
    let (query, cookie, language, origin) = (fields.text(), fields.bytes(), fields.bytes(), fields.bytes());
    let (method, template) = portal::ROUTES[usize::from(which) % portal::ROUTES.len()];
    let path = template
        .replace("{token}", &token)
        .replace("{number}", &query)
        .replace("{name}", &token);
    let mut request = Request::builder().method(method).uri(format!("{path}?{query}"));
    for (name, value) in [
        ("cookie", cookie),
        ("accept-language", language),
        ("origin", origin),
        ("user-agent", origin),
    ] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    let request = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(fields.rest().to_vec()));
    if let Ok(request) = request {
        with(|handlers| assert_walls(&handlers.ask(handlers.portal.clone(), request)));
    }
}

/// Any message, opened in the portal: every page of it shows, and none of them lets it out of its frame.
pub(crate) fn message(data: &[u8]) {
    let (flags, rest) = choice(data);
    let octets = match flags & 0x80 {
        0 => sealpost_codec::mime::message(&crate::mime::content(data)).ok(),
        _ => Some(rest.to_vec()),
    };
    let Some(octets) = octets else {
        return;
    };
    with(|handlers| {
        let aws = &handlers.aws;
        aws.keep(true);
        let token = handlers.runtime.block_on(async {
            let tenant: TenantRow = serde_json::from_value(json!({
                "id": aws.tenant, "name": "Clinic", "domains": [], "care_address": "Clinic <care@clinic.test>",
                "signing_key_arn": "", "signer_certificate": [], "created_at_ms": 0,
            }))
            .expect("it is a tenant");
            fuzz::portal_message(&aws.app, &tenant, &octets)
                .await
                .expect("a portal message is made")
        });
        aws.keep(false);
        let (_, pickup, _) = fuzz::pickup_token(&token).expect("it is a token");
        let session = "s".repeat(43);
        open_session(aws, &pickup, &session);
        let is_readable = sealpost_codec::mime::read(&octets).is_ok();
        for (page, is_page) in [("message", true), ("body", true), ("attachments/1", false)] {
            let request = Request::builder()
                .uri(format!("/m/{token}/{page}"))
                .header("cookie", format!("__Host-session-{pickup}={session}"))
                .body(Body::empty())
                .expect("it is a request");
            let answer = handlers.ask(handlers.portal.clone(), request);
            if !is_readable {
                continue;
            }
            assert_walls(&answer);
            assert!(answer.status == StatusCode::OK || !is_page, "{page}: {}", answer.status);
            if is_page {
                let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
                assert!(
                    !text.contains("<script") && !text.contains("<iframe src=\"http"),
                    "{page}"
                );
            } else if answer.status == StatusCode::OK {
                let disposition = answer.headers[header::CONTENT_DISPOSITION]
                    .to_str()
                    .expect("it is ASCII");
                assert!(disposition.starts_with("attachment"));
            }
        }
    });
}

fn open_session(aws: &Aws, pickup: &PickupId, session: &str) {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, session.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let until_ms = aws.app.clock.now_ms() + 600_000;
    let item =
        json!({"expires_at_ms": {"N": until_ms.to_string()}, "expires_at": {"N": (until_ms / 1000).to_string()}});
    aws.put(&Key::PickupSession(&aws.tenant, pickup, &hash), item);
}

fn assert_walls(answer: &Answer) {
    assert!(answer.status.as_u16() < 500, "{}", answer.status);
    let text = |name: &str| {
        answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    assert!(
        text("content-security-policy").contains("default-src 'none'"),
        "{}",
        answer.status
    );
    assert_eq!(text("x-content-type-options"), "nosniff");
    assert!(
        text("cache-control").contains("no-store")
            || answer.headers.contains_key(header::ETAG)
            || text("cache-control").contains("max-age")
    );
}

/// Whatever a queue or a schedule may hand to a function.
pub(crate) fn invoke(data: &[u8]) {
    let (which, data) = choice(data);
    with(|handlers| {
        let app = handlers.app();
        let batch = |body: &[u8]| {
            let record = json!({"messageId": "1", "body": String::from_utf8_lossy(body)});
            serde_json::from_value::<SqsEvent>(json!({"Records": [record]})).expect("it is a batch")
        };
        handlers.runtime.block_on(async {
            match which % 6 {
                0 => {
                    if let Ok(event) = serde_json::from_slice::<Event>(data) {
                        assert!(
                            encrypt::handle(app, LambdaEvent::new(event, Context::default()))
                                .await
                                .is_ok()
                        );
                    }
                }
                1 => {
                    let event = LambdaEvent::new(Event::Queue(batch(data)), Context::default());
                    assert!(encrypt::handle(app, event).await.is_ok());
                }
                2 => {
                    let event = LambdaEvent::new(Event::Queue(batch(data)), Context::default());
                    assert!(webhook::handle(app, event).await.is_ok());
                }
                3 => {
                    let done = tracking::handle(app, LambdaEvent::new(batch(data), Context::default())).await;
                    let n_failed = done.expect("a batch is answered").batch_item_failures.len();
                    assert!(n_failed <= 1);
                }
                4 => {
                    if let Ok(event) = serde_json::from_slice::<Event>(data) {
                        assert!(
                            webhook::handle(app, LambdaEvent::new(event, Context::default()))
                                .await
                                .is_ok()
                        );
                    }
                }
                _ => {
                    if let Ok(event) = serde_json::from_slice::<SqsEvent>(data) {
                        assert!(
                            tracking::handle(app, LambdaEvent::new(event, Context::default()))
                                .await
                                .is_ok()
                        );
                    }
                }
            }
        });
    });
}
