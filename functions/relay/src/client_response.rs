//! The answers that the relay itself gives: refusals in the form of the client's API, and the heads
//! of relayed answers. Every message says what to do next, and none contains a secret.

use crate::RequestContext;
use crate::body::RelayBody;
use crate::limit_owner::LimitOwner;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::{BlockReason, format_dollars};
use baton_protocol::envelope::EnvelopeError;
use baton_protocol::error::{ErrorBody, encode_error_body};
use baton_protocol::headers::to_client;
use baton_protocol::response_form::ResponseFormError;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::response::Parts;
use http::{Response, StatusCode};
use jiff::Timestamp;
use std::fmt::{self, Write as _};

mod authentication_refusal;
mod form_refusal;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const BATON_REQUEST_ID: HeaderName = HeaderName::from_static("x-baton-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The longest wait for which clients retry. A longer one is reported as final, with the time.
pub(crate) const WAIT_SECONDS_MAX: u64 = 60;

/// Returns whether a retry of the same request fails in the same way. That is true for client
/// errors, except for those that pass with time.
fn is_final_status(status: StatusCode) -> bool {
    let retryable = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !retryable.contains(&status)
}

/// A relay error: why Baton itself refuses a request.
#[derive(Debug)]
pub(crate) struct RelayError {
    status: StatusCode,
    error: ErrorBody,
    retry_after_seconds: Option<u64>,
    /// Sends `x-should-retry: false`, because clients would otherwise retry for minutes.
    is_final: bool,
    allow: Option<&'static str>,
    /// Headers of this kind of error, such as those from which Claude Code reads a spent limit.
    headers: Vec<(&'static str, String)>,
    /// The request reached an upstream, so its usage record says how it ended.
    pub(crate) is_recorded: bool,
}

impl RelayError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let error = ErrorBody { kind, message: message.into(), error_code: None };
        Self {
            status,
            error,
            retry_after_seconds: None,
            is_final: is_final_status(status),
            allow: None,
            headers: Vec::new(),
            is_recorded: false,
        }
    }

    /// Adds the code by which Anthropic's SDKs find another way.
    pub(crate) fn with_error_code(mut self, error_code: Option<&'static str>) -> Self {
        self.error.error_code = error_code;
        self
    }

    /// Marks the error as final: a retry does not help.
    pub(crate) fn without_retry(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// Adds the seconds after which a retry helps. For longer waits some clients ignore the header
    /// and others wait far too long. A wait of more than a minute is therefore final, and the
    /// message has to name the time.
    pub(crate) fn with_retry_after(self, seconds: u64) -> Self {
        if seconds > WAIT_SECONDS_MAX {
            return self.without_retry();
        }
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    #[cfg(test)]
    pub(crate) fn summary(&self) -> String {
        let status = self.status.as_u16();
        let end = match (self.is_final, self.retry_after_seconds) {
            (true, _) => " final".to_owned(),
            (false, Some(seconds)) => format!(" after {seconds}"),
            (false, None) => String::new(),
        };
        format!("{status} {}{end}", self.error.kind)
    }

    pub(crate) fn mark_recorded(self) -> Self {
        Self { is_recorded: true, ..self }
    }

    fn api_error(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "api_error", message)
    }

    fn bad_gateway(message: impl Into<String>) -> Self {
        Self::api_error(StatusCode::BAD_GATEWAY, message)
    }

    pub(crate) fn model_not_allowed(model: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "permission_error",
            format!(
                "This key is not allowed to use the model `{model}`. GET /v1/models lists the \
                 models that it can use. Ask your operator to allow others."
            ),
        )
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    pub(crate) fn key_for_model() -> Self {
        Self::bad_request(
            "`model` contains a Baton key. Put the name of a model there, and send \
             the key in its header only.",
        )
    }

    pub(crate) fn interrupted_body(reason: &str) -> Self {
        let refusal = Self::bad_request(&format!(
            "The connection broke before the request body was \
             complete ({reason}). Send the request again."
        ));
        Self { is_final: false, ..refusal }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!("The request body is larger than {limit} bytes. Shorten the conversation."),
        )
    }

    pub(crate) fn slow_body(problem: &str) -> Self {
        let message =
            format!("The request body {problem}. Send it again over a faster connection.");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", message)
    }

    fn retry_soon(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after_seconds: Some(1), ..Self::new(status, kind, message) }
    }

    pub(crate) fn too_many_bytes_of_key(bytes: usize) -> Self {
        Self::retry_soon(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            format!(
                "The requests of this key in progress, with their headers and buffers, already hold \
                 the {bytes} bytes of memory that one key can use. Try again when one of them is \
                 complete."
            ),
        )
    }

    pub(crate) fn too_many_bytes() -> Self {
        Self::retry_soon(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded_error",
            "The memory of the relay for requests is full. Try again in a moment.",
        )
    }

    /// A limit on requests is 0. Waiting does not help.
    fn no_requests(reason: &str) -> Self {
        let message = format!("{reason}. Ask your operator to raise this limit.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).without_retry()
    }

    pub(crate) fn too_many_at_once(max: u32) -> Self {
        if max == 0 {
            let unit = "requests at the same time";
            return Self::no_requests(&format!("{} of your key", BlockReason::NoRequests { unit }));
        }
        let requests = if max == 1 { "request" } else { "requests" };
        Self::retry_soon(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            format!(
                "This key can have at most {max} {requests} at the same time. Try again when one \
                 of them is complete."
            ),
        )
    }

    pub(crate) fn too_many_waiting() -> Self {
        Self::retry_soon(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded_error",
            "Too many requests are waiting for the relay's configuration. Try again in a moment.",
        )
    }

    pub(crate) fn too_many_wrong_keys() -> Self {
        let refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "Too many requests with unknown keys came from your address. Check the key, and try \
             again in a minute.",
        );
        Self { retry_after_seconds: Some(5), ..refusal }
    }

    /// The process is stopping.
    pub(crate) fn shutting_down() -> Self {
        Self::retry_soon(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded_error",
            "The relay is shutting down. Try again in a moment.",
        )
    }

    /// The upstream's answer has more bytes than the relay buffers.
    pub(crate) fn response_too_large(reason: &str) -> Self {
        Self::bad_gateway(format!("Baton could not read the upstream's answer: {reason}."))
    }

    pub(crate) fn unknown_model(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found_error",
            format!(
                "The model `{id}` is not available here. GET /v1/models lists the models that \
                 this key can use."
            ),
        )
    }

    pub(crate) fn no_account() -> Self {
        Self::api_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "The group of this key has no upstream account. Ask your operator to add one.",
        )
        .without_retry()
    }

    pub(crate) fn group_disabled() -> Self {
        Self::api_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "The group of this key is disabled. Ask your operator to enable it.",
        )
        .without_retry()
    }

    /// There are other accounts, but this request must not try more of them.
    pub(crate) fn attempts_exhausted() -> Self {
        let message = "None of the upstream accounts that were tried could serve the request. Try \
             again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded_error", message).with_retry_after(1)
    }

    /// The upstream refused the request, but accepts the same credential in a probe.
    pub(crate) fn contradictory_credential() -> Self {
        Self::bad_gateway(
            "The upstream refused the organization's credential for this request, but it accepts \
             the credential for other requests. Try again, and tell your operator if the error \
             stays.",
        )
    }

    /// The upstream's success is a page of a proxy, nothing, or a part of an answer.
    pub(crate) fn invalid_response(why: &ResponseFormError) -> Self {
        Self::bad_gateway(format!(
            "The upstream's answer is not one of its API: {why}. A proxy may have answered in \
             its place. Try again in a moment."
        ))
    }

    /// The upstream's answer came, but cannot be passed on.
    pub(crate) fn unusable_response(reason: &str) -> Self {
        Self::bad_gateway(format!(
            "Baton could not read the upstream's answer: {reason}. The request is recorded and can \
             have a cost."
        ))
    }

    /// The connection broke inside the upstream's answer.
    pub(crate) fn incomplete_response() -> Self {
        Self::bad_gateway(
            "The connection to the upstream broke during its answer. The request is recorded and can \
             have a cost. Try again.",
        )
    }

    /// The upstream's answer stopped or took too long before its end.
    pub(crate) fn response_timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout_error",
            "The upstream's answer was not complete in time. The request is recorded and can have a \
             cost. Set `stream` to `true`.",
        )
    }

    pub(crate) fn upstream_unreachable() -> Self {
        Self::bad_gateway("No upstream could be reached. Try again in a moment.")
    }

    /// A bug in Baton.
    pub(crate) fn internal_error() -> Self {
        Self::api_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The relay failed because of an internal error. Try again, and tell your operator the \
             request id.",
        )
    }

    pub(crate) fn account_misconfigured() -> Self {
        Self::bad_gateway(
            "The address or the credential of the upstream account is not usable. Ask your \
             operator to correct the account.",
        )
        .without_retry()
    }

    pub(crate) fn upstream_timeout() -> Self {
        let message = "The upstream did not answer in time. Try again.";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", message)
    }

    /// The store could not be read. The cause is logged here, because the client does not learn it.
    pub(crate) fn store_unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!("{error}");
        let refusal = Self::api_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "The relay cannot read its configuration from the store. Try again in a moment.",
        );
        Self { retry_after_seconds: Some(2), ..refusal }
    }

    /// A limit blocks the request. The texts are the operator's message for a spent limit, and
    /// advice on how to change the request so that it fits.
    pub(crate) fn blocked_by_limit(
        owner: &LimitOwner,
        reason: &BlockReason,
        now: Timestamp,
        operator_message: Option<&str>,
        advice: Option<&str>,
    ) -> Self {
        let seconds = |until: &Option<Timestamp>| {
            let millis = until.as_ref()?.as_millisecond() - now.as_millisecond();
            u64::try_from(millis).ok().map(|millis| millis.div_ceil(1000).max(1))
        };
        let status = StatusCode::TOO_MANY_REQUESTS;
        let retry_error = |when: &str, retry_after_seconds| {
            let message = format!("{reason} for {owner}. Try again {when}.");
            Self { retry_after_seconds, ..Self::new(status, "rate_limit_error", message) }
        };
        match reason {
            BlockReason::Spent { period, resets_at, amounts } => {
                let mut message = reason.to_string();
                if amounts.remaining > PicoUsd::ZERO {
                    let (remaining, needed) =
                        (format_dollars(amounts.remaining), format_dollars(amounts.needed));
                    let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
                    let _infallible = write!(
                        message,
                        " · {remaining} are left, and this request could cost up to {needed}{advice}"
                    );
                }
                let period = period.as_str();
                let ask_operator =
                    || format!("ask your operator to raise the {}", owner.name_limit(period));
                message.push_str(" · ");
                message.push_str(&operator_message.map_or_else(ask_operator, str::to_owned));
                let refusal = Self::new(status, "billing_error", message);
                let headers = spent_limit_headers(period, *resets_at);
                Self { retry_after_seconds: seconds(resets_at), is_final: true, headers, ..refusal }
            }
            BlockReason::TooLarge { period, amounts } => {
                let ask_operator =
                    || format!("ask your operator to raise the {}", owner.name_limit(""));
                let advice = advice.map_or_else(ask_operator, str::to_owned);
                let (message, headers) = if amounts.limit <= PicoUsd::ZERO {
                    let operator_message = operator_message.map_or(advice, str::to_owned);
                    (
                        format!("{reason} · {operator_message}"),
                        spent_limit_headers(period.as_str(), None),
                    )
                } else {
                    let remaining = format_dollars(amounts.remaining);
                    (format!("{reason} for {owner}. {remaining} are left; {advice}."), Vec::new())
                };
                let refusal = Self::new(status, "billing_error", message);
                Self { is_final: true, headers, ..refusal }
            }
            BlockReason::Reserved { .. } => {
                let advice = advice.map(|advice| format!("; {advice}, too"));
                retry_error(
                    &format!("when they are complete{}", advice.unwrap_or_default()),
                    Some(2),
                )
            }
            BlockReason::Rate { resets_at } => {
                retry_error("in the next minute", seconds(resets_at))
            }
            BlockReason::Concurrency => retry_error("when one of them is complete", Some(1)),
            BlockReason::NoRequests { .. } => Self::no_requests(&format!("{reason} of {owner}")),
            BlockReason::Backlog => retry_error("in a moment", Some(1)),
        }
    }

    /// A money limit applies, but the amount spent cannot be read.
    pub(crate) fn spend_unknown() -> Self {
        let message = "spend limit unavailable. Baton cannot read how much is spent. Try again in \
             a moment, or tell your operator.";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "billing_error", message);
        let headers = vec![(DISABLED_REASON, "fetch_error".to_owned())];
        Self { is_final: true, headers, ..refusal }
    }

    /// The key has made too many free calls.
    pub(crate) fn too_many_free_calls(seconds: u64) -> Self {
        let message = format!(
            "This key has sent too many requests for token counts and model lists. Try again in \
             {seconds} s."
        );
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { retry_after_seconds: Some(seconds), ..refusal }
    }

    /// A rate limit applies, but the current rate cannot be read.
    pub(crate) fn rates_unknown() -> Self {
        let message = "rate limit unavailable. Baton cannot count the requests of this key. Try \
             again in a moment.";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { retry_after_seconds: Some(2), ..refusal }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn into_response(self, request: &RequestContext) -> Response<RelayBody> {
        let id = request.id.as_str();
        let mut response =
            json_response(self.status, encode_error_body(request.api_family, &self.error, id));
        let headers = response.headers_mut();
        insert_header(headers, REQUEST_ID, id);
        insert_header(headers, BATON_REQUEST_ID, id);
        if self.is_final {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in self.headers {
            insert_header(headers, HeaderName::from_static(name), &value);
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error.kind, self.error.message)
    }
}

impl From<EnvelopeError> for RelayError {
    fn from(error: EnvelopeError) -> Self {
        Self::bad_request(&error.to_string())
    }
}

const DISABLED_REASON: &str = "anthropic-ratelimit-unified-overage-disabled-reason";

/// Returns the headers from which Claude Code reads a spent limit. If `representative-claim` or
/// `overage-status` were present too, Claude Code would replace the message by its own (Claude Code
/// 2.1.330, 2026-11-22).
fn spent_limit_headers(period: &str, resets_at: Option<Timestamp>) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
        ("anthropic-ratelimit-unified-overage-utilization", "1".to_owned()),
        ("anthropic-ratelimit-unified-overage-surpassed-threshold", "1".to_owned()),
        ("anthropic-ratelimit-unified-overage-period", period.to_owned()),
        (DISABLED_REASON, "org_spend_cap_reached".to_owned()),
    ];
    if let Some(at) = resets_at {
        let second = at.as_second().to_string();
        headers.push(("anthropic-ratelimit-unified-reset", second.clone()));
        headers.push(("anthropic-ratelimit-unified-overage-reset", second));
    }
    headers
}

