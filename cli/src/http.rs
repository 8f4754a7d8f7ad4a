//! Serving a service over HTTP until told to stop, then letting what is under way finish.

use bytes::Buf;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::Fail;

/// A client that dawdles over its head holds a connection no longer than this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head; and no connection keeps more of a large body in its buffer for the next one.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
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
    builder.http1().max_buf_size(BUFFER_BYTES_MAX);
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // Events that arrived together then leave in one write: lists of buffers end after sixteen.
    http1.max_buf_size(BUFFER_BYTES_MAX).writev(false);
    let builders = Arc::new((http1, builder));
    while let Some(accepted) = until(&stop, listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, mostly: the next one may fare better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Events are small and must not wait for one another.
        let _best_effort = stream.set_nodelay(true);
        let service = TowerToHyperService::new(service.clone());
        let (builders, watcher, stop) = (Arc::clone(&builders), graceful.watcher(), stop.clone());
        tokio::spawn(async move {
            let first = tokio::time::timeout(HEAD_TIMEOUT, until(&stop, is_http1(&stream)));
            let Ok(Some(is_http1)) = first.await else { return };
            let (stream, (http1, builder)) = (TokioIo::new(stream), &*builders);
            let ended = if is_http1 {
                watcher.watch(http1.serve_connection(stream, service)).await.map_err(Into::into)
            } else {
                // Boxed: large, and rare.
                let connection = builder.serve_connection(stream, service).into_owned();
                Box::pin(watcher.watch(connection)).await
            };
            if let Err(error) = ended {
                tracing::debug!("connection ended: {error}");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some answers took longer than {} s after the stop", DRAIN.as_secs());
    }
}

/// Whether the first bytes are surely not HTTP/2's, without taking them. hyper-util's own look
/// takes them, and hyper then makes room for two buffers instead of one, for as long as the
/// connection lasts.
async fn is_http1(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    let count = stream.peek(&mut first).await.unwrap_or(0);
    !PREFACE.starts_with(first.get(..count).unwrap_or_default())
}

async fn until<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        value = future => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::Request;
    use reqwest::{Client, StatusCode};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    /// A server that tells each client which version of HTTP it spoke.
    async fn server() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let told = |request: Request| async move { format!("{:?}", request.version()) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = serve(listener, Router::new().fallback(told), stop.clone());
        (address, stop, tokio::spawn(serving))
    }

    #[tokio::test]
    async fn both_versions_are_spoken_at_one_address() {
        let (address, ..) = server().await;
        let client = || Client::builder().no_proxy();
        for (client, version) in
            [(client().http2_prior_knowledge(), "HTTP/2.0"), (client().http1_only(), "HTTP/1.1")]
        {
            let answer = client.build().unwrap().get(format!("http://{address}")).send().await;
            assert_eq!(answer.unwrap().text().await.unwrap(), version);
        }
    }

    #[tokio::test]
    async fn what_begins_as_http2_may_be_http1() {
        let (address, ..) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for part in ["P", "R", "OPFIND / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"] {
            stream.write_all(part.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_is_no_longer_than_the_buffer() {
        let (address, ..) = server().await;
        let client = Client::builder().no_proxy().build().unwrap();
        for (bytes, status) in [
            (BUFFER_BYTES_MAX - 1024, StatusCode::OK),
            (BUFFER_BYTES_MAX, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        ] {
            let request =
                client.get(format!("http://{address}")).header("x-long", "x".repeat(bytes));
            assert_eq!(request.send().await.unwrap().status(), status, "{bytes}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_holds_up_no_stop() {
        let (address, stop, serving) = server().await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        client.get(format!("http://{address}")).send().await.unwrap();
        stop.cancel();
        tokio::time::timeout(DRAIN / 2, serving).await.expect("it ends by itself").unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
