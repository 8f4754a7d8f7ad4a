//! HTTP functions on Lambda: takes invocations from the runtime and streams each answer to the
//! Runtime API.
//!
//! `lambda_runtime` does everything except sending answers, which is done here. It writes the
//! failure of a body into the body as text and ends it as if it were complete (1.5, `requests.rs`,
//! November 2026). Here a body that breaks ends with the trailers that the platform asks for, so
//! that the client sees a broken answer. Nothing else in the process is affected: on Managed
//! Instances up to 63 other streams share it. Source: AWS Lambda Developer Guide, "Building a
//! custom runtime", section "Streaming responses with custom runtimes" (November 2026).

use crate::client_address::PeerAddress;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http::header::{
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TRAILER, TRANSFER_ENCODING,
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use lambda_http::lambda_runtime::{LambdaEvent, LambdaInvocation, MetadataPrelude, Runtime};
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::tower::{Service, ServiceExt as _, layer::layer_fn};
use lambda_http::{Error, RequestExt as _, service_fn};
use lambda_runtime_api_client::PooledClient;
use lambda_runtime_api_client::body::Body;
use serde_json::json;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Keeps an answer from being taken for that of another invocation; it is sent back unchanged.
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");

/// The content type that makes the platform read status and headers from the start of the body.
const WITH_PRELUDE: HeaderValue =
    HeaderValue::from_static("application/vnd.awslambda.http-integration-response");
/// The separator between those and the body itself.
const PRELUDE_END: &[u8] = &[0; 8];

/// Answers the function's requests with `handler`, as many at once as the platform asks for, until
/// the process is ended. It never returns without an error.
///
/// # Errors
/// If the Runtime API cannot be reached.
///
/// # Panics
/// If a variable that the platform sets is missing; see [`Runtime::new`].
pub async fn run<S, B>(handler: S) -> Result<(), Error>
where
    S: Service<lambda_http::Request, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Debug + Send + 'static,
    B: http_body::Body<Data: Into<Bytes> + Send> + Unpin + Send + 'static,
    B::Error: Display + Send,
{
    let client = Arc::new(PooledClient::builder().build());
    let replaced = service_fn(|_: LambdaEvent<serde_json::Value>| async { Ok::<_, Error>(()) });
    let layer = layer_fn(move |_| {
        let (handler, client) = (handler.clone(), Arc::clone(&client));
        service_fn(move |invocation| answer(handler.clone(), Arc::clone(&client), invocation))
    });
    Runtime::new(replaced).layer(layer).run_concurrent().await
}

/// Answers one invocation. It fails only if the Runtime API cannot be reached.
async fn answer<S, B>(
    handler: S,
    client: Arc<PooledClient>,
    invocation: LambdaInvocation,
) -> Result<(), Error>
where
    S: Service<lambda_http::Request, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Debug + Send + 'static,
    B: http_body::Body<Data: Into<Bytes> + Send> + Unpin + Send + 'static,
    B::Error: Display + Send,
{
    let LambdaInvocation { parts, body, context } = invocation;
    let (request_id, invocation_id) =
        (context.request_id.clone(), parts.headers.get(INVOCATION_ID));
    let outcome = match serde_json::from_slice::<LambdaRequest>(&body) {
        Ok(event) => {
            let mut request = lambda_http::Request::from(event).with_lambda_context(context);
            if let Some(address) = source(&request) {
                request.extensions_mut().insert(PeerAddress(address));
            }
            AssertUnwindSafe(handler.oneshot(request)).catch_unwind().await
        }
        Err(error) => {
            tracing::error!("the event is not a request to a function URL: {error}");
            return send(&client, failure(&request_id, "the event is not an HTTP request")?).await;
        }
    };
    let mut request = match outcome {
        Ok(Ok(answered)) => success(&request_id, answered)?,
        Ok(Err(error)) => {
            tracing::error!("the function failed: {error:?}");
            failure(&request_id, "the function failed")?
        }
        // The panic message can quote anything, so it is not sent.
        Err(_) => failure(&request_id, "the function panicked")?,
    };
    let id = invocation_id.map(|id| (INVOCATION_ID, id.clone()));
    request.headers_mut().extend(id);
    send(&client, request).await
}

/// The client address that the platform reports.
fn source(request: &lambda_http::Request) -> Option<IpAddr> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref()?.parse().ok(),
        _ => None,
    }
}

/// Sends a call to the Runtime API. A rejected answer is only logged, because the next invocation
/// is independent of it.
async fn send(client: &PooledClient, request: Request<Body>) -> Result<(), Error> {
    let status = client.call(request).await?.status();
    if !status.is_success() {
        tracing::error!(%status, "the Lambda Runtime API did not accept an answer");
    }
    Ok(())
}

