//! The answer on its way: bytes pass as they come, and the meter looks at the same bytes.
//!
//! One ending, always told: whatever happens, [`Means::chunks`] settles once, after the last byte
//! and before the end.

use crate::body::{Body, Broken, Consumer};
use crate::forward::Answer;
use crate::settle::Ending;
use crate::source::{Next, Source};
use crate::speak::own_event;
use crate::watch::{Unreadable, Watch};
use crate::{Asked, Means, reply};
use async_stream::stream;
use baton_domain::record::Outcome;
use baton_wire::bedrock::PING;
use baton_wire::error::{Dialect, OwnError, event_frame};
use baton_wire::meter::{Ended, Reading};
use bytes::Bytes;
use futures_util::Stream;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Pieces that are passed on together, at most.
const BURST_MAX: usize = 64;

impl Means {
    /// Turns a held answer into the client's.
    pub(crate) fn stream(
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
        if answer.held.watch.is_stream() {
            reply::mark_as_stream(&mut head.headers);
        }
        let chunks = Arc::clone(self).chunks(answer, asked.dialect, consumer.clone(), deadline);
        let leftovers = (self.leftovers.clone(), self.timers.drain);
        Response::from_parts(head, Body::relayed(Box::pin(chunks), consumer, leftovers))
    }

    /// What the client gets, chunk by chunk, and the settling before the end. An answer that is no
    /// stream has its last chunk held until it is settled: whoever has it whole is counted.
    fn chunks(
        self: Arc<Self>,
        answer: Answer,
        dialect: Dialect,
        consumer: Consumer,
        deadline: Instant,
    ) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
        let Answer { receipt, held } = answer;
        let mut watch = held.watch;
        let cut = consumer.cut.clone();
        let mut source = Source::new(held.rest, self.timers.idle, deadline, cut)
            .with_signs_of_life(watch.is_silent());
        let open = self.observer.open_stream();
        stream! {
            let _open = open;
            let is_stream = watch.is_stream();
            let mut last = Bytes::new();
            let mut pass = |chunk| if is_stream { chunk } else { std::mem::replace(&mut last, chunk) };
            for chunk in held.chunks {
                yield Ok(pass(chunk));
            }
            let mut left = consumer.left.load(Ordering::SeqCst);
            let mut burst = Vec::new();
            let stop = loop {
                let stop = gather(&mut source, &mut watch, &mut burst).await;
                for chunk in burst.drain(..) {
                    yield Ok(pass(chunk));
                }
                left = left || (consumer.left.load(Ordering::SeqCst) && !watch.is_complete());
                if let Some(stop) = stop {
                    break stop;
                }
            };
            let can_be_told = watch.can_be_told();
            let (tail, stop) = end(&mut watch, stop);
            yield Ok(if tail.is_empty() { tail } else { pass(tail) });
            let (mid_event, is_framed) = (watch.is_mid_event(), watch.is_framed());
            let reading = watch.finish(receipt.question.body_bytes);
            let fault = fault(&stop, &reading, is_stream);
            if let Some(error) = fault.as_ref().filter(|_| can_be_told) {
                let id = receipt.question.id.as_str();
                yield Ok(own_event(event_frame(dialect, error, id, mid_event), is_framed));
            }
            let outcome = outcome(&stop, &reading, fault.is_some(), left);
            self.settle(&receipt, &Ending { outcome, reading: Some(reading) }).await;
            yield Ok(last);
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
        let chunk = match next {
            Next::Chunk(chunk) => chunk,
            Next::Silence => {
                burst.push(Bytes::from_static(PING));
                return None;
            }
            Next::End | Next::Broke(_) | Next::Late | Next::Cut => return Some(next),
        };
        match watch.observe(chunk) {
            Ok(chunk) => burst.push(chunk),
            Err(Unreadable(why)) => return Some(Next::Broke(why)),
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
        (Err(Unreadable(why)), Next::End) => (Bytes::new(), Next::Broke(why)),
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
        Next::End | Next::Cut | Next::Silence | Next::Chunk(_) => None,
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
