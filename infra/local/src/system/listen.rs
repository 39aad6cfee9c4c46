//! Listening on loopback.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt;

use super::Shared;
use crate::aws::server;

/// What answers at an address.
pub(super) trait Service: Clone + Send + Sync + 'static {
    /// Answers a request of this peer.
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send;
}

impl Service for Router {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Body> {
        let Ok(response) = self.clone().oneshot(request.map(Body::new)).await;
        response
    }
}

/// Listens at an address that `flag` gave.
pub(super) async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener> {
    // What listens here knows no TLS and no passwords of its own, and shows mail to whoever asks.
    ensure!(
        address.ip().is_loopback(),
        "{flag} {address} is not on loopback; take 127.0.0.1"
    );
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "{address} is taken by another program; choose another with {flag} 127.0.0.1:PORT (0 for any free port)"
            )
        }
        Err(error) => Err(error).with_context(|| format!("{flag} {address}: cannot listen there")),
    }
}

/// Serves until the system stops; then it takes no new connections and lets open ones finish their request.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, service: impl Service) {
    let mut connections = tokio::task::JoinSet::new();
    let mut stopping = shared.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stops| *stops) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(cause = %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = service.clone();
        let mut stopping = shared.stopping.subscribe();
        connections.spawn(async move {
            let answer = service_fn(|request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.answer(request, peer).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped(&mut stopping) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(cause = %error, "a connection ended early");
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Waits for the end, without keeping the lock on it.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end as well.
    drop(stopping.wait_for(|stops| *stops).await);
}

/// Serves the local AWS until the system stops.
pub(super) async fn serve_aws(listener: TcpListener, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    tokio::select! {
        () = server::serve(Arc::clone(&shared.aws), listener) => {}
        _ = stopping.wait_for(|stops| *stops) => {}
    }
}
