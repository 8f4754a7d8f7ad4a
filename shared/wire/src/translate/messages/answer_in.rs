//! An answer of the Messages API, read: as events and whole.

use crate::meter::Tally;
use crate::sse::Event;
use crate::translate::answer::{Opening, Progress, Step, Stop};
use crate::translate::read::{Object, parse};

/// Reads one answer.
#[derive(Debug, Default)]
pub(in crate::translate) struct Reader {
    tally: Tally,
    open: Option<Open>,
}

/// The block that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Redacted,
    /// A call, and whether any of its input has come.
    Call {
        has_input: bool,
    },
    /// A block that no other dialect has: the upstream's own tools.
    Foreign,
}

impl Reader {
    /// Takes in an event; blocks that no other dialect has are passed over.
    pub(in crate::translate) fn event(
        &mut self,
        event: &Event<'_>,
        on: &mut impl FnMut(Step<'_>),
    ) -> Progress {
        let document = parse(event.data).ok();
        let data = document.as_ref().and_then(|document| Object::of(document.root()));
        let Some(mut data) = data else {
            let matters = ["message", "content_block", "error"];
            let name = String::from_utf8_lossy(event.name);
            let failed = matters.iter().any(|start| name.starts_with(start));
            return if failed { Progress::Failed(event.data.to_vec()) } else { Progress::Open };
        };
        let kind =
            data.text("type").unwrap_or_else(|| String::from_utf8_lossy(event.name).into_owned());
        match kind.as_str() {
            "message_start" => {
                let mut message = data.object("message").unwrap_or_default();
                on(Step::Start { id: message.id() });
                self.usage(&mut message, on);
            }
            "content_block_start" => {
                self.close(on);
                if let Some(block) = data.object("content_block") {
                    self.open(block, on);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = data.object("delta") {
                    self.delta(delta, on);
                }
            }
            "content_block_stop" => self.close(on),
            "message_delta" => {
                if let Some(stop) = data.object("delta").and_then(stop) {
                    on(Step::Stop(stop));
                }
                self.usage(&mut data, on);
            }
            "message_stop" => {
                self.close(on);
                return Progress::Done;
            }
            "ping" => on(Step::Ping),
            "error" => return Progress::Failed(event.data.to_vec()),
            _ if data.raw("error").is_some() => return Progress::Failed(event.data.to_vec()),
            _ => {}
        }
        Progress::Open
    }

    /// Reads a message that came whole; whether it was one.
    pub(in crate::translate) fn whole(body: &str, on: &mut impl FnMut(Step<'_>)) -> bool {
        let Ok(document) = parse(body.as_bytes()) else { return false };
        let Some(mut message) = Object::of(document.root()) else { return false };
        if message.text("type").as_deref() != Some("message") {
            return false;
        }
        let mut reader = Self::default();
        on(Step::Start { id: message.id() });
        for block in message.objects("content") {
            reader.open(block, on);
            reader.close(on);
        }
        reader.usage(&mut message, on);
        if let Some(stop) = stop(message) {
            on(Step::Stop(stop));
        }
        true
    }

    fn usage(&mut self, holder: &mut Object<'_>, on: &mut impl FnMut(Step<'_>)) {
        if let Some(usage) = holder.raw("usage") {
            self.tally.read(usage.raw());
            on(Step::Usage(self.tally.told()));
        }
    }

    /// Opens a block; what it already holds is its first delta.
    fn open(&mut self, mut block: Object<'_>, on: &mut impl FnMut(Step<'_>)) {
        let text = |block: &mut Object<'_>, name| block.words(name);
        let (open, opening, begun) = match block.text("type").as_deref() {
            Some("text") => (Open::Text, Opening::Text, text(&mut block, "text")),
            Some("thinking") => (Open::Thinking, Opening::Thinking, text(&mut block, "thinking")),
            Some("redacted_thinking") => {
                let data = block.text("data").unwrap_or_default();
                (Open::Redacted, Opening::Redacted(data), None)
            }
            Some("tool_use") => {
                let id = block.text("id").unwrap_or_default();
                let name = block.text("name").unwrap_or_default();
                let input = block.raw("input").map(|raw| raw.raw().to_owned());
                let input = input.filter(|input| input != "{}");
                let open = Open::Call { has_input: input.is_some() };
                (open, Opening::Call { id, name }, input)
            }
            _ => {
                self.open = Some(Open::Foreign);
                return;
            }
        };
        self.open = Some(open);
        on(Step::Open(opening));
        if let Some(begun) = begun {
            on(Step::Delta(&begun));
        }
        if let Some(signature) = block.words("signature") {
            on(Step::Signature(&signature));
        }
    }

    fn delta(&mut self, mut delta: Object<'_>, on: &mut impl FnMut(Step<'_>)) {
        let field = match (delta.text("type").as_deref(), &mut self.open) {
            (Some("text_delta"), Some(Open::Text)) => "text",
            (Some("thinking_delta"), Some(Open::Thinking)) => "thinking",
            (Some("input_json_delta"), Some(Open::Call { has_input })) => {
                let Some(input) = delta.words("partial_json") else { return };
                *has_input = true;
                return on(Step::Delta(&input));
            }
            (Some("signature_delta"), Some(Open::Thinking)) => {
                if let Some(signature) = delta.words("signature") {
                    on(Step::Signature(&signature));
                }
                return;
            }
            _ => return,
        };
        if let Some(text) = delta.words(field) {
            on(Step::Delta(&text));
        }
    }

    /// Closes the open block; a call without input has the empty one.
    fn close(&mut self, on: &mut impl FnMut(Step<'_>)) {
        match self.open.take() {
            None | Some(Open::Foreign) => return,
            Some(Open::Call { has_input: false }) => on(Step::Delta("{}")),
            Some(_) => {}
        }
        on(Step::Close);
    }
}

fn stop(mut holder: Object<'_>) -> Option<Stop> {
    Some(match holder.text("stop_reason")?.as_str() {
        "max_tokens" => Stop::MaxTokens,
        "tool_use" => Stop::ToolUse,
        "stop_sequence" => Stop::Sequence(holder.text("stop_sequence")),
        "refusal" => Stop::Refusal,
        "pause_turn" => Stop::Pause,
        "model_context_window_exceeded" => Stop::Window,
        _ => Stop::End,
    })
}
