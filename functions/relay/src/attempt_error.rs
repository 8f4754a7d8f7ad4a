//! Why an attempt at an account failed, and what follows from it: the input of the verdict, the
//! client's answer, and the end of the usage record.

use crate::RequestContext;
use crate::body::RelayBody;
use crate::client_response::{self, RelayError};
use crate::memory_budget::{MemoryLimitReached, MemoryPermit};
use crate::metered_body::UndecodableResponse;
use crate::settle::RequestEnd;
use baton_domain::metric::cause;
use baton_domain::printable::escape_text;
use baton_domain::record::RequestOutcome;
use baton_domain::verdict::{self, ErrorFields};
use baton_protocol::meter::{self, MeterReading, UsageMeter};
use baton_protocol::model_path::ModelIdError;
use baton_protocol::rate_limit_headers::read_announced_limit;
use baton_protocol::response_form::{ResponseFormError, quote_start};
use baton_providers::conversion::ConversionError;
use baton_runtime::upstream::{SigningError, UpstreamCallError};
use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// Why an attempt failed. The client has not received anything yet.
pub(crate) enum AttemptError {
    /// The upstream answered with an error status.
    ErrorResponse {
        head: Box<Parts>,
        body: Bytes,
        /// The answer that the client gets, if it differs from what accounts are judged by.
        client_response: Option<Box<(Parts, Bytes)>>,
        /// What the meter read, if usage or output came with the error.
        reading: Box<Option<MeterReading>>,
        /// The memory that the body takes until the client has it.
        permit: Option<MemoryPermit>,
    },
    /// The upstream answered 200, but the first event of the stream was an error.
    FirstEvent {
        head: Box<Parts>,
        body: Bytes,
        failure: Box<meter::UpstreamFailure>,
        /// Whether the client can read it as an event of its API. If not, it is a page, a text, or
        /// an object outside of an event.
        is_event: bool,
        /// As for `ErrorResponse`.
        reading: Box<Option<MeterReading>>,
        /// As for `ErrorResponse`.
        permit: Option<MemoryPermit>,
    },
    /// The upstream answered with success, but with a page, with nothing, or with something else
    /// that a model does not write.
    InvalidResponse(ResponseFormError),
    /// The upstream answered with a model's answer that cannot be passed on. `reading` is what the
    /// meter read of it, because the upstream can bill it.
    UnusableResponse { reason: &'static str, reading: Box<Option<MeterReading>> },
    /// A model's answer ended too early. `reading` is as for `UnusableResponse`.
    IncompleteResponse { cause: IncompleteCause, reading: Box<Option<MeterReading>> },
    /// The connection failed, or broke before the first event. `is_called` says whether the upstream
    /// can have the request.
    Unreachable { reason: String, is_called: bool },
    /// The upstream did not connect or send a first event in time. `is_called` says whether it can
    /// have the request.
    Timeout { is_called: bool },
    /// The account's settings make a call impossible.
    Misconfigured(String),
    /// The upstream's protocol cannot express the request.
    Untranslatable(ConversionError),
    /// There is no memory for the body in the upstream's form.
    NoMemory(MemoryLimitReached),
    /// The answer has more bytes than the relay buffers. `reading` is what the meter read so far.
    /// `is_final` is false for a stream without output that the upstream can bill: another account
    /// is tried. It is true if the relay's own memory is full, because another account would not
    /// change that.
    ResponseTooLarge { reason: &'static str, is_final: bool, reading: Box<Option<MeterReading>> },
    /// The process is stopping. `reading` is what the meter read so far.
    ShuttingDown { reading: Box<Option<MeterReading>> },
}

/// Why an answer ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncompleteCause {
    ConnectionLost,
    /// No byte came for too long.
    IdleTimeout,
    /// The time limit of the request has passed.
    DeadlinePassed,
}

impl fmt::Display for IncompleteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionLost => "the connection broke during the answer",
            Self::IdleTimeout => "the upstream sent nothing for too long during its answer",
            Self::DeadlinePassed => "the time limit of the request passed during the answer",
        })
    }
}

