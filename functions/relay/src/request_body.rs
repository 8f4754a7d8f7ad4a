//! Reads the request body as received, within the bounds of time and memory.

use crate::authenticate::AuthenticatedKey;
use crate::client_response::RelayError;
use crate::memory_budget::{MemoryLimitReached, MemoryPermit, MemoryRequest};
use crate::model_call::Metering;
use crate::request_decoding::BodyDecoding;
use crate::{RelayState, RequestContext};
use baton_protocol::request_coding::RequestCoding;
use baton_runtime::settings::InputBounds;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// What a request takes while it waits for its upstream, apart from its head and body: its tasks, and
/// the buffers of the HTTP library on both sides. This and the next two were measured with hyper 1.12
/// and h2 0.4 over 800 requests of 18 and of 193 fields with 1 byte to 4 KB each (2026-11-29).
const REQUEST_BYTES: usize = 40 * 1024;
/// How often the bytes of a head are held: for the client, for the upstream, and in buffers.
const HEAD_COPIES: usize = 3;
/// What each field of a head takes in addition, in the client's map and in the upstream's.
const HEAD_FIELD_BYTES: usize = 768;

/// How long the rest of a refused request's body is read at most.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(30);

impl RelayState {
    /// Reads the whole body, within the time limit and at the minimum rate for bodies. The memory
    /// is taken from the key's budget before the bytes are read, with that of the head, and released
    /// with the last of them. A compressed body is decoded.
    ///
    /// # Errors
    /// The body is too large, too slow, or broke off; or the key or the process holds too many
    /// bytes.
    pub(crate) async fn read_body<B>(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        metering: Metering,
        body: Pin<&mut B>,
    ) -> Result<Bytes, RelayError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        let mut body = body;
        let read = tokio::select! {
            biased;
            read = self.read_body_within_bounds(request, caller, metering, body.as_mut()) => read,
            () = self.shutdown.cancel_responses.cancelled() => Err(RelayError::shutting_down()),
        };
        if let Err(refusal) = &read
            && refusal.status() != StatusCode::REQUEST_TIMEOUT
            && !self.shutdown.cancel_responses.is_cancelled()
        {
            // Read the rest of the body. Otherwise a client that is still sending would see a
            // broken connection instead of the error.
            self.discard_body(body, self.bounds.body_bytes.saturating_mul(2)).await;
        }
        let (bytes, permit) = read?;
        let (bytes, permit) = self.decode_body(request, caller, bytes, permit).await?;
        Ok(permit.attach(bytes))
    }

    async fn read_body_within_bounds<B>(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        metering: Metering,
        body: Pin<&mut B>,
    ) -> Result<(Bytes, MemoryPermit), RelayError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        let announced = announced_length(request).unwrap_or_default();
        if announced > self.bounds.body_bytes {
            return Err(RelayError::too_large(self.bounds.body_bytes));
        }
        let key = caller.key();
        let memory_request = MemoryRequest {
            bytes: announced,
            fixed_bytes: REQUEST_BYTES + head_memory(&request.head),
            is_metered: metering == Metering::Metered,
            concurrency: key.limits.concurrency,
        };
        let mut permit = self.request_memory.acquire_bytes(&key.id, memory_request).await?;
        let pace = BodyPacing::new(&self.bounds);
        let bytes =
            collect_body(body, announced, self.bounds.body_bytes, pace, &mut permit).await?;
        Ok((bytes, permit))
    }

    /// Decodes a compressed body. A short one can become long: its plain text is bounded like a plain
    /// body, and its memory is taken from the key's budget while it grows.
    async fn decode_body(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        body: Bytes,
        permit: MemoryPermit,
    ) -> Result<(Bytes, MemoryPermit), RelayError> {
        // An unknown coding is not an error here: `BodyFacts::read` refuses it.
        let Ok(Some(coding)) = RequestCoding::from_headers(&request.head.headers) else {
            return Ok((body, permit));
        };
        let decoding = BodyDecoding::new(coding, body, permit, self.bounds.body_bytes);
        Box::pin(decoding.finish(&self.body_workers, &caller.key().id)).await
    }

    /// Reads up to `bytes_max` bytes of a refused request's body and discards them, for a limited
    /// time.
    pub(crate) async fn discard_body<B: Body<Data = Bytes>>(
        &self,
        body: Pin<&mut B>,
        bytes_max: usize,
    ) {
        let time = DISCARD_TIME_MAX.min(self.bounds.body_stall);
        let _late = timeout(time, discard_bytes(body, bytes_max)).await;
    }
}

