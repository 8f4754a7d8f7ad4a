//! Generated requests: each is right for the vendor of its own dialect, whose twin decides.

use crate::client::ClientRequest;
use crate::fresh_state;
use baton_domain::protocol::ClientProtocol;
use baton_test_vendors::{Vendor, VendorRequest};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// The clients.
pub(crate) const CLIENTS: [ClientProtocol; 4] = [
    ClientProtocol::AnthropicMessages,
    ClientProtocol::OpenaiChat,
    ClientProtocol::OpenaiResponses,
    ClientProtocol::BedrockInvokeModel,
];

/// Requests of a client. The seed is always the same, so that a fault stays until it is mended.
pub(crate) fn generated(client: ClientProtocol, count: usize) -> Vec<ClientRequest> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = strategy(client);
    let mut found = Vec::new();
    let mut tried = 0;
    while found.len() < count {
        tried += 1;
        assert!(tried < count * 100, "too few requests of {client:?} are right for its vendor");
        let request = strategy.new_tree(&mut runner).unwrap().current();
        if is_right(&request) {
            found.push(request);
        }
    }
    found
}

/// Whether the vendor of the dialect accepts the request.
fn is_right(request: &ClientRequest) -> bool {
    let (vendor, path) = match request.client {
        ClientProtocol::AnthropicMessages => (Vendor::Anthropic, "/v1/messages".to_owned()),
        ClientProtocol::OpenaiChat => (Vendor::Openai, "/v1/chat/completions".to_owned()),
        ClientProtocol::OpenaiResponses => (Vendor::Openai, "/v1/responses".to_owned()),
        ClientProtocol::BedrockInvokeModel => {
            (Vendor::Bedrock, format!("/model/{}/invoke", request.model()))
        }
    };
    let headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let direct = VendorRequest::new(&path, &headers, request.body.clone());
    vendor.judge(&direct, &fresh_state()).is_ok()
}

fn strategy(client: ClientProtocol) -> BoxedStrategy<ClientRequest> {
    let (bodies, options) = match client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            (messages_conversations(), messages_options())
        }
        ClientProtocol::OpenaiChat => (chat_conversations(), chat_options()),
        ClientProtocol::OpenaiResponses => (responses_conversations(), responses_options()),
    };
    let models = match client {
        ClientProtocol::AnthropicMessages => {
            vec!["claude-opus-5-5", "claude-sonnet-4-5", "claude-opus-4-6"]
        }
        ClientProtocol::BedrockInvokeModel => vec![""],
        ClientProtocol::OpenaiChat | ClientProtocol::OpenaiResponses => {
            vec!["gpt-5.5", "gpt-4o", "o3"]
        }
    };
    let few = 0..=4_usize;
    (select(bodies), subsequence(options, few), select(models), any::<bool>())
        .prop_map(move |(conversation, options, model, is_stream)| {
            let mut body = conversation;
            for (name, value) in options.iter().flat_map(|option| option.as_object().unwrap()) {
                body[name] = value.clone();
            }
            finish(client, body, model, is_stream)
        })
        .boxed()
}

fn finish(client: ClientProtocol, mut body: Value, model: &str, is_stream: bool) -> ClientRequest {
    match client {
        ClientProtocol::BedrockInvokeModel => {
            body["anthropic_version"] = "bedrock-2023-05-31".into();
        }
        ClientProtocol::AnthropicMessages
        | ClientProtocol::OpenaiChat
        | ClientProtocol::OpenaiResponses => {
            body["model"] = model.into();
            body["stream"] = is_stream.into();
        }
    }
    let mut request = ClientRequest::new(client, body);
    request.streams_by_path = is_stream && client == ClientProtocol::BedrockInvokeModel;
    if client == ClientProtocol::AnthropicMessages && !request.body["output_format"].is_null() {
        let beta = "structured-outputs-2025-11-13".to_owned();
        request.headers.push(("anthropic-beta".to_owned(), beta));
    }
    request
}

const PIXEL: &str = "iVBORw0KGgo=";

fn loose_schema() -> Value {
    json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}},
    }})
}

fn optional_schema() -> Value {
    let mut schema = loose_schema();
    schema["additionalProperties"] = false.into();
    schema
}

fn strict_schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["age", "tags"], "properties": {
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 5},
    }})
}

