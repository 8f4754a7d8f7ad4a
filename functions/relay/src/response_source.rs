//! Reads an upstream's answer chunk by chunk, with its timeouts.
//!
//! The meaning of the bytes does not matter here. Reading stops at the end of the answer, at a
//! timeout, or when the answer is cut.

use baton_runtime::upstream::UpstreamBody;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What happens next in an upstream's answer.
pub(crate) enum SourceEvent {
    Chunk(Bytes),
    End,
    ConnectionLost(&'static str),
    TimedOut,
    Aborted,
    /// The answer was cut because the process is stopping.
    ShuttingDown,
    /// The upstream has been silent for a while, and the client should get a keep-alive.
    KeepAliveDue,
}

/// The time between two keep-alives. Clients and proxies give up only after longer silences.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The body of an upstream's answer with its timers.
pub(crate) struct ResponseSource {
    body: UpstreamBody,
    read_buffer: ReadBufferEstimate,
    idle_timeout: Duration,
    deadline: Instant,
    /// Fires when the answer might be late. Only then is it compared with the time of the last
    /// chunk, because resetting a timer for each chunk would cost more than the chunk itself.
    idle_timer: Pin<Box<Sleep>>,
    /// When the last chunk arrived.
    last_chunk_at: Instant,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    keep_alive_timer: Option<Pin<Box<Sleep>>>,
    /// The events that [`Self::peek`] has waited for.
    peeked: VecDeque<SourceEvent>,
}

impl ResponseSource {
    /// Reads `body`. It can be silent for `idle_timeout`, lasts until `deadline` at most, and ends
    /// early when `abort` is cancelled.
    pub(crate) fn new(
        body: UpstreamBody,
        idle_timeout: Duration,
        deadline: Instant,
        abort: CancellationToken,
    ) -> Self {
        let last_chunk_at = Instant::now();
        let idle_timer = Box::pin(sleep_until(deadline.min(last_chunk_at + idle_timeout)));
        let aborted = Box::pin(abort.cancelled_owned());
        Self {
            body,
            read_buffer: ReadBufferEstimate::new(HTTP1_BUFFER_BYTES_MAX),
            idle_timeout,
            deadline,
            idle_timer,
            last_chunk_at,
            aborted,
            keep_alive_timer: None,
            peeked: VecDeque::new(),
        }
    }

    /// Turns keep-alives on if `needs_keep_alives` says that the client would otherwise get none.
    pub(crate) fn with_keep_alives(self, needs_keep_alives: bool) -> Self {
        let keep_alive_timer = needs_keep_alives.then(|| Box::pin(sleep(KEEP_ALIVE_INTERVAL)));
        Self { keep_alive_timer, ..self }
    }

    /// Returns the bytes to reserve before the next chunk is read: those that the HTTP library can
    /// hold beyond those of an idle connection. If nothing has been ready since the last chunk, the
    /// library's buffer is empty.
    pub(crate) fn read_ahead_bytes(&self) -> usize {
        NEXT_CHUNK_BYTES + self.read_buffer.bytes()
    }

    /// Returns whether the HTTP library can hold more than the next chunk.
    pub(crate) fn has_read_ahead(&self) -> bool {
        self.read_buffer.bytes() > 0
    }

    /// Waits for `bytes` bytes and returns them, or less if the answer ends before. [`Self::next`]
    /// returns them again, and only then they count as having arrived.
    pub(crate) async fn peek(&mut self, bytes: usize) -> Bytes {
        let last_chunk_at = self.last_chunk_at;
        let mut start = Bytes::new();
        while start.len() < bytes {
            match self.next().await {
                SourceEvent::Chunk(chunk) if start.is_empty() => start = chunk,
                SourceEvent::Chunk(chunk) => start = [start, chunk].concat().into(),
                end_event => {
                    self.peeked.push_back(end_event);
                    break;
                }
            }
        }
        self.last_chunk_at = last_chunk_at;
        if !start.is_empty() {
            self.peeked.push_front(SourceEvent::Chunk(start.clone()));
        }
        start
    }

    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> SourceEvent {
        if let Some(event) = self.peeked.pop_front() {
            self.last_chunk_at = Instant::now();
            return event;
        }
        loop {
            tokio::select! {
                biased;
                frame = self.body.frame() => {
                    self.last_chunk_at = Instant::now();
                    self.reset_keep_alive_timer();
                    return self.read_frame(frame);
                }
                () = &mut self.idle_timer => {}
                () = &mut self.aborted => return SourceEvent::Aborted,
                () = wait_until_elapsed(&mut self.keep_alive_timer) => {
                    self.reset_keep_alive_timer();
                    return SourceEvent::KeepAliveDue;
                }
            }
            let timeout_at = self.deadline.min(self.last_chunk_at + self.idle_timeout);
            if Instant::now() >= timeout_at {
                return SourceEvent::TimedOut;
            }
            self.idle_timer.as_mut().reset(timeout_at);
        }
    }

