//! Each vendor's rules as a table: a good request, one change, and the vendor's words.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use baton_test_vendors::{TwinState, Vendor, VendorRequest};
use serde_json::{Value, json};

/// A good request of the vendor.
fn good(vendor: Vendor) -> VendorRequest {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let (path, body) = match vendor {
        Vendor::Anthropic => (
            "/v1/messages",
            json!({"model": "claude-opus-5-5", "max_tokens": 100, "messages": messages}),
        ),
        Vendor::Bedrock => (
            "/model/us.anthropic.claude-opus-4-6-v1%3A0/invoke",
            json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": messages}),
        ),
        Vendor::Openai => {
            ("/v1/chat/completions", json!({"model": "gpt-5.5", "messages": messages}))
        }
        Vendor::Gemini => {
            ("/v1/chat/completions", json!({"model": "gemini-3-pro", "messages": messages}))
        }
        Vendor::DeepSeek => {
            ("/v1/chat/completions", json!({"model": "deepseek-v4-pro", "messages": messages}))
        }
        Vendor::Mistral => {
            ("/v1/chat/completions", json!({"model": "mistral-large-latest", "messages": messages}))
        }
        Vendor::Qwen => {
            ("/v1/chat/completions", json!({"model": "qwen3.8-27b", "messages": messages}))
        }
    };
    VendorRequest::new(path, &[("x-api-key", "a"), ("anthropic-version", "2023-06-01")], body)
}

fn responses(body: Value) -> VendorRequest {
    VendorRequest::new("/v1/responses", &[("authorization", "Bearer a")], body)
}

/// The words of the refusal of a request, or nothing.
fn words(vendor: Vendor, request: &VendorRequest) -> Option<(u16, String)> {
    let judged = vendor.judge(request, &TwinState::default());
    judged.err().map(|error| (error.status, error.message()))
}

/// Checks rows of a change of the body and a part of the refusal; an empty part is no refusal.
fn check(vendor: Vendor, rows: &[(Value, &str)]) {
    for (change, expect) in rows {
        let mut request = good(vendor);
        for (name, value) in change.as_object().unwrap() {
            request.body[name] = value.clone();
        }
        let seen = words(vendor, &request);
        match (&seen, *expect) {
            (None, "") => {}
            (Some((_, words)), expect) if !expect.is_empty() && words.contains(expect) => {}
            _ => panic!("{vendor:?} {change}: {seen:?}, not {expect:?}"),
        }
    }
}

fn call(content: &str) -> Value {
    let call = json!({
        "id": "call_1", "type": "function", "function": {"name": "Bash", "arguments": "{\"c\":\"ls\"}"},
    });
    json!([
        {"role": "user", "content": "list"},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a"},
    ])
}

fn function(strict: bool, parameters: &Value) -> Value {
    json!([{"type": "function",
            "function": {"name": "Bash", "parameters": parameters, "strict": strict}}])
}

#[test]
fn every_good_request_is_accepted_and_answered() {
    for vendor in Vendor::ALL {
        let mut state = TwinState::default();
        let accepted = vendor.judge(&good(vendor), &state).unwrap();
        assert!(!vendor.answer(&accepted, &mut state).bytes().is_empty(), "{vendor:?}");
    }
    let request = responses(json!({"model": "gpt-5.5", "input": "hi"}));
    assert_eq!(words(Vendor::Openai, &request), None);
}

