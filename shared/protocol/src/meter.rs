//! Reads an answer's usage and how it ended from the bytes that pass.
//!
//! A meter never delays and never changes a stream: it reads the same chunks that go to the client,
//! finds the events and parses only the few that contain usage or an error. `domain::price`
//! computes the cost. [`crate::gzip`] decodes the bytes before the meter, where needed.

mod chat_output;
mod choice_progress;
mod meter_state;
mod output_count;
mod raw_fields;
mod raw_usage;
mod separate_usage;
mod text_deltas;
mod upstream_failure;
mod upstream_object;
mod usage_tally;

pub use raw_fields::REPORTED_COUNT_MAX;
pub use separate_usage::SeparateUsage;
pub use upstream_failure::UpstreamFailure;
pub(crate) use upstream_failure::{error_text, is_void, is_void_error, shorten_text};
pub(crate) use usage_tally::{ReportedUsage, UsageTally};

use crate::json::strip_byte_order_mark;
use crate::sse::SseDecoder;
use baton_domain::protocol::UpstreamProtocol;
use baton_domain::usage::{BilledUsage, TokenCounts};
use memchr::memmem;
use meter_state::{MeterState, is_beginning};
use output_count::{IMAGE_TOKENS, OutputCount};
use upstream_object::UpstreamObject;

/// The longest answer without a stream that is collected. The usage of a longer one is estimated.
const WHOLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The beginning of a stream's first event in which its first output is looked for. Ids, the role and
/// the like come before it. A long image or text follows it.
const START_BYTES: usize = 16 * 1024;

/// How an answer ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The upstream reported the end of its answer.
    Complete,
    /// The upstream reported an error.
    Error(UpstreamFailure),
    /// The answer stopped without an end.
    #[default]
    Truncated,
}

/// The first event of an answer. Nothing has to be sent to the client before it arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AnswerStart {
    /// No model output yet, only comments, pings and chunks that contain at most a role.
    #[default]
    Nothing,
    /// An event that is not an error.
    Event,
    /// An error. The request can still be sent to another account.
    Error(UpstreamFailure),
}

/// The result of a finished meter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct MeterReading {
    /// Tokens as billed, and what determines their price.
    pub usage: BilledUsage,
    /// The most tokens that can be billed for what was read: where `usage` is an estimate, one token
    /// for each byte of the output's UTF-8 and of the request, and the estimate for each image in the
    /// output. Tokenizers split text at most into its bytes.
    pub tokens_max: TokenCounts,
    /// The model that the upstream reports.
    pub model: Option<String>,
    /// The id of a message or a response.
    pub answer_id: Option<String>,
    /// How the answer ended.
    pub end: AnswerEnd,
    /// Whether the client has received the end, too, in an event that its SDK understands.
    pub has_reported_end: bool,
    /// Whether the model began to answer. The upstream then bills, whatever happens after that.
    pub started: bool,
    /// Whether the upstream sent output of a model or reported usage that it bills, whatever else
    /// it sent. Another attempt would be billed a second time.
    pub has_billed_part: bool,
    /// The first event of the answer.
    pub first: AnswerStart,
    /// Whether the upstream sent something else than events of an API: a page, a text, or an object
    /// in another form. `first` is an error then.
    pub is_foreign: bool,
    /// Whether the upstream reported the end without a final usage, or the whole answer cannot be
    /// read.
    pub hides_usage: bool,
    /// Why the model stopped, in the upstream's word.
    pub stop_reason: Option<String>,
    /// The number of characters of text, thinking and tool input in the deltas.
    pub output_chars: u64,
    /// Whether the upstream sent output of a model, of whatever kind. Images and sound have no
    /// characters.
    pub has_output: bool,
    /// The number of events of a stream.
    pub events: u64,
    /// Whether the upstream reported a count that no answer can have. The count is not believed.
    pub has_excessive_count: bool,
}

/// Reads one answer.
#[derive(Debug)]
pub struct UsageMeter {
    mode: MeterMode,
    state: MeterState,
    /// In the unfinished event of a stream.
    first_output: OutputSearch,
}

/// The search for the first output in an event that arrives in pieces. It begins again only where
/// the bytes have doubled, so that its work is in proportion to them.
#[derive(Debug, Default)]
struct OutputSearch {
    searched_bytes: usize,
    has_output: bool,
}

