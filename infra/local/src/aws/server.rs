//! The local AWS over HTTP, for the AWS CLI, boto3 and whatever else speaks to an endpoint: `--aws 127.0.0.1:PORT`.
//!
//! Any credentials are accepted and no role is applied, so it must listen on loopback only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::error::AwsError;
use super::wire::{Aws, Caller, Reply, error};

/// The longest body of a request, in bytes: above the longest mail of SES (40 MB) in base64 and every part of an upload here.
const LONGEST_BODY: usize = 50 * 1024 * 1024;
/// How long to wait after a connection could not be accepted, which is mostly for want of file handles.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until the future is dropped.
pub async fn serve(aws: Arc<Aws>, listener: TcpListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(cause = %error, "a connection to the local AWS could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let aws = Arc::clone(&aws);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&aws), request));
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                tracing::debug!(cause = %error, "a connection to the local AWS ended early");
            }
        });
    }
}

/// An error closes the connection without an answer, which is what a lost reply looks like.
async fn answer(aws: Arc<Aws>, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    // What announces its length is refused before it is read.
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > LONGEST_BODY) {
        return Ok(too_long());
    }
    let body = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(too_long()),
        Err(error) => return Err(anyhow::Error::from_boxed(error)),
    };
    match aws.dispatch(&Caller::default(), Request::from_parts(parts, body)).await {
        Reply::Answer(answer) => Ok(answer.map(Full::new)),
        Reply::Lost => anyhow::bail!("the reply is lost, as asked"),
    }
}

fn too_long() -> Response<Full<Bytes>> {
    let message = format!("The request's body is longer than {LONGEST_BODY} bytes.");
    let refusal = AwsError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message);
    error(None, &refusal).map(Full::new)
}