#[test]
fn anthropic_refuses_what_the_newest_model_does_not_take() {
    let loop_of = |name: &str, id: &str| {
        json!([
            {"role": "user", "content": "list"},
            {"role": "assistant", "content": [{"type": name, "id": id, "name": "B", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "a"}]},
        ])
    };
    let thinking = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "b"},
        ]},
        {"role": "user", "content": "c"},
    ]);
    let bounds = json!({"type": "object", "additionalProperties": false, "required": ["a"],
                        "properties": {"a": {"type": "integer", "minimum": 0}}});
    let format = |schema: &Value| json!({"format": {"type": "json_schema", "schema": schema}});
    let rows = [
        (json!({"store": true}), "store: Extra inputs are not permitted"),
        (json!({"thread": {"type": "create"}}), "thread: Extra inputs are not permitted"),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (json!({"max_tokens": 128_001}), "max_tokens: 128001 > 128000"),
        (json!({"messages": []}), "messages: at least one message is required"),
        (json!({"temperature": 0.5}), "`temperature` is deprecated for this model."),
        (json!({"temperature": 1}), ""),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}), "thinking.type.enabled"),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}), ""),
        (json!({"output_config": {"effort": "minimal"}}), "'minimal' is not supported"),
        (json!({"output_config": format(&bounds)}), "property 'minimum' is not supported"),
        (
            json!({"output_config": format(&json!({"type": "object"}))}),
            "'additionalProperties' must be",
        ),
        (json!({"metadata": {"user_id": "ada@example.com"}}), "email address"),
        (json!({"messages": loop_of("tool_use", "t1")}), "must define tools"),
        (json!({"messages": loop_of("tool_use", "functions.B:0")}), "should match pattern"),
        (json!({"messages": thinking}), "Invalid `signature` in `thinking` block"),
        (json!({"messages": [{"role": "user", "content": ""}]}), "non-empty content"),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            "does not support assistant message prefill",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
            "",
        ),
        (json!({"tool_choice": {"type": "auto"}}), "only be specified while providing tools"),
        (
            json!({"tools": [{"name": "a.b", "input_schema": {"type": "object"}}]}),
            "should match pattern",
        ),
        (json!({"tools": [{"name": "a", "input_schema": {}}]}), "input_schema.type"),
        (json!({"tools": [{"type": "function", "name": "a"}]}), "Input tag 'function'"),
    ];
    check(Vendor::Anthropic, &rows);
    let mut request = good(Vendor::Anthropic);
    request.headers.retain(|(name, _)| name != "anthropic-version");
    let seen = words(Vendor::Anthropic, &request).unwrap();
    assert_eq!(seen, (400, "anthropic-version: header is required".to_owned()));
    let mut request = good(Vendor::Anthropic);
    request.body["model"] = "gpt-5.5".into();
    assert_eq!(words(Vendor::Anthropic, &request).unwrap().0, 404);
}

#[test]
fn anthropic_takes_images_and_pdfs_only() {
    let image = |media: &str| {
        let source = json!({"type": "base64", "media_type": media, "data": "JVBERi0="});
        json!([{"role": "user", "content": [{"type": "image", "source": source}]}])
    };
    let document = |media: &str| {
        let source = json!({"type": "base64", "media_type": media, "data": "JVBERi0="});
        json!([{"role": "user", "content": [{"type": "document", "source": source}]}])
    };
    let rows = [
        (json!({"messages": image("image/jpg")}), "media_type: Input should be"),
        (json!({"messages": image("image/png")}), ""),
        (json!({"messages": document("text/plain")}), "'application/pdf'"),
    ];
    check(Vendor::Anthropic, &rows);
}

#[test]
fn anthropic_differs_by_generation() {
    let row = |model: &str, mut change: Value, expect: &'static str| {
        change["model"] = model.into();
        (change, expect)
    };
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    let budget =
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000});
    let effort = |level: &str| json!({"output_config": {"effort": level}});
    let both = json!({"temperature": 1, "top_p": 1});
    let prefill = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
    ]});
    let system = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "system", "content": "b"},
    ]});
    let schema = json!({"output_config": {"format": {"type": "json_schema", "schema": {
        "type": "object", "properties": {}, "additionalProperties": false,
    }}}});
    let rows = [
        row("claude-3-haiku-20240307", json!({"max_tokens": 4097}), "4097 > 4096"),
        row("claude-3-5-sonnet-20241022", budget.clone(), "does not support thinking"),
        row("claude-3-7-sonnet-20250219", budget.clone(), ""),
        row("claude-sonnet-4-20250514", schema.clone(), "does not support structured outputs"),
        row("claude-sonnet-4-20250514", both.clone(), ""),
        row("claude-sonnet-4-5", both.clone(), "cannot both be specified"),
        row("claude-sonnet-4-5", adaptive.clone(), "adaptive thinking is not supported"),
        row("claude-sonnet-4-5", effort("high"), "does not support the effort"),
        row("claude-sonnet-4-5", schema, ""),
        row("claude-sonnet-4-5", prefill.clone(), ""),
        row("claude-sonnet-4-5", system.clone(), "role 'system' is not supported"),
        row("claude-opus-4-5", effort("high"), ""),
        row("claude-opus-4-5", effort("max"), "'max' is not supported"),
        row("claude-opus-4-6", effort("max"), ""),
        row("claude-opus-4-6", effort("xhigh"), "'xhigh' is not supported"),
        row("claude-opus-4-6", adaptive, ""),
        row("claude-opus-4-6", budget.clone(), ""),
        row("claude-opus-4-6", prefill, "prefill"),
        row("claude-opus-4-7", budget, "thinking.type.enabled"),
        row("claude-opus-4-7", effort("xhigh"), ""),
        row("claude-opus-4-8", system, ""),
    ];
    check(Vendor::Anthropic, &rows);
}