fn messages_conversations() -> Vec<Value> {
    let with = |messages: Value| json!({"max_tokens": 2_000, "messages": messages});
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let source = |kind: &str, media: &str| json!({"type": "base64", "media_type": format!("{kind}/{media}"), "data": PIXEL});
    let call = json!({"type": "tool_use", "id": "toolu_01A", "name": "Bash", "input": {"a": "ls"}});
    let result = |content: Value| json!({"type": "tool_result", "tool_use_id": "toolu_01A", "content": content});
    let looped = |content: Value| {
        let mut body = with(json!([
            {"role": "user", "content": "list"},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, call]},
            {"role": "user", "content": [result(content), {"type": "text", "text": "and?"}]},
        ]));
        body["tools"] = json!([{"name": "Bash", "input_schema": loose_schema()}]);
        body
    };
    vec![
        with(user("hi".into())),
        with(user(json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))),
        with(user(json!([{"type": "image", "source": source("image", "png")}]))),
        with(user(json!([{"type": "document", "source": source("application", "pdf")}]))),
        with(user(json!([{"type": "document", "title": "t", "source": {
            "type": "text", "media_type": "text/plain", "data": "words"}}]))),
        with(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "c"}])),
        with(json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])),
        with(json!([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}])),
        with(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])),
        looped("a.txt".into()),
        looped(json!([{"type": "image", "source": source("image", "png")}])),
        looped(json!([])),
    ]
}

fn messages_options() -> Vec<Value> {
    let tool = |strict: bool, schema: Value| json!([{"name": "Bash", "description": "Runs.", "strict": strict, "input_schema": schema}]);
    let plain = tool(false, loose_schema());
    let format = |schema: Value| json!({"type": "json_schema", "schema": schema});
    vec![
        json!({"system": "Be kind."}),
        json!({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                          {"type": "text", "text": "b"}]}),
        json!({"temperature": 0.2}),
        json!({"top_p": 0.9}),
        json!({"top_k": 5}),
        json!({"stop_sequences": ["END"]}),
        json!({"max_tokens": 64_000}),
        json!({"thinking": {"type": "adaptive"}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}}),
        json!({"thinking": {"type": "disabled"}}),
        json!({"output_config": {"effort": "low"}}),
        json!({"output_config": {"effort": "max"}}),
        json!({"output_config": {"effort": "xhigh"}}),
        json!({"output_config": {"format": format(optional_schema())}}),
        json!({"output_format": format(optional_schema())}),
        json!({"metadata": {"user_id": "u".repeat(140)}}),
        json!({"service_tier": "auto"}),
        json!({"cache_control": {"type": "ephemeral"}}),
        json!({"tools": plain}),
        json!({"tools": plain, "tool_choice": {"type": "any", "disable_parallel_tool_use": true}}),
        json!({"tools": plain, "tool_choice": {"type": "tool", "name": "Bash"}}),
        json!({"tools": plain, "tool_choice": {"type": "none"}}),
        json!({"tools": tool(true, optional_schema())}),
        json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}, plain[0]]}),
        json!({"tools": [{"name": "n".repeat(100), "input_schema": {"type": "object"}}]}),
    ]
}

fn chat_conversations() -> Vec<Value> {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let part = |url: &str| json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
    let call = json!({"id": "call_1", "type": "function",
                      "function": {"name": "Bash", "arguments": "{\"a\":\"ls\"}"}});
    let looped = json!([
        {"role": "user", "content": "list as json"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"},
    ]);
    let mut ended = looped.as_array().unwrap().clone();
    ended.push(json!({"role": "assistant", "content": "done"}));
    ended.push(json!({"role": "user", "content": "sum up"}));
    vec![
        user("hi json".into()),
        user(
            json!([{"type": "text", "text": "a"}, part(&format!("data:image/png;base64,{PIXEL}"))]),
        ),
        user(json!([part("https://example.com/a.png")])),
        user(json!([{"type": "file", "file": {"filename": "a.pdf",
            "file_data": format!("data:application/pdf;base64,{PIXEL}")}}])),
        user("".into()),
        json!({"messages": [{"role": "system", "content": "Say hello as json."}]}),
        json!({"messages": [{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}]}),
        json!({"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"},
                            {"role": "user", "content": "c", "name": "ada"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"},
                            {"role": "user", "content": "c"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                            {"role": "system", "content": "c"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""},
                            {"role": "user", "content": "c"}]}),
        json!({"messages": [{"role": "user", "content": "a"},
                            {"role": "assistant", "refusal": "no", "content": null},
                            {"role": "user", "content": "c"}]}),
        json!({"messages": looped}),
        json!({"messages": ended}),
    ]
}

fn chat_tools(strict: Option<bool>, schema: &Value) -> Value {
    let mut function = json!({"name": "Bash", "description": "Runs.", "parameters": schema});
    if let Some(strict) = strict {
        function["strict"] = strict.into();
    }
    json!([{"type": "function", "function": function}])
}

fn chat_options() -> Vec<Value> {
    let plain = chat_tools(None, &loose_schema());
    let named = |strict: bool, schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "s", "strict": strict, "schema": schema}});
    vec![
        json!({"temperature": 0.2, "top_p": 0.9}),
        json!({"temperature": 1, "top_p": 1}),
        json!({"temperature": 1.7}),
        json!({"stop": ["END"]}),
        json!({"stop": "\n"}),
        json!({"presence_penalty": 0.5, "frequency_penalty": 0.5}),
        json!({"seed": 5, "n": 1}),
        json!({"logprobs": true, "top_logprobs": 2}),
        json!({"logit_bias": {"50256": -100}}),
        json!({"max_tokens": 16_384}),
        json!({"max_completion_tokens": 100_000}),
        json!({"reasoning_effort": "low"}),
        json!({"reasoning_effort": "xhigh"}),
        json!({"reasoning_effort": "none"}),
        json!({"verbosity": "low"}),
        json!({"user": "ada@example.com"}),
        json!({"safety_identifier": "u1", "prompt_cache_key": "k1"}),
        json!({"metadata": {"run": "1"}, "store": true}),
        json!({"store": false}),
        json!({"service_tier": "auto"}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"response_format": named(true, &strict_schema())}),
        json!({"response_format": named(false, &loose_schema())}),
        json!({"tools": plain}),
        json!({"tools": plain, "parallel_tool_calls": false}),
        json!({"tools": plain, "tool_choice": "required"}),
        json!({"tools": plain, "tool_choice": {"type": "function", "function": {"name": "Bash"}}}),
        json!({"tools": plain, "tool_choice": "none"}),
        json!({"tools": chat_tools(Some(true), &strict_schema())}),
        json!({"tools": [{"type": "function", "function": {"name": "now"}}]}),
        json!({"tools": [{"type": "custom", "custom": {"name": "patch", "description": "Patches."}}]}),
    ]
}

