//! The answer on its way: bytes pass as they come, and the meter looks at the same bytes.
//!
//! One ending, always told: whatever happens, [`Means::chunks`] settles once, after the last byte
//! and before the end.

use crate::body::{Body, Broken, Consumer};
use crate::forward::Answer;
use crate::settle::Ending;
use crate::watch::Watch;
use crate::{Asked, Means, reply};
use async_stream::stream;
use baton_cloud::upstream;
use baton_domain::record::Outcome;
use baton_wire::error::{Dialect, OwnError, event_frame};
use baton_wire::meter::{Ended, Reading};
use bytes::Bytes;
use futures_util::Stream;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, Sleep, sleep_until};

/// What comes next from the upstream.
enum Next {
    Chunk(Bytes),
    End,
    Broke(&'static str),
    Late,
    Cut,
}

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
        let (mut watch, mut rest) = (held.watch, held.rest);
        stream! {
            let is_stream = watch.is_stream();
            let mut last = Bytes::new();
            let mut pass = |chunk| if is_stream { chunk } else { std::mem::replace(&mut last, chunk) };
            for chunk in held.chunks {
                yield Ok(pass(chunk));
            }
            let idle = self.timers.idle;
            let mut alarm = pin!(sleep_until(deadline.min(Instant::now() + idle)));
            let mut cut = pin!(consumer.cut.cancelled());
            let mut left = consumer.left.load(Ordering::SeqCst);
            let stop = loop {
                let next = next(&mut rest, alarm.as_mut(), cut.as_mut()).await;
                left = left || (consumer.left.load(Ordering::SeqCst) && !watch.is_complete());
                let Next::Chunk(chunk) = next else { break next };
                alarm.as_mut().reset(deadline.min(Instant::now() + idle));
                match watch.observe(chunk) {
                    Ok(chunk) => yield Ok(pass(chunk)),
                    Err(_) => break Next::Broke("the upstream's compression is broken"),
                }
            };
            let can_be_told = watch.can_be_told();
            let (tail, stop) = end(&mut watch, stop);
            yield Ok(if tail.is_empty() { tail } else { pass(tail) });
            let mid_event = watch.is_mid_event();
            let reading = watch.finish(receipt.question.body_bytes);
            let fault = fault(&stop, &reading, is_stream);
            if let Some(error) = fault.as_ref().filter(|_| can_be_told) {
                yield Ok(event_frame(dialect, error, receipt.question.id.as_str(), mid_event));
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

async fn next(
    rest: &mut upstream::Body,
    alarm: Pin<&mut Sleep>,
    cut: Pin<&mut impl Future<Output = ()>>,
) -> Next {
    let frame = tokio::select! {
        biased;
        frame = rest.frame() => frame,
        () = alarm => return Next::Late,
        () = cut => return Next::Cut,
    };
    match frame {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => Next::Chunk(data),
            Err(_trailers) => Next::End,
        },
        Some(Err(_)) => Next::Broke("the upstream's answer broke off"),
        None => Next::End,
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