#[test]
fn bedrock_refuses_fields_and_betas_that_it_does_not_know() {
    let rows = [
        (json!({"model": "claude-opus-4-6"}), "model: Extra inputs are not permitted"),
        (json!({"stream": true}), "stream: Extra inputs are not permitted"),
        (json!({"cache_control": {"type": "ephemeral"}}), "cache_control: Extra inputs"),
        (json!({"thread": {"type": "create"}}), "thread: Extra inputs"),
        (json!({"output_format": {}}), "output_format: Extra inputs"),
        (json!({"anthropic_beta": ["files-api-2025-04-14"]}), "invalid beta flag"),
        (
            json!({"anthropic_beta": ["context-management-2025-06-27"], "context_management": {}}),
            "",
        ),
        (json!({"context_management": {}}), "context_management: Extra inputs"),
        (json!({"anthropic_version": null}), "anthropic_version"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {
            "type": "url", "url": "https://example.com/a.png"}}]}]}),
            "Input tag 'url'",
        ),
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "Input tag"),
    ];
    check(Vendor::Bedrock, &rows);
}

#[test]
fn openai_chat_differs_by_model() {
    let row = |model: &str, mut change: Value, expect: &'static str| {
        change["model"] = model.into();
        (change, expect)
    };
    let tools = function(false, &json!({"type": "object", "properties": {}}));
    let optional = json!({"type": "object", "additionalProperties": false, "required": ["a"],
                          "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}});
    let rows = [
        row("gpt-4o", json!({"reasoning_effort": "high"}), "Unrecognized request argument"),
        row("gpt-4o", json!({"max_tokens": 64_000}), "at most 16384 completion tokens"),
        row("gpt-4o", json!({"temperature": 0.1, "stop": ["a"], "top_p": 0.5}), ""),
        row("gpt-4o", json!({"top_k": 5}), "Unrecognized request argument supplied: top_k"),
        row("gpt-4o", json!({"metadata": {"run": "1"}}), "only allowed when 'store' is enabled"),
        row("gpt-4o", json!({"metadata": {"run": "1"}, "store": true}), ""),
        row("gpt-4o", json!({"top_logprobs": 2}), "only allowed when 'logprobs' is enabled"),
        row("gpt-4o", json!({"tools": []}), "empty array"),
        row("gpt-4o", json!({"tool_choice": "auto"}), "only allowed when 'tools'"),
        row("gpt-4o", json!({"tools": function(true, &optional)}), "Missing 'b'"),
        row("gpt-4o", json!({"tools": function(false, &optional)}), ""),
        row("gpt-4o", json!({"response_format": {"type": "json_object"}}), "the word 'json'"),
        row("gpt-4o", json!({"user": "u".repeat(65)}), "maximum length 64"),
        row("o3", json!({"stop": ["a"]}), "'stop' is not supported with this model"),
        row("o3", json!({"max_tokens": 100}), "Use 'max_completion_tokens' instead"),
        row("o3", json!({"reasoning_effort": "minimal"}), "does not support 'minimal'"),
        row("o3", json!({"tools": tools, "parallel_tool_calls": true}), "'parallel_tool_calls'"),
        row("gpt-5", json!({"temperature": 0.1}), "Only the default (1) value is supported"),
        row("gpt-5", json!({"temperature": 1}), ""),
        row("gpt-5", json!({"reasoning_effort": "none"}), "does not support 'none'"),
        row("gpt-5", json!({"tools": tools, "reasoning_effort": "high"}), ""),
        row(
            "gpt-5.5",
            json!({"tools": tools, "reasoning_effort": "high"}),
            "Please use /v1/responses",
        ),
        row("gpt-5.5", json!({"tools": tools, "reasoning_effort": "none"}), ""),
        row("gpt-5.5", json!({"tools": tools}), ""),
        row("gpt-5.6", json!({"tools": tools}), "Please use /v1/responses"),
        row("gpt-5.5", json!({"messages": []}), "empty array"),
        row("gpt-5.5", json!({"messages": call("")}), ""),
        row(
            "gpt-5.5",
            json!({"messages": [call("")[0], call("")[1]]}),
            "did not have response messages",
        ),
        row(
            "gpt-5.5",
            json!({"messages": [call("")[2]]}),
            "must be a response to a preceeding message",
        ),
        row(
            "gpt-5.5",
            json!({"messages": [{"role": "assistant", "reasoning_content": "a", "content": "b"}]}),
            "Unknown parameter: 'messages[0].reasoning_content'",
        ),
    ];
    check(Vendor::Openai, &rows);
}

#[test]
fn openai_responses_checks_items_and_state() {
    let rows = [
        (json!({"max_tokens": 5}), "Unknown parameter: 'max_tokens'"),
        (json!({"max_output_tokens": 5}), "Expected a value >= 16"),
        (json!({"temperature": 0.2}), "'temperature' is not supported with this model"),
        (
            json!({"previous_response_id": "resp_1"}),
            "Previous response with id 'resp_1' not found.",
        ),
        (
            json!({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
            "not found. Items are",
        ),
        (
            json!({"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "a"}]}),
            "could not be verified",
        ),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}),
            "No tool call found for function call output with call_id c.",
        ),
        (
            json!({"input": [{"type": "function_call", "call_id": "c", "name": "a", "arguments": "{}"}]}),
            "No tool output found for function call c.",
        ),
        (
            json!({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}]}),
            "Supported values are: 'output_text' and 'refusal'.",
        ),
        (
            json!({"model": "gpt-4o", "reasoning": {"effort": "high"}}),
            "'reasoning.effort' is not supported",
        ),
        (json!({"tools": [{"type": "function", "function": {"name": "a"}}]}), "tools[0].function"),
    ];
    for (change, expect) in rows {
        let mut request = responses(json!({"model": "gpt-5.5", "input": "hi"}));
        for (name, value) in change.as_object().unwrap() {
            request.body[name] = value.clone();
        }
        let seen = words(Vendor::Openai, &request).unwrap_or_default();
        assert!(seen.1.contains(expect), "{change}: {seen:?}");
    }
}