impl From<UndecodableResponse> for AttemptError {
    fn from(UndecodableResponse(reason): UndecodableResponse) -> Self {
        Self::lost_connection(reason)
    }
}

impl From<MemoryLimitReached> for AttemptError {
    fn from(full: MemoryLimitReached) -> Self {
        Self::NoMemory(full)
    }
}

impl From<ConversionError> for AttemptError {
    fn from(error: ConversionError) -> Self {
        Self::Untranslatable(error)
    }
}

impl From<SigningError> for AttemptError {
    fn from(error: SigningError) -> Self {
        Self::Misconfigured(error.to_string())
    }
}

impl From<UpstreamCallError> for AttemptError {
    fn from(error: UpstreamCallError) -> Self {
        match error {
            UpstreamCallError::BadUrl(reason) => Self::Misconfigured(reason),
            UpstreamCallError::OtherPath => Self::Untranslatable(ModelIdError::OtherPath.into()),
            UpstreamCallError::ConnectTimeout => Self::Timeout { is_called: false },
            UpstreamCallError::NotConnected(reason) => {
                Self::Unreachable { reason, is_called: false }
            }
            UpstreamCallError::Unreachable(reason) => Self::Unreachable { reason, is_called: true },
        }
    }
}

/// The most characters of an upstream's name for an error that logs and records contain.
const KIND_CHARACTERS_MAX: usize = 100;

/// The statuses with which a server gives up a request that its upstream still works on: 504
/// (RFC 9110, 15.6.5), 408 ("The operation was timeout", reports about Azure `OpenAI`), and 524 ("A
/// timeout occurred", Cloudflare, 2026-11).
const GIVEN_UP: [u16; 3] = [408, 504, 524];

impl AttemptError {
    /// The connection broke after the upstream had got the request.
    pub(crate) fn lost_connection(reason: &str) -> Self {
        Self::Unreachable { reason: reason.to_owned(), is_called: true }
    }

    /// Returns whether the upstream, or a server behind it, can have worked on the request without
    /// an answer that shows what it bills.
    pub(crate) fn can_hide_work(&self) -> bool {
        match self {
            Self::ErrorResponse { head, body, reading, .. } => {
                // A page, or JSON such as `{"message": …}`, comes from a proxy that lost its
                // connection. Vendors name their errors or put them into `error`.
                let is_from_proxy = || {
                    let error = ErrorFields::from_body(body);
                    !error.has_error_field && !error.has_name()
                };
                let has_given_up = GIVEN_UP.contains(&head.status.as_u16())
                    || (head.status.is_server_error() && is_from_proxy());
                reading.is_none() && has_given_up
            }
            Self::Timeout { is_called } | Self::Unreachable { is_called, .. } => *is_called,
            Self::IncompleteResponse { .. } | Self::ShuttingDown { .. } => true,
            Self::FirstEvent { .. }
            | Self::InvalidResponse(_)
            | Self::UnusableResponse { .. }
            | Self::Misconfigured(_)
            | Self::Untranslatable(_)
            | Self::NoMemory(_)
            | Self::ResponseTooLarge { .. } => false,
        }
    }

    /// Adds what the meter read of an error, if the upstream bills it.
    pub(crate) fn with_reading(mut self, read: MeterReading) -> Self {
        if let Self::ErrorResponse { reading, .. } = &mut self {
            **reading = Some(read).filter(|read| read.has_billed_part);
        }
        self
    }

    /// Notes that the upstream bills the request that it refused. The prompt counts as that of a
    /// stream that was cut before its first event.
    pub(crate) fn with_billed_refusal(mut self, request_bytes: u64) -> Self {
        if let Self::ErrorResponse { reading, .. } = &mut self {
            **reading = Some(read_unanswered(request_bytes));
        }
        self
    }

