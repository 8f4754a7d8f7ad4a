//! Answers to accepted requests: what the model says, in the vendor's form.

mod chat;
mod frames;
mod messages;
mod responses;

use crate::Vendor;
use crate::request::{AcceptedRequest, Dialect, ForcedTool, OfferedTool};
use crate::schema::sample;
use crate::state::TwinState;
use bytes::Bytes;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: AnswerBody,
    /// The usage, in the vendor's form.
    pub usage: Value,
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub enum AnswerBody {
    /// A JSON object.
    Whole(Value),
    /// The pieces of a stream, one for each event.
    Events(Vec<Bytes>),
}

impl Answer {
    /// The body's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match &self.body {
            AnswerBody::Whole(value) => value.to_string().into_bytes(),
            AnswerBody::Events(events) => events.concat(),
        }
    }
}

/// A call that the model makes.
#[derive(Debug, Clone)]
struct PlannedCall {
    name: String,
    id: String,
    /// The arguments, or the text for a tool of free text.
    arguments: Result<Value, String>,
}

/// What the model says.
#[derive(Debug, Clone)]
struct AnswerPlan {
    serial: u64,
    thinking: Option<String>,
    text: String,
    calls: Vec<PlannedCall>,
    usage: PlannedUsage,
}

/// Token counts that depend only on the length of the body, none of which is zero or equal to
/// another.
#[derive(Debug, Clone, Copy)]
struct PlannedUsage {
    input: u64,
    cached: u64,
    output: u64,
    thinking: u64,
}

pub(crate) fn answer(vendor: Vendor, accepted: &AcceptedRequest, state: &mut TwinState) -> Answer {
    let plan = AnswerPlan::new(vendor, accepted, state.next_serial());
    match accepted.dialect {
        Dialect::Count => {
            let name = if vendor == Vendor::Bedrock { "inputTokens" } else { "input_tokens" };
            let count = json!({name: plan.usage.input});
            Answer { content_type: JSON, usage: Value::Null, body: AnswerBody::Whole(count) }
        }
        Dialect::Messages | Dialect::BedrockFrames => messages::write(&plan, accepted, state),
        Dialect::Chat => chat::write(vendor, &plan, accepted),
        Dialect::Responses => responses::write(&plan, accepted, state),
    }
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

impl AnswerPlan {
    fn new(vendor: Vendor, accepted: &AcceptedRequest, serial: u64) -> Self {
        let length = accepted.body_bytes as u64;
        let usage = PlannedUsage {
            input: 11 + length % 89,
            cached: 2_000 + length % 1_013,
            output: 117 + length % 43,
            thinking: 7 + length % 5,
        };
        let calls = plan_calls(vendor, accepted, serial);
        let text = match &accepted.answer_schema {
            Some(schema) => sample(schema, "answer").to_string(),
            None => said(accepted, serial),
        };
        let thinking = accepted.thinks.then(|| format!("Thought {serial}."));
        Self {
            serial,
            thinking,
            text: if calls.is_empty() { text } else { String::new() },
            calls,
            usage,
        }
    }
}

/// The text of an answer without a schema.
fn said(accepted: &AcceptedRequest, serial: u64) -> String {
    let prompt = accepted.last_text.as_deref().unwrap_or_default();
    let marked = prompt.split_once("[[say:").and_then(|(_, rest)| rest.split_once("]]"));
    match (marked, &accepted.tool_output) {
        (Some((words, _)), _) => words.to_owned(),
        _ if prompt.contains("[[recall]]") => accepted.last_answer.clone().unwrap_or_default(),
        (None, Some(output)) => format!("The tool said: {}", output.trim()),
        (None, None) => format!("Answer {serial}."),
    }
}

fn plan_calls(vendor: Vendor, accepted: &AcceptedRequest, serial: u64) -> Vec<PlannedCall> {
    let prompt = accepted.last_text.as_deref().unwrap_or_default();
    let marked = prompt.split_once("[[tool").and_then(|(_, rest)| rest.split_once("]]"));
    let is_asked = marked.is_some() || prompt.contains("TOOL:") || accepted.forced_tool.is_some();
    let named = |name: &str| accepted.tools.iter().find(|tool| tool.name == name);
    let inside = marked.map_or("", |(inside, _)| inside);
    let wanted = inside.strip_prefix('@').and_then(|rest| rest.split(':').next());
    let forced = match &accepted.forced_tool {
        Some(ForcedTool::Named(name)) => Some(name.as_str()),
        Some(ForcedTool::Any) | None => wanted,
    };
    let tool = forced.and_then(named).or_else(|| accepted.tools.first());
    let Some(tool) = tool.filter(|_| is_asked) else { return Vec::new() };
    let text = inside.split_once(':').map_or("echo hi", |(_, text)| text);
    let count = if inside.starts_with('s') { 2 } else { 1 };
    (0..count).map(|index| plan_call(vendor, tool, text, serial * 10 + index)).collect()
}

fn plan_call(vendor: Vendor, tool: &OfferedTool, text: &str, number: u64) -> PlannedCall {
    // Each vendor's own form of ids.
    let id = match vendor {
        Vendor::Anthropic | Vendor::Bedrock => format!("toolu_01Twin{number:016}"),
        Vendor::Openai => format!("call_Twin{number:020}"),
        Vendor::Gemini => format!("function-call-{number:019}"),
        Vendor::DeepSeek => format!("{}{number:016}", crate::deepseek::CALL_ID),
        Vendor::Mistral => format!("Twin{number:05}"),
        Vendor::Qwen => format!("chatcmpl-tool-{number:032x}"),
    };
    let arguments = match &tool.schema {
        Some(schema) => Ok(match sample(schema, text) {
            Value::Object(arguments) => Value::Object(arguments),
            _ => json!({}),
        }),
        None => Err(text.to_owned()),
    };
    PlannedCall { name: tool.name.clone(), id, arguments }
}

/// Splits a text into two pieces, so that no delta is a whole part.
fn halves(text: &str) -> [&str; 2] {
    let middle = (text.len() / 2..=text.len()).find(|index| text.is_char_boundary(*index));
    let (first, second) = text.split_at(middle.unwrap_or(text.len()));
    [first, second]
}

/// A named event.
fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
