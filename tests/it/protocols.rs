//! Shared parts of the protocol tests: the requests and answers of each kind of client, and the
//! accounts of each kind of upstream.

mod failures;
mod ledger;
mod models;
mod timers;
mod twins;

use aws_smithy_eventstream::frame::read_message_from;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use baton_test_harness::upstream::BEDROCK_KEY;
use serde_json::{Value, json};

/// The model that clients request. Every upstream except Bedrock uses this name.
pub(crate) const MODEL: &str = "claude-sonnet-5-5";
/// Bedrock's name of the model.
const PROFILE: &str = "us.anthropic.claude-sonnet-5-5-v1:0";

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestClient {
    Messages,
    Chat,
    Responses,
    Bedrock,
}

/// The kind of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountKind {
    Anthropic,
    Openai,
    /// An OpenAI-compatible upstream that has `/v1/responses`.
    OpenaiResponses,
    Bedrock,
}

pub(crate) const CLIENTS: [TestClient; 4] =
    [TestClient::Messages, TestClient::Chat, TestClient::Responses, TestClient::Bedrock];
pub(crate) const KINDS: [AccountKind; 4] = [
    AccountKind::Anthropic,
    AccountKind::Openai,
    AccountKind::OpenaiResponses,
    AccountKind::Bedrock,
];

/// Every client with every kind of account.
pub(crate) fn pairs() -> impl Iterator<Item = (TestClient, AccountKind)> {
    CLIENTS.into_iter().flat_map(|client| KINDS.map(|kind| (client, kind)))
}

impl AccountKind {
    pub(crate) fn provider(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai | Self::OpenaiResponses => "openai_compatible",
            Self::Bedrock => "bedrock",
        }
    }

    /// Adds an account of this kind at `url`.
    pub(crate) async fn account(
        self,
        system: &TestSystem,
        name: &str,
        url: &str,
        mut fields: Value,
    ) {
        fields["provider"] = self.provider().into();
        match self {
            Self::Anthropic | Self::Openai => {}
            Self::OpenaiResponses => fields["speaks_responses"] = true.into(),
            Self::Bedrock => {
                fields["credential"] = json!({"type": "api_key", "value": BEDROCK_KEY});
                if fields["model_map"].is_null() {
                    fields["model_map"] = json!({MODEL: PROFILE});
                }
            }
        }
        system.account_with(name, url, fields).await;
    }
}

/// A key whose group has these accounts. The first one has the highest priority.
pub(crate) async fn key(
    system: &TestSystem,
    name: &str,
    accounts: &[(AccountKind, &str)],
) -> TestKey {
    let group = system.group(name).await;
    for (priority, (kind, url)) in accounts.iter().enumerate() {
        let fields = json!({"groups": [group], "priority": priority + 1});
        kind.account(system, &format!("{name}-{priority}"), url, fields).await;
    }
    system.key(name).group(&group).create().await
}

