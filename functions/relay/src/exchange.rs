//! One model call, from reading its body to starting its answer.

use crate::admission::RequestReservation;
use crate::authenticate::AuthenticatedKey;
use crate::body::{ClientPresence, RelayBody};
use crate::body_facts::BodyFacts;
use crate::body_workers::{JobSize, READ_MEMORY_FACTOR};
use crate::client_response::RelayError;
use crate::forward::ForwardFailure;
use crate::free_calls::FreeCallPermit;
use crate::model_call::{Metering, OutboundCall};
use crate::{RelayState, RequestContext};
use bytes::Bytes;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// The part of the platform's time that is kept for the closing error event and the usage record.
const DEADLINE_MARGIN: Duration = Duration::from_secs(5);

/// How long admission may still take after running answers were ended in a shutdown.
const ADMISSION_TIME_IN_STOP: Duration = Duration::from_millis(1500);

/// The longest time that a Lambda function can run (AWS Lambda Developer Guide, "Lambda quotas",
/// November 2026).
const LAMBDA_TIME_MAX: SignedDuration = SignedDuration::from_mins(15);

/// How far the platform's clock can be ahead of this process's clock.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// The time at which the platform ends this request. The server that knows it (the Lambda runtime)
/// puts it into the request's extensions. The relay ends the request five seconds earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformDeadline(pub Timestamp);

impl PlatformDeadline {
    /// Reads the deadline that the Lambda runtime reports (`unix_millis`), in Unix milliseconds.
    ///
    /// Returns `None` if the value cannot be a deadline: the time has passed, or it is later than
    /// any function can run. Emulators of the platform send such values; cargo-lambda 1.9 always
    /// sends 600,000, a time in January 1970. A request without a deadline gets the relay's own
    /// time limit.
    pub fn from_unix_millis(unix_millis: u64, now: Timestamp) -> Option<Self> {
        let deadline = Timestamp::from_millisecond(i64::try_from(unix_millis).ok()?).ok()?;
        let remaining = deadline.duration_since(now);
        let is_possible = remaining.is_positive() && remaining <= LAMBDA_TIME_MAX + CLOCK_MARGIN;
        is_possible.then_some(Self(deadline))
    }
}

