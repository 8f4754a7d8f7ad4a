//! One exchange: a model call from its body to its answer.

use crate::admit::Reserved;
use crate::authenticate::Caller;
use crate::body::{Body, Consumer};
use crate::forward::{Call, Failure};
use crate::free_calls::FreeCall;
use crate::read::HeldBody;
use crate::receipt::Bill;
use crate::reply::Refusal;
use crate::{Asked, Means, PlatformDeadline, read};
use bytes::Bytes;
use http::Response;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// Kept clear of the platform's deadline, for the farewell and the record.
const DEADLINE_MARGIN: Duration = Duration::from_secs(5);

/// For how long a request may still be admitted after answers were ended in a stop.
const ADMISSION_TIME_IN_STOP: Duration = Duration::from_millis(1500);

impl Means {
    /// Reads the body, then has the rest done by a task that outlives the client.
    pub(crate) async fn exchange<B>(
        self: &Arc<Self>,
        asked: &Arc<Asked>,
        caller: Caller,
        body: Pin<&mut B>,
        (bill, free_call): (Bill, Option<FreeCall>),
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display + Send,
    {
        let time = self.time(asked);
        let body = self.read(asked, (&caller, bill), body).await?;
        // From here on money may be reserved or spent: a client that leaves must not stop the
        // counting. Its departure drops this future, not the task; the answer is then drained as
        // any other.
        let (means, asked, consumer) =
            (Arc::clone(self), Arc::clone(asked), Consumer::new(&self.stop.is_over));
        let departure = consumer.departure();
        let exchange = async move {
            let answer = means.serve(&asked, caller, (body, bill), (consumer, time)).await;
            drop(free_call);
            answer
        };
        // Boxed: a task is moved about while it is made, and this future is large.
        let answer = self.leftovers.spawn(Box::pin(exchange).in_current_span()).await;
        departure.stayed();
        answer.unwrap_or_else(|_| Err(Refusal::broken()))
    }

    /// The part that goes on without the client: admitted, forwarded, and settled or released.
    async fn serve(
        self: &Arc<Self>,
        asked: &Asked,
        mut caller: Caller,
        (held, bill): (HeldBody, Bill),
        (consumer, time): (Consumer, Duration),
    ) -> Result<Response<Body>, Refusal> {
        let deadline = Instant::now() + time;
        let body = held.bytes.clone();
        let envelope = read::envelope(asked, &body)?;
        caller.may_use(&envelope.model)?;
        let sized = (&envelope, &body);
        let reserved = match bill {
            Bill::Metered => tokio::select! {
                biased;
                admission = self.admit(asked, &caller, sized, time) => admission?,
                () = self.ended_for(ADMISSION_TIME_IN_STOP) => return Err(Refusal::stopping()),
            },
            Bill::Free => None,
        };
        caller.has_money_limit = reserved.as_ref().is_some_and(Reserved::has_money);
        if let Some(Reserved { reservation, .. }) = &reserved {
            caller.reserved_usd = Some(reservation.estimate);
            caller.permitted_usd = Some(reservation.estimate + reservation.beyond);
            caller.reserved_pools.clone_from(&reservation.pools);
        }
        let die = u64::try_from(self.store.dice().bits() >> 64).unwrap_or_default();
        let call = Call::new(asked, caller.clone(), &envelope, body.clone(), (bill, die));
        let forwarded = self.forward(asked, call, deadline).await;
        // Nothing asks for the body again: others may take its room.
        drop(envelope);
        drop((body, held));
        match forwarded {
            Ok(answer) => {
                let mut answer = self.stream(asked, answer, consumer, deadline).await;
                if let Some(reserved) = reserved {
                    reserved.tell(answer.headers_mut()).await;
                }
                Ok(answer)
            }
            Err(failure) => {
                if let (None, Some(reserved)) = (&failure.receipt, &reserved) {
                    Box::pin(self.release(reserved)).await;
                }
                Box::pin(self.give_up(failure)).await
            }
        }
    }

    /// Ends an exchange that got no good answer; it is recorded if it went to an upstream.
    async fn give_up(self: &Arc<Self>, failure: Failure) -> Result<Response<Body>, Refusal> {
        if let Some(receipt) = failure.receipt {
            self.settle_before_end(receipt, failure.ending).await;
            return failure.answer.map_err(Refusal::settled);
        }
        failure.answer
    }

    /// How long the request may take.
    fn time(&self, asked: &Asked) -> Duration {
        let own = self.timers.overall;
        let platform = asked.head.extensions.get::<PlatformDeadline>().map(|deadline| {
            let left = deadline.0.duration_since(asked.at);
            Duration::try_from(left).unwrap_or_default().saturating_sub(DEADLINE_MARGIN)
        });
        platform.map_or(own, |platform| platform.min(own))
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

    /// A call to a store takes 5 to 7 KB, whether it is made or not. Those that few requests make
    /// are boxed where they are made.
    #[test]
    fn a_request_takes_little_room_while_it_waits() {
        type Work = (Arc<Means>, Arc<Asked>, Caller, HeldBody);
        let serve = |(means, asked, caller, body): Work| async move {
            let consumer = (Consumer::new(&means.stop.is_over), Duration::ZERO);
            means.serve(&asked, caller, (body, Bill::Metered), consumer).await
        };
        assert!(size(serve) < 8 * 1024, "{} bytes", size(serve));
        let handle = |(relay, request): (Relay, Request<Full<Bytes>>)| async move {
            relay.handle(request).await
        };
        assert!(size(handle) < 3 * 1024, "{} bytes", size(handle));
    }
}
