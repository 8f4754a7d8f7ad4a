//! Tests of the pieces in which an answer is given to its connection.

use super::*;
use axum::body::Body as AnswerBody;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

#[derive(Default)]
struct WakeCount(AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer(
    bytes: usize,
    is_http1: bool,
) -> (Arc<ClientConnection>, CountedResponseBody<AnswerBody>) {
    let connection = Arc::new(ClientConnection::new(1, Ipv4Addr::LOCALHOST.into()));
    connection.set_http1(is_http1);
    let body = AnswerBody::from(vec![b'x'; bytes]);
    let answer = CountedResponseBody::new(Some(body), connection.begin_for_test());
    (connection, answer)
}

/// Polls the answer once. Returns the length of the piece, or 0 at the end.
fn poll(answer: &mut CountedResponseBody<AnswerBody>, context: &mut Context<'_>) -> Poll<usize> {
    let frame = Pin::new(answer).poll_frame(context);
    frame.map(|frame| frame.map_or(0, |frame| frame.unwrap().into_data().unwrap().len()))
}

#[test]
fn http1_connection_gets_the_next_piece_after_it_sent_the_last_one() {
    let wake_count = Arc::new(WakeCount::default());
    let waker = Waker::from(Arc::clone(&wake_count));
    let mut context = Context::from_waker(&waker);
    let length = 2 * ANSWER_PIECE_BYTES + 7;
    let (connection, mut answer) = answer(length, true);
    assert_eq!(answer.size_hint().exact(), Some(length as u64));
    for (index, piece) in [ANSWER_PIECE_BYTES, ANSWER_PIECE_BYTES, 7].into_iter().enumerate() {
        assert!(!answer.is_end_stream());
        assert_eq!(poll(&mut answer, &mut context), Poll::Ready(piece));
        if piece == ANSWER_PIECE_BYTES {
            assert_eq!(poll(&mut answer, &mut context), Poll::Pending);
            assert_eq!(wake_count.0.load(Ordering::Relaxed), index);
            connection.mark_flushed(&context);
            assert_eq!(wake_count.0.load(Ordering::Relaxed), index + 1, "the answer goes on");
        }
    }
    assert!(answer.is_end_stream());
    assert_eq!(poll(&mut answer, &mut context), Poll::Ready(0));
    connection.mark_flushed(&context);
    assert_eq!(wake_count.0.load(Ordering::Relaxed), 2, "nothing waits");
}

/// HTTP/2 has a bound in hyper, and its answers do not wait for one another.
#[test]
fn http2_connection_gets_all_pieces() {
    let mut context = Context::from_waker(Waker::noop());
    let (_connection, mut answer) = answer(3 * ANSWER_PIECE_BYTES, false);
    for _ in 0..3 {
        assert_eq!(poll(&mut answer, &mut context), Poll::Ready(ANSWER_PIECE_BYTES));
    }
    assert_eq!(poll(&mut answer, &mut context), Poll::Ready(0));
}

/// The time for reading is not prolonged by asking for a piece that has to wait.
#[tokio::test(start_paused = true)]
async fn answer_that_waits_for_its_connection_counts_as_unread() {
    let mut context = Context::from_waker(Waker::noop());
    let (connection, mut answer) = answer(2 * ANSWER_PIECE_BYTES, true);
    let second = Duration::from_secs(1);
    let timeouts = ConnectionTimeouts { head: second, keep_alive: second, unread: second };
    assert_eq!(poll(&mut answer, &mut context), Poll::Ready(ANSWER_PIECE_BYTES));
    tokio::time::advance(2 * second).await;
    assert_eq!(poll(&mut answer, &mut context), Poll::Pending);
    assert!(connection.close_reason(&timeouts).is_some());
    connection.mark_flushed(&context);
    assert_eq!(poll(&mut answer, &mut context), Poll::Ready(ANSWER_PIECE_BYTES));
    assert_eq!(connection.close_reason(&timeouts), None);
}
