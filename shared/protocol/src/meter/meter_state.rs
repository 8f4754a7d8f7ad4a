//! The state of one answer, event by event.

mod event_forms;
mod whole_body;

use super::chat_output::ChatOutput;
use super::choice_progress::{ChoiceProgress, has_later_index};
use super::output_count::{OutputCount, estimate_tokens};
use super::raw_usage::RawUsage;
use super::text_deltas::{self, count_output};
use super::upstream_failure::{has_envelope, has_error_field};
use super::upstream_object::{FinishChoice, NestedResponse, UpstreamObject};
use super::usage_tally::UsageTally;
use super::{AnswerEnd, AnswerStart, MeterReading, SeparateUsage, UpstreamFailure};
use crate::json::{is_json, to_strict_json};
use crate::response_form::is_binary;
use crate::sse::{EventKind, SseDecoder, SseEvent};
use baton_domain::usage::BilledUsage;
pub(super) use event_forms::is_beginning;
use event_forms::{has_filled, has_value, is_empty, is_text, looks_like_stream, read_kind};
use memchr::memmem;

/// The state of the reading.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct MeterState {
    tally: UsageTally,
    model: Option<String>,
    events: u64,
    /// The answer's id.
    answer_id: Option<String>,
    pub(super) end: AnswerEnd,
    pub(super) started: bool,
    has_reported_end: bool,
    /// Whether the events are Anthropic's. Anthropic's SDKs ignore an error without a name.
    is_anthropic: bool,
    /// Whether the last usage is the final one if the end comes next.
    is_usage_final_at_end: bool,
    /// Whether the usage is final.
    is_usage_final: bool,
    /// The output that had arrived when the last usage came.
    output_at_usage: OutputCount,
    pub(super) first: AnswerStart,
    /// Whether any event has arrived, even an empty one.
    pub(super) has_started: bool,
    /// The bytes of the events that come before the model of a response begins.
    beginning_bytes: usize,
    /// Whether a whole answer, or its usage, could not be read although a model perhaps wrote it.
    pub(super) is_unread: bool,
    /// The first text, or object in another form, that came in place of an event. It is the error
    /// if nothing follows.
    first_foreign: Option<ForeignData>,
    /// Whether the bytes are not events of an API.
    is_foreign: bool,
    stop_reason: Option<String>,
    pub(super) choices: ChoiceProgress,
    /// The counts that came apart from the answer.
    pub(super) separate_usage: SeparateUsage,
    /// Whether OpenAI's end mark has arrived.
    is_done: bool,
    /// Whether a block of content has arrived.
    has_content: bool,
    pub(super) output: OutputCount,
    /// The output in the finished items of a response.
    output_in_items: OutputCount,
    /// The output of chunks of Chat.
    output_in_chunks: ChatOutput,
}

/// The bytes of the events that come before the model of a response begins, from which on they are
/// passed on although an error can still follow. They repeat the request's instructions and tools.
const BEGINNING_BYTES_MAX: usize = 128 * 1024;

/// A smaller share of the estimated prompt than one of this many is not a prompt. A prompt that is
/// mostly an image in base64 has some hundred times fewer tokens than the estimate.
const ESTIMATED_PER_PROMPT_MAX: u64 = 100;

/// Whether tokens that an upstream reports only in its total can be all of a prompt.
fn can_be_prompt(tokens: u64, estimated: u64) -> bool {
    tokens > 0 && tokens >= estimated / ESTIMATED_PER_PROMPT_MAX
}

/// Data in place of an event of an API.
#[derive(Debug)]
struct ForeignData {
    failure: UpstreamFailure,
    /// Whether the data is an object with a message, as some errors are.
    has_message: bool,
}