    /// Sets how long the upstream can be silent from now on.
    pub(crate) fn set_idle_timeout(&mut self, idle_timeout: Duration) {
        if self.idle_timeout != idle_timeout {
            self.idle_timeout = idle_timeout;
            self.reset_idle_timer();
        }
    }

    /// Ends the answer when the current idle timeout has passed, even if chunks come.
    pub(crate) fn limit_deadline_to_idle_timeout(&mut self) {
        self.deadline = self.deadline.min(self.last_chunk_at + self.idle_timeout);
        self.reset_idle_timer();
    }

    fn reset_idle_timer(&mut self) {
        let silent_until = self.last_chunk_at + self.idle_timeout;
        self.idle_timer.as_mut().reset(self.deadline.min(silent_until));
    }

    /// Returns whether the time for the whole answer has passed.
    pub(crate) fn is_past_deadline(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Sets the limits for the rest of the answer, as [`Self::new`] does.
    pub(crate) fn set_limits(
        &mut self,
        idle_timeout: Duration,
        deadline: Instant,
        abort: CancellationToken,
    ) {
        (self.idle_timeout, self.deadline) = (idle_timeout, deadline);
        self.aborted = Box::pin(abort.cancelled_owned());
        self.last_chunk_at = Instant::now();
        self.reset_idle_timer();
    }

    /// Waits for `work` on the last chunk, until the deadline or until the answer is cut. The time
    /// does not count as a silence of the upstream.
    ///
    /// # Errors
    /// Why the answer ends before the work.
    pub(crate) async fn wait_for<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, SourceEvent> {
        let done = tokio::select! {
            biased;
            () = &mut self.aborted => return Err(SourceEvent::Aborted),
            done = timeout_at(self.deadline, work) => done,
        };
        self.last_chunk_at = Instant::now();
        done.map_err(|_| SourceEvent::TimedOut)
    }

    fn reset_keep_alive_timer(&mut self) {
        if let Some(keep_alive_timer) = &mut self.keep_alive_timer {
            keep_alive_timer.as_mut().reset(Instant::now() + KEEP_ALIVE_INTERVAL);
        }
    }

    /// Returns the next event if it is already there.
    ///
    /// A task of the HTTP library reads the connection and hands over one chunk at a time. This
    /// function gives it one turn to hand over the next. Chunks that arrived together are thereby
    /// sent in one write instead of one write per event.
    pub(crate) async fn try_next(&mut self) -> Option<SourceEvent> {
        if let Some(event) = self.peeked.pop_front() {
            return Some(event);
        }
        yield_to_other_tasks().await;
        let Some(frame) = self.body.frame().now_or_never() else {
            self.read_buffer.end_read();
            return None;
        };
        Some(self.read_frame(frame))
    }

    fn read_frame<E>(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> SourceEvent {
        let event = SourceEvent::from_frame(frame);
        if let SourceEvent::Chunk(chunk) = &event {
            self.read_buffer.add_chunk(chunk.len());
        }
        event
    }
}

/// The largest buffer with which hyper reads an HTTP/1 connection (hyper 1.12,
/// `DEFAULT_MAX_BUFFER_SIZE`). reqwest has no setting for it.
const HTTP1_BUFFER_BYTES_MAX: usize = 8192 + 4096 * 100;

/// The buffer with which hyper begins to read a connection.
const FIRST_BUFFER_BYTES: usize = 8192;

/// The bytes that are reserved for the next chunk of an upstream that sends slowly. Events of that
/// size are usual.
const NEXT_CHUNK_BYTES: usize = 4096;

/// Estimates the size of the buffer with which hyper reads a connection. hyper doubles it when a
/// read fills it, and halves it after two short reads.
struct ReadBufferEstimate {
    bytes: usize,
    bytes_max: usize,
    /// The bytes that arrived without a wait, which are at least those of one read.
    read_bytes: usize,
    was_short: bool,
}

impl ReadBufferEstimate {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: FIRST_BUFFER_BYTES, bytes_max, read_bytes: 0, was_short: false }
    }