impl OutputSearch {
    /// Takes the data of the event so far.
    fn add_data(&mut self, data: &[u8]) {
        let start = data.get(..START_BYTES).unwrap_or(data);
        let is_due = start.len() >= 2 * self.searched_bytes || start.len() == START_BYTES;
        if !self.has_output && is_due && start.len() > self.searched_bytes {
            self.searched_bytes = start.len();
            self.has_output = text_deltas::begins_with_output(start);
        }
    }
}

#[derive(Debug)]
enum MeterMode {
    Stream(SseDecoder),
    Whole(Vec<u8>),
    /// A whole answer that is too long to be collected.
    TooLong,
    /// A whole answer that has been read.
    Read,
    /// A stream that the meter cannot read.
    UnreadStream,
}

/// Whether a whole answer has a field of an answer of this protocol, or usage, in its outermost
/// object. The meter counts each such answer that is not an error. Of an object that it cannot read
/// it estimates the usage, so there the name is enough.
pub(crate) fn has_response_field(body: &[u8], protocol: UpstreamProtocol) -> bool {
    if let Some(object) = UpstreamObject::parse(body) {
        return object.usage.is_some() || object.answer_fields.has(protocol);
    }
    let name = match protocol {
        UpstreamProtocol::Messages => "\"content\"",
        UpstreamProtocol::Chat => "\"choices\"",
        UpstreamProtocol::Responses => "\"output\"",
    };
    [name, "\"usage\""].iter().any(|name| memmem::find(body, name.as_bytes()).is_some())
}

/// Whether an event or a whole answer contains output that a model generated for the user, and not
/// only thinking.
pub(crate) fn has_answer(json: &[u8]) -> bool {
    text_deltas::has_answer(json)
}

