//! Tests of histories that go on with an account of another vendor.

use crate::passed_request::{fit_passed_request, may_need_fitting};
use baton_domain::account::Provider;
use baton_domain::model_capabilities::ModelCapabilities;
use baton_domain::protocol::UpstreamProtocol;
use proptest::prelude::*;
use serde_json::{Value, json};

const OPENAI: (&str, &str) = ("gpt-4o", "api.openai.com");
const MISTRAL: (&str, &str) = ("mistral-large-latest", "api.mistral.ai");
const GROQ: (&str, &str) = ("openai/gpt-oss-120b", "api.groq.com");
const GEMINI: (&str, &str) = ("gemini-3-pro", "generativelanguage.googleapis.com");
const DEEPSEEK: (&str, &str) = ("deepseek-v4-pro", "api.deepseek.com");
const UNKNOWN: (&str, &str) = ("qwen3.8-27b", "127.0.0.1:8000");
const ROUTER: (&str, &str) = ("openai/gpt-5.5", "openrouter.ai");

fn fit_text(body: &str, (model, host): (&str, &str)) -> Option<String> {
    let capabilities = ModelCapabilities::of(Provider::OpenaiCompatible, model, host);
    let changed =
        fit_passed_request(body.as_bytes(), UpstreamProtocol::Chat, &capabilities).unwrap()?;
    assert!(may_need_fitting(body.as_bytes(), UpstreamProtocol::Chat, &capabilities));
    Some(String::from_utf8(changed).unwrap())
}

fn fit(body: &Value, target: (&str, &str)) -> Option<Value> {
    fit_text(&body.to_string(), target).map(|text| serde_json::from_str(&text).unwrap())
}

/// A conversation with this answer, and the answer as the target gets it.
fn answer_for(answer: &Value, target: (&str, &str)) -> Value {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}, answer]});
    fit(&body, target).unwrap_or(body)["messages"][1].clone()
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"index\":1}"}})
}

#[test]
fn fields_of_other_vendors_are_left_out_where_they_are_refused() {
    let plain = json!({"role": "assistant", "content": "b"});
    for (field, value, refusing, accepting) in [
        ("reasoning", json!("hm"), vec![OPENAI, MISTRAL], vec![GROQ, GEMINI, DEEPSEEK]),
        ("reasoning_content", json!("hm"), vec![OPENAI, MISTRAL, GROQ], vec![GEMINI, DEEPSEEK]),
        ("reasoning_content", json!(null), vec![OPENAI, MISTRAL, GROQ], vec![GEMINI, DEEPSEEK]),
        ("reasoning_details", json!([{"type": "x"}]), vec![OPENAI, MISTRAL, GROQ], vec![GEMINI]),
        ("provider_specific_fields", json!({"a": 1}), vec![OPENAI, MISTRAL, GROQ], vec![GEMINI]),
        ("thinking_blocks", json!([{"type": "y"}]), vec![OPENAI, MISTRAL, GROQ], vec![DEEPSEEK]),
        ("refusal", json!(null), vec![MISTRAL, GROQ], vec![OPENAI, GEMINI, DEEPSEEK]),
        ("annotations", json!([]), vec![MISTRAL, GROQ], vec![OPENAI, GEMINI, DEEPSEEK]),
        ("audio", json!(null), vec![MISTRAL, GROQ], vec![OPENAI, GEMINI, DEEPSEEK]),
        ("function_call", json!(null), vec![MISTRAL, GROQ], vec![OPENAI, GEMINI, DEEPSEEK]),
        ("function_call", json!({"name": "f", "arguments": "{}"}), vec![], vec![MISTRAL, GROQ]),
        ("tool_calls", json!([]), vec![OPENAI], vec![MISTRAL, GEMINI]),
        ("tool_calls", json!(null), vec![OPENAI], vec![MISTRAL, GEMINI]),
        ("made_up", json!("x"), vec![], vec![OPENAI, MISTRAL, GROQ, GEMINI, DEEPSEEK]),
    ] {
        let mut answer = plain.clone();
        answer[field] = value;
        for target in refusing {
            assert_eq!(answer_for(&answer, target), plain, "{field} {target:?}");
        }
        for target in accepting.into_iter().chain([UNKNOWN, ROUTER]) {
            assert_eq!(answer_for(&answer, target), answer, "{field} {target:?}");
        }
    }
}

