//! One connection: the bytes it has sent, the state of its requests, and whether its client reads.
//!
//! hyper speaks HTTP, and this module counts bytes and requests. A connection that sends much data
//! without making requests (floods of control frames, of empty or tiny pieces) is closed
//! immediately. [`crate::connections`] closes slow and idle connections. An answer is given to hyper
//! in pieces, so that hyper holds little of it while the client does not read.

use baton_runtime::client_address::PeerAddress;
use baton_runtime::peer_connection::PeerConnection;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tower::Service;

/// How many bytes outside of bodies a connection can send before its first request.
const OVERHEAD_BYTES: u64 = 256 * 1024;
/// Added to that for each request; at least the size of the longest head.
const OVERHEAD_BYTES_PER_REQUEST: u64 = 64 * 1024;
/// Added to that for each second.
const OVERHEAD_BYTES_PER_SECOND: u64 = 1024;
/// How many requests a client can abandon before their answers end, in addition to as many as it
/// has read to the end.
const ABANDONED_REQUESTS_MAX: u32 = 100;

/// The longest head of a request. hyper's own bound is the size of a buffer, which one more read
/// can exceed.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most header fields of a request. Each takes several times its bytes in memory. In HTTP/1, hyper
/// refuses more than 100 in the same way.
pub(crate) const HEAD_FIELDS_MAX: usize = 200;
/// How much of an answer an HTTP/1 connection can have unsent. hyper copies what it is given. An
/// HTTP/2 connection gets it in pieces of this size.
const ANSWER_PIECE_BYTES: usize = 16 * 1024;

/// The counters and the state of a connection.
pub(crate) struct ClientConnection {
    /// The number of the connection at its listener.
    pub(crate) number: u64,
    address: IpAddr,
    peer: PeerConnection,
    opened: Instant,
    is_http1: AtomicBool,
    traffic: ConnectionTraffic,
    answers: Mutex<Vec<Weak<OpenRequest>>>,
    closed: Notify,
}

#[derive(Default)]
struct ConnectionTraffic {
    read: AtomicU64,
    written: AtomicU64,
    /// The bytes of answers that hyper was given since it last sent all that it had. Only HTTP/1
    /// connections count them, because HTTP/2 has a bound in hyper.
    unsent: AtomicUsize,
    /// Whether an answer waits until nothing is unsent.
    awaits_flush: AtomicBool,
    /// The bytes of request bodies among the bytes read.
    bodies: AtomicU64,
    requests: AtomicU32,
    /// The number of open requests.
    open_requests: AtomicU32,
    finished: AtomicU32,
    abandoned: AtomicU32,
    /// Milliseconds from the opening of the connection to the end of the last request.
    idle_since: AtomicU64,
    /// Milliseconds from the opening to the start of a head that is still incomplete; 0 if there is
    /// none.
    head_since: AtomicU64,
}

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionTimeouts {
    pub(crate) head: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) unread: Duration,
}

impl ClientConnection {
    /// A new connection from `address`.
    pub(crate) fn new(number: u64, address: IpAddr) -> Self {
        Self {
            number,
            address,
            peer: PeerConnection::default(),
            opened: Instant::now(),
            is_http1: AtomicBool::new(false),
            traffic: ConnectionTraffic::default(),
            answers: Mutex::default(),
            closed: Notify::new(),
        }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.peer.is_authenticated()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.traffic.open_requests.load(Ordering::Relaxed) == 0
    }

    fn is_http1(&self) -> bool {
        self.is_http1.load(Ordering::Relaxed)
    }

    pub(crate) fn set_http1(&self, is_http1: bool) {
        self.is_http1.store(is_http1, Ordering::Relaxed);
    }

    /// Closes the connection, including its open requests.
    pub(crate) fn close(&self) {
        self.closed.notify_one();
    }