/// The minimum rate at which a body must arrive.
struct BodyPacing {
    deadline: Instant,
    /// The length of one window.
    window: Duration,
    /// The bytes that must arrive in each window.
    min: usize,
    window_ends: Instant,
    in_window: usize,
    time_limit: Duration,
}

impl BodyPacing {
    fn new(bounds: &InputBounds) -> Self {
        let now = Instant::now();
        let seconds = usize::try_from(bounds.body_stall.as_secs()).unwrap_or(usize::MAX);
        Self {
            deadline: now + bounds.body,
            window: bounds.body_stall,
            min: bounds.body_bytes_per_second.saturating_mul(seconds).max(1),
            window_ends: now + bounds.body_stall,
            in_window: 0,
            time_limit: bounds.body,
        }
    }

    /// Waits for the next frame. Fails when the body is too slow.
    async fn next_frame<B>(
        &mut self,
        body: &mut Pin<&mut B>,
    ) -> Result<Option<http_body::Frame<Bytes>>, RelayError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        loop {
            match timeout_at(self.window_ends.min(self.deadline), body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    self.in_window += frame.data_ref().map_or(0, Bytes::len);
                    // The timeout never fires for a client that always has a small piece ready, so
                    // the time is checked here too.
                    if Instant::now() < self.window_ends.min(self.deadline) {
                        return Ok(Some(frame));
                    }
                    self.check_rate()?;
                    return Ok(Some(frame));
                }
                Ok(Some(Err(error))) => {
                    return Err(RelayError::interrupted_body(&error.to_string()));
                }
                Err(_) => self.check_rate()?,
            }
        }
    }

    /// Starts the next window if enough bytes arrived in the last one.
    fn check_rate(&mut self) -> Result<(), RelayError> {
        let now = Instant::now();
        if now >= self.deadline {
            let seconds = self.time_limit.as_secs_f64();
            return Err(RelayError::slow_body(&format!("did not arrive within {seconds} s")));
        }
        if self.in_window < self.min {
            let (min, seconds) = (self.min, self.window.as_secs_f64());
            let message = format!("arrived too slowly, with fewer than {min} bytes in {seconds} s");
            return Err(RelayError::slow_body(&message));
        }
        self.in_window = 0;
        self.window_ends = now + self.window;
        Ok(())
    }
}

/// Collects the body into one buffer. If its length was announced, the buffer is allocated once.
async fn collect_body<B>(
    mut body: Pin<&mut B>,
    announced: usize,
    bytes_max: usize,
    mut pace: BodyPacing,
    permit: &mut MemoryPermit,
) -> Result<Bytes, RelayError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display + Send,
{
    let mut buffer = BytesMut::with_capacity(announced);
    while let Some(frame) = pace.next_frame(&mut body).await? {
        let Ok(data) = frame.into_data() else { continue };
        let length = buffer.len() + data.len();
        if length > bytes_max {
            return Err(RelayError::too_large(bytes_max));
        }
        if length > buffer.capacity() {
            // The permit covers the allocated capacity, not just the bytes received. While the
            // buffer is copied to a larger one, it covers both.
            let more = buffer.capacity().max(data.len());
            permit.grow_to(buffer.capacity() + buffer.len() + more)?;
            buffer.reserve(more);
        }
        buffer.extend_from_slice(&data);
    }
    Ok(buffer.freeze())
}

/// Returns the memory of a head while the request waits for its upstream, in bytes.
fn head_memory(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lengths = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let bytes = target + lengths.sum::<usize>();
    HEAD_COPIES * bytes + HEAD_FIELD_BYTES * head.headers.len()
}

fn announced_length(request: &RequestContext) -> Option<usize> {
    request.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn discard_bytes<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, bytes_max: usize) {
    let mut discarded_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded_bytes += frame.data_ref().map_or(0, Bytes::len);
        if discarded_bytes > bytes_max {
            return;
        }
    }
}