    /// Reads the upstream's error for the verdict.
    pub(crate) fn read_upstream_error(&self, now: Timestamp) -> OwnedUpstreamError {
        let (status, head, error, reading) = match self {
            Self::ErrorResponse { head, body, reading, .. } => {
                (head.status.as_u16(), head, ErrorFields::from_body(body), reading)
            }
            Self::FirstEvent { head, failure, reading, .. } => {
                let error = to_error_fields(failure);
                (error.implied_status(), head, error, reading)
            }
            _ => return OwnedUpstreamError::default(),
        };
        let announced = read_announced_limit(&head.headers, now);
        OwnedUpstreamError { status, announced, error, is_billed: reading.is_some() }
    }

    /// Returns the failure in the form that the verdict takes.
    pub(crate) fn to_call_failure<'a>(
        &self,
        upstream_error: &'a OwnedUpstreamError,
    ) -> verdict::CallFailure<'a> {
        let OwnedUpstreamError { status, announced, error, is_billed } = upstream_error;
        let (status, is_billed) = (*status, *is_billed);
        let upstream_error = verdict::UpstreamError { status, announced, error, is_billed };
        match self {
            Self::ErrorResponse { .. } => verdict::CallFailure::Status(upstream_error),
            Self::FirstEvent { .. } => verdict::CallFailure::FirstEvent(upstream_error),
            Self::Unreachable { .. } | Self::Misconfigured(_) => verdict::CallFailure::Unreachable,
            Self::Timeout { .. } => verdict::CallFailure::Timeout,
            Self::InvalidResponse(_) => verdict::CallFailure::InvalidResponse,
            Self::UnusableResponse { .. }
            | Self::IncompleteResponse { cause: IncompleteCause::DeadlinePassed, .. }
            | Self::ResponseTooLarge { is_final: true, .. }
            | Self::ShuttingDown { .. } => verdict::CallFailure::UnusableResponse,
            Self::IncompleteResponse { .. } => verdict::CallFailure::IncompleteResponse,
            // These failures show nothing about the account, and another account would not do
            // better.
            Self::Untranslatable(_) | Self::NoMemory(_) | Self::ResponseTooLarge { .. } => {
                verdict::CallFailure::NotAsked
            }
        }
    }

    /// Returns whether no upstream was called.
    pub(crate) fn is_before_call(&self) -> bool {
        matches!(self, Self::Untranslatable(_) | Self::NoMemory(_))
    }

    /// Returns whether the request cannot be converted for the account.
    pub(crate) fn is_untranslatable(&self) -> bool {
        matches!(self, Self::Untranslatable(_))
    }

    /// Returns the cause in one word, for metrics.
    pub(crate) fn cause_label(&self) -> &'static str {
        cause(&self.to_call_failure(&self.read_upstream_error(Timestamp::UNIX_EPOCH)))
    }

    /// Builds the client's answer from the last failure: the upstream's own error if there is one.
    /// `wait` is the number of seconds until an account can be used again. It is set as
    /// `retry-after` if the upstream was overloaded.
    ///
    /// # Errors
    /// The upstream gave no answer; the error is the relay's own.
    pub(crate) fn into_client_response(
        self,
        request: &RequestContext,
        wait: Option<u64>,
    ) -> Result<Response<RelayBody>, RelayError> {
        match self {
            Self::ErrorResponse { client_response: Some(client_response), permit, .. } => {
                let (head, body) = *client_response;
                Ok(relay_error_response(request, &head, body, permit, wait))
            }
            Self::FirstEvent { failure, is_event: false, .. } => {
                let text = quote_start(&failure.message);
                Err(RelayError::invalid_response(&ResponseFormError::NoEvents(text)))
            }
            Self::ErrorResponse { head, body, permit, .. }
            | Self::FirstEvent { head, body, permit, .. } => {
                Ok(relay_error_response(request, &head, body, permit, wait))
            }
            Self::InvalidResponse(reason) => Err(RelayError::invalid_response(&reason)),
            Self::UnusableResponse { reason, .. } => Err(RelayError::unusable_response(reason)),
            Self::IncompleteResponse { cause: IncompleteCause::ConnectionLost, .. } => {
                Err(RelayError::incomplete_response())
            }
            Self::IncompleteResponse { .. } => Err(RelayError::response_timeout()),
            Self::Unreachable { .. } => Err(RelayError::upstream_unreachable()),
            Self::Misconfigured(_) => Err(RelayError::account_misconfigured()),
            Self::Timeout { .. } => Err(RelayError::upstream_timeout()),
            Self::Untranslatable(error) => {
                Err(RelayError::bad_request(&error.message).with_error_code(error.error_code))
            }
            Self::NoMemory(full) => Err(full.into()),
            Self::ResponseTooLarge { reason, .. } => Err(RelayError::response_too_large(reason)),
            Self::ShuttingDown { .. } => Err(RelayError::shutting_down()),
        }
    }

    /// Returns how the record of a request of `body_bytes` shows this failure as its end. `silence`
    /// is how long ago the upstream was called. No output of a stream has arrived in that time, and
    /// a whole answer shows its output at its end only.
    pub(crate) fn take_request_end(&mut self, body_bytes: u64, silence: Duration) -> RequestEnd {
        let can_hide_work = self.can_hide_work();
        let request_end = match self {
            // The upstream has the request and can bill it. Without an answer, it counts as a stream
            // that was cut before its first event.
            Self::ShuttingDown { reading } => {
                let reading = reading.take().unwrap_or_else(|| read_unanswered(body_bytes));
                RequestEnd::new(RequestOutcome::Stopped, Some(reading))
            }
            Self::IncompleteResponse { cause: IncompleteCause::DeadlinePassed, reading } => {
                RequestEnd::new(RequestOutcome::Deadline, reading.take())
            }
            Self::ResponseTooLarge { reading, .. }
            | Self::UnusableResponse { reading, .. }
            | Self::ErrorResponse { reading, .. }
            | Self::FirstEvent { reading, .. }
            | Self::IncompleteResponse { reading, .. } => {
                RequestEnd::new(RequestOutcome::UpstreamError, reading.take())
            }
            _ => RequestEnd::without_answer(RequestOutcome::UpstreamError),
        };
        match self {
            Self::ShuttingDown { .. }
            | Self::IncompleteResponse {
                cause: IncompleteCause::DeadlinePassed | IncompleteCause::IdleTimeout,
                ..
            } => request_end.cut_by_baton(silence),
            // Only an error that was billed without a report has no usage.
            Self::ErrorResponse { .. } if request_end.reading.is_some() => {
                request_end.cut_by_baton(Duration::ZERO)
            }
            _ if can_hide_work => request_end.cut_after(silence),
            _ => request_end,
        }
    }
}