#[test]
fn compatible_vendors_refuse_what_only_openai_takes() {
    let systems = json!([
        {"role": "system", "content": "a"}, {"role": "user", "content": "b"},
        {"role": "system", "content": "c"},
    ]);
    let file = json!([{"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "file", "file": {"filename": "a.pdf"}},
    ]}]);
    let image = json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]}]);
    let only_system = json!([{"role": "system", "content": "a"}]);
    check(
        Vendor::Gemini,
        &[
            (json!({"store": true}), "Unknown name \"store\": Cannot find field."),
            (json!({"messages": call("")}), "missing a thought_signature"),
            (json!({"messages": only_system}), "contents is not specified"),
            (json!({"messages": systems}), ""),
        ],
    );
    check(
        Vendor::DeepSeek,
        &[
            (json!({"store": true}), ""),
            (
                json!({"messages": call("")}),
                "`reasoning_content` in the thinking mode must be passed back",
            ),
            (json!({"messages": call(""), "thinking": {"type": "disabled"}}), ""),
            (json!({"messages": image}), "unknown variant `image_url`, expected `text`"),
            (
                json!({"messages": [{"role": "developer", "content": "a"}]}),
                "unknown variant `developer`",
            ),
            (json!({"response_format": {"type": "json_schema"}}), "unavailable now"),
            (json!({"max_tokens": 400_000}), "valid range of max_tokens"),
        ],
    );
    check(
        Vendor::Mistral,
        &[
            (json!({"store": true}), "Extra inputs are not permitted"),
            (json!({"max_completion_tokens": 5}), "max_completion_tokens"),
            (json!({"stream_options": {"include_usage": true}}), "include_usage"),
            (json!({"messages": call("")}), "Tool call id was call_1 but must be"),
            (json!({"messages": systems}), "Expected last role User or Tool"),
        ],
    );
    check(
        Vendor::Qwen,
        &[
            (json!({"store": true}), ""),
            (json!({"messages": systems}), "System message must be at the beginning."),
            (json!({"messages": only_system}), "No user query found in messages."),
            (json!({"messages": image}), ""),
            (json!({"model": "qwen3-coder-30b", "messages": image}), "At most 0 image(s)"),
            (json!({"messages": file}), "Unknown part type: file"),
            (json!({"max_tokens": 300_000}), "is too large: 300000"),
        ],
    );
    let mut request = good(Vendor::Gemini);
    request.body["store"] = true.into();
    let error = Vendor::Gemini.judge(&request, &TwinState::default()).unwrap_err();
    assert_eq!(error.body[0]["error"]["status"], "INVALID_ARGUMENT");
}
