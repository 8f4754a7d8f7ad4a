//! A request as a vendor sees it, and what the vendor makes of it.

use crate::chat_shape::text_of;
use serde_json::Value;

/// A request to a vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct VendorRequest {
    /// The path and query.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
}

impl VendorRequest {
    /// A request with a body and no headers but a credential and, if given, others.
    pub fn new(path: &str, headers: &[(&str, &str)], body: Value) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_lowercase(), (*value).into()));
        Self { path: path.to_owned(), headers: headers.collect(), body }
    }

    /// The path without the query and without a doubled version.
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The values of `anthropic-beta`.
    pub fn betas(&self) -> Vec<&str> {
        let values = self.headers.iter().filter(|(name, _)| name == "anthropic-beta");
        values.flat_map(|(_, value)| value.split(',')).map(str::trim).collect()
    }

    /// The account whose credential the request has.
    pub fn account(&self) -> &str {
        let bearer = self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.header("x-api-key").or(bearer).unwrap_or_default()
    }

    /// The value of a body's field; `null` counts as absent.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    /// A body's field that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// Whether a stream is asked for.
    pub(crate) fn is_stream(&self) -> bool {
        self.body["stream"] == true
    }
}

/// The dialect in which an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Anthropic Messages, as JSON and server-sent events.
    Messages,
    /// The same in the frames of AWS.
    BedrockFrames,
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// A token count of the Messages API.
    Count,
}

/// A tool that the model can call.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedTool {
    /// The name.
    pub name: String,
    /// The schema of the arguments, or `None` if they are free text.
    pub schema: Option<Value>,
}

/// The choice of a tool that leaves the model no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForcedTool {
    /// One of the tools.
    Any,
    /// The tool of this name.
    Named(String),
}

/// A request that the vendor accepts, with what the answer depends on.
#[expect(clippy::struct_excessive_bools, reason = "each says one thing about the answer")]
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedRequest {
    /// The dialect of the answer.
    pub dialect: Dialect,
    /// The account.
    pub account: String,
    /// The model, as the request names it.
    pub model: String,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// Whether a Chat stream ends with the usage.
    pub includes_usage: bool,
    /// The text of the last message if a user wrote it.
    pub last_text: Option<String>,
    /// The last text of the assistant.
    pub last_answer: Option<String>,
    /// The text of the last tool's output that the assistant has not answered yet.
    pub tool_output: Option<String>,
    /// The tools.
    pub tools: Vec<OfferedTool>,
    /// The tool that must be called.
    pub forced_tool: Option<ForcedTool>,
    /// Whether the model thinks before it answers.
    pub thinks: bool,
    /// Whether the thinking's text is told.
    pub shows_thinking: bool,
    /// The schema of the answer, or any object.
    pub answer_schema: Option<Value>,
    /// The whole conversation, for threads and stored responses.
    pub conversation: Vec<Value>,
    /// Whether the answer is kept for later requests (a response, or a thread).
    pub is_stored: bool,
    /// Whether reasoning is given in encrypted form.
    pub encrypts_reasoning: bool,
    /// The length of the body in bytes, on which the usage depends.
    pub body_bytes: usize,
}

impl AcceptedRequest {
    pub(crate) fn new(dialect: Dialect, request: &VendorRequest, model: &str) -> Self {
        Self {
            dialect,
            account: request.account().to_owned(),
            model: model.to_owned(),
            is_stream: request.is_stream(),
            includes_usage: request.body["stream_options"]["include_usage"] == true,
            last_text: None,
            last_answer: None,
            tool_output: None,
            tools: Vec::new(),
            forced_tool: None,
            thinks: false,
            shows_thinking: true,
            answer_schema: None,
            conversation: Vec::new(),
            is_stored: false,
            encrypts_reasoning: false,
            body_bytes: request.body.to_string().len(),
        }
    }

    /// Notes what the answer can repeat: the assistant's last text, and the output of a tool that it
    /// has not answered yet. The conversation has messages of any dialect, or items of Responses.
    pub(crate) fn hearing(mut self, conversation: &[Value]) -> Self {
        let from = conversation.iter().rposition(is_of_assistant).map_or(0, |index| index + 1);
        let answers = conversation.iter().filter(|item| item["role"] == "assistant");
        let mut texts = answers.map(|message| text_of(&message["content"]));
        self.last_answer = texts.rfind(|text| !text.is_empty());
        self.tool_output = conversation[from..].iter().filter_map(output_of).next_back();
        self
    }
}

fn is_of_assistant(item: &Value) -> bool {
    item["role"] == "assistant" || item["type"].as_str().is_some_and(|kind| kind.ends_with("_call"))
}

/// The text of a tool's output in a message of Chat or Messages, or in an item of Responses.
fn output_of(item: &Value) -> Option<String> {
    if item["role"] == "tool" {
        return Some(text_of(&item["content"]));
    }
    if item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output")) {
        return Some(text_of(&item["output"]));
    }
    let mut blocks = item["content"].as_array().into_iter().flatten();
    let result = blocks.rfind(|block| block["type"] == "tool_result");
    result.map(|result| text_of(&result["content"]))
}

/// A vendor's refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct VendorError {
    /// The status.
    pub status: u16,
    /// Headers beside the content type.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Value,
}

impl VendorError {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// The words of the refusal, wherever the vendor puts them.
    pub fn message(&self) -> String {
        let body = self.body.get(0).unwrap_or(&self.body);
        let message = [&body["error"]["message"], &body["message"], &body["detail"]];
        let message = message.into_iter().find(|message| !message.is_null());
        message.map_or_else(String::new, |message| {
            message.as_str().map_or_else(|| message.to_string(), str::to_owned)
        })
    }
}