/// Returns the reading of a stream that was cut before its first event. Its prompt is an estimate.
fn read_unanswered(request_bytes: u64) -> MeterReading {
    UsageMeter::for_stream().finish(request_bytes)
}

/// Passes an upstream's error on to the client.
fn relay_error_response(
    request: &RequestContext,
    head: &Parts,
    body: Bytes,
    permit: Option<MemoryPermit>,
    wait: Option<u64>,
) -> Response<RelayBody> {
    let mut head = client_response::relayed_head(request, head);
    // The body can be shorter than the upstream's: it can have broken off or have been cut.
    head.headers.remove(CONTENT_LENGTH);
    let is_busy = matches!(head.status.as_u16(), 429 | 529);
    if let Some(seconds) = wait.filter(|_| is_busy) {
        client_response::set_retry_headers(&mut head.headers, seconds);
    }
    Response::from_parts(head, RelayBody::from_error(body, permit))
}

/// Returns the fields of an error that a stream reports.
pub(crate) fn to_error_fields(failure: &meter::UpstreamFailure) -> ErrorFields {
    let meter::UpstreamFailure { kind, code, message } = failure.clone();
    let is_enveloped = kind.is_some() || code.is_some();
    ErrorFields { kind, code, message, is_enveloped, ..ErrorFields::default() }
}

