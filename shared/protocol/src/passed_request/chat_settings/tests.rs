//! Tests of settings that go to an account of another vendor.

use crate::passed_request::{UnfitRequest, fit_passed_request, may_need_fitting};
use baton_domain::account::Provider;
use baton_domain::model_capabilities::{ModelCapabilities, OwnCapabilities, StatedCapabilities};
use baton_domain::protocol::UpstreamProtocol;
use serde_json::{Value, json};

const OPENAI: (&str, &str) = ("gpt-5.5", "api.openai.com");
const GPT_4O: (&str, &str) = ("gpt-4o", "api.openai.com");
const MISTRAL: (&str, &str) = ("mistral-large-latest", "api.mistral.ai");
const GEMINI: (&str, &str) = ("gemini-3-pro", "generativelanguage.googleapis.com");
const DEEPSEEK: (&str, &str) = ("deepseek-v4-pro", "api.deepseek.com");
const UNKNOWN: (&str, &str) = ("qwen3.8-27b", "127.0.0.1:8000");
const ROUTER: (&str, &str) = ("deepseek/deepseek-v4-pro", "openrouter.ai");
const ALL: [(&str, &str); 7] = [OPENAI, GPT_4O, MISTRAL, GEMINI, DEEPSEEK, UNKNOWN, ROUTER];

fn capabilities_of((model, host): (&str, &str)) -> ModelCapabilities {
    ModelCapabilities::of(Provider::OpenaiCompatible, model, host)
}

