//! The body of an answer: ready bytes, or a stream that is carried on to its end even if the
//! client leaves.

use crate::burst::Burst;
use crate::held_bytes::Allowance;
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _};
use http_body::{Frame, SizeHint};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

/// The answer broke off after it had begun; the connection must not end as if it were complete.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub struct Broken;

/// The body of one answer.
pub struct Body(Kind);

enum Kind {
    Ready(Option<Bytes>),
    Gathered {
        chunks: std::vec::IntoIter<Result<Burst, Broken>>,
        /// Given back when the client has them.
        _allowance: Option<Allowance>,
    },
    Relayed(Relayed),
}

/// Pieces for the client.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Burst, Broken>> + Send>>;

/// What the chunks' producer is told about its consumer.
#[derive(Clone)]
pub(crate) struct Consumer {
    /// The client has left before the end.
    pub(crate) left: Arc<AtomicBool>,
    /// The time for draining is over, or the process is stopped: end it here.
    pub(crate) cut: CancellationToken,
}

/// Tells that the client has left, if it is dropped before [`Departure::stayed`].
pub(crate) struct Departure(Option<Consumer>);

impl Consumer {
    /// A consumer that is there, of an answer that ends with `stop`.
    pub(crate) fn new(stop: &CancellationToken) -> Self {
        Self { left: Arc::default(), cut: stop.child_token() }
    }

    /// A guard for a future that is dropped when the client leaves.
    pub(crate) fn departure(&self) -> Departure {
        Departure(Some(self.clone()))
    }
}

impl Departure {
    /// The future has come to its end.
    pub(crate) fn stayed(mut self) {
        self.0 = None;
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Some(consumer) = &self.0 {
            consumer.left.store(true, Ordering::SeqCst);
        }
    }
}

struct Relayed {
    chunks: Option<Chunks>,
    /// The request's, for the log.
    span: Span,
    consumer: Consumer,
    leftovers: TaskTracker,
    drain: Duration,
}

impl Body {
    pub(crate) fn ready(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Ready(Some(bytes.into())))
    }

    /// A body whose pieces are all there, and which may break after them; `allowance` is what was
    /// taken for them.
    pub(crate) fn gathered(
        mut chunks: Vec<Result<Burst, Broken>>,
        allowance: Option<Allowance>,
    ) -> Self {
        chunks.retain(|chunk| !matches!(chunk, Ok(burst) if !burst.has_remaining()));
        Self(Kind::Gathered { chunks: chunks.into_iter(), _allowance: allowance })
    }

    /// A body that yields `chunks`. If it is dropped before their end they are drained for the
    /// time of `drain`, then cut.
    pub(crate) fn relayed(
        chunks: Chunks,
        consumer: Consumer,
        (leftovers, drain): (TaskTracker, Duration),
    ) -> Self {
        let span = Span::current();
        Self(Kind::Relayed(Relayed { chunks: Some(chunks), span, consumer, leftovers, drain }))
    }
}

impl http_body::Body for Body {
    type Data = Burst;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Burst>, Broken>>> {
        match &mut self.get_mut().0 {
            Kind::Ready(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            Kind::Gathered { chunks, .. } => {
                Poll::Ready(chunks.next().map(|chunk| chunk.map(Frame::data)))
            }
            Kind::Relayed(relayed) => relayed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Ready(bytes) => bytes.is_none(),
            Kind::Gathered { chunks, .. } => chunks.as_slice().is_empty(),
            Kind::Relayed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Ready(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Gathered { .. } | Kind::Relayed(_) => SizeHint::default(),
        }
    }
}

impl Relayed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Burst>, Broken>>> {
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        let _inside = self.span.enter();
        loop {
            let polled = AssertUnwindSafe(|| chunks.as_mut().poll_next(context));
            // A panic breaks off this answer, and no other one of the connection.
            let Ok(polled) = catch_unwind(polled) else {
                self.chunks = None;
                return Poll::Ready(Some(Err(Broken)));
            };
            match std::task::ready!(polled) {
                Some(Ok(burst)) if !burst.has_remaining() => {}
                Some(chunk) => return Poll::Ready(Some(chunk.map(Frame::data))),
                None => {
                    self.chunks = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for Relayed {
    /// The client is gone; the accounting goes on without it.
    fn drop(&mut self) {
        let Some(mut chunks) = self.chunks.take() else { return };
        self.consumer.left.store(true, Ordering::SeqCst);
        let (cut, drain) = (self.consumer.cut.clone(), self.drain);
        let rest = async move {
            let to_the_end = async { while chunks.next().await.is_some() {} };
            if tokio::time::timeout(drain, to_the_end).await.is_err() {
                cut.cancel();
                while chunks.next().await.is_some() {}
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.leftovers.spawn_on(rest.instrument(self.span.clone()), &runtime);
        }
    }
}
