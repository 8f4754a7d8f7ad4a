//! Serving a service over HTTP until told to stop, then letting what is under way finish.

use bytes::Buf;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::Fail;

/// A client that dawdles over its head holds a connection no longer than this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long answers under way may take after the stop.
const DRAIN: Duration = Duration::from_mins(1);

/// Takes the address, or says with which `knob` to choose another.
pub(crate) async fn bind(address: SocketAddr, knob: &str) -> Result<TcpListener, Fail> {
    TcpListener::bind(address).await.map_err(|error| {
        Fail::Failed(match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!(
                    "{address} is in use; end what listens there, or choose another with {knob}"
                )
            }
            _ => format!("cannot listen on {address}: {error}; choose another with {knob}"),
        })
    })
}

/// Serves until `stop`, then until the last answer is out (a minute at most).
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Buf + Send, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // Events that arrived together then leave in one write: lists of buffers end after sixteen.
    builder.http1().writev(false);
    while let Some(accepted) = until(&stop, listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, mostly: the next one may fare better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Events are small and must not wait for one another.
        let _best_effort = stream.set_nodelay(true);
        let service = TowerToHyperService::new(service.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection ended: {error}");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some answers took longer than {} s after the stop", DRAIN.as_secs());
    }
}

async fn until<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        value = future => Some(value),
    }
}
