//! A front door as API Gateway makes it: routes from the template, its own answers for the rest, Lambda's limits.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_lambda_events::apigw::ApiGatewayProxyRequestContext;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use lambda_http::request::RequestContext;

use super::Shared;
use super::function::{Failed, Function, request_id};
use super::listen::Service;
use crate::template::{self, GatewayResponse, Route, Template};

/// What API Gateway takes at most (its quotas: 10 MB a payload).
const GATEWAY_LIMIT: usize = 10 * 1024 * 1024;
/// What Lambda takes and gives at most in one synchronous invocation (Lambda quotas: 6 MB, of JSON).
const LAMBDA_LIMIT: usize = 6 * 1024 * 1024;

/// One REST API.
#[derive(Clone)]
pub(super) struct Gateway(Arc<Inner>);

struct Inner {
    api: template::Api,
    routes: Vec<(Route, Arc<Function>)>,
    shared: Arc<Shared>,
}

/// A request that the gateway answers itself.
struct Refused(&'static str);

impl Gateway {
    /// The API of this logical name.
    pub(super) fn new(template: &Template, logical: &str, shared: &Arc<Shared>) -> Result<Self> {
        let api = template.apis.iter().find(|api| api.logical == logical);
        let api = api
            .with_context(|| format!("the template declares no {logical}"))?
            .clone();
        let routes = shared.functions.iter().flat_map(|function| {
            let routes = function.declared.routes.iter().filter(|route| route.api == logical);
            routes.map(|route| (route.clone(), Arc::clone(function)))
        });
        Ok(Self(Arc::new(Inner {
            routes: routes.collect(),
            api,
            shared: Arc::clone(shared),
        })))
    }
}

impl Service for Gateway {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        self.answer_as(&request_id(), request, peer).await
    }
}

impl Gateway {
    /// Answers a request under this id.
    pub(super) async fn answer_as<B>(&self, request_id: &str, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let accept = request.headers().get(ACCEPT).cloned();
        let mut response = match self.0.through(request, peer, request_id).await {
            Ok(response) => response.map(Body::from),
            Err(Refused(case)) => self.0.own(case, accept.as_ref()),
        };
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }
}

impl Inner {
    async fn through<B>(&self, request: Request<B>, peer: SocketAddr, id: &str) -> Result<Response<Bytes>, Refused>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let routes: Vec<&Route> = self.routes.iter().map(|(route, _)| route).collect();
        let n =
            choose(&routes, parts.method.as_str(), parts.uri.path()).ok_or(Refused("MISSING_AUTHENTICATION_TOKEN"))?;
        let (route, function) = self.routes.get(n).ok_or(Refused("DEFAULT_5XX"))?;
        if route.needs_iam {
            let is_signed = parts
                .headers
                .get(AUTHORIZATION)
                .is_some_and(|value| value.as_bytes().starts_with(b"AWS4-"));
            // Nobody here can tell a good signature from a bad one, so none is good.
            return Err(Refused(if is_signed {
                "ACCESS_DENIED"
            } else {
                "MISSING_AUTHENTICATION_TOKEN"
            }));
        }
        let body = Limited::new(body, GATEWAY_LIMIT).collect().await;
        let body = body.map_err(|_| Refused("REQUEST_TOO_LARGE"))?.to_bytes();
        if payload(&body, &parts.headers) > LAMBDA_LIMIT {
            return Err(Refused("REQUEST_TOO_LARGE"));
        }
        let mut context = ApiGatewayProxyRequestContext::default();
        context.request_id = Some(id.to_owned());
        context.resource_path = Some(route.path.clone());
        context.http_method = parts.method.clone();
        context.identity.source_ip = Some(peer.ip().to_string());
        context.request_time_epoch = self.shared.clock.now_ms();
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(RequestContext::ApiGatewayV1(context));

