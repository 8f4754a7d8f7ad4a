//! One model call, from reading its body to starting its answer.

use crate::admission::RequestReservation;
use crate::authenticate::AuthenticatedKey;
use crate::body::{ClientPresence, RelayBody};
use crate::body_facts::BodyFacts;
use crate::body_workers::READING;
use crate::client_response::RelayError;
use crate::forward::{ForwardFailure, OutboundCall};
use crate::free_calls::FreeCallPermit;
use crate::pending_usage::Metering;
use crate::request_body::BufferedBody;
use crate::{PlatformDeadline, RelayState, RequestContext};
use bytes::Bytes;
use http::Response;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// The part of the platform's time that is kept for the closing error event and the usage record.
const DEADLINE_MARGIN: Duration = Duration::from_secs(5);

/// How long admission may still take after running answers were ended in a shutdown.
const ADMISSION_TIME_IN_STOP: Duration = Duration::from_millis(1500);

impl RelayState {
    /// Reads the body and passes it to a task that outlives the client's connection.
    pub(crate) async fn handle_model_call<B>(
        self: &Arc<Self>,
        request: &Arc<RequestContext>,
        caller: AuthenticatedKey,
        body: Pin<&mut B>,
        (metering, free_call): (Metering, Option<FreeCallPermit>),
    ) -> Result<Response<RelayBody>, RelayError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let time = self.time_limit(request);
        let body = self.read_body(request, (&caller, metering), body).await?;
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
                state.run_model_call(&request, caller, (body, metering), (client, time)).await;
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
        mut caller: AuthenticatedKey,
        (held, metering): (BufferedBody, Metering),
        (client, time): (ClientPresence, Duration),
    ) -> Result<Response<RelayBody>, RelayError> {
        let deadline = Instant::now() + time;
        let body = held.bytes.clone();
        let facts = self.read_body_facts(request, &caller, body.clone()).await?;
        caller.check_model_allowed(&facts.model)?;
        let sized = (&facts, &body);
        let reserved = match metering {
            Metering::Metered => tokio::select! {
                biased;
                admission = self.admit_request(request, &caller, sized, time) => admission?,
                () = self.ended_for(ADMISSION_TIME_IN_STOP) => return Err(RelayError::shutting_down()),
            },
            Metering::Free => None,
        };
        caller.has_money_limit = reserved.as_ref().is_some_and(RequestReservation::has_money);
        if let Some(RequestReservation { reservation, .. }) = &reserved {
            caller.reserved_usd = Some(reservation.estimate);
            caller.permitted_usd = Some(reservation.estimate + reservation.unreserved);
            caller.reserved_pools.clone_from(&reservation.shared_limits);
        }
        let random = u64::try_from(self.store.random_source().bits() >> 64).unwrap_or_default();
        let call = OutboundCall::new(request, caller, facts, body, (metering, random));
        let forwarded = self.forward_call(request, call, deadline).await;
        // The body is not needed again. Its memory is freed for other requests.
        drop(held);
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
        self.workers.run(&caller.key().id, (length, READING), read).await?
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
        let configured = self.timers.overall;
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

    fn size<Asked, Answering>(_: impl FnOnce(Asked) -> Answering) -> usize {
        size_of::<Answering>()
    }

    /// A store call adds 5 to 7 KB to a future, even if it is never made. Store calls that few
    /// requests make are therefore boxed.
    #[test]
    #[ignore = "it fixes the size of futures, which a compiler or a dependency may change"]
    fn waiting_request_uses_little_memory() {
        type Work = (Arc<RelayState>, Arc<RequestContext>, AuthenticatedKey, BufferedBody);
        let serve = |(context, requested, caller, body): Work| async move {
            let client = (ClientPresence::new(&context.shutdown.cancel_responses), Duration::ZERO);
            context.run_model_call(&requested, caller, (body, Metering::Metered), client).await
        };
        assert!(size(serve) < 8 * 1024, "{} bytes", size(serve));
        let handle = |(relay, request): (Relay, Request<Full<Bytes>>)| async move {
            relay.handle(request).await
        };
        assert!(size(handle) < 3 * 1024, "{} bytes", size(handle));
    }
}