#[test]
fn calls_lose_what_only_their_vendor_reads() {
    let mut signed = call("call_1");
    signed["extra_content"] = json!({"google": {"thought_signature": "U0lH"}});
    signed["index"] = 0.into();
    signed["function"]["provider_specific_fields"] = json!({"thought_signature": "U0lH"});
    let answer = json!({"role": "assistant", "content": null, "tool_calls": [signed]});
    let at = |target| answer_for(&answer, target)["tool_calls"][0].clone();
    assert_eq!(at(OPENAI), call("call_1"));
    let mistral = at(MISTRAL);
    assert!(mistral.get("extra_content").is_none() && mistral["index"] == 0);
    assert_eq!(mistral["function"], call("x")["function"]);
    for target in [GEMINI, UNKNOWN, ROUTER] {
        assert_eq!(at(target), signed, "{target:?}");
    }
}

#[test]
fn ids_of_calls_fit_and_stay_equal() {
    let body = |id: &str| {
        json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call(id)]},
            {"role": "tool", "tool_call_id": id, "content": "{\"id\":\"call_x\"}"},
        ]})
    };
    let fitted = fit(&body("call_00_abc"), MISTRAL).unwrap();
    let id = fitted["messages"][1]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(fitted["messages"][2]["tool_call_id"], id);
    assert_eq!(fitted["messages"][2]["content"], body("x")["messages"][2]["content"]);
    assert_eq!(fit(&body("AbCdEf012"), MISTRAL), None);
    let long = "toolu_".repeat(9);
    let fitted = fit(&body(&long), OPENAI).unwrap();
    assert_eq!(fitted["messages"][2]["tool_call_id"].as_str().unwrap().len(), 40);
    for target in [GEMINI, UNKNOWN] {
        let fitted = fit(&body(&long), target).unwrap_or_else(|| body(&long));
        assert_eq!(fitted["messages"][2], body(&long)["messages"][2], "{target:?}");
    }
}

#[test]
fn state_that_a_vendor_demands_is_stood_in_for() {
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
    let gemini = answer_for(&calls, GEMINI);
    let placeholder = json!({"google": {"thought_signature": "skip_thought_signature_validator"}});
    assert_eq!(gemini["tool_calls"][0]["extra_content"], placeholder);
    assert_eq!(gemini["tool_calls"][1], call("b"));
    assert_eq!(answer_for(&calls, ("gemini-2.5-pro", GEMINI.1)), calls);

    assert_eq!(answer_for(&calls, ("kimi-k3", "api.moonshot.ai"))["reasoning_content"], "");
    let mut told = calls.clone();
    told["reasoning"] = "hm".into();
    told["reasoning_content"] = Value::Null;
    assert_eq!(answer_for(&told, DEEPSEEK)["reasoning_content"], "hm");
    assert_eq!(answer_for(&calls, ("deepseek-chat", DEEPSEEK.1)), calls);
    // A client that keeps the thinking got these calls from another model.
    let thought = json!({"role": "assistant", "content": "b", "reasoning_content": "hm"});
    let kept = json!({"messages": [calls, thought]});
    let fitted = fit(&kept, DEEPSEEK).unwrap();
    assert_eq!(fitted["messages"][0]["reasoning_content"], "");
    assert_eq!(fitted.get("thinking"), None);
    // One that does not keep it has lost it: an empty text is refused after thinking.
    for thinking in [json!({}), json!({"thinking": {"type": "enabled"}})] {
        let mut lost = thinking;
        lost["reasoning_effort"] = "high".into();
        lost["messages"] = json!([calls]);
        let expected = json!({"thinking": {"type": "disabled"}, "messages": [calls]});
        assert_eq!(fit(&lost, DEEPSEEK), Some(expected));
    }
    let off = json!({
        "thinking": {"type": "disabled"}, "reasoning_effort": "high", "messages": [calls],
    });
    assert_eq!(fit(&off, DEEPSEEK), None);
    let words = json!({"role": "assistant", "content": "b"});
    assert_eq!(answer_for(&words, DEEPSEEK), words);
    assert_eq!(answer_for(&words, GEMINI), words);
}

#[test]
fn thinking_parts_of_a_content_are_left_out() {
    let thought = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]});
    let text = json!({"type": "text", "text": "b"});
    let answer = json!({"role": "assistant", "content": [thought, text]});
    for target in [OPENAI, GROQ, GEMINI, DEEPSEEK] {
        assert_eq!(answer_for(&answer, target)["content"], json!([text]), "{target:?}");
    }
    for target in [MISTRAL, UNKNOWN, ROUTER] {
        assert_eq!(answer_for(&answer, target), answer, "{target:?}");
    }
    let alone = json!({"role": "assistant", "content": [thought]});
    assert_eq!(answer_for(&alone, OPENAI)["content"], "");
    let mut calls = alone.clone();
    calls["tool_calls"] = json!([call("a")]);
    assert_eq!(answer_for(&calls, OPENAI)["content"], Value::Null);
}

