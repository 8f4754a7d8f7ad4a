//! The answer on its way: bytes pass as they come, and the meter looks at the same bytes.
//!
//! One ending, always told: whatever happens, [`Means::chunks`] settles once, after the last byte
//! and before the end.

use crate::body::{Body, Broken, Consumer};
use crate::forward::Answer;
use crate::settle::Ending;
use crate::source::{Next, Source};
use crate::watch::Watch;
use crate::{Asked, Means, reply};
use async_stream::stream;
use baton_domain::record::Outcome;
use baton_wire::error::{Dialect, OwnError, event_frame};
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
        let chunks = Arc::clone(self).chunks(answer, asked.dialect, consumer.clone(), deadline);
        if !is_stream {
            return Response::from_parts(head, Body::gathered(Box::pin(chunks).collect().await));
        }
        reply::mark_as_stream(&mut head.headers);
        let leftovers = (self.leftovers.clone(), self.timers.drain);
        Response::from_parts(head, Body::relayed(Box::pin(chunks), consumer, leftovers))
    }

    /// What the client gets, chunk by chunk, and the settling before the end. Of an answer that is no
    /// stream nothing leaves before that: whoever has it whole is counted.
    fn chunks(
        self: Arc<Self>,
        answer: Answer,
        dialect: Dialect,
        consumer: Consumer,
        deadline: Instant,
    ) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
        let Answer { receipt, held } = answer;
        let mut watch = held.watch;
        let mut source = Source::new(held.rest, self.timers.idle, deadline, consumer.cut.clone());
        stream! {
            let is_stream = watch.is_stream();
            for chunk in held.chunks {
                yield Ok(chunk);
            }
            let mut left = consumer.left.load(Ordering::SeqCst);
            let mut burst = Vec::new();
            let stop = loop {
                let stop = gather(&mut source, &mut watch, &mut burst).await;
                for chunk in burst.drain(..) {
                    yield Ok(chunk);
                }
                left = left || (consumer.left.load(Ordering::SeqCst) && !watch.is_complete());
                if let Some(stop) = stop {
                    break stop;
                }
            };
            let can_be_told = watch.can_be_told();
            let (tail, stop) = end(&mut watch, stop);
            yield Ok(tail);
            let mid_event = watch.is_mid_event();
            let reading = watch.finish(receipt.question.body_bytes);
            let fault = fault(&stop, &reading, is_stream);
            if let Some(error) = fault.as_ref().filter(|_| can_be_told) {
                yield Ok(event_frame(dialect, error, receipt.question.id.as_str(), mid_event));
            }
            let outcome = outcome(&stop, &reading, fault.is_some(), left);
            self.settle(&receipt, &Ending { outcome, reading: Some(reading) }).await;
            if fault.is_some() && !can_be_told {
                yield Err(Broken);
            }
        }
    }
}

/// Waits for the next piece and takes what is there with it, looked at and as the client is to get
/// it. Answers why nothing will follow, once that is known.
async fn gather(source: &mut Source, watch: &mut Watch, burst: &mut Vec<Bytes>) -> Option<Next> {
    let mut next = source.next().await;
    loop {
        let Next::Chunk(chunk) = next else { return Some(next) };
        match watch.observe(chunk) {
            Ok(chunk) => burst.push(chunk),
            Err(_) => return Some(Next::Broke("the upstream's compression is broken")),
        }
        if burst.len() == BURST_MAX {
            return None;
        }
        next = source.at_hand().await?;
    }
}

/// What was left to be decoded, and how the answer ended after all.
fn end(watch: &mut Watch, stop: Next) -> (Bytes, Next) {
    match (watch.observe_end(), stop) {
        (Ok(tail), stop) => (tail, stop),
        (Err(_), Next::End) => (Bytes::new(), Next::Broke("the upstream's compression broke off")),
        (Err(_), stop) => (Bytes::new(), stop),
    }
}

/// What is wrong with the answer's end, if the client has not been told already.
fn fault(stop: &Next, reading: &Reading, is_stream: bool) -> Option<OwnError> {
    match stop {
        _ if is_stream && reading.told => None,
        Next::Broke(why) => Some(OwnError::api(*why)),
        Next::Late => {
            Some(OwnError::timeout("the upstream went silent or the time for this request is over"))
        }
        Next::End if is_stream => {
            Some(OwnError::api("the upstream's stream ended before the message was complete"))
        }
        Next::End | Next::Cut | Next::Chunk(_) => None,
    }
}

fn outcome(stop: &Next, reading: &Reading, is_faulty: bool, left: bool) -> Outcome {
    match stop {
        Next::Late if is_faulty => Outcome::Deadline,
        Next::Cut => Outcome::ClientDisconnected,
        _ if left => Outcome::ClientDisconnected,
        _ if is_faulty || matches!(reading.ended, Ended::Error(_)) => Outcome::UpstreamError,
        _ => Outcome::Complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_cloud::upstream;
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

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
            let (mut watch, mut burst) = (Watch::new(&headers, false), Vec::new());
            let mut forwarded = 0;
            let mut stop = None;
            while stop.is_none() {
                stop = gather(&mut source, &mut watch, &mut burst).await;
                for chunk in burst.drain(..) {
                    assert_eq!(chunk.as_ptr(), EVENT.as_ptr(), "the same bytes, not a copy");
                    forwarded += 1;
                }
            }
            assert_eq!(forwarded, events);
        };
        allocation_counter::measure(|| runtime.block_on(forward)).count_total
    }

    #[test]
    fn an_event_is_forwarded_without_an_allocation_or_a_copy() {
        assert_eq!(allocations(10_100), allocations(100));
    }
}