fn responses_conversations() -> Vec<Value> {
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "Bash",
                      "arguments": "{\"a\":\"ls\"}", "status": "completed"});
    let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "a.txt"});
    let said = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                      "content": [{"type": "output_text", "text": "b", "annotations": []}]});
    let image = json!({"type": "input_image", "detail": "auto",
                       "image_url": format!("data:image/png;base64,{PIXEL}")});
    vec![
        json!({"input": "hi json"}),
        json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}, image]}]}),
        json!({"input": [{"role": "developer", "content": "as json"}, {"role": "user", "content": "b"},
                         {"role": "developer", "content": "c"}]}),
        json!({"input": [{"role": "user", "content": "a"}, said, {"role": "user", "content": "c"}]}),
        json!({"input": [{"role": "user", "content": "a"}, said, {"role": "developer", "content": "c"}]}),
        json!({"input": [{"role": "user", "content": "list"}, call, output]}),
        json!({"input": [{"role": "user", "content": "list"}, call, output,
                         {"role": "user", "content": "sum up"}]}),
        json!({"input": [{"role": "developer", "content": "Say hello as json."}]}),
        json!({"input": [{"role": "user", "content": [{"type": "input_file", "filename": "a.pdf",
            "file_data": format!("data:application/pdf;base64,{PIXEL}")}]}]}),
    ]
}

fn responses_options() -> Vec<Value> {
    let plain = json!([{"type": "function", "name": "Bash", "strict": false,
                        "parameters": loose_schema()}]);
    let custom = json!({"type": "custom", "name": "apply_patch", "description": "Patches."});
    let named = |strict: bool, schema: Value| json!({"format": {"type": "json_schema", "name": "s", "strict": strict, "schema": schema}});
    vec![
        json!({"instructions": "Be kind."}),
        json!({"temperature": 0.2, "top_p": 0.9}),
        json!({"max_output_tokens": 16_384}),
        json!({"reasoning": {"effort": "low", "summary": "auto"}}),
        json!({"reasoning": {"effort": "xhigh"}}),
        json!({"store": false, "include": ["reasoning.encrypted_content"]}),
        json!({"metadata": {"run": "1"}}),
        json!({"user": "ada@example.com"}),
        json!({"safety_identifier": "u1", "prompt_cache_key": "k1"}),
        json!({"truncation": "auto"}),
        json!({"text": {"verbosity": "low"}}),
        json!({"text": {"format": {"type": "json_object"}}}),
        json!({"text": named(true, strict_schema())}),
        json!({"text": named(false, loose_schema())}),
        json!({"tools": plain, "parallel_tool_calls": true}),
        json!({"tools": plain, "tool_choice": "required"}),
        json!({"tools": [plain[0], custom]}),
        json!({"tools": [plain[0], {"type": "web_search"}]}),
        json!({"tools": [{"type": "function", "name": "Bash", "strict": true,
                          "parameters": strict_schema()}]}),
    ]
}