/// The body with the settings, which has the conversation between them.
fn body_with(settings: &str) -> String {
    format!(r#"{{ {settings} , "messages" : [ {{"role":"user","content":"a"}} ], "n":1.0 }}"#)
}

fn fit_with(body: &str, capabilities: &ModelCapabilities) -> Result<Option<String>, UnfitRequest> {
    let changed = fit_passed_request(body.as_bytes(), UpstreamProtocol::Chat, capabilities)?;
    let text = changed.map(|changed| String::from_utf8(changed).unwrap());
    if let Some(text) = &text {
        assert!(may_need_fitting(body.as_bytes(), UpstreamProtocol::Chat, capabilities));
        serde_json::from_str::<Value>(text).unwrap();
        let again = fit_passed_request(text.as_bytes(), UpstreamProtocol::Chat, capabilities);
        assert_eq!(again, Ok(None), "{text}");
    }
    Ok(text)
}

fn fit(body: &str, target: (&str, &str)) -> Option<String> {
    fit_with(body, &capabilities_of(target)).unwrap()
}

/// Each row has the settings, those that the named targets get, and these targets. All others get all
/// bytes.
#[test]
fn only_settings_that_are_refused_change() {
    for (settings, expected, targets) in [
        (r#""verbosity":"low", "model":"m""#, r#""model":"m""#, vec![GPT_4O, MISTRAL, GEMINI]),
        (r#""model":"m", "store":true"#, r#""model":"m""#, vec![MISTRAL, GEMINI]),
        (
            r#""model":"m","user":"u", "top_p":1"#,
            r#""model":"m", "top_p":1"#,
            vec![MISTRAL, GEMINI],
        ),
        (r#""model":"m","metadata":{"a":"b"}"#, r#""model":"m""#, vec![GEMINI]),
        (r#""model":"m","logprobs":false"#, r#""model":"m""#, vec![MISTRAL]),
        (r#""max_completion_tokens" : 9"#, r#""max_tokens":9"#, vec![MISTRAL]),
        (r#""max_tokens":8,"max_completion_tokens":9"#, r#""max_tokens":8"#, vec![MISTRAL]),
        (r#""model":"m","seed":7"#, r#""model":"m","random_seed":7"#, vec![MISTRAL]),
        (r#""model":"m","reasoning_effort":"high""#, r#""model":"m""#, vec![GPT_4O]),
        (r#""reasoning_effort":"new-word""#, "", vec![]),
        (r#""reasoning_effort":null"#, "", vec![]),
        (r#""tool_choice":"auto","model":"m""#, "", vec![]),
    ] {
        let body = body_with(settings);
        for target in ALL {
            let expected = targets.contains(&target).then(|| body_with(expected));
            assert_eq!(fit(&body, target), expected, "{settings} {target:?}");
        }
    }
}

#[test]
fn thinking_is_switched_off_where_it_is_refused() {
    let forced = r#"{"model":"m","tool_choice":"required","messages":[]}"#;
    let off = r#","thinking":{"type":"disabled"}}"#;
    let expected = forced.replace("]}", &format!("]{off}"));
    assert_eq!(fit(forced, DEEPSEEK), Some(expected));
    let none = r#"{"reasoning_effort":"none","messages":[ ] }"#;
    let expected = r#"{"messages":[ ] ,"thinking":{"type":"disabled"}}"#;
    assert_eq!(fit(none, DEEPSEEK).as_deref(), Some(expected));
    for accepted in ["low", "medium", "high", "xhigh", "max"] {
        assert_eq!(fit(&none.replace("none", accepted), DEEPSEEK), None, "{accepted}");
    }
    let fitted = fit(r#"{"reasoning_effort": "none","messages":[]}"#, GEMINI);
    assert_eq!(fitted.as_deref(), Some(r#"{"reasoning_effort": "minimal","messages":[]}"#));
    assert_eq!(fit(none, MISTRAL), None);
    let named = r#"{"tool_choice":{"type":"function","function":{"name":"f"}},"thinking":{"type":"enabled"},"messages":[]}"#;
    let expected = named.replace("enabled", "disabled");
    assert_eq!(fit(named, DEEPSEEK), Some(expected));
}

#[test]
fn schema_becomes_an_instruction_where_it_is_refused() {
    let schema = json!({"type": "object", "properties": {"z": {}, "a": {}}}).to_string();
    let format =
        format!(r#"{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}"#);
    for first in [
        r#"{"role":"system", "content":"\u00e9"}"#,
        r#"{"role":"developer","content":[{"type":"text","text":"b"} ],"x":1}"#,
        r#"{"role":"system","content":[]}"#,
        r#"{"role":"user","content":"a"}"#,
    ] {
        let body = format!(r#"{{"response_format":{format},"messages":[{first}]}}"#);
        for target in [OPENAI, GPT_4O, GEMINI, ROUTER] {
            assert_eq!(fit(&body, target), None, "{target:?}");
        }
        let fitted = fit(&body, DEEPSEEK).unwrap();
        let start = r#"{"response_format":{"type":"json_object"},"messages":["#;
        assert!(fitted.starts_with(start), "{fitted}");
        let fitted: Value = serde_json::from_str(&fitted).unwrap();
        let told = fitted["messages"][0]["content"].to_string();
        assert!(told.contains("JSON schema") && told.contains("properties"), "{told}");
        let is_system = !first.contains("user");
        assert_eq!(fitted["messages"].as_array().unwrap().len(), if is_system { 1 } else { 2 });
        assert_ne!(fitted["messages"][0]["role"], "developer");
        assert_eq!(fitted["messages"][0]["x"].is_null(), !first.contains("developer"));
    }
}

#[test]
fn role_of_developers_is_named_as_the_vendor_knows_it() {
    let body = r#"{"messages":[ {"role" : "developer","content":"b"}, {"role":"user","content":"developer"}]}"#;
    let expected =
        r#"{"messages":[{"role" : "system","content":"b"},{"role":"user","content":"developer"}]}"#;
    for target in ALL {
        let is_refused = [MISTRAL, DEEPSEEK, UNKNOWN].contains(&target);
        assert_eq!(fit(body, target).as_deref(), is_refused.then_some(expected), "{target:?}");
    }
}

#[test]
fn setting_that_changes_the_answer_is_refused() {
    for (settings, field) in [
        (r#""logprobs":true"#, "logprobs: "),
        (r#""modalities":["text","audio"]"#, "modalities[](audio): "),
        (r#""web_search_options":{}"#, "web_search_options: "),
    ] {
        let body = body_with(settings);
        let refused = fit_with(&body, &capabilities_of(MISTRAL)).unwrap_err().to_string();
        assert!(refused.starts_with(field), "{refused}");
        for target in [OPENAI, GEMINI, DEEPSEEK, UNKNOWN, ROUTER] {
            assert_eq!(fit(&body, target), None, "{target:?}");
        }
    }
}

/// What an operator states counts in place of the name.
#[test]
fn stated_capabilities_decide() {
    let stated = |structured, reasoning| {
        let stated = StatedCapabilities {
            structured_outputs: Some(structured),
            reasoning: Some(reasoning),
            ..StatedCapabilities::default()
        };
        capabilities_of(UNKNOWN).with_own(OwnCapabilities { stated, ..OwnCapabilities::default() })
    };
    let body = body_with(r#""model":"m","reasoning_effort":"low""#);
    assert_eq!(fit_with(&body, &stated(true, true)), Ok(None));
    let without = body_with(r#""model":"m""#);
    assert_eq!(fit_with(&body, &stated(true, false)), Ok(Some(without)));
    let format = r#""response_format":{"type":"json_schema","json_schema":{"schema":{}}}"#;
    assert_eq!(fit_with(&body_with(format), &stated(true, true)), Ok(None));
    let fitted = fit_with(&body_with(format), &stated(false, true)).unwrap();
    assert!(fitted.is_some_and(|fitted| fitted.contains(r#"{"type":"json_object"}"#)));
}
