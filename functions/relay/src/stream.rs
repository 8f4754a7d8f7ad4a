//! The answer on its way: bytes pass as they come, and the meter looks at the same bytes.
//!
//! One ending, always told: whatever happens, [`Means::chunks`] settles once, after the last byte
//! and before the end.

use crate::body::{Body, Broken, Consumer};
use crate::forward::Answer;
use crate::settle::Ending;
use crate::{Asked, Means, reply};
use async_stream::stream;
use baton_cloud::upstream;
use baton_domain::record::Outcome;
use baton_wire::encoding::{BadEncoding, Gunzip};
use baton_wire::error::{Dialect, OwnError, event_frame};
use baton_wire::meter::{Ended, First, Meter, Reading};
use bytes::Bytes;
use futures_util::Stream;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, Sleep, sleep_until};

/// Looks at an answer's bytes, decoding for itself (or for the client) where they are compressed.
pub(crate) struct Watch {
    meter: Meter,
    is_stream: bool,
    gunzip: Option<Gunzip>,
    /// The client cannot decode: it gets what we decoded.
    decodes_for_client: bool,
}

impl Watch {
    pub(crate) fn new(headers: &HeaderMap, client_accepts_gzip: bool) -> Self {
        let is = |name, text: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(text))
        };
        let stream = is(CONTENT_TYPE, "text/event-stream");
        let gzip = is(CONTENT_ENCODING, "gzip");
        Self {
            meter: if stream { Meter::stream() } else { Meter::whole() },
            is_stream: stream,
            gunzip: gzip.then(Gunzip::new),
            decodes_for_client: gzip && !client_accepts_gzip,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Whether the client gets other bytes than the upstream sent.
    pub(crate) fn decodes(&self) -> bool {
        self.decodes_for_client
    }

    /// Whether the answer can no longer begin with an error.
    pub(crate) fn begins_well(&self) -> bool {
        self.meter.begins_well()
    }

    /// What the first event was, once there is one.
    pub(crate) fn first(&self) -> &First {
        self.meter.first()
    }

    /// Takes a chunk from the upstream and returns what the client is to get for it.
    pub(crate) fn observe(&mut self, chunk: Bytes) -> Result<Bytes, BadEncoding> {
        let Some(gunzip) = &mut self.gunzip else {
            self.meter.observe(&chunk);
            return Ok(chunk);
        };
        let plain = gunzip.push(&chunk)?;
        self.meter.observe(&plain);
        Ok(if self.decodes_for_client { plain } else { chunk })
    }

    /// Takes the end of the answer: what is left to be decoded, and how it ended after all.
    fn end(&mut self, stop: Next) -> (Bytes, Next) {
        let Some(gunzip) = self.gunzip.take() else { return (Bytes::new(), stop) };
        match gunzip.finish() {
            Ok(plain) => {
                self.meter.observe(&plain);
                (if self.decodes_for_client { plain } else { Bytes::new() }, stop)
            }
            Err(_) if matches!(stop, Next::End) => {
                (Bytes::new(), Next::Broke("the upstream's compression broke off"))
            }
            Err(_) => (Bytes::new(), stop),
        }
    }

    /// Whether an event of ours can be added: not into a compressed stream.
    fn can_be_told(&self) -> bool {
        self.is_stream && (self.gunzip.is_none() || self.decodes_for_client)
    }
}

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
            let is_stream = watch.is_stream;
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
                left = left || (consumer.left.load(Ordering::SeqCst) && !watch.meter.is_complete());
                let Next::Chunk(chunk) = next else { break next };
                alarm.as_mut().reset(deadline.min(Instant::now() + idle));
                match watch.observe(chunk) {
                    Ok(chunk) => yield Ok(pass(chunk)),
                    Err(_) => break Next::Broke("the upstream's compression is broken"),
                }
            };
            let can_be_told = watch.can_be_told();
            let (tail, stop) = watch.end(stop);
            yield Ok(if tail.is_empty() { tail } else { pass(tail) });
            let mid_event = watch.meter.is_mid_event();
            let reading = watch.meter.finish(receipt.question.body_bytes);
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
