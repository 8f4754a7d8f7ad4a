//! Tables of the fields of each protocol and their effect on the cost.

mod bounds;
mod nested_fields;

use super::UpstreamProtocol::{Chat, Messages, Responses};
use super::*;

fn demand(body_protocol: UpstreamProtocol, fields: &str) -> CostFactors {
    let body = format!("{{\"model\":\"m\"{}{fields}}}", if fields.is_empty() { "" } else { "," });
    read_cost_factors(body.as_bytes(), body_protocol).unwrap()
}

#[test]
fn each_protocol_reads_its_own_bound() {
    let check = |reads, fields: &str, expect| {
        assert_eq!(demand(reads, fields).output_tokens, expect, "{reads:?} {fields}");
    };
    check(Messages, r#""max_tokens":5"#, Some(5));
    check(Messages, r#""max_output_tokens":5,"max_completion_tokens":6"#, None);
    check(Messages, r#""max_tokens":5,"max_output_tokens":9"#, Some(5));
    check(Chat, r#""max_tokens":5"#, Some(5));
    check(Chat, r#""max_completion_tokens":5"#, Some(5));
    check(Chat, r#""max_completion_tokens":5,"max_tokens":9"#, Some(9));
    check(Chat, r#""max_completion_tokens":5,"max_tokens":0"#, None);
    check(Chat, r#""max_output_tokens":5"#, None);
    check(Responses, r#""max_output_tokens":5"#, Some(5));
    check(Responses, r#""max_tokens":5,"max_completion_tokens":5"#, None);
    let odd = r#"0 -1 -0 null "5" [] {} true 00 1e400 0.0001 1e-9 1.5 5.0 1e3 1E+2 -0.5 18446744073709551616"#;
    for odd in odd.split(' ') {
        for (reads, name) in [
            (Messages, "max_tokens"),
            (Chat, "max_completion_tokens"),
            (Responses, "max_output_tokens"),
        ] {
            let body = format!(r#"{{"model":"m","{name}":{odd}}}"#);
            // Bodies that are not JSON are refused anyway.
            if let Ok(cost_factors) = read_cost_factors(body.as_bytes(), reads) {
                assert_eq!(cost_factors.output_tokens, None, "{body}");
            }
        }
    }
    check(Messages, r#""max_tokens":18446744073709551615"#, Some(u64::MAX));
    // A budget is part of the bound. A budget that is larger than the bound is added to it.
    let thinking = |budget: u64| {
        format!(r#""max_tokens":2000,"thinking":{{"type":"enabled","budget_tokens":{budget}}}"#)
    };
    check(Messages, &thinking(1_024), Some(2_000));
    check(Messages, &thinking(5_000), Some(7_000));
}

#[test]
fn multiplying_fields_are_read() {
    let check = |reads, fields: &str, expect: (u64, u64, u64)| {
        let cost_factors = demand(reads, fields);
        assert_eq!(
            (cost_factors.choices, cost_factors.iterations, cost_factors.searches),
            expect,
            "{reads:?} {fields}"
        );
    };
    check(Chat, "", (1, 1, 0));
    check(Chat, r#""n":8"#, (8, 1, 0));
    check(Chat, r#""n":0"#, (1, 1, 0));
    check(Chat, r#""n":"8""#, (8, 1, 0));
    check(Chat, r#""n":7.5"#, (8, 1, 0));
    check(Chat, r#""n":4,"best_of":3"#, (12, 1, 0));
    check(Messages, r#""n":8"#, (1, 1, 0));
    check(Messages, r#""num_generations":4"#, (4, 1, 0));
    check(Messages, r#""fallbacks":[{"model":"a"},{"model":"b"}]"#, (1, 3, 0));
    check(Messages, r#""tools":[{"type":"web_search_20250305","max_uses":8}]"#, (1, 11, 8));
    check(Messages, r#""tools":[{"type":"advisor_20260301","model":"a"}]"#, (1, 21, 0));
    check(
        Messages,
        r#""tools":[{"type":"advisor_20260301","model":"a","max_uses":2}]"#,
        (1, 13, 0),
    );
    check(Messages, r#""tools":[{"type":"tool_search_tool_bm25_20251119"}]"#, (1, 11, 0));
    check(Messages, r#""tools":[{"name":"t","input_schema":{"type":"object"}}]"#, (1, 1, 0));
    check(Messages, r#""context_management":{"edits":[{"type":"compact_20260112"}]}"#, (1, 2, 0));
    check(
        Messages,
        r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#,
        (1, 1, 0),
    );
    check(Responses, r#""context_management":[{"type":"compaction"}]"#, (1, 2, 0));
    check(Responses, r#""input":[{"type":"compaction_trigger"}]"#, (1, 2, 0));
    let fallback = demand(
        Messages,
        r#""max_tokens":5,"fallbacks":[{"model":"a","max_tokens":9,"speed":"fast"}]"#,
    );
    assert_eq!((fallback.output_tokens, fallback.is_fast), (Some(9), true));
    let predicted = demand(Chat, r#""prediction":{"type":"content","content":"12345"}"#);
    assert_eq!(predicted.predicted_tokens, 36);
}

#[test]
fn every_named_model_is_collected() {
    let check = |reads, fields: &str, expect: &[&str]| {
        assert_eq!(demand(reads, fields).models, expect, "{reads:?} {fields}");
    };
    check(Messages, r#""fallbacks":[{"model":"a"},"b",{"model":"a"}]"#, &["a", "b"]);
    check(
        Messages,
        r#""tools":[{"type":"advisor_20260301","name":"advisor","model":"a"}]"#,
        &["a"],
    );
    check(Responses, r#""tools":[{"type":"image_generation","model":"a"}]"#, &["a"]);
    check(Chat, r#""models":["a","b"],"route":"fallback""#, &["a", "b"]);
    check(Chat, r#""extra_body":{"deep":[{"model":"a"}]}"#, &["a"]);
    check(Chat, r#""response_format":{"json_schema":{"schema":{"default":{"model":"a"}}}}"#, &[]);
    check(
        Messages,
        r#""messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"model":"a"}}]}]"#,
        &[],
    );
    check(Messages, r#""metadata":{"model":"a"}"#, &[]);
}

#[test]
fn tiers_without_a_price_are_unbounded() {
    let check = unbounded;
    for reads in [Messages, Chat, Responses] {
        for tier in ["scale", "Priority", ""] {
            check(reads, &format!(r#""service_tier":"{tier}""#), "service_tier");
        }
        for tier in ["priority", "fast", "ultrafast"] {
            let fields = format!(r#""service_tier":"{tier}""#);
            check(reads, &fields, "");
            assert!(demand(reads, &fields).tier.is_some(), "{tier}");
        }
        for tier in ["\"auto\"", "\"default\"", "\"flex\"", "\"standard_only\"", "null"] {
            check(reads, &format!(r#""service_tier":{tier}"#), "");
        }
    }
}

fn unbounded(body_protocol: UpstreamProtocol, fields: &str, expect: &str) {
    let found = demand(body_protocol, fields).unbounded.map(|why| why.field).unwrap_or_default();
    assert_eq!(found, expect, "{body_protocol:?} {fields}");
}

#[test]
fn fields_without_a_bound_or_a_price_are_unbounded() {
    let check = unbounded;
    check(Messages, r#""service_tier":["priority"]"#, "service_tier");
    check(Messages, r#""speed":"turbo""#, "speed");
    check(Messages, r#""speed":"fast""#, "");
    check(Messages, r#""inference_geo":"moon""#, "inference_geo");
    check(Messages, r#""inference_geo":"us""#, "");
    check(Messages, r#""mcp_servers":[{"url":"https://x"}]"#, "mcp_servers");
    check(Messages, r#""mcp_servers":[]"#, "");
    check(Messages, r#""container":"c""#, "container");
    check(Messages, r#""fallbacks":"default""#, "fallbacks");
    check(
        Messages,
        r#""context_management":{"edits":[{"type":"new"}]}"#,
        "context_management.edits[].type",
    );
    check(
        Messages,
        r#""tools":[{"type":"web_search_20260209"}]"#,
        "tools (web_search_20260209).max_uses",
    );
    for kind in ["code_execution_20260120", "mcp_toolset", "new_20270101"] {
        let field = format!(r#""tools":[{{"type":"{kind}"}}]"#);
        check(Messages, &field, &format!("tools ({kind})"));
    }
    check(Messages, r#""tools":[{"type":["x"]}]"#, r#"tools ([\"x\"])"#);
    for kind in ["bash_20250124", "computer_20251124", "memory_20250818", "custom"] {
        check(Messages, &format!(r#""tools":[{{"type":"{kind}"}}]"#), "");
    }
    for kind in ["web_search", "file_search", "code_interpreter", "image_generation", "mcp"] {
        let field = format!(r#""tools":[{{"type":"{kind}"}}]"#);
        check(Responses, &field, &format!("tools ({kind})"));
        let nested = format!(r#""tools":[{{"type":"namespace","tools":[{{"type":"{kind}"}}]}}]"#);
        check(Responses, &nested, &format!("tools ({kind})"));
    }
    check(
        Responses,
        r#""tools":[{"type":"shell","environment":{"type":"container_auto"}}]"#,
        "tools (shell)",
    );
    check(Responses, r#""tools":[{"type":"shell","environment":{"type":"local"}}]"#, "");
    check(
        Responses,
        r#""tools":[{"type":"function"},{"type":"custom"},{"type":"local_shell"}]"#,
        "",
    );
    for (field, value) in [
        ("audio", "{}"),
        ("web_search_options", "{}"),
        ("search_parameters", "{}"),
        ("plugins", "[{}]"),
        ("enable_search", "true"),
        ("modalities", r#"["text","audio"]"#),
        ("n", "{}"),
        ("best_of", "true"),
    ] {
        check(Chat, &format!(r#""{field}":{value}"#), field);
    }
    check(Chat, r#""modalities":["text"],"audio":null,"plugins":[]"#, "");
    let audio = r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"x"}}]}]"#;
    check(Chat, audio, "messages[].input_audio");
    let container =
        r#""messages":[{"role":"user","content":[{"type":"container_upload","file_id":"f"}]}]"#;
    check(Messages, container, "messages[] (container_upload)");
}

#[test]
fn undocumented_fields_are_unbounded() {
    let check = unbounded;
    for (reads, fields) in [
        (Responses, r#""multi_agent":{"enabled":true}"#),
        (Responses, r#""plugins":[{"id":"web"}]"#),
        (Responses, r#""web_search_options":{}"#),
        (Responses, r#""audio":{}"#),
        (Chat, r#""data_sources":[{"type":"azure_search"}]"#),
        (Chat, r#""extra_body":{"google":{"cached_content":"x"}}"#),
        (Chat, r#""cached_content":"x""#),
        (Chat, r#""enable_code_interpreter":true"#),
        (Chat, r#""web_search":{"enable":true}"#),
        (Chat, r#""search_settings":{}"#),
        (Chat, r#""num_return_sequences":50"#),
        (Chat, r#""candidate_count":8"#),
        (Chat, r#""preset":"p""#),
        (Chat, r#""deferred":true"#),
        (Chat, r#""file_ids":["f"]"#),
        (Chat, r#""previous_response_id":"r""#),
        (Chat, r#""chat_template_kwargs":{}"#),
        (Messages, r#""plugins":[{"id":"web"}]"#),
        (Messages, r#""web_search_options":{}"#),
        (Messages, r#""agents":[{}]"#),
        (Messages, r#""skills":["x"]"#),
        (Messages, r#""n":8"#),
        (Messages, r#""provider":{"order":["x"]}"#),
        (Messages, r#""billing_policy":{"type":"billing_policy"}"#),
    ] {
        let name = fields.split('"').nth(1).unwrap();
        check(reads, fields, name);
        check(reads, &format!(r#""{name}":null"#), "");
    }
    check(Chat, r#""a\u0000b":1"#, "a\\0b");
    check(Chat, r#""reasoning":{"turbo":1}"#, "reasoning.turbo");
    check(Responses, r#""reasoning":{"mode":"pro"}"#, "reasoning.mode");
    check(Responses, r#""reasoning":{"mode":"standard","effort":"high","summary":"auto"}"#, "");
    check(Messages, r#""thinking":[{"budget_tokens":90000}]"#, "thinking");
    check(Messages, r#""thinking":{"type":"new"}"#, "thinking.type");
    check(Messages, r#""fallbacks":[{"a":["b"]}]"#, "fallbacks[].a");
    for model in ["openai/gpt-5.5:online", "gpt-5-search-api", "o3-deep-research", "X:Online"] {
        let body = format!(r#"{{"model":"{model}"}}"#);
        let found = read_cost_factors(body.as_bytes(), Chat).unwrap().unbounded;
        assert_eq!(found.map(|why| why.field).as_deref(), Some("model"), "{model}");
        check(Chat, &format!(r#""models":["{model}"]"#), "models");
    }
}

#[test]
fn undocumented_blocks_items_and_tools_are_unbounded() {
    let check = unbounded;
    let item = |item: &str| format!(r#""input":[{item}]"#);
    for kind in ["program", "multi_agent_call", "mcp_approval_response", "new"] {
        check(Responses, &item(&format!(r#"{{"type":"{kind}"}}"#)), &format!("input[] ({kind})"));
    }
    for reads in [Messages, Chat, Responses] {
        let top = if reads == Responses { "input" } else { "messages" };
        let block = r#"[{"role":"user","content":[{"type":"new"}]}]"#;
        check(reads, &format!(r#""{top}":{block}"#), &format!("{top}[] (new)"));
    }
    let parts = r#""messages":[{"role":"user","content":[{"fileData":{"fileUri":"x"}}]}]"#;
    check(Chat, parts, "messages[0].content[0].fileData");
    let bare = r#""messages":[{"role":"user","content":[{"text":"x"}]}]"#;
    check(Chat, bare, "messages[] (without a type)");
    check(Chat, r#""messages":[{"content":"x"}]"#, "messages[] (without a role)");
    let result = |kind: &str| {
        format!(
            r#""messages":[{{"role":"user","content":[{{"type":"tool_result","content":[{{"type":"{kind}","text":"x"}}]}}]}}]"#
        )
    };
    check(Messages, &result("new"), "messages[] (new)");
    check(Messages, &result("text"), "");
    for tool in [
        r#"{"google_search":{}}"#,
        r#"{"googleSearch":{}}"#,
        r#"{"web_search":{"enable":true}}"#,
        r#"{"name":"x","code_execution":{}}"#,
        r#"{"name":"web_search","max_uses":5,"type":null}"#,
    ] {
        for reads in [Messages, Chat, Responses] {
            let found = demand(reads, &format!(r#""tools":[{tool}]"#)).unbounded;
            assert!(found.is_some_and(|why| why.field.starts_with("tools")), "{tool}");
        }
    }
    check(Chat, r#""tools":["web_search"]"#, "tools (web_search)");
    check(
        Chat,
        r#""tools":[{"type":"function","function":{"name":"f"},"search":{}}]"#,
        "tools[].search",
    );
    check(Chat, r#""tools":[{"function":{"name":"f"}}]"#, "");
    check(Messages, r#""tools":[{"type":null,"name":"f","input_schema":{}}]"#, "");
}

#[test]
fn tools_count_in_any_position() {
    let check = unbounded;
    for kind in ["web_search", "code_interpreter", "image_generation", "mcp"] {
        for item in [
            format!(r#"{{"type":"additional_tools","tools":[{{"type":"{kind}"}}]}}"#),
            format!(
                r#"{{"type":"tool_search_output","execution":"client","tools":[{{"type":"{kind}"}}]}}"#
            ),
            format!(
                r#"{{"role":"user","content":[{{"type":"input_text","tools":[{{"type":"{kind}"}}]}}]}}"#
            ),
            format!(
                r#"{{"type":"additional_tools","tools":[{{"type":"namespace","tools":[{{"type":"{kind}"}}]}}]}}"#
            ),
        ] {
            check(Responses, &format!(r#""input":[{item}]"#), &format!("tools ({kind})"));
        }
    }
    let added = r#"{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"type":"code_execution_20260521","name":"c"}}}"#;
    let message = format!(r#""messages":[{{"role":"user","content":[{added}]}}]"#);
    check(Messages, &message, "tools (code_execution_20260521)");
    let own = r#""input":[{"type":"additional_tools","tools":[{"type":"function","name":"f","parameters":{}}]}]"#;
    check(Responses, own, "");
    assert_eq!(
        demand(Responses, r#""tools":[{"type":"tool_search","execution":"client"}]"#).iterations,
        1
    );
    assert_eq!(demand(Responses, r#""tools":[{"type":"tool_search"}]"#).iterations, 11);
}

#[test]
fn items_without_content_are_stored_references() {
    let check = |item: &str, expect: &str| {
        let cost_factors = demand(Responses, &format!(r#""input":[{item}]"#));
        let found = cost_factors.reads_beyond_body.map(|why| why.field);
        assert_eq!(found.unwrap_or_default(), expect, "{item}");
        assert_eq!(cost_factors.unbounded, None, "{item}");
    };
    for (item, kind) in [
        (r#""type":"reasoning","summary":[]"#, "reasoning"),
        (r#""type":"reasoning","summary":[{"type":"summary_text","text":"x"}]"#, "reasoning"),
        (r#""type":"reasoning","encrypted_content":null,"content":[ ]"#, "reasoning"),
        (r#""type":"reasoning","encrypted_content":"""#, "reasoning"),
        (r#""type":"image_generation_call","result":null"#, "image_generation_call"),
        (r#""type":"web_search_call","action":{"type":"search"}"#, "web_search_call"),
        (r#""type":"file_search_call","results":null"#, "file_search_call"),
        (r#""type":"code_interpreter_call","container_id":"c""#, "code_interpreter_call"),
        (r#""type":"compaction""#, "compaction"),
        (r#""type":"message","role":"assistant""#, "message"),
        (r#""role":"assistant""#, ""),
        (r#""type":"function_call","name":"f""#, "function_call"),
    ] {
        let field = format!("input[] ({kind} without its content)");
        check(&format!(r#"{{"id":"x",{item}}}"#), &field);
        check(&format!("{{{item}}}"), "");
    }
    for item in [
        r#"{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"x"}"#,
        r#"{"id":"rs_1","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"x"}]}"#,
        r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"x"}]}"#,
        r#"{"id":"m","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"x","annotations":[{"type":"url_citation","url":"https://x"}]}]}"#,
        r#"{"id":"f","type":"function_call","call_id":"c","name":"f","arguments":""}"#,
        r#"{"id":"f","type":"function_call_output","call_id":"c","output":""}"#,
        r#"{"id":"f","type":"custom_tool_call","call_id":"c","name":"f","input":""}"#,
        r#"{"id":"f","type":"local_shell_call","call_id":"c","action":{"type":"exec","command":[]}}"#,
        r#"{"id":"f","type":"compaction","encrypted_content":"x"}"#,
    ] {
        check(item, "");
    }
    let demand = |fields| demand(Messages, fields).reads_beyond_body.map(|why| why.field);
    assert_eq!(demand(r#""thread":{"type":"create"}"#), None);
    let goes_on = r#""thread":{"type":"continue","previous_message_id":"msg_1"}"#;
    assert_eq!(demand(goes_on).as_deref(), Some("thread"));
}

#[test]
fn thinking_budget_is_added_where_it_exceeds_the_bound() {
    let check = |reads, fields: &str, expect| {
        let name = if reads == Responses { "max_output_tokens" } else { "max_tokens" };
        let cost_factors = demand(reads, &format!(r#""{name}":10,{fields}"#));
        assert_eq!(
            (cost_factors.output_tokens, cost_factors.unbounded),
            (Some(expect), None),
            "{fields}"
        );
    };
    check(Chat, r#""thinking":{"type":"enabled","budget_tokens":5}"#, 15);
    check(Chat, r#""reasoning":{"max_tokens":50}"#, 60);
    check(Responses, r#""reasoning":{"max_tokens":50}"#, 60);
    check(Chat, r#""enable_thinking":true,"thinking_budget":50"#, 60);
    check(Chat, r#""enable_thinking":false"#, 10);
    check(Chat, r#""reasoning_effort":"high""#, 10);
    check(Messages, r#""thinking":{"type":"enabled","budget_tokens":5}"#, 10);
    check(Messages, r#""thinking":{"type":"enabled","budget_tokens":90000}"#, 90_010);
    unbounded(Chat, r#""enable_thinking":true"#, "enable_thinking");
    for odd in ["0.0001", "1.5", "-1", "1e3", "\"90000\"", "true", "18446744073709551616"] {
        let thinking = format!(r#""thinking":{{"type":"enabled","budget_tokens":{odd}}}"#);
        unbounded(Messages, &thinking, "thinking.budget_tokens");
        unbounded(Chat, &thinking, "thinking.budget_tokens");
        unbounded(Chat, &format!(r#""thinking_budget":{odd}"#), "thinking_budget");
        let reasoning = format!(r#""reasoning":{{"max_tokens":{odd}}}"#);
        unbounded(Responses, &reasoning, "reasoning.max_tokens");
        let search = format!(r#""tools":[{{"type":"web_search_20260209","max_uses":{odd}}}]"#);
        unbounded(Messages, &search, "tools (web_search_20260209).max_uses");
        let fallback =
            format!(r#""max_tokens":5,"fallbacks":[{{"model":"a","max_tokens":{odd}}}]"#);
        assert!(demand(Messages, &fallback).has_unbounded_pass, "{fallback}");
    }
}

#[test]
fn other_spellings_of_fields_are_refused() {
    for name in
        ["N", "bestOf", "serviceTier", "MaxTokens", "Models", "Fallbacks", "Tools", "Messages"]
    {
        let body = format!(r#"{{"model":"m","{name}":8}}"#);
        let read = read_cost_factors(body.as_bytes(), Chat);
        assert!(matches!(read, Err(CostScanError::Alike { .. })), "{name}: {read:?}");
    }
}

#[test]
fn ambiguous_json_is_refused() {
    let is_invalid_char =
        |body: &str| read_cost_factors(body.as_bytes(), Chat).unwrap_err().to_string();
    let reason = "a number beyond the range of a double";
    for body in [
        r#"{"model":"m","x":1e400}"#,
        r#"{"model":"m","messages":[{"role":"user","content":[1e400]}]}"#,
        r#"{"model":"m","thinking":{"x":1e400}}"#,
        r#"{"model":"m","x":"\ud800"}"#,
    ] {
        assert!(is_invalid_char(body).contains(reason), "{body}: {}", is_invalid_char(body));
    }
    let values = vec!["0"; SETTING_VALUES_MAX + 1].join(",");
    let many = is_invalid_char(&format!(r#"{{"model":"m","fallbacks":[{values}]}}"#));
    assert!(many.contains("At most 10000"), "{many}");
    let names = (0..33).map(|index| format!("\"m{index}\"")).collect::<Vec<_>>().join(",");
    for field in ["models", "x_models", "fallbacks"] {
        let many = is_invalid_char(&format!(r#"{{"model":"m","{field}":[{names}]}}"#));
        assert!(many.contains("At most 32"), "{many}");
    }
}

/// The processor time that this thread has used, which other programs do not change
/// (`man proc_pid_schedstat`, Linux).
fn cpu_time() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = text.split_whitespace().next().unwrap();
    std::time::Duration::from_nanos(nanos.parse().unwrap())
}

/// Each shape of values could take disproportionate work.
#[test]
fn scan_time_is_linear_in_the_length() {
    let shapes: [&dyn Fn(usize) -> String; 8] = [
        &|index| format!(r#"{{"models":["m{index}"]}}"#),
        &|index| format!(r#""m{index}""#),
        &|_| r#"{"a":0}"#.to_owned(),
        &|_| "[[[]]]".to_owned(),
        &|index| format!(r#"{{"type":"t{index}","model":"m{index}"}}"#),
        &|index| format!(r#"{{"role":"user","content":[{{"type":"t{index}"}}]}}"#),
        &|_| r#"{"cache_control":{"ttl":"1h"}}"#.to_owned(),
        &|_| r#"{"type":"namespace","tools":[{}]}"#.to_owned(),
    ];
    let time = |body: &str, reads| {
        let start = cpu_time();
        let _ = read_cost_factors(body.as_bytes(), reads);
        cpu_time().saturating_sub(start)
    };
    for field in ["models", "x", "tools", "messages", "input", "fallbacks", "plugins"] {
        for shape in shapes {
            let body = |count| {
                let values = (0..count).map(shape).collect::<Vec<_>>().join(",");
                format!(r#"{{"model":"m","{field}":[{values}]}}"#)
            };
            let (short, long) = (body(500), body(8_000));
            let reads = if field == "input" { Responses } else { Chat };
            let (short, long) = (time(&short, reads), time(&long, reads));
            let bound = short.max(std::time::Duration::from_millis(5)) * 80;
            assert!(long < bound, "{field} {}: {short:?} {long:?}", shape(0));
        }
    }
}

#[test]
fn content_outside_the_body_is_unbounded() {
    let check = |reads, fields: &str, expect: &str| {
        let found = demand(reads, fields).reads_beyond_body.map(|why| why.field);
        assert_eq!(found.unwrap_or_default(), expect, "{reads:?} {fields}");
    };
    for field in ["previous_response_id", "conversation", "prompt"] {
        check(Responses, &format!(r#""{field}":"x""#), field);
        check(Responses, &format!(r#""{field}":{{"id":"x"}}"#), field);
        check(Responses, &format!(r#""{field}":null"#), "");
        check(Messages, &format!(r#""{field}":"x""#), "");
    }
    check(Responses, r#""input":[{"type":"item_reference","id":"x"}]"#, "input[] (item_reference)");
    check(Responses, r#""input":[{"id":"x"}]"#, "input[] (a reference)");
    check(Responses, r#""input":[{"type":null,"id":"x"}]"#, "input[] (a reference)");
    check(Responses, r#""input":[{"role":"user","content":"x"}]"#, "");
    for part in [
        r#"{"type":"input_file","file_id":"f"}"#,
        r#"{"type":"input_file","file_url":"https://x"}"#,
        r#"{"type":"input_file","file_data":"data:application/pdf;base64,x"}"#,
        r#"{"type":"input_image","image_url":"data:application/pdf;base64,x"}"#,
    ] {
        let input = format!(r#""input":[{{"role":"user","content":[{part}]}}]"#);
        check(Responses, &input, "input[] (a document)");
    }
    for part in [
        r#"{"type":"document","source":{"type":"url","url":"https://x"}}"#,
        r#"{"source":{"url":"https://x","type":"url"},"type":"document"}"#,
        r#"{"type":"document","source":{"type":"file","file_id":"x"}}"#,
        r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"x"}}"#,
        r#"{"type":"tool_result","content":[{"type":"document","source":{"type":"url","url":"https://x"}}]}"#,
        r#"{"type":"file","file":{"file_id":"f"}}"#,
        r#"{"type":"image_url","image_url":{"url":"data:application/pdf;base64,x"}}"#,
        r#"{"type":"document_url","document_url":"https://x"}"#,
    ] {
        let messages = format!(r#""messages":[{{"role":"user","content":[{part}]}}]"#);
        check(Messages, &messages, "messages[] (a document)");
        check(Chat, &messages, "messages[] (a document)");
    }
    for part in [
        r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"}}"#,
        r#"{"type":"tool_use","input":{"file_id":"x","url":"y"}}"#,
        r#"{"type":"web_search_tool_result","content":[{"type":"web_search_result","url":"https://x"}]}"#,
        r#"{"type":"search_result","source":"https://x","content":[{"type":"text","text":"x"}]}"#,
    ] {
        let messages = format!(r#""messages":[{{"role":"user","content":[{part}]}}]"#);
        check(Messages, &messages, "");
    }
}

#[test]
fn images_are_counted_individually() {
    let check = |body_protocol: UpstreamProtocol, part: &str, images: u64, data: u64| {
        let top = if body_protocol == Responses { "input" } else { "messages" };
        let fields = format!(r#""{top}":[{{"role":"user","content":[{part}]}}]"#);
        let cost_factors = demand(body_protocol, &fields);
        let bytes = (fields.len() + r#"{"model":"m",}"#.len()) as u64;
        assert_eq!(cost_factors.prompt_tokens, images * image_tokens(body_protocol, ""), "{part}");
        assert_eq!(cost_factors.prompt_bytes, bytes - data, "{part}");
        assert_eq!(cost_factors.reads_beyond_body, None, "{part}");
    };
    let base64 =
        r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}"#;
    check(Messages, base64, 1, 6);
    check(Messages, &format!(r#"{{"type":"tool_result","content":[{base64},{base64}]}}"#), 2, 12);
    check(Messages, r#"{"type":"image","source":{"type":"url","url":"https://x"}}"#, 1, 0);
    check(Messages, r#"{"type":"image","source":{"type":"file","file_id":"x"}}"#, 1, 0);
    check(Chat, r#"{"type":"image_url","image_url":{"url":"https://x"}}"#, 1, 0);
    check(Chat, r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}"#, 1, 24);
    check(Responses, r#"{"type":"input_image","image_url":"https://x"}"#, 1, 0);
    check(Responses, r#"{"type":"input_image","file_id":"x"}"#, 1, 0);
    check(Messages, r#"{"type":"text","text":"data:image/png;base64,AA"}"#, 0, 0);
}

#[test]
fn hour_long_cache_is_found_in_every_field() {
    let check = |reads, fields: &str, expect| {
        assert_eq!(demand(reads, fields).caches_for_an_hour, expect, "{fields}");
    };
    let hour = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
    check(Messages, r#""cache_control":{"type":"ephemeral"}"#, false);
    check(Messages, r#""cache_control":{"type":"ephemeral","ttl":"5m"}"#, false);
    check(Messages, hour, true);
    check(Messages, &format!(r#""system":[{{"type":"text","text":"x",{hour}}}]"#), true);
    check(Messages, &format!(r#""tools":[{{"name":"x",{hour}}}]"#), true);
    check(Messages, &format!(r#""messages":[{{"role":"user","content":[{{{hour}}}]}}]"#), true);
    check(Messages, r#""cache\u005fcontrol":{"ttl":"1h"}"#, true);
    check(Chat, "", true);
}

#[test]
fn duplicate_field_is_refused() {
    for body in [
        r#"{"n":1,"n":8}"#,
        r#"{"max_tokens":1,"max\u005ftokens":8}"#,
        r#"{"stream_options":{},"stream_options":{}}"#,
        r#"{"thinking":{"budget_tokens":1,"budget_tokens":9}}"#,
        r#"{"fallbacks":[{"model":"a","model":"b"}]}"#,
        r#"{"tools":[{"type":"web_search_1","max_uses":9,"max_uses":1}]}"#,
        r#"{"tools":[{"type":"web_search_1","type":"custom"}]}"#,
        r#"{"messages":[{"content":[{"type":"document","type":"text"}]}]}"#,
    ] {
        let read = read_cost_factors(body.as_bytes(), Chat);
        assert!(matches!(read, Err(CostScanError::Twice(_))), "{body}: {read:?}");
    }
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for body in ["[]", "x", "{}}", &deep] {
        assert_eq!(read_cost_factors(body.as_bytes(), Chat), Err(CostScanError::Form), "{body}");
    }
}
