//! What an answer consumed and how it ended, learned from the bytes that pass.
//!
//! A meter never holds a stream up and never changes it: it looks at the same chunks that go to
//! the client, finds the events and parses only the few that carry usage or an error. What the
//! numbers cost is `domain::price`'s business; gzip is `encoding`'s, before the meter.

mod meter_state;
mod text_deltas;
mod upstream_failure;
mod upstream_object;
mod usage_tally;

pub use upstream_failure::UpstreamFailure;
pub(crate) use usage_tally::{ReportedUsage, UsageTally};

use crate::sse::SseDecoder;
use baton_domain::usage::BilledUsage;
use meter_state::MeterState;

/// The longest answer without a stream that is gathered; a longer one is estimated.
const WHOLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A longer answer is no error.
const ERROR_BYTES_MAX: usize = 1024 * 1024;

/// How an answer ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The upstream said that it was done.
    Complete,
    /// The upstream told an error.
    Error(UpstreamFailure),
    /// It just stopped.
    #[default]
    Truncated,
}

/// The first thing that the upstream said. Until then nothing needs to have gone to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AnswerStart {
    /// Nothing yet that a model has made: comments, pings and chunks with a role at most do not count.
    #[default]
    Nothing,
    /// An event that is not an error.
    Event,
    /// An error: the request may still be tried elsewhere.
    Error(UpstreamFailure),
}

/// What a finished meter knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterReading {
    /// Tokens as billed, and what decides their price.
    pub usage: BilledUsage,
    /// The model that the upstream says it served.
    pub model: Option<String>,
    /// How the answer ended.
    pub ended: AnswerEnd,
    /// Whether the client, too, was told that it ended: by an event that its SDK understands.
    pub told: bool,
    /// Whether the model began to answer: then the upstream bills, whatever came after.
    pub started: bool,
    /// The first thing that the upstream said.
    pub first: AnswerStart,
    /// Whether the upstream said that it was done, without its final usage, or its whole answer cannot
    /// be read.
    pub hides_usage: bool,
    /// Why the model stopped, in the upstream's word.
    pub stop_reason: Option<String>,
    /// Characters of text, thinking and tool input that passed in deltas.
    pub output_chars: u64,
}

/// Reads one answer.
#[derive(Debug)]
pub struct UsageMeter {
    form: MeterMode,
    sight: MeterState,
}

#[derive(Debug)]
enum MeterMode {
    Stream(SseDecoder),
    Whole(Vec<u8>),
    /// A whole answer that grew too long to gather.
    TooLong,
}

/// Whether an event of this name is one that a model's words come in, or that comes with them.
fn may_hold_content(name: &[u8]) -> bool {
    ["message_", "content_block_", "response."]
        .iter()
        .any(|begin| name.starts_with(begin.as_bytes()))
}

impl UsageMeter {
    /// A meter for an event stream.
    pub fn for_stream() -> Self {
        Self::new(MeterMode::Stream(SseDecoder::new()))
    }

    /// A meter for an answer that is one JSON object.
    pub fn for_whole_body() -> Self {
        Self::new(MeterMode::Whole(Vec::new()))
    }

    fn new(form: MeterMode) -> Self {
        let sight = MeterState::default();
        Self { form, sight }
    }

    /// Looks at the next bytes, decoded of any content encoding.
    pub fn observe(&mut self, chunk: &[u8]) {
        match &mut self.form {
            MeterMode::Stream(decoder) => {
                decoder.push(chunk, |event| self.sight.observe_event(&event));
            }
            MeterMode::Whole(body) if body.len() + chunk.len() <= WHOLE_BYTES_MAX => {
                body.extend_from_slice(chunk);
            }
            MeterMode::Whole(body) => {
                self.sight.output_chars =
                    text_deltas::chars_in_utf8(body) + text_deltas::chars_in_utf8(chunk);
                self.form = MeterMode::TooLong;
            }
            MeterMode::TooLong => self.sight.output_chars += text_deltas::chars_in_utf8(chunk),
        }
    }

    /// The first thing that a stream said so far.
    pub fn first_event(&self) -> &AnswerStart {
        &self.sight.first
    }

    /// Whether the stream can no longer begin with an error: its first event is there, or at
    /// least the line that names it, and it is another.
    pub fn has_good_start(&self) -> bool {
        match (&self.sight.first, &self.form) {
            (AnswerStart::Event, _) => true,
            (AnswerStart::Nothing, MeterMode::Stream(decoder)) => {
                decoder.unfinished_name().is_some_and(may_hold_content)
            }
            (AnswerStart::Nothing | AnswerStart::Error(_), _) => false,
        }
    }

    /// How much memory the unfinished event of a stream takes.
    pub fn held_bytes(&self) -> usize {
        match &self.form {
            MeterMode::Stream(decoder) => decoder.held_bytes(),
            MeterMode::Whole(_) | MeterMode::TooLong => 0,
        }
    }

    /// Stops to look at the unfinished event of a stream: its bytes count as output.
    pub fn drop_event(&mut self) {
        if let MeterMode::Stream(decoder) = &mut self.form {
            decoder.drop_event();
        }
    }

    /// Whether events came, all of them without anything that a model has made: an error may still
    /// follow.
    pub fn has_only_begun(&self) -> bool {
        self.sight.begun && self.sight.first == AnswerStart::Nothing
    }

    /// The whole answer that is gathered, if it is an error whatever its status says.
    pub fn whole_error(&self) -> Option<&[u8]> {
        let MeterMode::Whole(body) = &self.form else { return None };
        let is_error = body.len() <= ERROR_BYTES_MAX && upstream_failure::is_error_answer(body);
        is_error.then_some(body.as_slice())
    }

    /// Whether the bytes so far end inside an event of a stream.
    pub fn is_mid_event(&self) -> bool {
        matches!(&self.form, MeterMode::Stream(decoder) if decoder.is_mid_event())
    }

    /// Whether the upstream has said that it is done; what follows says nothing new.
    pub fn is_complete(&self) -> bool {
        self.sight.ended == AnswerEnd::Complete
    }

    /// Ends the reading, when the answer has ended or is no longer waited for.
    ///
    /// What the upstream did not tell is estimated and marked so: output as the larger of what
    /// it last told and a token for every four characters that passed; the prompt, when not even
    /// its beginning was seen, as a token for every four of the request's `request_bytes`. An
    /// error before the model began costs nothing.
    pub fn finish(self, request_bytes: u64) -> MeterReading {
        let mut sight = self.sight;
        match self.form {
            MeterMode::Stream(decoder) => sight.finish_stream(decoder),
            MeterMode::Whole(body) => sight.observe_body(&body),
            MeterMode::TooLong => sight.started = true,
        }
        sight.into_reading(request_bytes)
    }
}