/// Whether an event of this name contains model output or accompanies it. `response.failed` can be
/// the first event behind those with which a response begins, and it is an error.
fn may_hold_content(name: &[u8]) -> bool {
    upstream_failure::is_api_event(name) && name != b"response.failed" && !is_beginning(name)
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

    /// A meter for a stream whose form it cannot read. Each byte counts as a character of output.
    pub fn for_unread_stream() -> Self {
        let mut meter = Self::new(MeterMode::UnreadStream);
        meter.mark_unreadable();
        meter
    }

    fn new(mode: MeterMode) -> Self {
        let state = MeterState::default();
        Self { mode, state, first_output: OutputSearch::default() }
    }

    /// Sets the number of choices that a Chat request asked for. The stream is not complete before
    /// all of them have finished.
    pub fn expect_choices(&mut self, choices: u32) {
        self.state.choices.set_requested(choices);
    }

    /// Sets the counts that come apart from the answer. They count where the answer has none.
    pub fn set_separate_usage(&mut self, usage: SeparateUsage) {
        self.state.separate_usage = usage;
    }

    /// Reads the next bytes, without a content encoding.
    pub fn observe(&mut self, chunk: &[u8]) {
        drop(self.take_overlong_body(chunk.len()));
        let Self { mode, state, first_output } = self;
        match mode {
            MeterMode::Stream(decoder) => {
                decoder.push(chunk, |event| {
                    state.observe_event(&event);
                    *first_output = OutputSearch::default();
                });
                if state.first == AnswerStart::Nothing {
                    first_output.add_data(decoder.unfinished_data());
                }
            }
            MeterMode::Whole(body) => body.extend_from_slice(chunk),
            MeterMode::TooLong => {
                state.output.add(OutputCount::from_utf8(chunk));
            }
            MeterMode::UnreadStream => state.observe_unread(chunk),
            MeterMode::Read => {}
        }
    }

    /// The number of characters of output so far, with an estimate for images. A whole answer has
    /// none before it was read.
    pub fn output_chars(&self) -> u64 {
        let output = self.state.output;
        output.text.chars.saturating_add(output.images.saturating_mul(IMAGE_TOKENS))
    }

    /// The first event of a stream so far.
    pub fn first_event(&self) -> &AnswerStart {
        &self.state.first
    }

    /// Whether the stream can no longer begin with an error, because its first event has arrived, or
    /// at least its name or its first output, and is not an error. The events with which a response
    /// begins count only once they are long.
    pub fn has_good_start(&self) -> bool {
        match (&self.state.first, &self.mode) {
            (AnswerStart::Event, _) => true,
            (AnswerStart::Nothing, MeterMode::Stream(decoder)) => {
                let name = decoder.unfinished_kind_name();
                may_hold_content(name)
                    || (name != b"error" && self.first_output.has_output)
                    || (is_beginning(name)
                        && self.state.has_long_beginning(decoder.unfinished_data().len()))
            }
            (AnswerStart::Nothing | AnswerStart::Error(_), _) => false,
        }
    }

    /// The bytes of memory that the unfinished event of a stream takes.
    pub fn held_bytes(&self) -> usize {
        match &self.mode {
            MeterMode::Stream(decoder) => decoder.held_bytes(),
            MeterMode::Whole(_)
            | MeterMode::TooLong
            | MeterMode::Read
            | MeterMode::UnreadStream => 0,
        }
    }

    /// Stops reading the unfinished event of a stream. Its bytes count as output.
    pub fn drop_event(&mut self) {
        if let MeterMode::Stream(decoder) = &mut self.mode {
            decoder.drop_event();
        }
    }

    /// Whether events have arrived but none with model output. An error can still follow.
    pub fn has_only_begun(&self) -> bool {
        self.state.has_started && self.state.first == AnswerStart::Nothing
    }

    /// The whole answer that was collected, without a byte order mark, if it is an error regardless
    /// of its status.
    pub fn whole_error(&self) -> Option<&[u8]> {
        let MeterMode::Whole(body) = &self.mode else { return None };
        let body = strip_byte_order_mark(body);
        upstream_failure::is_error_answer(body).then_some(body)
    }

    /// The whole answer that was collected; `None` for a stream, or if it is too long.
    pub fn whole_body(&self) -> Option<&[u8]> {
        match &self.mode {
            MeterMode::Whole(body) => Some(body),
            MeterMode::Stream(_)
            | MeterMode::TooLong
            | MeterMode::Read
            | MeterMode::UnreadStream => None,
        }
    }

    /// Records that the answer's bytes have a form that the meter cannot read.
    pub fn mark_unreadable(&mut self) {
        self.state.is_unread = true;
    }

    /// Reads a whole answer that has arrived completely, which takes time in proportion to its
    /// length, and returns it. [`Self::finish`] does it otherwise.
    pub fn read_whole_body(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.mode, MeterMode::Read) {
            MeterMode::Whole(body) => {
                self.state.observe_body(&body);
                return body;
            }
            mode => self.mode = mode,
        }
        Vec::new()
    }

    /// Returns the whole answer so far and stops collecting it, if it is too long after the next
    /// `next_bytes`.
    pub fn take_overlong_body(&mut self, next_bytes: usize) -> Option<Vec<u8>> {
        let body = match &mut self.mode {
            MeterMode::Whole(body) if body.len() + next_bytes > WHOLE_BYTES_MAX => {
                std::mem::take(body)
            }
            _ => return None,
        };
        self.state.output = OutputCount::from_utf8(&body);
        self.mode = MeterMode::TooLong;
        Some(body)
    }

    /// Whether the bytes so far end inside an event of a stream.
    pub fn is_mid_event(&self) -> bool {
        matches!(&self.mode, MeterMode::Stream(decoder) if decoder.is_mid_event())
    }

    /// Whether the upstream has reported an error.
    pub fn has_error(&self) -> bool {
        matches!(self.state.end, AnswerEnd::Error(_))
    }

    /// Whether the upstream has reported its end. Later bytes contain nothing new.
    pub fn is_complete(&self) -> bool {
        self.state.end == AnswerEnd::Complete
    }

    /// Ends the reading when the answer has ended or the caller has stopped waiting for it.
    ///
    /// Counts that the upstream did not report, or not as a number that can be true, are estimated
    /// and marked as such. The output is the larger of the last reported count and one token for
    /// each four characters that passed. The prompt is one token for each four of the request's
    /// `request_bytes`. An error before the model began costs nothing.
    pub fn finish(mut self, request_bytes: u64) -> MeterReading {
        self.read_whole_body();
        let mut state = self.state;
        match self.mode {
            MeterMode::Stream(decoder) => state.finish_stream(decoder),
            MeterMode::TooLong => state.started = true,
            MeterMode::Whole(_) | MeterMode::Read | MeterMode::UnreadStream => {}
        }
        state.into_reading(request_bytes)
    }
}

#[cfg(test)]
mod billed_errors;
#[cfg(test)]
mod odd_forms;
#[cfg(test)]
mod test_readings;
#[cfg(test)]
mod usage_faults;