    /// Returns once the connection has to be closed.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Milliseconds since the connection was opened, at least 1.
    fn millis_since_opened(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Returns why the connection has to be closed, if it has to.
    pub(crate) fn close_reason(&self, times: &ConnectionTimeouts) -> Option<&'static str> {
        let now = self.millis_since_opened();
        let is_past =
            |since: u64, time: Duration| u128::from(now.saturating_sub(since)) > time.as_millis();
        let traffic = &self.traffic;
        if self.is_idle() {
            let (idle, head) = (
                traffic.idle_since.load(Ordering::Relaxed),
                traffic.head_since.load(Ordering::Relaxed),
            );
            let is_new = traffic.requests.load(Ordering::Relaxed) == 0;
            let keep = if is_new { times.head } else { times.keep_alive };
            if self.is_http1() && head > 0 && is_past(head, times.head) {
                return Some("the headers of a request did not arrive in time");
            }
            return is_past(idle, keep).then_some("it was idle for too long");
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|response| response.strong_count() > 0);
        let unread = answers.iter().filter_map(Weak::upgrade).any(|response| {
            let since = response.handed_over_at.load(Ordering::Relaxed);
            since > 0 && is_past(since, times.unread)
        });
        unread.then_some("the client does not read the response")
    }

    fn count_read_bytes(&self, bytes: usize) -> io::Result<()> {
        let traffic = &self.traffic;
        let bytes = bytes as u64;
        let read = traffic.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.is_idle() && traffic.head_since.load(Ordering::Relaxed) == 0 {
            traffic.head_since.store(self.millis_since_opened(), Ordering::Relaxed);
        }
        let bodies = traffic.bodies.load(Ordering::Relaxed);
        // This quick check is usually enough. Half of the body bytes is added because parts of a
        // body are read before they are counted.
        let overhead = read.saturating_sub(bodies.saturating_add(bodies / 2));
        if overhead <= OVERHEAD_BYTES {
            return Ok(());
        }
        let requests = u64::from(traffic.requests.load(Ordering::Relaxed));
        let allowed = OVERHEAD_BYTES
            + requests.saturating_mul(OVERHEAD_BYTES_PER_REQUEST)
            + traffic.written.load(Ordering::Relaxed) / 2
            + self.millis_since_opened() / 1000 * OVERHEAD_BYTES_PER_SECOND;
        if overhead <= allowed {
            return Ok(());
        }
        Err(io::Error::other("the client sends data that does not become requests"))
    }

    /// Notes that hyper sent all that it had: it flushes only then. The task that flushes a
    /// connection polls its answer too, so waking it lets a waiting answer go on.
    fn mark_flushed(&self, context: &Context<'_>) {
        self.traffic.unsent.store(0, Ordering::Relaxed);
        if self.traffic.awaits_flush.swap(false, Ordering::Relaxed) {
            context.waker().wake_by_ref();
        }
    }

    fn begin_request(self: &Arc<Self>) -> Arc<OpenRequest> {
        let traffic = &self.traffic;
        traffic.requests.fetch_add(1, Ordering::Relaxed);
        traffic.open_requests.fetch_add(1, Ordering::Relaxed);
        traffic.head_since.store(0, Ordering::Relaxed);
        let open_request = Arc::new(OpenRequest {
            connection: Arc::clone(self),
            handed_over_at: AtomicU64::new(0),
            is_finished: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
        });
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|response| response.strong_count() > 0);
        answers.push(Arc::downgrade(&open_request));
        open_request
    }
}

/// An open request.
pub(crate) struct OpenRequest {
    connection: Arc<ClientConnection>,
    /// When the last piece of the answer was given to the connection, until the next one is
    /// requested.
    handed_over_at: AtomicU64,
    is_finished: AtomicBool,
    /// Whether the time for the request's body is over.
    is_late: AtomicBool,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let traffic = &self.connection.traffic;
        traffic.idle_since.store(self.connection.millis_since_opened(), Ordering::Relaxed);
        traffic.open_requests.fetch_sub(1, Ordering::Relaxed);
        if self.is_finished.load(Ordering::Relaxed) {
            traffic.finished.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let abandoned = traffic.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
        let finished = traffic.finished.load(Ordering::Relaxed);
        if abandoned > finished.saturating_add(ABANDONED_REQUESTS_MAX) {
            tracing::debug!("a client canceled {abandoned} requests; the connection is closed");
            self.connection.close();
        }
    }
}