impl MeterState {
    pub(super) fn observe_event(&mut self, event: &SseEvent<'_>) {
        self.events += 1;
        let kind = read_kind(event);
        match kind {
            EventKind::ContentDelta => {
                self.output.add(text_deltas::count_content_delta(event.data));
                self.started = true;
            }
            EventKind::MessageStart => self.observe_start(event.data),
            EventKind::MessageDelta => self.observe_delta(event.data),
            EventKind::MessageStop => self.mark_complete(),
            EventKind::Error => {
                self.observe_error(event.data, UpstreamFailure::from_body(event.data));
                self.has_reported_end = true;
            }
            EventKind::ResponseEnd if event.dropped > 0 => self.observe_unread_end(event),
            EventKind::ResponseEnd => self.observe_response_end(event.data),
            EventKind::ResponseDelta => {
                self.output.add(count_output(event.data));
                self.started = true;
            }
            EventKind::Unnamed => self.observe_chunk(event.data),
            EventKind::Other => self.observe_other(event),
            EventKind::Ping => {}
        }
        let holds_output =
            matches!(kind, EventKind::ContentDelta | EventKind::ResponseDelta | EventKind::Unnamed);
        if holds_output && event.dropped > 0 {
            self.output.add(OutputCount::from_unread(event.dropped));
            self.started = true;
        }
        // Usage that more output follows is not the final one.
        if self.output.exceeds(self.output_at_usage) {
            (self.is_usage_final_at_end, self.is_usage_final) = (false, false);
        }
        if self.first == AnswerStart::Nothing {
            self.first = match &self.end {
                AnswerEnd::Error(failure) => AnswerStart::Error(failure.clone()),
                AnswerEnd::Complete => AnswerStart::Event,
                AnswerEnd::Truncated => self.read_start(event, kind),
            };
        }
        self.has_started = true;
    }

    /// How the answer starts, by an event that is not its end. An error can still follow those with
    /// which a response begins, but long ones are not held for that.
    fn read_start(&mut self, event: &SseEvent<'_>, kind: EventKind) -> AnswerStart {
        let is_undecided = if is_beginning(event.kind_name()) {
            let bytes = event.data.len().saturating_add(event.dropped);
            self.beginning_bytes = self.beginning_bytes.saturating_add(bytes);
            !self.has_long_beginning(0)
        } else {
            is_empty(event, kind)
        };
        if is_undecided { AnswerStart::Nothing } else { AnswerStart::Event }
    }

    /// Whether the events before the model began are so long, with the next `unfinished` bytes, that
    /// they are not held any longer.
    pub(super) fn has_long_beginning(&self, unfinished: usize) -> bool {
        self.beginning_bytes.saturating_add(unfinished) >= BEGINNING_BYTES_MAX
    }

    /// Reads an event that begins or ends a part of the answer.
    fn observe_other(&mut self, event: &SseEvent<'_>) {
        let kind = event.kind_name();
        self.started |= kind.starts_with(b"response.output");
        let is_block = memmem::find(event.data, b"\"content_block\"").is_some();
        self.has_content |= kind.starts_with(b"content_block") || is_block;
        if is_block {
            self.output.add(count_output(event.data));
        } else if kind == b"response.output_item.done" {
            // The item repeats the texts of its deltas. Some items have none.
            self.output_in_items.add(count_output(event.data));
            self.output.raise_to(self.output_in_items);
        }
    }

    fn observe_start(&mut self, data: &[u8]) {
        (self.started, self.is_anthropic) = (true, true);
        if let Some(message) = UpstreamObject::parse(data).and_then(|object| object.message) {
            self.take_message(message);
        }
    }

    fn observe_delta(&mut self, data: &[u8]) {
        self.started = true;
        let Some(object) = UpstreamObject::parse(data) else { return };
        let reason = object.delta.and_then(|delta| delta.stop_reason);
        let is_last = reason.is_some();
        self.stop_reason = reason.or(self.stop_reason.take());
        if let Some(usage) = object.usage {
            self.take_usage(usage, is_last);
        }
    }

    /// Adds usage. It is final if `is_last`, or if the end follows it. A count of zero output
    /// tokens after text has passed is never final.
    fn take_usage(&mut self, usage: RawUsage, is_last: bool) {
        let output = usage.output_tokens;
        self.is_usage_final_at_end =
            output.is_some_and(|count| count > 0 || !self.output.has_output);
        self.is_usage_final |= is_last && self.is_usage_final_at_end;
        self.output_at_usage = self.output;
        self.tally.update_counts(usage);
    }

    fn observe_response_end(&mut self, data: &[u8]) {
        let Some(response) = UpstreamObject::parse(data).and_then(|object| object.response) else {
            self.started = true;
            return;
        };
        let failed = response.status.as_deref() == Some("failed");
        self.started |= !failed || response.usage.as_ref().is_some_and(RawUsage::has_counts);
        let reported = response.usage.as_ref().and_then(|usage| usage.output_tokens);
        if reported.unwrap_or(0) == 0 {
            self.output.raise_to(count_output(data));
        }
        self.take_final_message(response);
        if failed {
            self.record_failure(UpstreamFailure::from_body(data));
            self.has_reported_end = true;
        } else {
            self.mark_complete();
        }
    }

