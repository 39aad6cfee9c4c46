//! Paths, bodies and headers, refused in the one form of errors.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use sealpost_core::email::idempotency::IdempotencyKey;
use sealpost_core::error::{Error, Fault, Kind, Result};
use serde::de::DeserializeOwned;

use crate::answer::Refusal;

/// What a path names. One that is no UTF-8 names nothing, and is answered as what is not there.
pub struct Segment<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(_) => Err(Refusal(Error::not_found())),
        }
    }
}

/// The whole body of a request.
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
                let detail = "The request body is larger than 6 MB.";
                Err(Refusal(Error::with_faults(
                    Kind::TooLarge,
                    detail,
                    vec![Fault::new("", detail)],
                )))
            }
            Err(_) => Err(Refusal(Error::new(Kind::Malformed, "The request body cannot be read."))),
        }
    }
}

/// The `Idempotency-Key` of a request.
///
/// # Errors
/// Malformed for a key that is too long, empty or not printable ASCII.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>> {
    match headers.get("idempotency-key") {
        None => Ok(None),
        // A value that is no ASCII text is checked, and refused, like any other.
        Some(value) => IdempotencyKey::parse(value.to_str().unwrap_or_default()).map(Some),
    }
}
