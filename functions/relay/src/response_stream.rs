//! Passes an answer to the client as it arrives, and to the usage meter at the same time.
//!
//! Whatever happens to the answer, [`RelayState::relay_chunks`] settles it exactly once, after the
//! last byte and before the end of the body.

use crate::attempt::{BufferedResponse, CROWDED};
use crate::body::{ClientPresence, RelayBody, ResponseAborted};
use crate::chunk_list::ChunkList;
use crate::forward::UpstreamResponse;
use crate::memory_budget::StreamRoom;
use crate::metered_body::{MeteredBody, UndecodableResponse};
use crate::pending_usage::PendingUsage;
use crate::response_source::{ResponseSource, SourceEvent};
use crate::settle::RequestEnd;
use crate::{RelayState, RequestContext, client_response};
use async_stream::stream;
use baton_domain::record::RequestOutcome;
use baton_protocol::error::{ApiFamily, ErrorBody};
use baton_protocol::meter::{AnswerEnd, MeterReading};
use baton_runtime::upstream;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// The most chunks that are sent together.
const BURST_MAX: usize = 64;
/// The bytes from which chunks are sent without waiting for more. A connection keeps a buffer as
/// large as the largest write that it has made, so larger writes would cost memory.
const BURST_BYTES_MAX: usize = 64 * 1024;

impl RelayState {
    /// Builds the client's answer from a buffered one. An answer that is not a stream is read to
    /// its end and settled first, and then sent with its head in one write.
    pub(crate) async fn build_client_response(
        self: &Arc<Self>,
        asked: &RequestContext,
        answer: UpstreamResponse,
        consumer: ClientPresence,
        deadline: Instant,
    ) -> Response<RelayBody> {
        let mut head = client_response::relayed_head(asked, &answer.held.head);
        if answer.held.watch.decodes_for_client() {
            head.headers.remove(CONTENT_ENCODING);
            head.headers.remove(CONTENT_LENGTH);
        }
        let is_stream = answer.held.watch.is_stream();
        let UpstreamResponse { receipt, held } = answer;
        let BufferedResponse { chunks, rest, watch, gathered, .. } = held;
        let (gathered, room) =
            if is_stream { (None, Some(gathered)) } else { (Some(gathered), None) };
        let room = StreamRoom::new(&self.gathered, &receipt.question.caller.key().id, room);
        let answer = OnItsWay { receipt, burst: chunks, rest, watch, room };
        let chunks =
            Arc::clone(self).relay_chunks(answer, asked.dialect, consumer.clone(), deadline);
        if !is_stream {
            return Response::from_parts(
                head,
                RelayBody::from_chunks(Box::pin(chunks).collect().await, gathered),
            );
        }
        // If a length were set, the connection would drop the body after its last byte, before the
        // body has been settled.
        head.headers.remove(CONTENT_LENGTH);
        client_response::set_stream_headers(&mut head.headers);
        let leftovers = (self.leftovers.clone(), self.timers.drain);
        Response::from_parts(head, RelayBody::from_stream(Box::pin(chunks), consumer, leftovers))
    }

    /// Returns the chunks for the client, and settles before their end. An answer that is not a
    /// stream is settled before the client gets any of it, because a client that has all bytes must
    /// have been counted.
    fn relay_chunks(
        self: Arc<Self>,
        answer: OnItsWay,
        dialect: ApiFamily,
        consumer: ClientPresence,
        deadline: Instant,
    ) -> impl Stream<Item = Result<ChunkList, ResponseAborted>> + Send {
        let OnItsWay { receipt, mut burst, rest, mut watch, mut room } = answer;
        let cut = consumer.cut.clone();
        let mut source = ResponseSource::new(rest, self.timers.idle, deadline, cut)
            .with_keep_alives(watch.keep_alive_bytes().is_some());
        let open = self.observer.open_stream();
        stream! {
            let _open = open;
            let is_stream = watch.is_stream();
            let mut stop = make_room(&mut room, &mut watch, &mut burst);
            if let Some(first) = ChunkList::take_from(&mut burst) {
                yield Ok(first);
            }
            let mut left = consumer.left.load(Ordering::SeqCst);
            let stop = loop {
                if stop.is_none() {
                    stop = read_chunks(&mut source, &mut watch, &mut burst, &mut room).await;
                }
                if let Some(next) = ChunkList::take_from(&mut burst) {
                    yield Ok(next);
                }
                left = left || (consumer.left.load(Ordering::SeqCst) && !watch.is_complete());
                // The client has taken these chunks.
                let _covered = is_stream.then(|| room.hold(watch.held_bytes()));
                if let Some(stop) = stop.take() {
                    break stop;
                }
                // The cut never interrupts an upstream that always has more ready, so it is checked
                // here too.
                if consumer.cut.is_cancelled() {
                    break SourceEvent::Aborted;
                }
            };
            let stop = match stop {
                SourceEvent::Aborted if self.stop.is_over.is_cancelled() => SourceEvent::ShuttingDown,
                stop => stop,
            };
            let (can_be_told, has_gap) = (watch.can_append_event(), watch.has_gap());
            let (tail, stop) = finish_decoding(&mut watch, stop);
            yield Ok(tail.into());
            let mid_event = watch.is_mid_event();
            let (reading, mut turn) = watch.finish(receipt.question.body_bytes);
            let was_told = is_stream && !has_gap && turn.has_told_end(reading.told);
            let fault = error_at_end(&stop, was_told, is_stream);
            if let Some(error) = fault.as_ref().filter(|_| can_be_told) {
                let id = receipt.question.id.as_str();
                yield Ok(turn.write_error(dialect, error, id, mid_event).into());
            }
            let outcome = decide_outcome(&stop, &reading, fault.is_some(), left);
            let ending = RequestEnd { outcome, reading: Some(reading) };
            // Boxed, so that a waiting stream does not hold memory for its end.
            Box::pin(self.settle_before_end(receipt, ending)).await;
            if fault.is_some() && !can_be_told {
                yield Err(ResponseAborted);
            }
        }
    }
}

