//! Serves a service over HTTP until a stop is requested, then lets open requests finish.
//!
//! [`crate::connection`] bounds what one connection can do. [`crate::connections`] decides which of
//! many connections are kept.

use bytes::Buf;
use http::{Request, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::CliError;
use crate::connection::{CountedRequestBody, CountedService, CountedStream, HEAD_BYTES_MAX};
use crate::connections::ConnectionSet;

/// The buffer size that a connection keeps for its next read. A complete head that was read in the
/// same step and is larger than this is passed on; [`HEAD_BYTES_MAX`] bounds it.
const BUFFER_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// How much unread request data an HTTP/2 connection holds, both in total and for one request.
const WINDOW_BYTES: u32 = 128 * 1024;
/// How much of an answer an HTTP/2 connection holds while its client does not read it.
const SEND_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 250;
/// How often an HTTP/2 connection is pinged, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The first bytes of every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The time for the last events of ended answers to reach their clients.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The steps in which a server is stopped.
#[derive(Clone, Default)]
pub(crate) struct ShutdownTokens {
    /// No new requests are accepted; open ones continue.
    pub(crate) requested: CancellationToken,
    /// Open requests were asked to end. Connections that are still open after that are closed.
    pub(crate) cancelled: CancellationToken,
}

/// Binds the address. An error names `setting`, with which to choose another one.
pub(crate) async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|error| {
        CliError::Failed(match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!(
                    "{address} is in use; stop the program that listens there, or choose another \
                     address with {setting}"
                )
            }
            _ => format!(
                "cannot listen on {address}: {error}; choose another address with {setting}"
            ),
        })
    })
}