/// An upstream's error, read from its status, headers and body.
#[derive(Default)]
pub(crate) struct OwnedUpstreamError {
    status: u16,
    announced: verdict::AnnouncedLimit,
    pub(crate) error: ErrorFields,
    is_billed: bool,
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorResponse { head, .. } => write!(f, "answered {}", head.status.as_u16()),
            Self::FirstEvent { failure, is_event: false, .. } => {
                let text = escape_text(&failure.message, KIND_CHARACTERS_MAX);
                write!(f, "status 200, but no events of its API: {text}")
            }
            Self::FirstEvent { failure, .. } => {
                let kind = failure.kind.as_deref().unwrap_or("an error");
                write!(f, "the stream began with {}", escape_text(kind, KIND_CHARACTERS_MAX))
            }
            Self::InvalidResponse(reason) => {
                write!(f, "status 200 with an answer that is not one of its API: {reason}")
            }
            Self::UnusableResponse { reason, .. } => {
                write!(f, "status 200 with an answer that cannot be passed on: {reason}")
            }
            Self::IncompleteResponse { cause, .. } => cause.fmt(f),
            Self::Unreachable { reason, .. } => write!(f, "unreachable: {reason}"),
            Self::Timeout { .. } => f.write_str("no answer in time"),
            Self::Untranslatable(error) => write!(f, "not called: {}", error.message),
            Self::NoMemory(_) => f.write_str("not called: no memory is left for its body"),
            Self::ResponseTooLarge { reason, .. } => write!(f, "cut off: {reason}"),
            Self::ShuttingDown { .. } => f.write_str("ended because the relay is shutting down"),
            Self::Misconfigured(reason) => write!(f, "cannot be called: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billed_refusal_costs_its_prompt() {
        let refusal = || AttemptError::ErrorResponse {
            head: Box::new(Response::builder().status(400).body(()).unwrap().into_parts().0),
            body: Bytes::new(),
            client_response: None,
            reading: Box::new(None),
            permit: None,
        };
        let end = refusal().take_request_end(100, Duration::ZERO);
        assert!(end.reading.is_none() && !end.is_cut_by_baton);
        let end = refusal().with_billed_refusal(100).take_request_end(100, Duration::ZERO);
        assert!(end.is_cut_by_baton && !end.is_cut_in_silence);
        let reading = end.reading.unwrap();
        assert!(reading.usage.estimated && reading.usage.tokens.input > 0);
        assert_eq!((reading.tokens_max.input, reading.tokens_max.output), (100, 0));
    }

    /// An upstream that works on a request for long can bill it, whoever gives up then.
    #[test]
    fn attempts_that_end_in_silence_hide_their_usage() {
        let reading = || Box::new(None);
        let incomplete = |cause| AttemptError::IncompleteResponse { cause, reading: reading() };
        let answered = |status: u16, body: &'static str| AttemptError::ErrorResponse {
            head: Box::new(Response::builder().status(status).body(()).unwrap().into_parts().0),
            body: Bytes::from_static(body.as_bytes()),
            client_response: None,
            reading: reading(),
            permit: None,
        };
        for (mut error, expected) in [
            (AttemptError::ShuttingDown { reading: reading() }, true),
            (AttemptError::Timeout { is_called: true }, true),
            (AttemptError::Timeout { is_called: false }, false),
            (incomplete(IncompleteCause::DeadlinePassed), true),
            (incomplete(IncompleteCause::IdleTimeout), true),
            (incomplete(IncompleteCause::ConnectionLost), true),
            (AttemptError::lost_connection(""), true),
            (AttemptError::Unreachable { reason: String::new(), is_called: false }, false),
            (answered(504, "{}"), true),
            (answered(502, "<html>Bad Gateway</html>"), true),
            (answered(503, "upstream connect error"), true),
            (answered(500, r#"{"error":"llama runner process has terminated"}"#), false),
            (answered(502, r#"{"message":"Internal server error"}"#), true),
            (answered(503, r#"{"object":"error","message":"m","type":"server_error"}"#), false),
            (answered(500, r#"{"error":{"message":"m"}}"#), false),
            (answered(429, ""), false),
            (AttemptError::UnusableResponse { reason: "", reading: reading() }, false),
        ] {
            let end = |error: &mut AttemptError, seconds| {
                error.take_request_end(100, Duration::from_secs(seconds)).is_cut_in_silence
            };
            assert!(!end(&mut error, 10), "{error}");
            assert_eq!(end(&mut error, 11), expected, "{error}");
        }
    }
}
