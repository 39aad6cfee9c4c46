//! The local AWS over HTTP, for the AWS CLI, boto3 and whatever else speaks to an endpoint: `--aws 127.0.0.1:PORT`.
//!
//! Any credentials are accepted and no role is applied, so it must listen on loopback only.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::wire::{Aws, Caller, Reply};

/// Serves until the future is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(aws: Arc<Aws>, listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
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
    let request = Request::from_parts(parts, body.collect().await?.to_bytes());
    match aws.dispatch(&Caller::default(), request).await {
        Reply::Answer(answer) => Ok(answer.map(Full::new)),
        Reply::Lost => anyhow::bail!("the reply is lost, as asked"),
    }
}