/// Serves until a stop is requested, then until the last answer is sent or the stop is over.
/// `neighbors` are the connections of the process's other listener, which use file descriptors too.
pub(crate) async fn serve_connections<S, B>(
    listener: TcpListener,
    service: S,
    connections: ConnectionSet,
    neighbors: ConnectionSet,
    shutdown: ShutdownTokens,
) where
    S: Service<Request<CountedRequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Buf + Send + Unpin, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: Send + Unpin + 'static,
{
    let graceful = GracefulShutdown::new();
    let builders = Arc::new(builders());
    let (body_time, tasks) = (connections.body_time(), TaskTracker::new());
    let ended = CancellationToken::new();
    let sweeping = tokio::spawn(connections.clone().sweep_until(ended.clone()));
    while let Some(accepted) = until(&shutdown.requested, listener.accept()).await {
        let Ok((stream, address)) = accepted else {
            // Usually the process has no file descriptor left. Closing a connection without a valid
            // credential frees one.
            let _closed = connections.close_one() || neighbors.close_one();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without room the new connection is closed immediately.
        let Some(connection) = connections.admit(address.ip()) else { continue };
        // Events are small and must not be delayed to be sent together.
        let _best_effort = stream.set_nodelay(true);
        let service = CountedService::new(service.clone(), Arc::clone(&connection), body_time);
        let (builders, watcher, shutdown) =
            (Arc::clone(&builders), graceful.watcher(), shutdown.requested.clone());
        let connections = connections.clone();
        tasks.spawn(async move {
            let serving = async {
                // The sweeper closes connections that send nothing.
                let Some(is_http1) = until(&shutdown, is_http1(&stream)).await else { return };
                connection.set_http1(is_http1);
                let stream = CountedStream::new(stream, Arc::clone(&connection));
                let (stream, (http1, builder)) = (TokioIo::new(stream), &*builders);
                let result = if is_http1 {
                    watcher.watch(http1.serve_connection(stream, service)).await.map_err(Into::into)
                } else {
                    // Boxed because it is large and rarely needed.
                    let connection = builder.serve_connection(stream, service).into_owned();
                    Box::pin(watcher.watch(connection)).await
                };
                if let Err(error) = result {
                    tracing::debug!("a connection ended: {error}");
                }
            };
            tokio::select! {
                () = serving => {}
                () = connection.closed() => {}
            }
            connections.remove_connection(&connection);
        });
    }
    drop(listener);
    let is_over = async {
        shutdown.cancelled.cancelled().await;
        tokio::time::sleep(FLUSH_TIMEOUT).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = is_over => {
            let count = connections.close_all();
            tracing::warn!("{count} connections were closed at shutdown before their clients had \
                 read the whole answer");
        }
    }
    tasks.close();
    tasks.wait().await;
    ended.cancel();
    let _swept = sweeping.await;
}

/// One builder for HTTP/1 only, and one for both versions.
fn builders() -> (http1::Builder, Builder<TokioExecutor>) {
    let mut builder = Builder::new(TokioExecutor::new());
    // The sweeper enforces the time for a head, because hyper's timer also fires on idle
    // connections.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http1().max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(64 * 1024)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(None);
    // Without vectored writes, events that arrived together leave in one write. A vectored write
    // takes at most sixteen buffers.
    http1.max_buf_size(BUFFER_BYTES_MAX).writev(false);
    (http1, builder)
}

/// Returns whether the first bytes certainly do not belong to HTTP/2. It only peeks at them.
/// hyper-util's own detection reads them, and hyper then keeps two buffers instead of one for the
/// lifetime of the connection.
async fn is_http1(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    let count = stream.peek(&mut first).await.unwrap_or(0);
    !PREFACE.starts_with(first.get(..count).unwrap_or_default())
}

async fn until<T>(shutdown: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        value = future => Some(value),
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{ConnectionTimeouts, HEAD_FIELDS_MAX};
    use crate::connections::ConnectionRules;
    use axum::Router;
    use axum::extract::Request;
    use baton_runtime::client_address::AddressRanges;
    use reqwest::{Client, StatusCode};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    fn connections() -> ConnectionSet {
        let minute = Duration::from_mins(1);
        let rules = ConnectionRules {
            max_connections: 100,
            per_address: 100,
            times: ConnectionTimeouts { head: minute, keep_alive: minute, unread: minute },
            body_time: None,
            trusted_proxies: AddressRanges::default(),
        };
        ConnectionSet::new(rules)
    }

    /// A server that answers each client with the HTTP version of its request.
    async fn server() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let told = |request: Request| async move { format!("{:?}", request.version()) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let tokens = ShutdownTokens { requested: shutdown.clone(), ..ShutdownTokens::default() };
        let service = Router::new().fallback(told);
        let serving = serve_connections(listener, service, connections(), connections(), tokens);
        (address, shutdown, tokio::spawn(serving))
    }

    #[tokio::test]
    async fn http1_and_http2_share_one_address() {
        let (address, ..) = server().await;
        let client = || Client::builder().no_proxy();
        for (client, version) in
            [(client().http2_prior_knowledge(), "HTTP/2.0"), (client().http1_only(), "HTTP/1.1")]
        {
            let response = client.build().unwrap().get(format!("http://{address}")).send().await;
            assert_eq!(response.unwrap().text().await.unwrap(), version);
        }
    }

    #[tokio::test]
    async fn ambiguous_first_bytes_are_read_as_http1() {
        let (address, ..) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for part in ["P", "R", "OPFIND / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"] {
            stream.write_all(part.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }

    #[tokio::test]
    async fn long_request_heads_are_refused() {
        let (address, ..) = server().await;
        let client = Client::builder().no_proxy().build().unwrap();
        let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        for (bytes, status) in [
            (HEAD_BYTES_MAX - 1024, StatusCode::OK),
            (HEAD_BYTES_MAX, too_large),
            (66_000, too_large),
            (80_000, too_large),
            (100_000, too_large),
            (400_000, too_large),
        ] {
            let request =
                client.get(format!("http://{address}")).header("x-long", "x".repeat(bytes));
            assert_eq!(request.send().await.unwrap().status(), status, "{bytes}");
        }
    }

    /// The status of a request whose head has exactly this many bytes, written in pieces.
    async fn status_of_head(address: SocketAddr, bytes: usize, piece: usize) -> String {
        let start = "GET / HTTP/1.1\r\nhost:h\r\nconnection:close\r\nx:";
        let head = format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4));
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in head.as_bytes().chunks(piece) {
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut response = String::new();
        let _reset = stream.read_to_string(&mut response).await;
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn request_head_bound_is_exact() {
        let (address, ..) = server().await;
        for piece in [1_000, 7_919, 65_536, 1 << 20] {
            assert_eq!(status_of_head(address, HEAD_BYTES_MAX, piece).await, "200", "{piece}");
            assert_eq!(status_of_head(address, HEAD_BYTES_MAX + 1, piece).await, "431", "{piece}");
        }
    }

    #[tokio::test]
    async fn requests_with_many_header_fields_are_refused() {
        let (address, ..) = server().await;
        let client = || Client::builder().no_proxy();
        let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        for (client, fields, status) in [
            (client().http2_prior_knowledge(), HEAD_FIELDS_MAX, StatusCode::OK),
            (client().http2_prior_knowledge(), HEAD_FIELDS_MAX + 1, too_large),
            (client().http2_prior_knowledge(), 1_500, too_large),
            (client().http1_only(), 100, StatusCode::OK),
            (client().http1_only(), 101, too_large),
        ] {
            let client = client.build().unwrap();
            let mut request = client.get(format!("http://{address}"));
            // reqwest adds `accept`, and `host` in HTTP/1.
            let own = if fields > 101 { 1 } else { 2 };
            for number in own..fields {
                request = request.header(format!("f{number}"), "");
            }
            assert_eq!(request.send().await.unwrap().status(), status, "{fields}");
        }
    }

    /// A proxy in front can read such a head in another way.
    #[tokio::test]
    async fn ambiguous_heads_are_refused() {
        let (address, ..) = server().await;
        for (headers, status, closes) in [
            ("host: a\r\n", "200", false),
            ("host: a\r\nhost: a\r\n", "400", true),
            ("host: a\r\nhost: b\r\n", "400", true),
            ("host: a\r\ntransfer-encoding: chunked\r\n", "200", false),
            ("host: a\r\ntransfer-encoding: Chunked\r\n", "200", false),
            ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", "400", true),
            ("host: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", "400", true),
            ("host: a\r\ntransfer-encoding: chunked, chunked\r\n", "400", true),
            // hyper forgets the length, so it is not refused, but nothing can follow.
            ("host: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n", "200", true),
            ("host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n", "200", true),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let body = if headers.contains("transfer-encoding") { "0\r\n\r\n" } else { "" };
            let next = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            // One write, so that the server has read all bytes when it closes the connection.
            let requests = format!("POST / HTTP/1.1\r\n{headers}\r\n{body}{next}");
            stream.write_all(requests.as_bytes()).await.unwrap();
            let mut response = String::new();
            let _reset = stream.read_to_string(&mut response).await;
            assert_eq!(response.split(' ').nth(1), Some(status), "{headers}: {response}");
            // The body is the version, without the space that follows it in a status line.
            let is_closed = response.matches("HTTP/1.1 ").count() == 1;
            assert_eq!(is_closed, closes, "{headers}: {response}");
        }
    }

    #[tokio::test]
    async fn silent_connection_does_not_delay_shutdown() {
        let (address, shutdown, serving) = server().await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        client.get(format!("http://{address}")).send().await.unwrap();
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(30), serving)
            .await
            .expect("it ends by itself")
            .unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
