//! Reads answers of the Messages API, as events or whole.

use crate::meter::UsageTally;
use crate::sse::SseEvent;
use crate::translate::json_reader::{ObjectReader, parse_document};
use crate::translate::neutral_response::{
    NamedEnd, PartStart, ReadProgress, ResponseStep, StopReason,
};
use crate::translate::surrogates::SurrogateJoiner;

/// Reads one answer.
#[derive(Debug, Default)]
pub(in crate::translate) struct MessagesReader {
    tally: UsageTally,
    open_block: Option<OpenBlock>,
    /// Of the open block.
    surrogates: SurrogateJoiner,
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
        emit_step: &mut impl FnMut(ResponseStep<'_>),
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
                emit_step(ResponseStep::Start { id: message.take_id() });
                self.read_usage(&mut message, emit_step);
            }
            "content_block_start" => {
                self.close_block(emit_step);
                if let Some(block) = data.take_object("content_block") {
                    self.open_block(block, emit_step);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = data.take_object("delta") {
                    self.read_delta(delta, emit_step);
                }
            }
            "content_block_stop" => self.close_block(emit_step),
            "message_delta" => {
                if let Some(stop) = data.take_object("delta").and_then(read_stop) {
                    emit_step(ResponseStep::Stop(stop));
                }
                self.read_usage(&mut data, emit_step);
            }
            "message_stop" => {
                self.close_block(emit_step);
                return ReadProgress::Done;
            }
            "ping" => emit_step(ResponseStep::Ping),
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
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) -> bool {
        let Ok(document) = parse_document(body.as_bytes()) else { return false };
        let Some(mut message) = ObjectReader::from_value(document.root()) else { return false };
        // Some servers omit the type.
        let kind = message.take_text("type");
        if !kind.map_or_else(|| message.has_field("content"), |kind| kind == "message") {
            return false;
        }
        let mut reader = Self::default();
        emit_step(ResponseStep::Start { id: message.take_id() });
        for block in message.take_objects("content") {
            reader.open_block(block, emit_step);
            reader.close_block(emit_step);
        }
        reader.read_usage(&mut message, emit_step);
        if let Some(stop_reason) = read_stop(message) {
            emit_step(ResponseStep::Stop(stop_reason));
        }
        true
    }

    fn read_usage(
        &mut self,
        holder: &mut ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        if let Some(usage) = holder.take_value("usage") {
            self.tally.read_usage(usage.raw());
            emit_step(ResponseStep::Usage(self.tally.reported_usage()));
        }
    }

    /// Opens a block. Its initial content becomes the first delta.
    fn open_block(
        &mut self,
        mut block: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let text = |block: &mut ObjectReader<'_>, name| block.take_nonempty_text(name);
        let (open, opening, part) = match block.take_text("type").as_deref() {
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
                let open_block = OpenBlock::Call { has_input: input.is_some() };
                (open_block, PartStart::Call { id, name }, input)
            }
            _ => {
                self.open_block = Some(OpenBlock::Foreign);
                return;
            }
        };
        self.open_block = Some(open);
        self.surrogates = SurrogateJoiner::default();
        emit_step(ResponseStep::Open(opening));
        if let Some(part) = part {
            emit_step(ResponseStep::Delta(&part));
        }
        if let Some(signature) = block.take_nonempty_text("signature") {
            emit_step(ResponseStep::Signature(&signature));
        }
    }

    fn read_delta(
        &mut self,
        mut delta: ObjectReader<'_>,
        emit_step: &mut impl FnMut(ResponseStep<'_>),
    ) {
        let field = match (delta.take_text("type").as_deref(), &mut self.open_block) {
            (Some("text_delta"), Some(OpenBlock::Text)) => "text",
            (Some("thinking_delta"), Some(OpenBlock::Thinking)) => "thinking",
            (Some("input_json_delta"), Some(OpenBlock::Call { has_input })) => {
                let input = delta.take_delta("partial_json", &mut self.surrogates, (0, 0));
                let Some(input) = input else { return };
                *has_input = true;
                return emit_step(ResponseStep::Delta(&input));
            }
            (Some("signature_delta"), Some(OpenBlock::Thinking)) => {
                if let Some(signature) = delta.take_nonempty_text("signature") {
                    emit_step(ResponseStep::Signature(&signature));
                }
                return;
            }
            _ => return,
        };
        if let Some(text) = delta.take_delta(field, &mut self.surrogates, (0, 0)) {
            emit_step(ResponseStep::Delta(&text));
        }
    }

    /// Closes the open block. A call without input gets an empty object.
    fn close_block(&mut self, emit_step: &mut impl FnMut(ResponseStep<'_>)) {
        match self.open_block.take() {
            None | Some(OpenBlock::Foreign) => return,
            Some(OpenBlock::Call { has_input: false }) => emit_step(ResponseStep::Delta("{}")),
            Some(_) => {}
        }
        emit_step(ResponseStep::Close);
    }
}

fn read_stop(mut holder: ObjectReader<'_>) -> Option<StopReason> {
    let name = holder.take_text("stop_reason")?;
    if name == "stop_sequence" {
        return Some(StopReason::Sequence(holder.take_text("stop_sequence")));
    }
    Some(match NamedEnd::from_name(&name) {
        NamedEnd::Reason(reason) => reason,
        // Anthropic has no name for it and sends an error.
        NamedEnd::Broken => StopReason::MaxTokens,
    })
}