impl TestClient {
    /// The protocol's name in usage records.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Messages => "anthropic_messages",
            Self::Chat => "openai_chat",
            Self::Responses => "openai_responses",
            Self::Bedrock => "bedrock_invoke_model",
        }
    }

    /// The route for this client. Bedrock has a separate route for streams.
    pub(crate) fn route(self, stream: bool) -> String {
        match self {
            Self::Messages => "/v1/messages".to_owned(),
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Bedrock => {
                let action = if stream { "invoke-with-response-stream" } else { "invoke" };
                format!("/model/{}/{action}", PROFILE.replace(':', "%3A"))
            }
        }
    }

    pub(crate) fn body(self, text: &str, stream: bool) -> Value {
        let turn = json!([{"role": "user", "content": text}]);
        match self {
            Self::Messages => {
                json!({"model": MODEL, "max_tokens": 100, "messages": turn, "stream": stream})
            }
            Self::Chat => json!({"model": MODEL, "messages": turn, "stream": stream}),
            Self::Responses => json!({"model": MODEL, "input": text, "stream": stream}),
            Self::Bedrock => json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": turn,
            }),
        }
    }

    /// The definition of the function `lookup` in this protocol.
    fn tool(self) -> Value {
        let schema = json!({
            "type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"],
        });
        let function = json!({"name": "lookup", "description": "x", "parameters": schema});
        match self {
            Self::Messages | Self::Bedrock => {
                json!({"name": "lookup", "description": "x", "input_schema": schema})
            }
            Self::Chat => json!({"type": "function", "function": function}),
            Self::Responses => {
                let mut tool = function;
                tool["type"] = "function".into();
                tool
            }
        }
    }

    pub(crate) async fn ask(self, key: &TestKey, text: &str, stream: bool) -> ClientResponse {
        self.send(key, &self.body(text, stream), stream).await
    }

    /// Sends a request that is answered with a function call.
    pub(crate) async fn ask_for_function_call(self, key: &TestKey, stream: bool) -> ClientResponse {
        let mut body = self.body("[[tool:answer]]", stream);
        body["tools"] = json!([self.tool()]);
        self.send(key, &body, stream).await
    }

    pub(crate) async fn send(self, key: &TestKey, body: &Value, stream: bool) -> ClientResponse {
        let request = key.request("POST", &self.route(stream));
        ClientResponse::to(
            request.header("content-type", "application/json").body(body.to_string()),
        )
        .await
    }

    /// The events of an answer. A whole answer counts as one event.
    pub(crate) fn events(self, answer: &ClientResponse) -> Vec<Value> {
        let content_type = answer.header("content-type").unwrap_or_default();
        if content_type.starts_with("text/event-stream") {
            answer.events()
        } else if content_type == "application/vnd.amazon.eventstream" {
            assert_eq!(self, Self::Bedrock, "frames are for clients of Bedrock");
            unframed(answer)
        } else {
            vec![answer.json()]
        }
    }

    /// The text of an answer.
    pub(crate) fn answer_text(self, answer: &ClientResponse) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // Thinking can stand before the text.
        let last = |list: &Value| list.as_array().and_then(|list| list.last().cloned());
        let piece = |event: Value| match self {
            Self::Messages | Self::Bedrock => {
                let block = last(&event["content"]).unwrap_or_default();
                text(&block["text"]) + text(&event["delta"]["text"]).as_str()
            }
            Self::Responses => {
                let item = last(&event["output"]).unwrap_or_default();
                let is_text = event["type"] == "response.output_text.delta";
                let delta = if is_text { text(&event["delta"]) } else { String::new() };
                text(&item["content"][0]["text"]) + delta.as_str()
            }
            Self::Chat => {
                let choice = &event["choices"][0];
                text(&choice["message"]["content"]) + text(&choice["delta"]["content"]).as_str()
            }
        };
        self.events(answer).into_iter().map(piece).collect()
    }

    /// The name and the arguments of the function that an answer calls.
    pub(crate) fn called(self, answer: &ClientResponse) -> (String, Value) {
        let (mut name, mut arguments) = (String::new(), String::new());
        let mut add = |called: &Value, given: &Value| {
            name.push_str(called.as_str().unwrap_or_default());
            arguments.push_str(given.as_str().unwrap_or_default());
        };
        for event in self.events(answer) {
            match self {
                Self::Messages | Self::Bedrock => {
                    let whole = event["content"].as_array().into_iter().flatten();
                    for block in whole.filter(|block| block["type"] == "tool_use") {
                        add(&block["name"], &block["input"].to_string().into());
                    }
                    add(&event["content_block"]["name"], &event["delta"]["partial_json"]);
                }
                Self::Chat => {
                    let choice = &event["choices"][0];
                    let lists = [&choice["message"], &choice["delta"]];
                    let calls = lists.map(|one| one["tool_calls"].as_array());
                    for call in calls.into_iter().flatten().flatten() {
                        add(&call["function"]["name"], &call["function"]["arguments"]);
                    }
                }
                Self::Responses => {
                    let is_done = event["type"] == "response.output_item.done";
                    let done = is_done.then(|| &event["item"]);
                    for item in event["output"].as_array().into_iter().flatten().chain(done) {
                        add(&item["name"], &item["arguments"]);
                    }
                }
            }
        }
        let given = serde_json::from_str(&arguments);
        (name, given.unwrap_or_else(|error| panic!("{error}: {arguments:?}")))
    }

    /// Whether the last event of a stream marks the answer as complete.
    pub(crate) fn is_ended(self, answer: &ClientResponse) -> bool {
        let last = self.events(answer).pop().unwrap_or_default();
        match self {
            Self::Messages | Self::Bedrock => last["type"] == "message_stop",
            Self::Responses => last["type"] == "response.completed",
            Self::Chat => answer.text().ends_with("data: [DONE]\n\n"),
        }
    }

    /// The type (or code) and the message of the error that an answer or a stream ends with. Panics
    /// if the error does not have the form of the client's protocol.
    pub(crate) fn error(self, answer: &ClientResponse) -> (String, String) {
        let event = self.events(answer).pop().expect("an event");
        let (error, kind) = match self {
            Self::Bedrock if event["message"].is_string() => {
                let kind = answer.header("x-amzn-errortype").unwrap_or_default();
                return (kind.to_owned(), event["message"].as_str().unwrap_or_default().to_owned());
            }
            Self::Messages | Self::Bedrock => {
                assert_eq!(event["type"], "error", "{event}");
                (&event["error"], "type")
            }
            Self::Responses if event["type"] == "response.failed" => {
                (&event["response"]["error"], "code")
            }
            Self::Responses if event["type"] == "error" => {
                assert!(event["sequence_number"].is_u64(), "{event}");
                (&event, "code")
            }
            Self::Chat | Self::Responses => {
                assert!(event["error"].get("param").is_some(), "{event}");
                (&event["error"], "type")
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(error["message"].is_string(), "{event}");
        (text(&error[kind]), text(&error["message"]))
    }
}

/// The events in the frames of an answer. An exception is returned as an error event.
fn unframed(answer: &ClientResponse) -> Vec<Value> {
    let (mut rest, mut events) = (answer.body.clone(), Vec::new());
    while !rest.is_empty() {
        let frame = read_message_from(&mut rest).expect("a frame");
        let part: Value = serde_json::from_slice(frame.payload()).expect("JSON");
        let Some(bytes) = part["bytes"].as_str() else {
            let name =
                frame.headers().iter().find(|header| header.name().as_str() == ":exception-type");
            let name =
                name.and_then(|header| header.value().as_string().ok()).expect("an exception");
            let error = json!({"type": name.as_str(), "message": part["message"]});
            events.push(json!({"type": "error", "error": error}));
            continue;
        };
        let bytes = BASE64_STANDARD.decode(bytes).expect("base64");
        events.push(serde_json::from_slice(&bytes).expect("an event"));
    }
    events
}