/// A stream that counts the bytes of its connection.
pub(crate) struct CountedStream {
    stream: TcpStream,
    connection: Arc<ClientConnection>,
}

impl CountedStream {
    pub(crate) fn new(stream: TcpStream, connection: Arc<ClientConnection>) -> Self {
        Self { stream, connection }
    }

    fn count_written_bytes(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &result {
            self.connection.traffic.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        Poll::Ready(this.connection.count_read_bytes(buffer.filled().len() - before))
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.count_written_bytes(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.count_written_bytes(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.mark_flushed(context);
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// A request body that counts its bytes and can have a time limit.
pub(crate) struct CountedRequestBody {
    body: Incoming,
    open_request: Arc<OpenRequest>,
    body_timer: Option<Pin<Box<Sleep>>>,
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke, or its bytes are not valid HTTP.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// The time for the body is over.
    #[error("The request body did not arrive in time. Send it again over a faster connection.")]
    Late,
}

impl Body for CountedRequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let is_late = this
            .body_timer
            .as_mut()
            .is_some_and(|body_timer| body_timer.as_mut().poll(context).is_ready());
        if is_late {
            this.open_request.is_late.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let bodies = &this.open_request.connection.traffic.bodies;
            bodies.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A service for one connection that keeps track of its open requests.
pub(crate) struct CountedService<S> {
    service: S,
    connection: Arc<ClientConnection>,
    /// The time for a body, if the service does not set one itself.
    body_time: Option<Duration>,
}

impl<S> CountedService<S> {
    pub(crate) fn new(
        service: S,
        connection: Arc<ClientConnection>,
        body_time: Option<Duration>,
    ) -> Self {
        Self { service, connection, body_time }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for CountedService<S>
where
    S: Service<Request<CountedRequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body,
{
    type Response = Response<CountedResponseBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open_request = self.connection.begin_request();
        let version = request.version();
        let is_too_large =
            head_bytes(&request) > HEAD_BYTES_MAX || request.headers().len() > HEAD_FIELDS_MAX;
        let refusal = if is_too_large {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else {
            has_ambiguous_head(version, request.headers()).then_some(StatusCode::BAD_REQUEST)
        };
        let mut service = self.service.clone();
        let body_timeout = self.body_time.filter(|_| !request.body().is_end_stream());
        let late = body_timeout.map(|time| Box::pin(tokio::time::sleep(time)));
        let mut request = request.map(|body| CountedRequestBody {
            body,
            open_request: Arc::clone(&open_request),
            body_timer: late,
        });
        request.extensions_mut().insert(PeerAddress(self.connection.address));
        request.extensions_mut().insert(self.connection.peer.clone());
        Box::pin(async move {
            if let Some(status) = refusal {
                return Ok(refuse_head(status, open_request, version));
            }
            std::future::poll_fn(|context| service.poll_ready(context)).await?;
            let mut response = service.call(request).await?;
            if open_request.is_late.load(Ordering::Relaxed) {
                *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            }
            Ok(response.map(|body| CountedResponseBody::new(Some(body), open_request)))
        })
    }
}

/// Whether a proxy in front of the relay can read this HTTP/1 head in another way, which would let
/// it take one request for another: two hosts, or another transfer coding than `chunked` (RFC 9112,
/// sections 3.2 and 6.1). hyper itself reads `transfer-encoding` and not `content-length` where both
/// are given, and closes the connection after the answer (section 6.3).
fn has_ambiguous_head(version: Version, headers: &HeaderMap) -> bool {
    let is_chunked =
        |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => is_chunked(coding),
        (Some(_), Some(_)) => false,
    };
    version <= Version::HTTP_11 && (!is_plain || headers.get_all(HOST).iter().nth(1).is_some())
}

/// The answer to a head that is refused. An HTTP/1 connection is closed after it, because the body
/// is not read.
fn refuse_head<B: Body>(
    status: StatusCode,
    open_request: Arc<OpenRequest>,
    version: Version,
) -> Response<CountedResponseBody<B>> {
    let mut response = Response::new(CountedResponseBody::new(None, open_request));
    *response.status_mut() = status;
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The size of a request's head in the form of HTTP/1, with the shortest spacing.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ":\r\n".len());
    line + headers.sum::<usize>()
}

/// The body of an answer, which records whether its client reads.
pub(crate) struct CountedResponseBody<B: Body> {
    body: Option<B>,
    /// The part of the last frame that the connection was not given yet.
    rest: Option<B::Data>,
    open_request: Arc<OpenRequest>,
}

impl<B: Body> CountedResponseBody<B> {
    fn new(body: Option<B>, open_request: Arc<OpenRequest>) -> Self {
        Self { body, rest: None, open_request }
    }
}

impl<B: Body<Data: Unpin> + Unpin> CountedResponseBody<B> {
    /// Whether the connection has to send what it was given before it gets more.
    fn awaits_flush(&self) -> bool {
        let traffic = &self.open_request.connection.traffic;
        let awaits_flush = traffic.unsent.load(Ordering::Relaxed) >= ANSWER_PIECE_BYTES;
        if awaits_flush {
            traffic.awaits_flush.store(true, Ordering::Relaxed);
        }
        awaits_flush
    }

    /// The next piece of the answer: what is left of the last frame, or the next one.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut data = match (self.rest.take(), &mut self.body) {
            (Some(rest), _) => rest,
            (None, Some(body)) => match std::task::ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(frame) => {
                        return Poll::Ready(
                            frame.into_trailers().ok().map(Frame::trailers).map(Ok),
                        );
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
            (None, None) => return Poll::Ready(None),
        };
        let connection = &self.open_request.connection;
        let unsent = connection.traffic.unsent.load(Ordering::Relaxed);
        let room = ANSWER_PIECE_BYTES.saturating_sub(unsent);
        let piece = data.copy_to_bytes(data.remaining().min(room));
        self.rest = Some(data).filter(Buf::has_remaining);
        if connection.is_http1() {
            connection.traffic.unsent.fetch_add(piece.len(), Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<B: Body<Data: Unpin> + Unpin> Body for CountedResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.awaits_flush() {
            return Poll::Pending;
        }
        this.open_request.handed_over_at.store(0, Ordering::Relaxed);
        let frame = std::task::ready!(this.poll_piece(context));
        let open_request = &this.open_request;
        if matches!(frame, Some(Ok(_))) {
            let now = open_request.connection.millis_since_opened();
            open_request.handed_over_at.store(now, Ordering::Relaxed);
        }
        if !matches!(frame, Some(Ok(_))) || this.is_end_stream() {
            open_request.is_finished.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.rest.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream);
        if is_end {
            self.open_request.is_finished.store(true, Ordering::Relaxed);
        }
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, Buf::remaining) as u64;
        let Some(body) = &self.body else { return SizeHint::with_exact(rest) };
        let hint = body.size_hint();
        let mut with_rest = SizeHint::new();
        with_rest.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            with_rest.set_upper(upper.saturating_add(rest));
        }
        with_rest
    }
}

#[cfg(test)]
impl ClientConnection {
    pub(crate) fn authenticate_for_test(&self) {
        self.peer.mark_authenticated();
    }

    pub(crate) fn begin_for_test(self: &Arc<Self>) -> Arc<OpenRequest> {
        self.begin_request()
    }
}

#[cfg(test)]
mod tests;
