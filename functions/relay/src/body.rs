//! The body of an answer: complete bytes, or a stream that is drained to its end even if the client
//! leaves.

use crate::chunk_list::ChunkList;
use crate::memory_budget::MemoryPermit;
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

/// The answer broke off after it had begun. The connection must be aborted, so that the client does
/// not take the answer for complete.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection to the upstream broke during the answer")]
pub struct ResponseAborted;

/// The size of the parts in which a long error is given out.
const ERROR_PART_BYTES: usize = 16 * 1024;

/// The body of one answer to a client.
pub struct RelayBody(BodyKind);

enum BodyKind {
    Ready(Option<Bytes>),
    Buffered {
        chunks: std::vec::IntoIter<Result<ChunkList, ResponseAborted>>,
        /// Released when the client has received the chunks.
        _permit: Option<MemoryPermit>,
    },
    Streaming(StreamingBody),
}

/// The chunks of a stream for the client.
pub(crate) type ChunkStream =
    Pin<Box<dyn Stream<Item = Result<ChunkList, ResponseAborted>> + Send>>;

/// Shows the task that produces an answer whether its client is still there.
#[derive(Clone)]
pub(crate) struct ClientPresence {
    /// The client has left before the end.
    pub(crate) has_left: Arc<AtomicBool>,
    /// The time for draining is over or the process is stopping, so the answer ends here.
    pub(crate) abort: CancellationToken,
}

/// Marks the client as gone if it is dropped before [`DepartureGuard::disarm`].
pub(crate) struct DepartureGuard(Option<ClientPresence>);

impl ClientPresence {
    /// Creates the state of a connected client. The answer is cut when `shutdown` is cancelled.
    pub(crate) fn new(shutdown: &CancellationToken) -> Self {
        Self { has_left: Arc::default(), abort: shutdown.child_token() }
    }

    /// Returns a guard for a future that is dropped when the client leaves.
    pub(crate) fn departure_guard(&self) -> DepartureGuard {
        DepartureGuard(Some(self.clone()))
    }
}

impl DepartureGuard {
    /// Call this when the future has finished.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for DepartureGuard {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.has_left.store(true, Ordering::SeqCst);
        }
    }
}

struct StreamingBody {
    chunks: Option<ChunkStream>,
    /// The span of the request, for log lines.
    span: Span,
    client: ClientPresence,
    background_tasks: TaskTracker,
    drain: Duration,
}

impl RelayBody {
    pub(crate) fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(BodyKind::Ready(Some(bytes.into())))
    }

    /// Creates the body of an error. `permit` is the memory that it takes. The body is given out in
    /// parts, so that it is dropped, and the memory released, only when the client has read most.
    pub(crate) fn from_error(body: Bytes, permit: Option<MemoryPermit>) -> Self {
        if body.len() <= ERROR_PART_BYTES {
            return Self::from_bytes(body);
        }
        let mut rest = body;
        let mut parts = Vec::with_capacity(rest.len().div_ceil(ERROR_PART_BYTES));
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(ERROR_PART_BYTES));
            parts.push(Ok(ChunkList::from(part)));
        }
        Self::from_chunks(parts, permit)
    }

    /// Creates a body from complete chunks. Its last item can be the error that aborts the
    /// connection. `permit` is the memory that the chunks hold.
    pub(crate) fn from_chunks(
        mut chunks: Vec<Result<ChunkList, ResponseAborted>>,
        permit: Option<MemoryPermit>,
    ) -> Self {
        chunks.retain(|chunk| !matches!(chunk, Ok(burst) if !burst.has_remaining()));
        Self(BodyKind::Buffered { chunks: chunks.into_iter(), _permit: permit })
    }

    /// Creates a body that streams `chunks`. If it is dropped before their end, the rest is drained
    /// for at most `drain` and then cut.
    pub(crate) fn from_stream(
        chunks: ChunkStream,
        client: ClientPresence,
        background_tasks: TaskTracker,
        drain: Duration,
    ) -> Self {
        let span = Span::current();
        Self(BodyKind::Streaming(StreamingBody {
            chunks: Some(chunks),
            span,
            client,
            background_tasks,
            drain,
        }))
    }
}

impl http_body::Body for RelayBody {
    type Data = ChunkList;
    type Error = ResponseAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ChunkList>, ResponseAborted>>> {
        match &mut self.get_mut().0 {
            BodyKind::Ready(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            BodyKind::Buffered { chunks, .. } => {
                Poll::Ready(chunks.next().map(|chunk| chunk.map(Frame::data)))
            }
            BodyKind::Streaming(relayed) => relayed.poll_chunk(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Ready(bytes) => bytes.is_none(),
            BodyKind::Buffered { chunks, .. } => chunks.as_slice().is_empty(),
            BodyKind::Streaming(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Ready(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            BodyKind::Buffered { chunks, .. } => buffered_bytes(chunks.as_slice()),
            BodyKind::Streaming(_) => SizeHint::default(),
        }
    }
}

/// Returns the length of the chunks. It is unknown if they break off: an answer that ends too early
/// must not look complete.
fn buffered_bytes(chunks: &[Result<ChunkList, ResponseAborted>]) -> SizeHint {
    let lengths = chunks.iter().map(|chunk| chunk.as_ref().map(|chunk| chunk.remaining() as u64));
    lengths.sum::<Result<u64, _>>().map_or_else(|_| SizeHint::default(), SizeHint::with_exact)
}

impl StreamingBody {
    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ChunkList>, ResponseAborted>>> {
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        let _inside = self.span.enter();
        loop {
            let polled = AssertUnwindSafe(|| chunks.as_mut().poll_next(context));
            // A panic aborts only this answer, not the others on the same connection.
            let Ok(polled) = catch_unwind(polled) else {
                self.chunks = None;
                return Poll::Ready(Some(Err(ResponseAborted)));
            };
            match std::task::ready!(polled) {
                Some(Ok(next_chunks)) if !next_chunks.has_remaining() => {}
                Some(chunk) => return Poll::Ready(Some(chunk.map(Frame::data))),
                None => {
                    self.chunks = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for StreamingBody {
    /// Drains the rest of the answer without the client, so that its usage is known.
    fn drop(&mut self) {
        let Some(mut chunks) = self.chunks.take() else { return };
        self.client.has_left.store(true, Ordering::SeqCst);
        let (abort, drain) = (self.client.abort.clone(), self.drain);
        let rest = async move {
            let to_the_end = async { while chunks.next().await.is_some() {} };
            if tokio::time::timeout(drain, to_the_end).await.is_err() {
                abort.cancel();
                while chunks.next().await.is_some() {}
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.background_tasks.spawn_on(rest.instrument(self.span.clone()), &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;

    #[test]
    fn length_is_known_unless_the_answer_breaks_off() {
        let chunk = |text: &'static str| Ok(ChunkList::from(Bytes::from_static(text.as_bytes())));
        for (chunks, expected) in [
            (vec![], Some(0)),
            (vec![chunk("abc"), chunk(""), chunk("de")], Some(5)),
            (vec![chunk("abc"), Err(ResponseAborted)], None),
        ] {
            let body = RelayBody::from_chunks(chunks, None);
            assert_eq!(body.size_hint().exact(), expected);
        }
    }
}