    fn add_chunk(&mut self, bytes: usize) {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        while self.read_bytes >= self.bytes && self.bytes < self.bytes_max {
            self.bytes = (self.bytes * 2).min(self.bytes_max);
            self.was_short = false;
        }
    }

    fn end_read(&mut self) {
        let is_short = self.read_bytes < self.bytes / 2;
        if is_short && self.was_short {
            self.bytes = (self.bytes / 2).max(FIRST_BUFFER_BYTES);
        }
        self.was_short = is_short && !self.was_short;
        self.read_bytes = 0;
    }

    /// Returns the bytes beyond those of an idle connection: a chunk that has been handed over
    /// keeps its buffer, and the next one needs another. Between two reads there are none.
    fn bytes(&self) -> usize {
        if self.read_bytes == 0 { 0 } else { 2 * (self.bytes - FIRST_BUFFER_BYTES) }
    }
}

/// Gives other ready tasks a turn. Unlike tokio's `yield_now`, it does not check for I/O first,
/// which would cost a system call per chunk.
async fn yield_to_other_tasks() {
    // Two polls, because hyper's server polls a body a second time before its task yields.
    let mut polls = 0;
    std::future::poll_fn(|context| {
        polls += 1;
        if polls > 2 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for the timer, or forever if there is none.
async fn wait_until_elapsed(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

impl SourceEvent {
    fn from_frame<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Self {
        match frame {
            Some(Ok(frame)) => frame.into_data().map_or(Self::End, Self::Chunk),
            Some(Err(_)) => Self::ConnectionLost(
                "The connection to the upstream broke during the answer. Send the request again.",
            ),
            None => Self::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::poll_fn;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    /// Returns an answer whose chunks come one at a time from a separate task.
    fn source(pieces: usize) -> ResponseSource {
        let (sender, mut told) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..pieces {
                if sender.send(Bytes::from_static(b"data: {}\n\n")).await.is_err() {
                    return;
                }
            }
            // The answer does not end yet.
            sender.closed().await;
        });
        let frames = poll_fn(move |context| told.poll_recv(context));
        let frames =
            futures_util::StreamExt::map(frames, |chunk| Ok::<_, Infallible>(Frame::data(chunk)));
        let body = UpstreamBody::wrap(StreamBody::new(frames));
        let (idle_timeout, abort) = (Duration::from_secs(10), CancellationToken::new());
        ResponseSource::new(body, idle_timeout, Instant::now() + idle_timeout, abort)
    }

    async fn burst(source: &mut ResponseSource) -> usize {
        let mut pieces = 0;
        let mut next = Some(source.next().await);
        while let Some(SourceEvent::Chunk(_)) = next {
            pieces += 1;
            next = source.try_next().await;
        }
        pieces
    }

    #[tokio::test]
    async fn chunks_that_arrive_together_are_returned_together() {
        assert_eq!(burst(&mut source(100)).await, 100);
        assert_eq!(burst(&mut source(1)).await, 1);
    }

    #[tokio::test]
    async fn peeked_bytes_come_again() {
        let frames = |parts: &[&'static str]| {
            let parts: Vec<_> = parts
                .iter()
                .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))))
                .collect();
            let body = UpstreamBody::wrap(StreamBody::new(futures_util::stream::iter(parts)));
            let (idle_timeout, abort) = (Duration::from_secs(10), CancellationToken::new());
            ResponseSource::new(body, idle_timeout, Instant::now() + idle_timeout, abort)
        };
        for (parts, peeked) in [
            (&["", "a", "", "bc", "d"][..], "abc"),
            (&["abcd", "e"], "abcd"),
            (&["a"], "a"),
            (&["", ""], ""),
            (&[], ""),
        ] {
            let mut source = frames(parts);
            assert_eq!(source.peek(3).await, peeked);
            let mut all = Vec::new();
            while let SourceEvent::Chunk(chunk) = source.next().await {
                all.extend_from_slice(&chunk);
            }
            assert_eq!(all, parts.concat().as_bytes());
        }
    }

    #[test]
    fn read_buffer_grows_with_full_reads_and_shrinks_with_short_ones() {
        let mut buffer = ReadBufferEstimate::new(HTTP1_BUFFER_BYTES_MAX);
        for _ in 0..1000 {
            buffer.add_chunk(1000);
            buffer.end_read();
        }
        assert_eq!(buffer.bytes(), 0, "short events need the first buffer only");
        let mut total = 0;
        while buffer.bytes < HTTP1_BUFFER_BYTES_MAX {
            buffer.add_chunk(60);
            total += 60;
        }
        assert!((200_000..600_000).contains(&total), "{total}");
        assert_eq!(buffer.bytes(), 2 * 4096 * 100);
        buffer.end_read();
        assert_eq!(buffer.bytes(), 0, "nothing is held between two reads");
        buffer.add_chunk(1000);
        assert_eq!(buffer.bytes(), 2 * 4096 * 100, "the buffer is still large");
        for _ in 0..12 {
            buffer.add_chunk(1000);
            buffer.end_read();
        }
        buffer.add_chunk(1000);
        assert!(buffer.bytes() < HTTP1_BUFFER_BYTES_MAX / 8, "{}", buffer.bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_upstream_causes_keep_alives_until_the_idle_timeout() {
        let mut source = ResponseSource { idle_timeout: Duration::from_secs(40), ..source(1) };
        source.deadline = Instant::now() + Duration::from_secs(1000);
        source = source.with_keep_alives(true);
        let started = Instant::now();
        let mut said = Vec::new();
        loop {
            let next = source.next().await;
            said.push((next.name(), started.elapsed().as_secs()));
            if matches!(next, SourceEvent::TimedOut) {
                break;
            }
        }
        assert_eq!(said, [("chunk", 0), ("silence", 15), ("silence", 30), ("late", 40)]);
    }

    /// The silence that is permitted at first is that before the first byte.
    #[tokio::test(start_paused = true)]
    async fn idle_timeout_can_change_after_a_chunk() {
        let mut source = ResponseSource { idle_timeout: Duration::from_secs(5), ..source(1) };
        source.deadline = Instant::now() + Duration::from_secs(1000);
        let started = Instant::now();
        assert_eq!(source.next().await.name(), "chunk");
        source.set_idle_timeout(Duration::from_secs(40));
        assert_eq!(source.next().await.name(), "late");
        assert_eq!(started.elapsed().as_secs(), 40);
        assert!(!source.is_past_deadline());
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_do_not_prolong_a_limited_deadline() {
        let mut source = ResponseSource { idle_timeout: Duration::from_secs(5), ..source(1) };
        source.deadline = Instant::now() + Duration::from_secs(1000);
        source.limit_deadline_to_idle_timeout();
        let started = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(source.next().await.name(), "chunk");
        assert_eq!(source.next().await.name(), "late");
        assert_eq!(started.elapsed().as_secs(), 5);
        assert!(source.is_past_deadline());
    }

    impl SourceEvent {
        fn name(&self) -> &'static str {
            match self {
                Self::Chunk(_) => "chunk",
                Self::KeepAliveDue => "silence",
                Self::TimedOut => "late",
                Self::End | Self::ConnectionLost(_) | Self::Aborted | Self::ShuttingDown => "over",
            }
        }
    }

    #[tokio::test]
    async fn second_poll_before_the_task_yields_changes_nothing() {
        let mut source = source(100);
        let mut chunks = Box::pin(burst(&mut source));
        let pieces = std::future::poll_fn(|context| {
            let first = chunks.as_mut().poll(context);
            if first.is_ready() { first } else { chunks.as_mut().poll(context) }
        });
        assert_eq!(pieces.await, 100);
    }
}
