//! The actor of a request: whoever holds the API key in `Authorization`, or the operator by AWS's own signature.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use lambda_http::request::RequestContext;
use sealpost_core::actor::{Actor, authenticate};
use sealpost_core::app::App;
use sealpost_core::error::{Error, Kind};

use crate::answer::Refusal;

/// A caller with a valid API key.
pub struct Caller(pub Actor);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        Ok(Self(authenticate(app, header).await?))
    }
}

/// The operator of the deployment: API Gateway checked a signature of AWS credentials (authorizer `AWS_IAM`).
pub struct Operator(pub Actor);

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let signed = match parts.extensions.get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV1(context)) => context.identity.user_arn.is_some(),
            _ => false,
        };
        if signed {
            return Ok(Self(Actor::Operator));
        }
        Err(Refusal(Error::new(
            Kind::Forbidden,
            "This route takes requests that are signed with AWS credentials.",
        )))
    }
}
