//! The answer on its way: bytes pass as they come, and the meter looks at the same bytes.
//!
//! One ending, always told: whatever happens, [`Means::chunks`] settles once, after the last byte
//! and before the end.

use crate::attempt::{CROWDED, Held};
use crate::body::{Body, Broken, Consumer};
use crate::burst::Burst;
use crate::forward::Answer;
use crate::held_bytes::StreamRoom;
use crate::receipt::Receipt;
use crate::settle::Ending;
use crate::source::{Next, Source};
use crate::watch::{Unreadable, Watch};
use crate::{Asked, Means, reply};
use async_stream::stream;
use baton_cloud::upstream;
use baton_domain::record::Outcome;
use baton_wire::error::{Dialect, OwnError};
use baton_wire::meter::{Ended, Reading};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Pieces that are passed on together, at most.
const BURST_MAX: usize = 64;
/// A burst with so many bytes is passed on. A connection keeps a buffer as large as the largest
/// burst that it has written.
const BURST_BYTES_MAX: usize = 64 * 1024;

impl Means {
    /// Turns a held answer into the client's. One that is no stream was read to its end to see that
    /// it is no error: it is settled at once, and then leaves with its head in one write.
    pub(crate) async fn stream(
        self: &Arc<Self>,
        asked: &Asked,
        answer: Answer,
        consumer: Consumer,
        deadline: Instant,
    ) -> Response<Body> {
        let mut head = reply::relayed_head(asked, &answer.held.head);
        if answer.held.watch.decodes() {
            head.headers.remove(CONTENT_ENCODING);
            head.headers.remove(CONTENT_LENGTH);
        }
        let is_stream = answer.held.watch.is_stream();
        let Answer { receipt, held } = answer;
        let Held { chunks, rest, watch, gathered, .. } = held;
        let (gathered, room) =
            if is_stream { (None, Some(gathered)) } else { (Some(gathered), None) };
        let room = StreamRoom::new(&self.gathered, &receipt.question.caller.key().id, room);
        let answer = OnItsWay { receipt, burst: chunks, rest, watch, room };
        let chunks = Arc::clone(self).chunks(answer, asked.dialect, consumer.clone(), deadline);
        if !is_stream {
            return Response::from_parts(
                head,
                Body::gathered(Box::pin(chunks).collect().await, gathered),
            );
        }
        // With a length the connection would drop the body after its last byte, before its end.
        head.headers.remove(CONTENT_LENGTH);
        reply::mark_as_stream(&mut head.headers);
        let leftovers = (self.leftovers.clone(), self.timers.drain);
        Response::from_parts(head, Body::relayed(Box::pin(chunks), consumer, leftovers))
    }

    /// What the client gets, chunk by chunk, and the settling before the end. Of an answer that is no
    /// stream nothing leaves before that: whoever has it whole is counted.
    fn chunks(
        self: Arc<Self>,
        answer: OnItsWay,
        dialect: Dialect,
        consumer: Consumer,
        deadline: Instant,
    ) -> impl Stream<Item = Result<Burst, Broken>> + Send {
        let OnItsWay { receipt, mut burst, rest, mut watch, mut room } = answer;
        let cut = consumer.cut.clone();
        let mut source = Source::new(rest, self.timers.idle, deadline, cut)
            .with_signs_of_life(watch.sign_of_life().is_some());
        let open = self.observer.open_stream();
        stream! {
            let _open = open;
            let is_stream = watch.is_stream();
            let mut stop = make_room(&mut room, &mut watch, &mut burst);
            if let Some(first) = Burst::of(&mut burst) {
                yield Ok(first);
            }
            let mut left = consumer.left.load(Ordering::SeqCst);
            let stop = loop {
                if stop.is_none() {
                    stop = gather(&mut source, &mut watch, &mut burst, &mut room).await;
                }
                if let Some(next) = Burst::of(&mut burst) {
                    yield Ok(next);
                }
                left = left || (consumer.left.load(Ordering::SeqCst) && !watch.is_complete());
                // The client has taken what was there.
                let _covered = is_stream.then(|| room.hold(watch.held_bytes()));
                if let Some(stop) = stop.take() {
                    break stop;
                }
                // An upstream that always has more ready is never waited for.
                if consumer.cut.is_cancelled() {
                    break Next::Cut;
                }
            };
            let stop = match stop {
                Next::Cut if self.stop.is_over.is_cancelled() => Next::Stopped,
                stop => stop,
            };
            let (can_be_told, has_gap) = (watch.can_be_told(), watch.has_gap());
            let (tail, stop) = end(&mut watch, stop);
            yield Ok(tail.into());
            let mid_event = watch.is_mid_event();
            let (reading, mut turn) = watch.finish(receipt.question.body_bytes);
            let was_told = is_stream && !has_gap && turn.was_told(reading.told);
            let fault = fault(&stop, was_told, is_stream);
            if let Some(error) = fault.as_ref().filter(|_| can_be_told) {
                let id = receipt.question.id.as_str();
                yield Ok(turn.fail(dialect, error, id, mid_event).into());
            }
            let outcome = outcome(&stop, &reading, fault.is_some(), left);
            let ending = Ending { outcome, reading: Some(reading) };
            // Boxed: a stream that waits for its next event holds no room for its end.
            Box::pin(self.settle_before_end(receipt, ending)).await;
            if fault.is_some() && !can_be_told {
                yield Err(Broken);
            }
        }
    }
}