/// A successful answer that is being passed on.
struct OnItsWay {
    receipt: PendingUsage,
    /// The bytes that the client gets next.
    burst: Vec<Bytes>,
    rest: upstream::UpstreamBody,
    watch: MeteredBody,
    room: StreamRoom,
}

/// The most bytes at a time that pass to the client without memory from the budget.
const PASSED_BYTES_MAX: usize = 1 << 20;

/// Sets the memory of the stream to what it holds. If no memory is left, an event that need not be
/// read passes unread, and any other stream ends. If more than [`PASSED_BYTES_MAX`] bytes wait for
/// the client, they are dropped and the stream ends too.
fn make_room(
    room: &mut StreamRoom,
    watch: &mut MeteredBody,
    burst: &mut Vec<Bytes>,
) -> Option<SourceEvent> {
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
    Some(SourceEvent::ConnectionLost(CROWDED))
}

/// Waits for the next chunk and adds it to `burst` together with those that are already there, in
/// the form for the client. Returns why the answer ends, once that is known.
async fn read_chunks(
    source: &mut ResponseSource,
    watch: &mut MeteredBody,
    burst: &mut Vec<Bytes>,
    room: &mut StreamRoom,
) -> Option<SourceEvent> {
    let (mut next, mut bytes) = (source.next().await, 0);
    loop {
        let chunk = match next {
            SourceEvent::Chunk(chunk) => chunk,
            SourceEvent::KeepAliveDue => {
                burst.extend(watch.keep_alive_bytes());
                return None;
            }
            SourceEvent::End
            | SourceEvent::ConnectionLost(_)
            | SourceEvent::TimedOut
            | SourceEvent::Aborted
            | SourceEvent::ShuttingDown => {
                return Some(next);
            }
        };
        match watch.observe(chunk) {
            Ok(chunk) => {
                bytes += chunk.len();
                burst.push(chunk);
            }
            Err(UndecodableResponse(why)) => return Some(SourceEvent::ConnectionLost(why)),
        }
        if let Some(stop) = make_room(room, watch, burst) {
            return Some(stop);
        }
        if burst.len() == BURST_MAX || bytes >= BURST_BYTES_MAX {
            return None;
        }
        next = source.try_next().await?;
    }
}

/// Decodes the rest of the answer. Returns it with the final reason for the end.
fn finish_decoding(watch: &mut MeteredBody, stop: SourceEvent) -> (Bytes, SourceEvent) {
    match (watch.observe_end(), stop) {
        (Ok(tail), stop) => (tail, stop),
        (Err(UndecodableResponse(why)), SourceEvent::End) => {
            (Bytes::new(), SourceEvent::ConnectionLost(why))
        }
        (Err(_), stop) => (Bytes::new(), stop),
    }
}

/// Returns the error that the client gets at the end of the answer, unless it has already received
/// an end.
fn error_at_end(stop: &SourceEvent, was_told: bool, is_stream: bool) -> Option<ErrorBody> {
    match stop {
        _ if was_told => None,
        SourceEvent::ConnectionLost(why) => Some(ErrorBody::api_error(*why)),
        SourceEvent::ShuttingDown => Some(ErrorBody {
            kind: "overloaded_error",
            message: "The relay shut down before the answer was complete. Send the request again."
                .into(),
        }),
        SourceEvent::TimedOut => Some(ErrorBody::timeout_error(
            "The upstream sent nothing for too long, or the time limit of the request has passed. \
             Send the request again.",
        )),
        SourceEvent::End if is_stream => Some(ErrorBody::api_error(
            "The upstream's stream ended before the message was complete. Send the request again.",
        )),
        SourceEvent::End
        | SourceEvent::Aborted
        | SourceEvent::KeepAliveDue
        | SourceEvent::Chunk(_) => None,
    }
}