/// The call that reports the failure of an invocation.
fn failure(request_id: &str, reason: &str) -> Result<Request<Body>, Error> {
    let error_json =
        json!({ "errorType": "Function.Failed", "errorMessage": reason, "stackTrace": [] });
    let request = Request::post(format!("/2018-06-01/runtime/invocation/{request_id}/error"))
        .header(CONTENT_TYPE, "application/json")
        .header(ERROR_TYPE, "Function.Failed");
    Ok(request.body(Body::from(error_json.to_string()))?)
}

/// The call that sends an answer, whose body can still be streaming.
fn success<B>(request_id: &str, answered: Response<B>) -> Result<Request<Body>, Error>
where
    B: http_body::Body<Data: Into<Bytes> + Send> + Unpin + Send + 'static,
    B::Error: Display + Send,
{
    let (head, body) = answered.into_parts();
    // Each is a separate chunk, as lambda_runtime sends them: cargo-lambda takes the first chunk as
    // the prelude and drops the second.
    let prelude =
        [Bytes::from(serde_json::to_vec(&prelude(head))?), Bytes::from_static(PRELUDE_END)];
    let prelude = stream::iter(prelude.map(|bytes| Ok(Frame::data(bytes))));
    let body = StreamBody::new(prelude.chain(frames_with_error_trailers(body)));
    let request = Request::post(format!("/2018-06-01/runtime/invocation/{request_id}/response"))
        .header(TRANSFER_ENCODING, "chunked")
        .header(RESPONSE_MODE, "streaming")
        .header(TRAILER, HeaderValue::from(ERROR_TYPE))
        .header(TRAILER, HeaderValue::from(ERROR_BODY))
        .header(CONTENT_TYPE, WITH_PRELUDE);
    Ok(request.body(Body::new(body))?)
}

/// Status and headers in the form that the platform reads. It makes header lines of the cookies.
fn prelude(head: http::response::Parts) -> MetadataPrelude {
    let mut headers = head.headers;
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    let cookies = headers.get_all(SET_COOKIE).into_iter();
    let cookies = cookies.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    let cookies = cookies.collect();
    headers.remove(SET_COOKIE);
    MetadataPrelude { headers, status_code: head.status, cookies }
}

/// The frames of a body. After a failure, the trailers with the error follow, and the body ends.
fn frames_with_error_trailers<B>(
    body: B,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send
where
    B: http_body::Body<Data: Into<Bytes> + Send> + Unpin + Send + 'static,
    B::Error: Display + Send,
{
    stream::unfold(Some(body), async |body| {
        let mut body = body?;
        match body.frame().await? {
            // The platform would interpret an answer's own trailers.
            Ok(frame) if frame.is_trailers() => None,
            Ok(frame) => Some((Ok(frame.map_data(Into::into)), Some(body))),
            Err(error) => {
                tracing::warn!("an answer ended before it was complete: {error}");
                Some((Ok(Frame::trailers(error_trailers(&error.to_string()))), None))
            }
        }
    })
}

/// The trailers of an answer that did not complete.
fn error_trailers(reason: &str) -> HeaderMap {
    let error_json = json!({ "errorType": "Function.AnswerBroke", "errorMessage": reason });
    let encoded = HeaderValue::from_str(&BASE64_STANDARD.encode(error_json.to_string())).ok();
    let kind = (ERROR_TYPE, HeaderValue::from_static("Function.AnswerBroke"));
    [kind].into_iter().chain(encoded.map(|error_json| (ERROR_BODY, error_json))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a body sends: its bytes, and the error type in its trailers.
    async fn sent(pieces: Vec<Result<Bytes, &'static str>>) -> (Bytes, Option<String>) {
        let pieces = stream::iter(pieces).map(|piece| piece.map(Frame::data));
        let mut body =
            Box::pin(StreamBody::new(frames_with_error_trailers(StreamBody::new(pieces))));
        let (mut bytes, mut kind) = (Vec::new(), None);
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let value = trailers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
                    kind = value.map(str::to_owned);
                    let body = trailers.get(ERROR_BODY).map(HeaderValue::as_bytes);
                    let body = BASE64_STANDARD.decode(body.unwrap_or_default()).unwrap();
                    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(body["errorMessage"], "it broke");
                }
            }
        }
        (Bytes::from(bytes), kind)
    }

    #[tokio::test]
    async fn only_a_broken_body_ends_with_trailers() {
        let whole = vec![Ok(Bytes::from_static(b"one ")), Ok(Bytes::from_static(b"two"))];
        assert_eq!(sent(whole.clone()).await, (Bytes::from_static(b"one two"), None));
        assert_eq!(sent(Vec::new()).await, (Bytes::new(), None));
        let mut torn = whole;
        torn.push(Err("it broke"));
        // Nothing follows a failure, even if the body would continue.
        torn.push(Ok(Bytes::from_static(b"never")));
        let (bytes, kind) = sent(torn).await;
        assert_eq!(bytes, Bytes::from_static(b"one two"));
        assert_eq!(kind.as_deref(), Some("Function.AnswerBroke"));
        let at_once = sent(vec![Err("it broke")]).await;
        assert_eq!(at_once, (Bytes::new(), Some("Function.AnswerBroke".to_owned())));
    }
}