/// The answer of the health route. Does no I/O.
pub(crate) fn health_response() -> Response<RelayBody> {
    const ALIVE: &str =
        concat!("{\"status\":\"ok\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");
    json_response(StatusCode::OK, Bytes::from_static(ALIVE.as_bytes()))
}

/// Returns a JSON answer of the relay.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response<RelayBody> {
    let mut response = Response::new(RelayBody::from_bytes(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Builds the head of a relayed answer: the upstream's headers without those of its connection,
/// plus Baton's request id.
pub(crate) fn relayed_head(request: &RequestContext, upstream: &Parts) -> Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = upstream.status;
    head.headers = to_client(&upstream.headers);
    add_request_id(&mut head.headers, request);
    head
}

/// Adds Baton's request id, by which the log can be searched.
pub(crate) fn add_request_id(headers: &mut HeaderMap, request: &RequestContext) {
    insert_header(headers, BATON_REQUEST_ID, request.id.as_str());
}

/// Sets the real waiting time in an upstream's 429 or 529. If it is longer than clients wait, the
/// answer says instead that a retry does not help.
pub(crate) fn set_retry_headers(headers: &mut HeaderMap, seconds: u64) {
    headers.remove("retry-after-ms");
    if seconds > WAIT_SECONDS_MAX {
        headers.remove(RETRY_AFTER);
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    } else {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// Sets headers that keep proxies between the relay and the client from buffering a stream.
pub(crate) fn set_stream_headers(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

fn insert_header(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
