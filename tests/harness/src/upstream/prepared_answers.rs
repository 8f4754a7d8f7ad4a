//! Answers that are built once and then only written, for benchmarks: an upstream that builds JSON
//! for each request would measure itself.
//!
//! This covers only plain texts that the request itself names, and only if nothing is recorded.
//! Their usage is that of the first such request, and they are not entered in the ledger.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memchr::memmem;

use super::reply::{Body, Reply, ReplyStep};
use super::wire::{self, Connection};
use super::{RecordedRequest, Scenario};

/// The text of an event that contains the time of its writing; the zeros become microseconds.
pub(super) const STAMP: &str = "at0000000000000000";
const STAMP_DIGITS: usize = 16;
/// The part at the beginning and at the end of a request in which its scenario is searched.
const NEAR_BYTES: usize = 2048;

/// The answers that were requested so far, by scenario and by streaming.
#[derive(Default)]
pub(super) struct PreparedAnswers(Mutex<HashMap<PreparedKey, Option<Arc<PreparedAnswer>>>>);

type PreparedKey = (Vec<u8>, bool);

/// An answer as bytes.
pub(super) struct PreparedAnswer {
    writes: Vec<TimedWrite>,
    pace: Duration,
}

struct TimedWrite {
    bytes: Vec<u8>,
    /// The position of the digits of its time stamp.
    stamp: Option<usize>,
}

impl PreparedAnswers {
    /// The answer to `request`. `make` builds it the first time, and the result is kept.
    pub(super) fn find(
        &self,
        request: &RecordedRequest,
        make: impl FnOnce() -> Reply,
    ) -> Option<Arc<PreparedAnswer>> {
        let body = &request.body;
        let begin = &body[..body.len().min(NEAR_BYTES)];
        let end = &body[body.len().saturating_sub(NEAR_BYTES)..];
        let inside = &begin[memmem::find(begin, b"[[")? + 2..];
        let name = &inside[..memmem::find(inside, b"]]")?];
        let streams = [begin, end].iter().any(|part| {
            [&b"\"stream\":true"[..], b"\"stream\": true"]
                .iter()
                .any(|text| memmem::find(part, text).is_some())
        });
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_vec(), streams);
        let ready = answers.entry(key).or_insert_with(|| {
            let scenario = Scenario::try_parse(std::str::from_utf8(name).ok()?).ok()?;
            let plain = Scenario {
                events: scenario.events,
                pace: scenario.pace,
                stamp: scenario.stamp,
                burst: scenario.burst,
                ..Scenario::text()
            };
            let is_plain = scenario == plain;
            is_plain.then(|| Arc::new(PreparedAnswer::of(make(), &scenario)))
        });
        ready.clone()
    }
}

impl PreparedAnswer {
    fn of(reply: Reply, scenario: &Scenario) -> Self {
        let (status, headers) = (reply.status, &reply.headers);
        let mut writes = Vec::new();
        match reply.body {
            Body::Whole(body) => {
                let framing = format!("content-length: {}", body.len());
                let head = wire::head(status, headers, &framing);
                writes.push([head.as_bytes(), &body].concat());
            }
            Body::Steps(steps) => {
                let head = wire::head(status, headers, "transfer-encoding: chunked");
                writes.push(head.into_bytes());
                let chunks = steps.into_iter().filter_map(|step| match step {
                    ReplyStep::Write(bytes) => Some(wire::frame(&bytes)),
                    _ => None,
                });
                let chunks: Vec<_> = chunks.collect();
                writes.extend(chunks.chunks(scenario.burst).map(<[_]>::concat));
                writes.push(wire::frame(b""));
            }
        }
        let writes = writes.into_iter().map(|bytes| {
            let stamp = scenario.stamp.then(|| memmem::find(&bytes, STAMP.as_bytes())).flatten();
            TimedWrite { stamp: stamp.map(|at| at + STAMP.len() - STAMP_DIGITS), bytes }
        });
        Self { writes: writes.collect(), pace: scenario.pace }
    }

    /// Writes the answer at its pace, with separate writes.
    pub(super) async fn write(&self, connection: &mut Connection) -> io::Result<()> {
        // The head is sent with the first event, and the end with the last event.
        let events = 1..self.writes.len().saturating_sub(1);
        for (at, write) in self.writes.iter().enumerate() {
            if self.pace > Duration::ZERO && at > 1 && events.contains(&at) {
                tokio::time::sleep(self.pace).await;
            }
            match write.stamp {
                None => connection.write(&write.bytes).await?,
                Some(digits) => {
                    let mut bytes = write.bytes.clone();
                    bytes[digits..digits + STAMP_DIGITS].copy_from_slice(now().as_bytes());
                    connection.write(&bytes).await?;
                }
            }
        }
        Ok(())
    }
}

/// Microseconds of the clock that all processes share, as sixteen digits.
fn now() -> String {
    #[expect(clippy::disallowed_methods, reason = "two processes measure by one clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:016}", since.as_micros())
}