impl From<MemoryLimitReached> for RelayError {
    fn from(limit_reached: MemoryLimitReached) -> Self {
        match limit_reached {
            MemoryLimitReached::Key(bytes) => Self::too_many_bytes_of_key(bytes),
            MemoryLimitReached::Process => Self::too_many_bytes(),
            MemoryLimitReached::Concurrency(max) => Self::too_many_at_once(max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_budget::{MemoryBudget, MemoryLimits};
    use baton_domain::id::KeyId;
    use futures_util::FutureExt as _;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::pin::pin;

    const PIECE: &[u8] = &[b'x'; 10_000];
    const PIECES: usize = 500;

    fn pace() -> BodyPacing {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        BodyPacing {
            deadline: now + seconds(60),
            window: seconds(10),
            min: 1000,
            window_ends: now + seconds(10),
            in_window: 0,
            time_limit: seconds(60),
        }
    }

    fn allowance(bytes: usize) -> MemoryPermit {
        let budget = MemoryBudget::new(MemoryLimits::new(bytes.saturating_mul(4), bytes));
        budget.try_acquire_bytes(&KeyId::from_bits(1), MemoryRequest::unmetered(0)).unwrap()
    }

    #[test]
    fn each_field_of_a_head_counts() {
        let head = |fields: usize, bytes: usize| {
            let mut request = http::Request::new(());
            for number in 0..fields {
                let name = http::HeaderName::try_from(format!("x-{number:03}")).unwrap();
                let value = http::HeaderValue::try_from("x".repeat(bytes)).unwrap();
                request.headers_mut().insert(name, value);
            }
            head_memory(&request.into_parts().0)
        };
        assert_eq!(head(0, 0), 3, "the path");
        assert!((15 * 1024..20 * 1024).contains(&head(20, 10)), "a usual head");
        assert!(head(200, 0) > 200 * 720, "empty fields need much memory, too");
        assert!((185_000..210_000).contains(&head(15, 4_000)), "long fields");
    }

    /// Reads a body that brings `bytes` every `seconds`. Returns how long that took and the error.
    async fn waited(bytes: usize, seconds: u64) -> (u64, String) {
        let started = Instant::now();
        let chunk = Bytes::from(vec![b'x'; bytes]);
        let pieces = futures_util::stream::unfold((), move |()| {
            let chunk = chunk.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Some((Ok::<_, Infallible>(Frame::data(chunk)), ()))
            }
        });
        let body = pin!(StreamBody::new(pieces));
        let mut permit = allowance(1 << 22);
        let read = collect_body(body, 0, 1 << 19, pace(), &mut permit).await;
        (started.elapsed().as_secs(), read.unwrap_err().to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_body_is_accepted_at_the_minimum_rate() {
        for (bytes, every, seconds, said) in [
            (1, 1000, 10, "fewer than 1000 bytes in 10 s"),
            (1, 1, 10, "fewer than 1000 bytes in 10 s"),
            (90, 1, 10, "fewer than 1000 bytes in 10 s"),
            (200, 1, 60, "did not arrive within 60 s"),
            (100_000, 1, 6, "larger than 524288 bytes"),
        ] {
            let (waited, response) = waited(bytes, every).await;
            assert_eq!(waited, seconds, "{bytes} bytes every {every} s: {response}");
            assert!(response.contains(said), "{response}");
        }
    }

    #[tokio::test]
    async fn body_of_unknown_length_stops_at_the_bound_of_its_key() {
        let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
        let body = pin!(StreamBody::new(futures_util::stream::iter((0..PIECES).map(piece))));
        let mut permit = allowance(1 << 20);
        let read = collect_body(body, 0, usize::MAX, pace(), &mut permit).await;
        assert!(read.unwrap_err().to_string().contains("hold the 1048576 bytes"));
    }

    /// Returns the peak memory and the number of allocations while a body of 5 MB is read.
    fn taken(announced: usize) -> (usize, u64) {
        let mut read = None;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let mut permit = allowance(usize::MAX / 2);
        let info = allocation_counter::measure(|| {
            let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
            let body = pin!(StreamBody::new(futures_util::stream::iter((0..PIECES).map(piece))));
            let collecting = collect_body(body, announced, usize::MAX, pace(), &mut permit);
            read = collecting.now_or_never();
        });
        let Some(Ok(read)) = read else { panic!("a good body, at once") };
        assert_eq!(read.len(), PIECES * PIECE.len());
        (usize::try_from(info.bytes_max).unwrap(), info.count_total)
    }

    #[test]
    fn body_of_known_length_is_not_copied() {
        let length = PIECES * PIECE.len();
        let (max, _) = taken(length);
        assert!(max < length + length / 100, "{max} bytes");
        assert!(taken(0).0 > max, "the counter counts");
    }

    #[test]
    #[ignore = "it fixes a number of allocations, which a dependency may change"]
    fn body_of_known_length_needs_two_allocations() {
        let (_, times) = taken(PIECES * PIECE.len());
        assert!(times <= 2, "the bytes, and what shares them: {times}");
    }
}
