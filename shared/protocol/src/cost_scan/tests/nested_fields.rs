//! Tables of the fields inside messages, items and blocks.

use super::*;

fn demand(reads: UpstreamProtocol, fields: &str) -> CostFactors {
    let body = format!("{{\"model\":\"m\",{fields}}}");
    read_cost_factors(body.as_bytes(), reads).unwrap()
}

fn unbounded(reads: UpstreamProtocol, fields: &str, expect: &str) {
    let found = demand(reads, fields).unbounded.map(|why| why.field).unwrap_or_default();
    assert_eq!(found, expect, "{reads:?} {fields}");
}

#[test]
fn undocumented_fields_are_named_by_their_path() {
    let message = |more: &str| {
        format!(
            r#""messages":[{{"role":"user","content":"a"}},{{"role":"user","content":"b",{more}}}]"#
        )
    };
    for (field, value) in [
        ("file_ids", r#"["f"]"#),
        ("files", r#"["f"]"#),
        ("attachments", r#"[{"file_id":"f"}]"#),
        ("tool_resources", r#"{"file_search":{"vector_store_ids":["v"]}}"#),
        ("web_search", "true"),
    ] {
        for reads in [Messages, Chat] {
            let path = format!("messages[1].{field}");
            unbounded(reads, &message(&format!(r#""{field}":{value}"#)), &path);
            unbounded(reads, &message(&format!(r#""{field}":null"#)), "");
        }
    }
    let block = |block: &str| format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#);
    let at = "messages[0].content[0]";
    for (kind, field) in [
        (r#"{"type":"document","documentId":"f"}"#, "documentId"),
        (r#"{"type":"reference","reference_ids":[1]}"#, "reference_ids"),
        (r#"{"type":"text","text":"x","search":{}}"#, "search"),
        (r#"{"fileData":{"fileUri":"x"}}"#, "fileData"),
    ] {
        unbounded(Chat, &block(kind), &format!("{at}.{field}"));
        unbounded(Messages, &block(kind), &format!("{at}.{field}"));
    }
    let deep = block(
        r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"},{"type":"text","text":"y","vector_store":"v"}]}"#,
    );
    unbounded(Messages, &deep, "messages[0].content[0].content[1].vector_store");
    let item = |item: &str| format!(r#""input":[{{"role":"user","content":"x"}},{item}]"#);
    for (kind, field) in [
        (
            r#"{"type":"configuration_update","service_tier":"priority","reasoning":{}}"#,
            "input[1].service_tier",
        ),
        (r#"{"type":"configuration_update","model":"o1-pro","reasoning":{}}"#, "input[1].model"),
        (
            r#"{"type":"configuration_update","reasoning":{"effort":"high","mode":"pro"}}"#,
            "reasoning.mode",
        ),
        (r#"{"type":"configuration_update","reasoning":{"effort":"high"}}"#, ""),
        (
            r#"{"type":"tool_search_output","tools":[],"tool":{"type":"web_search"}}"#,
            "input[1].tool",
        ),
        (r#"{"type":"message","role":"user","content":"x","file_ids":["f"]}"#, "input[1].file_ids"),
    ] {
        unbounded(Responses, &item(kind), field);
    }
    for tool in
        [r#"{"type":"web_search_20250305","name":"web_search"}"#, r#"{"name":"web_search"}"#]
    {
        let added = block(&format!(r#"{{"type":"tool_addition","tool":{tool}}}"#));
        let found = demand(Messages, &added).unbounded.map(|why| why.field).unwrap_or_default();
        assert!(found.starts_with("messages[] ("), "{found}");
        let changed = block(&format!(
            r#"{{"type":"compaction","content":"x","tool_changes":[{{"type":"tool_addition","tool":{tool}}}]}}"#
        ));
        assert!(demand(Messages, &changed).unbounded.is_some(), "{changed}");
    }
    let named = block(r#"{"type":"tool_removal","tool":{"type":"tool_reference","name":"f"}}"#);
    unbounded(Messages, &named, "");
}

#[test]
fn models_inside_the_prompt_are_named() {
    let check = |reads, fields: &str, expect: &[&str]| {
        assert_eq!(demand(reads, fields).models, expect, "{reads:?} {fields}");
    };
    check(
        Responses,
        r#""input":[{"type":"configuration_update","model":"o1-pro","reasoning":{}}]"#,
        &["o1-pro"],
    );
    check(
        Responses,
        r#""input":[{"type":"configuration_update","reasoning":{"model":"o1-pro"}}]"#,
        &["o1-pro"],
    );
    check(Chat, r#""messages":[{"role":"user","content":"x","model":"o1-pro"}]"#, &["o1-pro"]);
    check(
        Chat,
        r#""messages":[{"role":"user","content":"x","settings":{"fallback_models":["a"]}}]"#,
        &["a"],
    );
    // A block that says which model has answered before changes nothing.
    let block = r#"{"type":"fallback","from":{"model":"a"},"to":{"model":"b"},"trigger":{"x":1}}"#;
    let fields = format!(r#""messages":[{{"role":"assistant","content":[{block}]}}]"#);
    check(Messages, &fields, &[]);
    unbounded(Messages, &fields, "");
}

#[test]
fn files_referenced_by_id_are_unbounded() {
    let check = |reads, fields: &str, expect: &str| {
        let found = demand(reads, fields).reads_beyond_body.map(|why| why.field);
        assert_eq!(found.unwrap_or_default(), expect, "{reads:?} {fields}");
    };
    for content in [
        r#""fileid://file-fe-abc""#,
        r#""fileid://a,fileid://b""#,
        r#"[{"type":"text","text":"fileid://file-fe-abc"}]"#,
    ] {
        let message =
            |role: &str| format!(r#""messages":[{{"content":{content},"role":"{role}"}}]"#);
        for role in ["system", "developer"] {
            check(Chat, &message(role), "messages[] (fileid://)");
        }
        check(Chat, &message("user"), "");
        check(Messages, &message("user"), "");
    }
    for block in [
        r#"{"type":"document","document":{"id":"f"}}"#,
        r#"{"type":"document","id":"f"}"#,
        r#"{"type":"reference","id":"f"}"#,
        r#"{"type":"file","file":{"id":"f"}}"#,
    ] {
        let fields = format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#);
        check(Chat, &fields, "messages[] (a document)");
    }
    for content in ["[]", "\"\"", "null"] {
        let item = format!(
            r#""input":[{{"type":"message","id":"msg_1","role":"assistant","content":{content}}}]"#
        );
        check(Responses, &item, "input[] (message without its content)");
    }
}

#[test]
fn requests_of_known_clients_are_bounded() {
    let check = |reads, fields: &str| {
        let demand = demand(reads, fields);
        assert_eq!(demand.unbounded, None, "{reads:?} {fields}");
        assert_eq!(demand.reads_beyond_body, None, "{reads:?} {fields}");
        assert_eq!(demand.models, [""; 0], "{reads:?} {fields}");
    };
    for message in [
        r#"{"role":"assistant","content":null,"refusal":null,"annotations":[],"audio":null,"function_call":null,"tool_calls":[{"id":"c","index":0,"type":"function","function":{"name":"f","arguments":"{\"model\":\"m\"}","parsed_arguments":{"model":"m"}}}]}"#,
        r#"{"role":"assistant","content":"x","reasoning_content":"y","prefix":true}"#,
        r#"{"role":"assistant","content":"x","reasoning":"y","reasoning_details":[{"type":"reasoning.text","text":"y","signature":"s","format":"anthropic-claude-v1","index":0}]}"#,
        r#"{"role":"assistant","content":"x","thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"}],"provider_specific_fields":{"x":1}}"#,
        r#"{"role":"assistant","content":"x","tool_calls":[{"id":"c","type":"custom","custom":{"name":"f","input":"model"},"extra_content":{"google":{"thought_signature":"s"}}}]}"#,
        r#"{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}],"closed":true,"signature":"s"},{"type":"text","text":"x"}]}"#,
        r#"{"role":"tool","tool_call_id":"c","name":"f","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}"#,
        r#"{"role":"user","name":"n","content":[{"type":"text","text":"x","prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}},{"type":"image_url","image_url":{"url":"https://x","detail":"low"}}]}"#,
        r#"{"role":"assistant","content":"","images":[{"type":"image_url","index":0,"image_url":{"url":"data:image/png;base64,AA"}}]}"#,
    ] {
        check(Chat, &format!(r#""messages":[{message}]"#));
    }
    for block in [
        r#"{"type":"tool_use","id":"t","name":"f","input":{"model":"m","file_ids":["f"]},"caller":{"type":"direct"},"toolset_name":"x"}"#,
        r#"{"type":"tool_result","tool_use_id":"t","is_error":false,"content":[{"type":"text","text":"x"}],"cache_control":{"type":"ephemeral"}}"#,
        r#"{"type":"text","text":"x","citations":[{"type":"char_location","cited_text":"c","document_index":0,"file_id":null}]}"#,
        r#"{"type":"server_tool_use","id":"t","name":"web_search","input":{"query":"q"}}"#,
        r#"{"type":"web_search_tool_result","tool_use_id":"t","content":[{"type":"web_search_result","encrypted_content":"e","title":"t","url":"https://x","page_age":"1 day"}]}"#,
        r#"{"type":"bash_code_execution_tool_result","tool_use_id":"t","content":{"type":"bash_code_execution_result","content":[],"return_code":0,"stderr":"","stdout":"x"}}"#,
        r#"{"type":"tool_search_tool_result","tool_use_id":"t","content":{"type":"tool_search_tool_search_result","tool_references":[{"type":"tool_reference","tool_name":"f"}]}}"#,
        r#"{"type":"browser_state","tabs":[{"tab_id":"1","title":"t","url":"https://x","active":true}],"state_changes":[{"type":"download_failed","download_id":"d","url":"https://x","error":"e"}]}"#,
        r#"{"type":"search_result","title":"t","source":"https://x","content":[{"type":"text","text":"x"}],"citations":{"enabled":true}}"#,
        r#"{"type":"document","title":"t","context":"c","source":{"type":"text","media_type":"text/plain","data":"x"},"citations":{"enabled":true}}"#,
        r#"{"type":"thinking","thinking":"t","signature":"s"}"#,
        r#"{"type":"compaction","content":"c","encrypted_content":"e","signature":"s"}"#,
    ] {
        check(Messages, &format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#));
    }
    for item in [
        r#"{"type":"message","id":"m","role":"assistant","status":"completed","phase":"final","content":[{"type":"output_text","text":"x","annotations":[{"type":"file_citation","file_id":"f","index":0}],"logprobs":[{"token":"x","bytes":[1],"logprob":0,"top_logprobs":[]}],"parsed":{"model":"m"}}]}"#,
        r#"{"type":"function_call","id":"f","call_id":"c","name":"f","namespace":"n","arguments":"{}","status":"completed","caller":{"type":"program","caller_id":"p"},"async":true,"parsed_arguments":null}"#,
        r#"{"type":"local_shell_call","id":"l","call_id":"c","status":"completed","action":{"type":"exec","command":["ls"],"env":{"MODEL":"m","files":"x"},"timeout_ms":1,"user":"u","working_directory":"/"}}"#,
        r#"{"type":"shell_call_output","call_id":"c","max_output_length":1,"output":[{"stdout":"x","stderr":"","outcome":{"type":"exit","exit_code":0}}]}"#,
        r#"{"type":"computer_call","id":"c","call_id":"c","status":"completed","pending_safety_checks":[{"id":"s","code":"c","message":"m"}],"action":{"type":"drag","path":[{"x":1,"y":2}],"keys":["a"]}}"#,
        r#"{"type":"web_search_call","status":"completed","action":{"type":"search","query":"q","queries":["q"],"sources":[{"type":"url","url":"https://x"}]}}"#,
        r#"{"type":"apply_patch_call","call_id":"c","status":"completed","operation":{"type":"update_file","diff":"d","path":"p"}}"#,
        r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"x"}],"encrypted_content":"e","status":"completed"}"#,
        r#"{"type":"configuration_update","reasoning":{"effort":"low"},"text":{"verbosity":"low","format":{"type":"json_schema","name":"n","schema":{"model":"m"}}}}"#,
    ] {
        check(Responses, &format!(r#""input":[{item}]"#));
    }
}

#[test]
fn models_priced_per_call_are_unbounded() {
    for model in [
        "sonar",
        "sonar-pro",
        "perplexity/sonar-reasoning-pro",
        "perplexity/perplexity/sonar",
        "openrouter/perplexity/sonar-pro-search",
        "pplx-7b-online",
        "perplexity/preset/pro-search",
        "groq/compound",
        "groq/compound-mini",
        "compound-beta",
        "compound",
        "gpt-4o-search-preview",
        "gpt-4o-mini-search-preview-2025-03-11",
        "gpt-5.5-search-api-2025-10-14",
        "o4-mini-deep-research",
        "deep-research-pro-preview-12-2025",
        "Openai/GPT-5.5:ONLINE",
        "gpt-5.5:online:online",
        "gpt-5.5:free:online",
        "jina-deepsearch-v1",
    ] {
        assert!(known::has_call_price(model), "{model}");
    }
    for model in [
        "gpt-5.5",
        "o1-pro",
        "claude-opus-5-5",
        "perplexity/openai/gpt-5.5",
        "groq/llama-4",
        "gpt-5.5:free",
        "research-model",
        "my-compound-v2",
    ] {
        assert!(!known::has_call_price(model), "{model}");
    }
}

fn named_models(reads: UpstreamProtocol, fields: &str, expect: &[&str]) {
    assert_eq!(demand(reads, fields).models, expect, "{reads:?} {fields}");
}

#[test]
fn models_inside_documented_values_are_named() {
    let check = named_models;
    let named = r#"{"model":"o1-pro"}"#;
    for (reads, field) in [
        (Messages, "output_config"),
        (Messages, "output_format"),
        (Messages, "diagnostics"),
        (Messages, "stream_options"),
        (Messages, "tool_choice"),
        (Chat, "response_format"),
        (Chat, "stream_options"),
        (Chat, "structured_outputs"),
        (Chat, "usage"),
        (Chat, "functions"),
        (Chat, "prediction"),
        (Responses, "text"),
        (Responses, "prompt_cache_options"),
    ] {
        check(reads, &format!(r#""{field}":{named}"#), &["o1-pro"]);
        check(reads, &format!(r#""{field}":[{{"x":{{"fallback_model":["a"]}}}}]"#), &["a"]);
        check(reads, &format!(r#""{field}":"model""#), &[]);
        // Free-form fields contain a client's words.
        check(reads, &format!(r#""{field}":{{"metadata":{named},"schema":{named}}}"#), &[]);
    }
    check(Messages, r#""safeguards":[{"type":"x","model":"o1-pro"}]"#, &["o1-pro"]);
    check(Messages, r#""fallback_credit_token":"fct_1""#, &[]);
    for field in ["output_config", "thinking"] {
        let fields = format!(r#""fallbacks":[{{"model":"a","{field}":{{"model":"b"}}}}]"#);
        check(Messages, &fields, &["a", "b"]);
    }
    for (reads, field) in
        [(Messages, "metadata"), (Chat, "metadata"), (Responses, "client_metadata")]
    {
        check(reads, &format!(r#""{field}":{named}"#), &[]);
    }
    let schema = r#"{"type":"object","properties":{"model":{"type":"string","enum":["a"]}}}"#;
    for (reads, fields) in [
        (
            Messages,
            format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}"#),
        ),
        (
            Chat,
            format!(
                r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#
            ),
        ),
        (Chat, format!(r#""structured_outputs":{{"json":{schema}}}"#)),
        (Chat, format!(r#""functions":[{{"name":"f","parameters":{schema}}}]"#)),
        (
            Responses,
            format!(r#""text":{{"format":{{"type":"json_schema","name":"n","schema":{schema}}}}}"#),
        ),
    ] {
        check(reads, &fields, &[]);
    }
    // Half of a surrogate pair is refused only where it stands in an object that is searched.
    check(Messages, r#""stop_sequences":["\ud83d"]"#, &[]);
}

#[test]
fn models_inside_documented_fields_of_the_prompt_are_named() {
    let check = named_models;
    let named = r#"{"model":"o1-pro"}"#;
    for (reads, field) in [
        (Messages, "output_config"),
        (Messages, "citations"),
        (Messages, "cache_control"),
        (Chat, "extra_content"),
        (Chat, "provider_specific_fields"),
        (Chat, "reasoning_details"),
        (Chat, "thinking_blocks"),
        (Chat, "input_audio"),
        (Chat, "file_data"),
        (Responses, "annotations"),
        (Responses, "moderation_details"),
    ] {
        let top = if reads == Responses { "input" } else { "messages" };
        let message = format!(r#"{{"role":"user","content":"x","{field}":{named}}}"#);
        check(reads, &format!(r#""{top}":[{message}]"#), &["o1-pro"]);
    }
    for source in
        [r#"{"type":"base64","data":{"model":"o1-pro"}}"#, r#"{"url":{"model":"o1-pro"}}"#]
    {
        let block = format!(r#"{{"type":"document","source":{source}}}"#);
        check(
            Messages,
            &format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#),
            &["o1-pro"],
        );
    }
    let update = r#"{"type":"configuration_update","text":{"model":"o1-pro"}}"#;
    check(Responses, &format!(r#""input":[{update}]"#), &["o1-pro"]);
    for field in ["environment", "execution", "cache_control"] {
        let tool = format!(r#"{{"type":"shell","{field}":{named}}}"#);
        check(Responses, &format!(r#""tools":[{tool}]"#), &["o1-pro"]);
    }
}

#[test]
fn items_of_upstream_tools_count_as_text() {
    let found = |item: &str| {
        let demand = demand(Responses, &format!(r#""input":[{item}]"#));
        demand.unbounded.or(demand.reads_beyond_body).map(|why| (why.field, why.advice))
    };
    for item in [
        r#"{"type":"file_search_call","id":"fs_1","status":"completed","queries":["q"],"results":[{"file_id":"f","filename":"a","score":0.5,"text":"x","attributes":{"model":"a"}}]}"#,
        r#"{"type":"file_search_call","status":"completed","queries":["q"],"results":null}"#,
        r#"{"type":"code_interpreter_call","status":"completed","code":"1","container_id":"c","outputs":null}"#,
        r#"{"type":"code_interpreter_call","id":"ci_1","status":"completed","code":"1","container_id":"c","outputs":[{"type":"logs","logs":"x"}]}"#,
        r#"{"type":"web_search_call","status":"completed","action":{"type":"open_page","url":"https://x"}}"#,
        r#"{"type":"web_search_call","status":"completed","action":{"type":"find_in_page","url":"https://x","pattern":"p"}}"#,
        r#"{"type":"mcp_approval_request","id":"mcpr_1","server_label":"s","name":"f","arguments":"{}"}"#,
    ] {
        assert_eq!(found(item), None, "{item}");
    }
    for (item, kind, advice) in [
        (r#""type":"reasoning","summary":[]"#, "reasoning", "reasoning.encrypted_content"),
        (
            r#""type":"file_search_call","results":null"#,
            "file_search_call",
            "file_search_call.results",
        ),
        (
            r#""type":"code_interpreter_call","outputs":null"#,
            "code_interpreter_call",
            "code_interpreter_call.outputs",
        ),
        (
            r#""type":"web_search_call","action":{"type":"search"}"#,
            "web_search_call",
            "without its `id`",
        ),
        (r#""type":"message","role":"assistant""#, "message", "Send the item itself."),
    ] {
        let (field, given) = found(&format!(r#"{{"id":"x_1",{item}}}"#)).unwrap();
        assert_eq!(field, format!("input[] ({kind} without its content)"));
        assert!(given.contains(advice), "{given}");
    }
    let response =
        r#"{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}"#;
    let (field, advice) = found(response).unwrap();
    assert_eq!(field, "input[] (mcp_approval_response)");
    assert!(advice.contains("MCP server"), "{advice}");
    let file = r#"{"type":"file_search_call","results":[{"type":"input_file","file_id":"f"}]}"#;
    assert_eq!(found(file).unwrap().0, "input[] (a document)");
}

#[test]
fn deepest_permitted_body_is_read() {
    for (reads, field) in [
        (Messages, "system"),
        (Messages, "tools"),
        (Messages, "fallbacks"),
        (Chat, "messages"),
        (Chat, "x"),
        (Chat, "usage"),
        (Responses, "input"),
        (Responses, "text"),
    ] {
        let levels = crate::json::DEPTH_MAX - 1;
        let body =
            format!(r#"{{"model":"m","{field}":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(crate::envelope::Envelope::parse(body.as_bytes()).is_ok(), "{field}");
        assert!(read_cost_factors(body.as_bytes(), reads).is_ok(), "{field}");
        let (open, close) = (r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let body = format!(r#"{{"model":"m","{field}":{open}1{close}}}"#);
        assert!(read_cost_factors(body.as_bytes(), reads).is_ok(), "{field}");
    }
}