        let response = function.answer(request, id).await.map_err(|failed| {
            let cause = match &failed {
                Failed::Error(error) => format!("{error:#}"),
                Failed::TimedOut | Failed::Panicked => String::new(),
            };
            tracing::error!(function = function.declared.binary, request_id = id, cause, "{failed}");
            Refused("DEFAULT_5XX")
        })?;
        if payload(response.body(), response.headers()) > LAMBDA_LIMIT {
            tracing::error!(
                function = function.declared.binary,
                request_id = id,
                "the answer is larger than 6 MB"
            );
            return Err(Refused("DEFAULT_5XX"));
        }
        Ok(response)
    }

    /// The gateway's own answer for a case, as the template words it; else as API Gateway does.
    fn own(&self, case: &str, accept: Option<&HeaderValue>) -> Response<Body> {
        let (usual, fallback) = match case {
            "MISSING_AUTHENTICATION_TOKEN" => (403, "DEFAULT_4XX"),
            "ACCESS_DENIED" => (403, "DEFAULT_4XX"),
            "REQUEST_TOO_LARGE" => (413, "DEFAULT_4XX"),
            _ => (502, "DEFAULT_5XX"),
        };
        let declared = self
            .api
            .responses
            .get(case)
            .or_else(|| self.api.responses.get(fallback));
        let unworded = GatewayResponse {
            status: usual,
            headers: [].into(),
            bodies: [].into(),
        };
        let declared = declared.unwrap_or(&unworded);
        let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wanted = declared
            .bodies
            .iter()
            .find(|(media_type, _)| accept.contains(media_type.as_str()));
        let json = || declared.bodies.get_key_value("application/json");
        let (media_type, body) = match wanted.or_else(json) {
            Some((media_type, body)) => (media_type.as_str(), body.as_str()),
            None => ("application/json", "{\"message\":null}"),
        };
        let mut response = Response::new(Body::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(declared.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in declared
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
        {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                response.headers_mut().insert(name, value);
            }
        }
        if let Ok(media_type) = media_type.parse() {
            response.headers_mut().insert(CONTENT_TYPE, media_type);
        }
        response
    }
}

/// How much of an invocation's payload a message takes: its body as a JSON string, or in base 64 where it is no text, and
/// its headers.
fn payload(body: &Bytes, headers: &HeaderMap) -> usize {
    let body = match std::str::from_utf8(body) {
        Ok(text) => text.chars().map(json_length).sum(),
        Err(_) => body.len().div_ceil(3) * 4,
    };
    let headers: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 6)
        .sum();
    body + headers
}

fn json_length(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        control if control < ' ' => 6,
        other => other.len_utf8(),
    }
}

/// Which route a request takes. At each segment a fixed name goes before a parameter; only then does the method count, so
/// a path that leads to a resource without the method leads nowhere.
fn choose(routes: &[&Route], method: &str, path: &str) -> Option<usize> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let fits = |route: &Route| {
        let pattern: Vec<&str> = route.path.split('/').skip(1).collect();
        let each = |(pattern, found): (&&str, &&str)| {
            if is_parameter(pattern) {
                !found.is_empty()
            } else {
                pattern == found
            }
        };
        (pattern.len() == segments.len() && pattern.iter().zip(&segments).all(each))
            .then(|| pattern.iter().map(|segment| is_parameter(segment)).collect::<Vec<_>>())
    };
    let best = routes
        .iter()
        .filter_map(|route| fits(route).map(|shape| (shape, &route.path)))
        .min()?
        .1;
    routes
        .iter()
        .position(|route| route.path == *best && route.method == method)
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_name_goes_before_a_parameter_and_a_resource_before_its_methods() {
        let routes = [
            "POST /emails",
            "GET /emails",
            "POST /emails/batch",
            "GET /emails/{id}",
            "GET /",
            "GET /r/{a}/keys",
        ];
        let routes: Vec<Route> = routes
            .iter()
            .map(|text| {
                let (method, path) = text.split_once(' ').unwrap();
                Route {
                    api: "Api".into(),
                    method: method.into(),
                    path: path.into(),
                    needs_iam: false,
                }
            })
            .collect();
        let routes: Vec<&Route> = routes.iter().collect();
        for (method, path, expected) in [
            ("POST", "/emails", Some(0)),
            ("GET", "/emails", Some(1)),
            ("POST", "/emails/batch", Some(2)),
            ("GET", "/emails/em_1", Some(3)),
            ("GET", "/emails/batch", None),
            ("DELETE", "/emails", None),
            ("GET", "/emails/", None),
            ("GET", "/emails/em_1/", None),
            ("GET", "/", Some(4)),
            ("GET", "/r/a%40b.test/keys", Some(5)),
            ("GET", "/r//keys", None),
            ("GET", "/Emails", None),
        ] {
            assert_eq!(choose(&routes, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_payload_is_counted_as_json_or_as_base_64() {
        let none = HeaderMap::new();
        assert_eq!(payload(&Bytes::from_static(b"a\"\n\x01"), &none), 1 + 2 + 2 + 6);
        assert_eq!(payload(&Bytes::from_static(&[0xff, 0, 0, 0]), &none), 8);
    }
}