fn decide_outcome(
    stop: &SourceEvent,
    reading: &MeterReading,
    is_faulty: bool,
    left: bool,
) -> RequestOutcome {
    match stop {
        SourceEvent::TimedOut if is_faulty => RequestOutcome::Deadline,
        SourceEvent::ShuttingDown if is_faulty => RequestOutcome::Stopped,
        SourceEvent::Aborted => RequestOutcome::ClientDisconnected,
        _ if left => RequestOutcome::ClientDisconnected,
        _ if is_faulty || matches!(reading.ended, AnswerEnd::Error(_)) => {
            RequestOutcome::UpstreamError
        }
        _ => RequestOutcome::Complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body_transform::{BodyTransform, TranslatedEvents};
    use crate::memory_budget::{MemoryBudget, MemoryLimits};
    use crate::request_conversion::BedrockFraming;
    use baton_domain::id::KeyId;
    use baton_protocol::translate::{
        ClientApi, ProtocolPair, TranslationOptions, UpstreamProtocol,
    };
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    fn room() -> StreamRoom {
        let held = MemoryBudget::new(MemoryLimits { in_all: 1 << 20, per_key: 1 << 20, least: 0 });
        StreamRoom::new(&held, &KeyId::from_bits(1), None)
    }

    /// Returns what a client gets from a silent upstream, and the seconds until that ends.
    async fn heard(turn: BodyTransform) -> (Vec<Bytes>, u64) {
        let begun = Instant::now();
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let body = upstream::UpstreamBody::wrap(StreamBody::new(frames));
        let (idle, cut) = (Duration::from_secs(40), CancellationToken::new());
        let kind = (CONTENT_TYPE, "text/event-stream".parse().unwrap());
        let mut watch = MeteredBody::new(&HeaderMap::from_iter([kind]), false, turn);
        let mut source = ResponseSource::new(body, idle, begun + idle, cut)
            .with_keep_alives(watch.keep_alive_bytes().is_some());
        let (mut burst, mut room) = (Vec::new(), room());
        while read_chunks(&mut source, &mut watch, &mut burst, &mut room).await.is_none() {}
        (burst, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn only_translated_streams_get_keep_alives() {
        let translation =
            ProtocolPair::between(ClientApi::Messages, UpstreamProtocol::Chat).unwrap();
        let body = br#"{"model":"m","max_tokens":9,"messages":[]}"#;
        let asked = translation
            .translate_request(body, &TranslationOptions::new("m", "req_1"))
            .unwrap()
            .asked;
        let comment = Bytes::from_static(b": keep-alive\n\n");
        let turn = BodyTransform::TranslateEvents(Box::new(TranslatedEvents::new(
            asked.stream_translator(),
            BedrockFraming::Plain,
        )));
        assert_eq!(heard(turn).await, (vec![comment.clone(), comment], 40));
        assert_eq!(heard(BodyTransform::PassThrough).await, (Vec::new(), 40));
    }

    const EVENT: &[u8] = b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
        \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"word\"}}\n\n";

    /// Returns the number of allocations while `events` events are forwarded and metered.
    fn allocations(events: usize) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        let forward = async {
            let piece = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(EVENT)));
            let pieces = futures_util::stream::iter((0..events).map(move |_| piece()));
            let body = upstream::UpstreamBody::wrap(StreamBody::new(pieces));
            let idle = Duration::from_secs(10);
            let end = Instant::now() + idle;
            let mut source = ResponseSource::new(body, idle, end, CancellationToken::new());
            let (mut watch, mut burst) =
                (MeteredBody::new(&headers, false, BodyTransform::PassThrough), Vec::new());
            let (mut forwarded, mut room) = (0, room());
            let mut stop = None;
            while stop.is_none() {
                stop = read_chunks(&mut source, &mut watch, &mut burst, &mut room).await;
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
    async fn chunk_list_is_forwarded_before_it_grows_large() {
        const PIECE: &[u8] = &[b'x'; 10_000];
        let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
        let body = upstream::UpstreamBody::wrap(StreamBody::new(futures_util::stream::iter(
            (0..100).map(piece),
        )));
        let end = Instant::now() + Duration::from_secs(10);
        let mut source =
            ResponseSource::new(body, Duration::from_secs(10), end, CancellationToken::new());
        let (mut watch, mut sizes) =
            (MeteredBody::new(&HeaderMap::new(), false, BodyTransform::PassThrough), Vec::new());
        let (mut stop, mut room) = (None, room());
        while stop.is_none() {
            let mut burst = Vec::new();
            stop = read_chunks(&mut source, &mut watch, &mut burst, &mut room).await;
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
