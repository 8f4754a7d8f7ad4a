//! The local stores over loopback HTTP, for the AWS command line and `cargo lambda watch`: one
//! endpoint for all services.
//!
//! The stores accept any credentials. Therefore the endpoint listens on loopback only and refuses
//! requests that name another host (a web page after DNS rebinding).

use std::{convert::Infallible, net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    LocalError,
    store_reply::{StoreRefusal, StoreReply},
    stores::LocalStores,
};

/// DynamoDB's own limit for a request.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers requests on `listener` until `shutdown`. Open requests are finished within a time limit.
pub(crate) async fn serve_stores(
    stores: LocalStores,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), LocalError> {
    let address = listener.local_addr().map_err(|cause| LocalError::store("endpoint", cause))?;
    if !address.ip().is_loopback() {
        return Err(LocalError::NotLoopback(address));
    }
    let graceful = GracefulShutdown::new();
    while let Some(stream) = accept_connection(&listener, &shutdown).await {
        let _ = stream.set_nodelay(true);
        let stores = stores.clone();
        let service = service_fn(move |request| answer_request(stores.clone(), request));
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(cause) = connection.await {
                tracing::debug!(cause, "a connection failed");
            }
        });
    }
    stores.queues().interrupt();
    if timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("open requests to the local stores were cut off at shutdown");
    }
    Ok(())
}

/// The next connection; `None` after `shutdown`.
async fn accept_connection(
    listener: &TcpListener,
    shutdown: &CancellationToken,
) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(cause) => {
                tracing::warn!(%cause, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer_request(
    stores: LocalStores,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let target = text(&parts.headers, "x-amz-target").to_owned();
    let reply = if !is_local(text(&parts.headers, "host"), parts.uri.host()) {
        StoreRefusal::client(
            "AccessDeniedException",
            "the local stores accept requests to this machine only",
        )
        .into()
    } else if target.is_empty() {
        StoreRefusal::unknown_operation(&target).into()
    } else {
        match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => stores.call_target(&target, body.to_bytes()).await,
            Err(_) => {
                StoreRefusal::client("RequestEntityTooLarge", "the request is too large").into()
            }
        }
    };
    let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
    let mut response = response(reply);
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn response(reply: StoreReply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether the client addressed this machine.
fn is_local(host: &str, authority: Option<&str>) -> bool {
    let host = authority.unwrap_or(host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
