//! Reads answers of the Messages API, as events or whole.

use crate::meter::UsageTally;
use crate::sse::SseEvent;
use crate::translate::json_reader::{ObjectReader, parse_document};
use crate::translate::neutral_response::{PartStart, ReadProgress, ResponseStep, StopReason};

/// Reads one answer.
#[derive(Debug, Default)]
pub(in crate::translate) struct MessagesReader {
    tally: UsageTally,
    open: Option<OpenBlock>,
}

/// The open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenBlock {
    Text,
    Thinking,
    Redacted,
    /// A call. `has_input` says whether any of its input has arrived.
    Call {
        has_input: bool,
    },
    /// A block of the upstream's own tools, which no other protocol has.
    Foreign,
}

impl MessagesReader {
    /// Reads an event. Blocks that no other protocol has are skipped.
    pub(in crate::translate) fn read_event(
        &mut self,
        event: &SseEvent<'_>,
        on: &mut impl FnMut(ResponseStep<'_>),
    ) -> ReadProgress {
        let document = parse_document(event.data).ok();
        let data = document.as_ref().and_then(|document| ObjectReader::from_value(document.root()));
        let Some(mut data) = data else {
            let matters = ["message", "content_block", "error"];
            let name = String::from_utf8_lossy(event.name);
            let failed = matters.iter().any(|start| name.starts_with(start));
            return if failed {
                ReadProgress::Failed(event.data.to_vec())
            } else {
                ReadProgress::Open
            };
        };
        let kind = data
            .take_text("type")
            .unwrap_or_else(|| String::from_utf8_lossy(event.name).into_owned());
        match kind.as_str() {
            "message_start" => {
                let mut message = data.take_object("message").unwrap_or_default();
                on(ResponseStep::Start { id: message.take_id() });
                self.read_usage(&mut message, on);
            }
            "content_block_start" => {
                self.close_block(on);
                if let Some(block) = data.take_object("content_block") {
                    self.open_block(block, on);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = data.take_object("delta") {
                    self.read_delta(delta, on);
                }
            }
            "content_block_stop" => self.close_block(on),
            "message_delta" => {
                if let Some(stop) = data.take_object("delta").and_then(read_stop) {
                    on(ResponseStep::Stop(stop));
                }
                self.read_usage(&mut data, on);
            }
            "message_stop" => {
                self.close_block(on);
                return ReadProgress::Done;
            }
            "ping" => on(ResponseStep::Ping),
            "error" => return ReadProgress::Failed(event.data.to_vec()),
            _ if data.take_value("error").is_some() => {
                return ReadProgress::Failed(event.data.to_vec());
            }
            _ => {}
        }
        ReadProgress::Open
    }

    /// Reads a message that is not streamed. Returns whether it was one.
    pub(in crate::translate) fn read_message(
        body: &str,
        on: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let Ok(document) = parse_document(body.as_bytes()) else { return false };
        let Some(mut message) = ObjectReader::from_value(document.root()) else { return false };
        if message.take_text("type").as_deref() != Some("message") {
            return false;
        }
        let mut reader = Self::default();
        on(ResponseStep::Start { id: message.take_id() });
        for block in message.take_objects("content") {
            reader.open_block(block, on);
            reader.close_block(on);
        }
        reader.read_usage(&mut message, on);
        if let Some(stop) = read_stop(message) {
            on(ResponseStep::Stop(stop));
        }
        true
    }

    fn read_usage(&mut self, holder: &mut ObjectReader<'_>, on: &mut impl FnMut(ResponseStep<'_>)) {
        if let Some(usage) = holder.take_value("usage") {
            self.tally.read_usage(usage.raw());
            on(ResponseStep::Usage(self.tally.reported_usage()));
        }
    }

    /// Opens a block. Its initial content becomes the first delta.
    fn open_block(&mut self, mut block: ObjectReader<'_>, on: &mut impl FnMut(ResponseStep<'_>)) {
        let text = |block: &mut ObjectReader<'_>, name| block.take_nonempty_text(name);
        let (open, opening, begun) = match block.take_text("type").as_deref() {
            Some("text") => (OpenBlock::Text, PartStart::Text, text(&mut block, "text")),
            Some("thinking") => {
                (OpenBlock::Thinking, PartStart::Thinking, text(&mut block, "thinking"))
            }
            Some("redacted_thinking") => {
                let data = block.take_text("data").unwrap_or_default();
                (OpenBlock::Redacted, PartStart::Redacted(data), None)
            }
            Some("tool_use") => {
                let id = block.take_text("id").unwrap_or_default();
                let name = block.take_text("name").unwrap_or_default();
                let input = block.take_value("input").map(|raw| raw.raw().to_owned());
                let input = input.filter(|input| input != "{}");
                let open = OpenBlock::Call { has_input: input.is_some() };
                (open, PartStart::Call { id, name }, input)
            }
            _ => {
                self.open = Some(OpenBlock::Foreign);
                return;
            }
        };
        self.open = Some(open);
        on(ResponseStep::Open(opening));
        if let Some(begun) = begun {
            on(ResponseStep::Delta(&begun));
        }
        if let Some(signature) = block.take_nonempty_text("signature") {
            on(ResponseStep::Signature(&signature));
        }
    }

    fn read_delta(&mut self, mut delta: ObjectReader<'_>, on: &mut impl FnMut(ResponseStep<'_>)) {
        let field = match (delta.take_text("type").as_deref(), &mut self.open) {
            (Some("text_delta"), Some(OpenBlock::Text)) => "text",
            (Some("thinking_delta"), Some(OpenBlock::Thinking)) => "thinking",
            (Some("input_json_delta"), Some(OpenBlock::Call { has_input })) => {
                let Some(input) = delta.take_nonempty_text("partial_json") else { return };
                *has_input = true;
                return on(ResponseStep::Delta(&input));
            }
            (Some("signature_delta"), Some(OpenBlock::Thinking)) => {
                if let Some(signature) = delta.take_nonempty_text("signature") {
                    on(ResponseStep::Signature(&signature));
                }
                return;
            }
            _ => return,
        };
        if let Some(text) = delta.take_nonempty_text(field) {
            on(ResponseStep::Delta(&text));
        }
    }

    /// Closes the open block. A call without input gets an empty object.
    fn close_block(&mut self, on: &mut impl FnMut(ResponseStep<'_>)) {
        match self.open.take() {
            None | Some(OpenBlock::Foreign) => return,
            Some(OpenBlock::Call { has_input: false }) => on(ResponseStep::Delta("{}")),
            Some(_) => {}
        }
        on(ResponseStep::Close);
    }
}

fn read_stop(mut holder: ObjectReader<'_>) -> Option<StopReason> {
    Some(match holder.take_text("stop_reason")?.as_str() {
        "max_tokens" => StopReason::MaxTokens,
        "tool_use" => StopReason::ToolUse,
        "stop_sequence" => StopReason::Sequence(holder.take_text("stop_sequence")),
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::Pause,
        "model_context_window_exceeded" => StopReason::Window,
        _ => StopReason::End,
    })
}