impl RelayState {
    /// Reads the body and passes it to a task that outlives the client's connection.
    pub(crate) async fn handle_model_call<B>(
        self: &Arc<Self>,
        request: &Arc<RequestContext>,
        caller: AuthenticatedKey,
        body: Pin<&mut B>,
        metering: Metering,
        free_call: Option<FreeCallPermit>,
    ) -> Result<Response<RelayBody>, RelayError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let time = self.time_limit(request);
        let body = self.read_body(request, &caller, metering, body).await?;
        // From here on, money can be reserved or spent, so a client that leaves must not stop the
        // accounting. When it leaves, this future is dropped but the task continues, and the answer
        // is drained like any other.
        let (state, request, client) = (
            Arc::clone(self),
            Arc::clone(request),
            ClientPresence::new(&self.shutdown.cancel_responses),
        );
        let disconnect_guard = client.departure_guard();
        let model_call_task = async move {
            let response =
                state.run_model_call(&request, caller, body, metering, client, time).await;
            drop(free_call);
            response
        };
        // Boxed, because spawning moves the future several times and this one is large.
        let response =
            self.background_tasks.spawn(Box::pin(model_call_task).in_current_span()).await;
        disconnect_guard.disarm();
        response.unwrap_or_else(|_| Err(RelayError::internal_error()))
    }

    /// Admits and forwards the call, then settles or releases its reservation. This part continues
    /// without the client.
    async fn run_model_call(
        self: &Arc<Self>,
        request: &Arc<RequestContext>,
        caller: AuthenticatedKey,
        body: Bytes,
        metering: Metering,
        client: ClientPresence,
        time: Duration,
    ) -> Result<Response<RelayBody>, RelayError> {
        let deadline = Instant::now() + time;
        let facts = self.read_body_facts(request, &caller, body.clone()).await?;
        caller.check_model_allowed(&facts.model)?;
        let reserved = match metering {
            Metering::Metered => tokio::select! {
                biased;
                admission = self.admit_request(request, &caller, &facts, &body, time) => admission?,
                () = self.wait_after_stop(ADMISSION_TIME_IN_STOP) => return Err(RelayError::shutting_down()),
            },
            Metering::Free => None,
        };
        let reserved_cost =
            reserved.as_ref().map(RequestReservation::reserved_cost).unwrap_or_default();
        let random = u64::try_from(self.store.random_source().bits() >> 64).unwrap_or_default();
        let call = OutboundCall::new(request, caller, facts, body, metering, random, reserved_cost);
        let forwarded = self.forward_call(request, call, deadline).await;
        match forwarded {
            Ok(response) => {
                let mut response =
                    self.build_client_response(request, response, client, deadline).await;
                if let Some(request_reservation) = reserved {
                    request_reservation.add_limit_headers(response.headers_mut()).await;
                }
                Ok(response)
            }
            Err(failure) => {
                if let (None, Some(request_reservation)) = (&failure.pending_usage, &reserved) {
                    Box::pin(self.release_reservation(request_reservation)).await;
                }
                Box::pin(self.finish_failed_call(failure)).await
            }
        }
    }

    /// Reads the body, on another thread if it is long.
    async fn read_body_facts(
        &self,
        request: &Arc<RequestContext>,
        caller: &AuthenticatedKey,
        body: Bytes,
    ) -> Result<BodyFacts, RelayError> {
        let (request, length) = (Arc::clone(request), body.len());
        let read = move || BodyFacts::read(&request, &body);
        self.body_workers
            .run(&caller.key().id, JobSize::new(length, READ_MEMORY_FACTOR), read)
            .await?
    }

    /// Ends a call that got no successful answer. The call is recorded if it reached an upstream.
    async fn finish_failed_call(
        self: &Arc<Self>,
        failure: ForwardFailure,
    ) -> Result<Response<RelayBody>, RelayError> {
        if let Some(pending_usage) = failure.pending_usage {
            self.settle_before_end(pending_usage, failure.request_end).await;
            return failure.response.map_err(RelayError::mark_recorded);
        }
        failure.response
    }

    /// Returns how long the request can take: the configured time, or less if the platform ends
    /// earlier.
    fn time_limit(&self, request: &RequestContext) -> Duration {
        let configured = self.timeouts.overall;
        let platform = request.head.extensions.get::<PlatformDeadline>().map(|deadline| {
            let remaining = deadline.0.duration_since(request.at);
            Duration::try_from(remaining).unwrap_or_default().saturating_sub(DEADLINE_MARGIN)
        });
        platform.map_or(configured, |platform| platform.min(configured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Relay;
    use http::Request;
    use http_body_util::Full;

    fn future_size<Arguments, Future>(_: impl FnOnce(Arguments) -> Future) -> usize {
        size_of::<Future>()
    }

    /// A store call adds 5 to 7 KB to a future, even if it is never made. Store calls that few
    /// requests make are therefore boxed.
    #[test]
    #[ignore = "it fixes the size of futures, which a compiler or a dependency may change"]
    fn waiting_request_uses_little_memory() {
        type Arguments = (Arc<RelayState>, Arc<RequestContext>, AuthenticatedKey, Bytes);
        let serve = |(context, requested, caller, body): Arguments| async move {
            let client = ClientPresence::new(&context.shutdown.cancel_responses);
            let (metering, time) = (Metering::Metered, Duration::ZERO);
            context.run_model_call(&requested, caller, body, metering, client, time).await
        };
        assert!(future_size(serve) < 8 * 1024, "{} bytes", future_size(serve));
        let handle = |(relay, request): (Relay, Request<Full<Bytes>>)| async move {
            relay.handle(request).await
        };
        assert!(future_size(handle) < 3 * 1024, "{} bytes", future_size(handle));
    }

    #[test]
    fn implausible_deadlines_are_ignored() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let millis = u64::try_from(now.as_millisecond()).unwrap();
        for (millis_reported, is_accepted, reason) in [
            (millis + 1, true, "it ends at once"),
            (millis + 3_000, true, "Lambda's default of three seconds"),
            (millis + 900_000, true, "the longest that a function may have"),
            (millis + 960_000, true, "the same by a clock that is a minute ahead"),
            (0, false, "none was told"),
            (600_000, false, "cargo-lambda's constant"),
            (millis, false, "now"),
            (millis - 1, false, "just passed"),
            (millis - 86_400_000, false, "yesterday"),
            (millis + 960_001, false, "longer than a function may run"),
            (millis + 86_400_000, false, "tomorrow"),
            (millis * 1_000, false, "microseconds"),
            (millis / 1_000, false, "seconds"),
            (253_402_207_200_000, false, "the last time that there is"),
            (253_402_300_800_000, false, "the year 10000"),
            (u64::MAX, false, "no time"),
            (u64::MAX / 2, false, "no time that fits"),
        ] {
            let deadline = PlatformDeadline::from_unix_millis(millis_reported, now);
            assert_eq!(deadline.is_some(), is_accepted, "{millis_reported}: {reason}");
            let at = deadline.map(|PlatformDeadline(at)| at.as_millisecond());
            assert!(
                at.is_none_or(|at| u64::try_from(at) == Ok(millis_reported)),
                "{millis_reported}: {reason}"
            );
        }
    }
}