    /// Takes the end of a response that was too long to be held. Its name says how the response has
    /// ended. The usage in it is not known.
    fn observe_unread_end(&mut self, event: &SseEvent<'_>) {
        self.started = true;
        if event.kind_name() == b"response.failed" {
            let message = "the event that reports the failure is too long to be read".to_owned();
            self.record_failure(UpstreamFailure { message, ..UpstreamFailure::default() });
            self.has_reported_end = true;
        } else {
            self.mark_complete();
        }
    }

    /// Reads an event that reports an error. The upstream bills the usage that comes with it.
    fn observe_error(&mut self, data: &[u8], failure: UpstreamFailure) {
        if let Some(object) = UpstreamObject::parse_error(data) {
            self.model = object.model.or(self.model.take());
            self.tally.note_outside_usage(object.service_tier, object.web_searches);
            let nested = [object.error, object.message, object.response].into_iter().flatten();
            let usages = nested.filter_map(|nested| nested.usage).chain(object.usage);
            for usage in usages.filter(RawUsage::has_counts) {
                self.started = true;
                self.take_usage(usage, true);
            }
        }
        self.record_failure(failure);
    }

    /// Reads an event without a name: a chat chunk, OpenAI's end mark, or an error object.
    fn observe_chunk(&mut self, data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            return self.observe_done();
        }
        if is_text(data) {
            return self.observe_text(data);
        }
        let has = |key: &str| has_value(data, key);
        let output = text_deltas::count_chunk(data);
        // An object that is not a chunk can be an error wherever it comes.
        let (has_error, is_chunk) = (has("\"error\""), has_filled(data, "\"choices\""));
        if has_error || !is_chunk {
            let failure = UpstreamFailure::from_reported(data);
            // JSON with `NaN` or broken JSON is not read, but can still be an error.
            let broken = || (has_error && !is_chunk && !is_json(data)).then_some(data);
            if let Some(failure) = failure.or_else(|| broken().map(UpstreamFailure::from_body)) {
                // The SDKs of OpenAI know an error by this field.
                self.has_reported_end |= !self.is_anthropic && has_error_field(data);
                self.started |= output.count.has_output;
                self.output.add(self.output_in_chunks.add(&output));
                return self.observe_error(data, failure);
            }
        }
        self.output.add(self.output_in_chunks.add(&output));
        if self.first == AnswerStart::Nothing && !has_envelope(data) {
            self.note_foreign(data);
        }
        let has_reported_end = has("\"usage\"") || has("\"finish_reason\"") || has("\"type\"");
        if self.started && self.model.is_some() && !has_reported_end && !has_later_index(data) {
            return;
        }
        let Some(object) = UpstreamObject::parse(data) else {
            // A model can have written what Baton cannot read, for example JSON with `NaN`.
            self.started |= !data.trim_ascii().is_empty();
            return;
        };
        // Anthropic's events from an upstream that drops their names and reorders their keys.
        match object.kind.as_deref() {
            Some("message_start") => return self.observe_start(data),
            Some("message_delta") => return self.observe_delta(data),
            Some("message_stop") => return self.mark_complete(),
            Some("content_block_start") => self.has_content = true,
            _ => {}
        }
        self.started |= object.answer_fields.choices;
        self.observe_choices(object.choices.as_deref().unwrap_or_default());
        self.model = self.model.take().or(object.model);
        self.tally.note_outside_usage(object.service_tier, None);
        if let Some(usage) = object.usage {
            self.take_usage(usage, true);
        }
    }

    /// Notes which choices have finished. A choice that begins late reopens the answer.
    fn observe_choices(&mut self, choices: &[FinishChoice]) {
        if choices.is_empty() {
            return;
        }
        self.choices.note_chunk(choices);
        if self.choices.is_complete() {
            self.mark_complete();
        } else if self.end == AnswerEnd::Complete && !self.is_done {
            (self.end, self.has_reported_end) = (AnswerEnd::Truncated, false);
        }
    }

    /// Reads OpenAI's end mark.
    fn observe_done(&mut self) {
        let message = || "the stream was done before it began".to_owned();
        let failure = if self.has_started {
            self.first_foreign.take().filter(|_| self.first == AnswerStart::Nothing)
        } else {
            let failure = UpstreamFailure { message: message(), ..UpstreamFailure::default() };
            Some(ForeignData { failure, has_message: false })
        };
        if let Some(foreign) = failure {
            return self.record_foreign(foreign);
        }
        self.is_done = true;
        self.mark_complete();
    }

    /// Reads data that is not an object: a list of errors, a page, or a text. Gateways send such
    /// texts to keep a connection open, and in place of an error.
    fn observe_text(&mut self, data: &[u8]) {
        let data = data.trim_ascii();
        if data == b"null" {
            return;
        }
        if self.first != AnswerStart::Nothing {
            if let Some(failure) = UpstreamFailure::from_reported(data) {
                self.observe_error(data, failure);
            }
            return;
        }
        if let Some(failure) = UpstreamFailure::from_object(data) {
            self.observe_error(data, failure);
        } else if data.starts_with(b"<") {
            let failure = UpstreamFailure::from_body(data);
            self.record_foreign(ForeignData { failure, has_message: false });
        } else {
            self.note_foreign(data);
        }
    }

    /// Keeps the first data that is not an event of an API. Servers send a message about a queue
    /// in the form in which others send an error, so what follows decides.
    fn note_foreign(&mut self, data: &[u8]) {
        if self.first_foreign.is_none() {
            let failure = UpstreamFailure::from_object(data);
            let has_message = failure.is_some();
            let failure = failure.unwrap_or_else(|| UpstreamFailure::from_body(data));
            self.first_foreign = Some(ForeignData { failure, has_message });
        }
    }

    /// Reads bytes of an answer in a form that is not known. They can be a model's output.
    pub(super) fn observe_unread(&mut self, bytes: &[u8]) {
        self.started |= !bytes.is_empty();
        self.output.add(OutputCount::from_unread(bytes.len()));
    }

    /// Ends a stream. An unfinished last event counts if its data is whole, as in Python's SDK
    /// (fixture `no_trailing_newline`). Bytes that are not an event stream are recorded as an
    /// error.
    pub(super) fn finish_stream(&mut self, decoder: SseDecoder) {
        let rest = decoder.unfinished_bytes();
        if self.first == AnswerStart::Nothing && !rest.is_empty() && !looks_like_stream(rest) {
            if is_binary(rest) {
                self.is_unread = true;
                return self.observe_unread(rest);
            }
            let failure = UpstreamFailure::from_body(rest);
            self.first = AnswerStart::Error(failure.clone());
            self.is_foreign = true;
            return self.observe_error(rest, failure);
        }
        decoder.finish(|event| {
            let is_whole = is_json(&to_strict_json(event.data));
            if is_whole || event.data == b"[DONE]" {
                self.observe_event(&event);
            } else {
                self.observe_half_event(&event);
            }
        });
        if self.first == AnswerStart::Nothing
            && !self.output.has_output
            && let Some(foreign) = self.first_foreign.take()
        {
            self.first = AnswerStart::Error(foreign.failure.clone());
            self.record_foreign(foreign);
        }
    }

    /// Counts the output in an event that was cut. The upstream can bill it.
    fn observe_half_event(&mut self, event: &SseEvent<'_>) {
        if !matches!(
            read_kind(event),
            EventKind::ContentDelta | EventKind::ResponseDelta | EventKind::Unnamed
        ) {
            return;
        }
        let mut output = count_output(event.data);
        output.add(OutputCount::from_unread(event.dropped));
        if output.has_output {
            self.output.add(output);
            (self.started, self.is_usage_final_at_end, self.is_usage_final) = (true, false, false);
        }
    }

    fn take_message(&mut self, message: NestedResponse) {
        self.model = message.model.or(self.model.take());
        self.answer_id = message.id.or(self.answer_id.take());
        if let Some(usage) = message.usage {
            self.tally.update_counts(usage);
        }
    }

    fn take_final_message(&mut self, message: NestedResponse) {
        self.model = message.model.or(self.model.take());
        self.answer_id = message.id.or(self.answer_id.take());
        if let Some(usage) = message.usage {
            self.take_usage(usage, true);
        }
        self.tally.note_outside_usage(message.service_tier, message.web_searches);
    }

    fn mark_complete(&mut self) {
        self.is_usage_final |= self.is_usage_final_at_end;
        self.has_reported_end = true;
        if self.end == AnswerEnd::Truncated {
            self.end = AnswerEnd::Complete;
        }
    }

    /// Records data that is not an event of an API as the error of the upstream.
    fn record_foreign(&mut self, foreign: ForeignData) {
        self.is_foreign |= !foreign.has_message && !matches!(self.end, AnswerEnd::Error(_));
        self.record_failure(foreign.failure);
    }

    fn record_failure(&mut self, failure: UpstreamFailure) {
        if !matches!(self.end, AnswerEnd::Error(_)) {
            self.end = AnswerEnd::Error(failure);
        }
    }

    pub(super) fn into_reading(self, request_bytes: u64) -> MeterReading {
        let Self {
            mut tally,
            model,
            answer_id,
            events,
            end,
            has_reported_end,
            started,
            is_usage_final,
            first,
            is_unread,
            has_content,
            ..
        } = self;
        let (stop_reason, output) = (self.stop_reason, self.output);
        let has_billed_part = output.has_output || tally.has_counts();
        // A stream that stopped before its first event is possibly billed.
        let was_billed = started || end == AnswerEnd::Truncated;
        let is_usage_final = tally.add_separate_usage(&self.separate_usage, is_usage_final);
        let lacks_output = was_billed && !is_usage_final;
        // Every API documents the length of the prompt as a field that is always present, and no
        // prompt is empty. Some servers send zeros.
        let estimated_input = estimate_tokens(request_bytes);
        let lacks_input = was_billed
            && tally.prompt_tokens() == 0
            && !can_be_prompt(tally.faults.prompt_in_output, estimated_input);
        if lacks_output {
            tally.output = Some(tally.output.unwrap_or(0).max(output.estimate_tokens()));
        }
        if lacks_input {
            tally.input = Some(estimated_input);
        }
        let faults = tally.faults;
        let lacks_usage = lacks_output || lacks_input || (was_billed && faults.has_excessive_count);
        let hides_usage = is_unread || (lacks_usage && end == AnswerEnd::Complete);
        let estimated = lacks_usage
            || faults.has_unreadable_count
            || faults.has_excessive_count
            || faults.has_contradiction;
        let usage = tally.into_usage();
        let mut tokens_max = usage.tokens;
        if lacks_output {
            tokens_max.output = tokens_max.output.max(output.tokens_max());
        }
        if lacks_input {
            tokens_max.input = tokens_max.input.max(request_bytes);
        }
        // A refusal before any output is free (platform.claude.com, release note of 2026-06-02).
        let is_free = stop_reason.as_deref() == Some("refusal")
            && !has_content
            && !output.has_output
            && end == AnswerEnd::Complete;
        let usage = if is_free { usage.without_refused_passes() } else { usage };
        let usage = BilledUsage { estimated: estimated && !is_free, ..usage };
        MeterReading {
            usage,
            tokens_max,
            model,
            answer_id,
            events,
            end,
            has_reported_end,
            started,
            has_billed_part,
            first,
            is_foreign: self.is_foreign,
            hides_usage: hides_usage && !is_free,
            stop_reason,
            output_chars: output.text.chars,
            has_output: output.has_output,
            has_excessive_count: faults.has_excessive_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::UsageMeter;

    /// The upstream can bill what it has sent of an event before the connection broke.
    #[test]
    fn output_in_half_an_event_is_estimated() {
        let text = "word".repeat(25);
        for (start, chars) in [
            (r#"data: {"choices":[{"index":0,"delta":{"content":"TEXT"#, 100),
            (
                r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"TEXT"}}]"#,
                100,
            ),
            (
                r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"TEXT"#,
                100,
            ),
            (r#"data: {"choices":[{"index":0,"delta":{"reasoning":"TEXT"#, 100),
            (
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"TEXT",
                100,
            ),
            ("event: content_block_delta\ndata: {\"delta\":{\"text\":\"TEXT", 100),
            (
                r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"TEXT"#,
                100,
            ),
            (
                "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"TEXT",
                100,
            ),
            ("event: ping\ndata: {\"type\":\"ping\",\"text\":\"TEXT", 0),
            (r#"data: {"error":{"message":"TEXT"#, 0),
        ] {
            let mut meter = UsageMeter::for_stream();
            meter.observe(start.replace("TEXT", &text).as_bytes());
            let reading = meter.finish(4_000);
            assert_eq!(reading.output_chars, chars, "{start}");
            assert_eq!(reading.usage.tokens.output, chars / 4, "{start}");
            assert_eq!(reading.started, chars > 0, "{start}");
            assert!(reading.usage.estimated, "{start}");
        }
    }
}