#[test]
fn refusal_is_said_where_its_field_is_refused() {
    for content in [json!({"content": null}), json!({"content": ""}), json!({})] {
        let mut answer = content;
        answer["role"] = "assistant".into();
        answer["refusal"] = "No.".into();
        let expected = json!({"role": "assistant", "content": "No."});
        assert_eq!(answer_for(&answer, MISTRAL), expected);
        assert_eq!(answer_for(&answer, OPENAI), answer);
    }
}

#[test]
fn own_state_goes_to_no_upstream() {
    let sealed = "baton1_e30";
    let block = json!({"type": "thinking", "thinking": "hm", "signature": sealed});
    let mut signed = call("a");
    signed["extra_content"] = json!({"google": {"thought_signature": sealed}});
    let answer = json!({
        "role": "assistant", "content": [block, {"type": "text", "text": "baton1_ is a prefix"}],
        "thinking_blocks": [block], "reasoning_details": [{"data": sealed}], "tool_calls": [signed],
    });
    for target in [OPENAI, MISTRAL, GROQ, GEMINI, DEEPSEEK, UNKNOWN, ROUTER] {
        let answer = answer_for(&answer, target);
        assert!(!answer.to_string().contains(sealed), "{target:?}: {answer}");
        assert_eq!(answer["content"][0]["text"], "baton1_ is a prefix");
    }
}

#[test]
fn own_histories_keep_all_bytes() {
    let signed = r#"{"id": "x" , "type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"U0lH"}}}"#;
    let plain = r#"{"id":"AbCdEf012","type":"function","function":{"name":"f","arguments":"{\"reasoning\":1}"}}"#;
    for (target, calls, more) in [
        (GEMINI, signed, ""),
        (DEEPSEEK, plain, r#", "reasoning_content":"hm""#),
        (GROQ, plain, r#", "reasoning":"hm""#),
        (MISTRAL, plain, ""),
        (("gpt-5.5", OPENAI.1), plain, r#", "refusal":null,"annotations":[]"#),
        (UNKNOWN, plain, r#", "reasoning_content":"hm","refusal":null"#),
    ] {
        let body = format!(
            r#"{{ "reasoning_effort":"high","tools":[{{"index":{{"thinking":1}}}}],"messages":[ {{"role":"user","content":"a \"reasoning\" b"}},{{"role":"assistant","content":null,"tool_calls":[{calls}]{more}}} ]}}"#
        );
        assert_eq!(fit_text(&body, target), None, "{target:?}");
        let capabilities = ModelCapabilities::of(Provider::OpenaiCompatible, target.0, target.1);
        let is_parsed = may_need_fitting(body.as_bytes(), UpstreamProtocol::Chat, &capabilities);
        assert!(!is_parsed, "{target:?}: a loop of its own is not parsed");
    }
}

#[test]
fn the_rest_of_a_changed_body_keeps_its_bytes() {
    let body = r#"{ "messages" : [ {"role":"user", "content":"a"} ,{"role":"assistant", "reasoning":"hm","content":"é"}], "top_p":1.0 }"#;
    let expected = r#"{ "messages" : [{"role":"user", "content":"a"},{"role":"assistant","content":"é"}], "top_p":1.0 }"#;
    assert_eq!(fit_text(body, OPENAI).as_deref(), Some(expected));
    for broken in ["", "{", "[]", r#"{"messages":7,"reasoning":"assistant"}"#] {
        assert_eq!(fit_text(broken, OPENAI), None, "{broken}");
    }
}

fn some_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!("hm")),
        Just(json!([])),
        Just(json!([{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}])),
        Just(json!([{"id": "toolu_1", "index": 3, "extra_content": {}}])),
        Just(json!({"baton": "baton1_e30"})),
    ]
}

proptest! {
    /// A history that was fitted fits, and nothing else of the body changes.
    #[test]
    fn fitting_twice_changes_nothing(
        answers in prop::collection::vec(prop::collection::btree_map(
            prop::sample::select(vec![
                "content", "tool_calls", "reasoning", "reasoning_content", "reasoning_details",
                "refusal", "audio", "made_up",
            ]),
            some_value(), 0..5), 0..4),
        target in prop::sample::select(vec![
            OPENAI, MISTRAL, GROQ, GEMINI, DEEPSEEK, UNKNOWN, ROUTER,
        ]),
    ) {
        let mut messages = vec![json!({"role": "user", "content": "a"})];
        for answer in answers {
            let mut answer = json!(answer);
            answer["role"] = "assistant".into();
            messages.push(answer);
        }
        let body = json!({"messages": messages, "x": [1.5, null]});
        let fitted = fit(&body, target).unwrap_or_else(|| body.clone());
        prop_assert_eq!(&fitted["x"], &body["x"]);
        prop_assert_eq!(
            fitted["messages"].as_array().unwrap().len(),
            body["messages"].as_array().unwrap().len()
        );
        prop_assert_eq!(fit(&fitted, target), None);
    }
}