/// A good answer while it is passed on.
struct OnItsWay {
    receipt: Receipt,
    /// What the client is to get next.
    burst: Vec<Bytes>,
    rest: upstream::Body,
    watch: Watch,
    room: StreamRoom,
}

/// What a client may have to take at once of a stream that passes without room for it.
const PASSED_BYTES_MAX: usize = 1 << 20;

/// Has the room cover what a stream holds. Where there is none, an event that need not be read passes
/// unread; any other stream ends. Bytes that would fill the memory while the client does not take them
/// are lost then.
fn make_room(room: &mut StreamRoom, watch: &mut Watch, burst: &mut Vec<Bytes>) -> Option<Next> {
    if !watch.is_stream() {
        return None;
    }
    let bytes = burst.iter().map(Bytes::len).sum::<usize>();
    if room.hold(watch.held_bytes() + bytes).is_ok() {
        return None;
    }
    if bytes > PASSED_BYTES_MAX {
        burst.clear();
        watch.note_gap();
    } else if watch.pass_event_unread() {
        return None;
    }
    Some(Next::Broke(CROWDED))
}

/// Waits for the next piece and takes what is there with it, looked at and as the client is to get
/// it. Answers why nothing will follow, once that is known.
async fn gather(
    source: &mut Source,
    watch: &mut Watch,
    burst: &mut Vec<Bytes>,
    room: &mut StreamRoom,
) -> Option<Next> {
    let (mut next, mut bytes) = (source.next().await, 0);
    loop {
        let chunk = match next {
            Next::Chunk(chunk) => chunk,
            Next::Silence => {
                burst.extend(watch.sign_of_life());
                return None;
            }
            Next::End | Next::Broke(_) | Next::Late | Next::Cut | Next::Stopped => {
                return Some(next);
            }
        };
        match watch.observe(chunk) {
            Ok(chunk) => {
                bytes += chunk.len();
                burst.push(chunk);
            }
            Err(Unreadable(why)) => return Some(Next::Broke(why)),
        }
        if let Some(stop) = make_room(room, watch, burst) {
            return Some(stop);
        }
        if burst.len() == BURST_MAX || bytes >= BURST_BYTES_MAX {
            return None;
        }
        next = source.at_hand().await?;
    }
}

/// What was left to be decoded, and how the answer ended after all.
fn end(watch: &mut Watch, stop: Next) -> (Bytes, Next) {
    match (watch.observe_end(), stop) {
        (Ok(tail), stop) => (tail, stop),
        (Err(Unreadable(why)), Next::End) => (Bytes::new(), Next::Broke(why)),
        (Err(_), stop) => (Bytes::new(), stop),
    }
}

/// What is wrong with the answer's end, if the client has not been told already.
fn fault(stop: &Next, was_told: bool, is_stream: bool) -> Option<OwnError> {
    match stop {
        _ if was_told => None,
        Next::Broke(why) => Some(OwnError::api(*why)),
        Next::Stopped => Some(OwnError {
            kind: "overloaded_error",
            message: "the relay is being stopped before the answer was complete; ask again".into(),
        }),
        Next::Late => {
            Some(OwnError::timeout("the upstream went silent or the time for this request is over"))
        }
        Next::End if is_stream => {
            Some(OwnError::api("the upstream's stream ended before the message was complete"))
        }
        Next::End | Next::Cut | Next::Silence | Next::Chunk(_) => None,
    }
}

fn outcome(stop: &Next, reading: &Reading, is_faulty: bool, left: bool) -> Outcome {
    match stop {
        Next::Late if is_faulty => Outcome::Deadline,
        Next::Stopped if is_faulty => Outcome::Stopped,
        Next::Cut => Outcome::ClientDisconnected,
        _ if left => Outcome::ClientDisconnected,
        _ if is_faulty || matches!(reading.ended, Ended::Error(_)) => Outcome::UpstreamError,
        _ => Outcome::Complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_bytes::{HeldBytes, Most};
    use crate::speak::Form;
    use crate::turn::{Events, Turn};
    use baton_domain::id::KeyId;
    use baton_wire::translate::{Client, Options, Speaks, Translation};
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    fn room() -> StreamRoom {
        let held = HeldBytes::new(Most { in_all: 1 << 20, per_key: 1 << 20, least: 0 });
        StreamRoom::new(&held, &KeyId::from_bits(1), None)
    }

    /// What a client hears of an upstream that is silent, and when that is over.
    async fn heard(turn: Turn) -> (Vec<Bytes>, u64) {
        let begun = Instant::now();
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let body = upstream::Body::wrap(StreamBody::new(frames));
        let (idle, cut) = (Duration::from_secs(40), CancellationToken::new());
        let kind = (CONTENT_TYPE, "text/event-stream".parse().unwrap());
        let mut watch = Watch::new(&HeaderMap::from_iter([kind]), false, turn);
        let mut source = Source::new(body, idle, begun + idle, cut)
            .with_signs_of_life(watch.sign_of_life().is_some());
        let (mut burst, mut room) = (Vec::new(), room());
        while gather(&mut source, &mut watch, &mut burst, &mut room).await.is_none() {}
        (burst, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_translated_stream_is_kept_alive_and_another_left_alone() {
        let translation = Translation::between(Client::Messages, Speaks::Chat).unwrap();
        let body = br#"{"model":"m","max_tokens":9,"messages":[]}"#;
        let asked = translation.request(body, &Options::new("m", "req_1")).unwrap().asked;
        let comment = Bytes::from_static(b": keep-alive\n\n");
        let turn = Turn::Events(Box::new(Events::new(asked.stream(), Form::Plain)));
        assert_eq!(heard(turn).await, (vec![comment.clone(), comment], 40));
        assert_eq!(heard(Turn::Same).await, (Vec::new(), 40));
    }

    const EVENT: &[u8] = b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
        \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"word\"}}\n\n";

    /// Allocations while so many events are forwarded and metered.
    fn allocations(events: usize) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        let forward = async {
            let piece = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(EVENT)));
            let pieces = futures_util::stream::iter((0..events).map(move |_| piece()));
            let body = upstream::Body::wrap(StreamBody::new(pieces));
            let idle = Duration::from_secs(10);
            let end = Instant::now() + idle;
            let mut source = Source::new(body, idle, end, CancellationToken::new());
            let (mut watch, mut burst) = (Watch::new(&headers, false, Turn::Same), Vec::new());
            let (mut forwarded, mut room) = (0, room());
            let mut stop = None;
            while stop.is_none() {
                stop = gather(&mut source, &mut watch, &mut burst, &mut room).await;
                for chunk in burst.drain(..) {
                    assert_eq!(chunk.as_ptr(), EVENT.as_ptr(), "the same bytes, not a copy");
                    forwarded += 1;
                }
            }
            assert_eq!(forwarded, events);
        };
        allocation_counter::measure(|| runtime.block_on(forward)).count_total
    }

    #[tokio::test]
    async fn what_arrives_together_is_passed_on_before_it_is_large() {
        const PIECE: &[u8] = &[b'x'; 10_000];
        let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
        let body =
            upstream::Body::wrap(StreamBody::new(futures_util::stream::iter((0..100).map(piece))));
        let end = Instant::now() + Duration::from_secs(10);
        let mut source = Source::new(body, Duration::from_secs(10), end, CancellationToken::new());
        let (mut watch, mut sizes) = (Watch::new(&HeaderMap::new(), false, Turn::Same), Vec::new());
        let (mut stop, mut room) = (None, room());
        while stop.is_none() {
            let mut burst = Vec::new();
            stop = gather(&mut source, &mut watch, &mut burst, &mut room).await;
            sizes.push(burst.iter().map(Bytes::len).sum::<usize>());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 100 * PIECE.len());
        assert_eq!(sizes.iter().max(), Some(&(7 * PIECE.len())), "{sizes:?}");
    }

    #[test]
    fn an_event_is_forwarded_without_an_allocation_or_a_copy() {
        assert_eq!(allocations(10_100), allocations(100));
    }
}
