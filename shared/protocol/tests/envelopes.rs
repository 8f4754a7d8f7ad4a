//! Request bodies of real clients, and bodies that clients should not send.

use baton_protocol::envelope::{Envelope, EnvelopeError, StatedEffort, replace_model};
use baton_protocol::json::{DEPTH_MAX, FIELDS_MAX};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;

fn read(body: &str) -> Result<Envelope<'_>, EnvelopeError> {
    Envelope::parse(body.as_bytes())
}

#[test]
fn recorded_requests_are_parsed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/requests");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = std::fs::read(entry.unwrap().path()).unwrap();
        let request: Value = serde_json::from_slice(&file).unwrap();
        let body = &request["body"];
        let Some(model) = body["model"].as_str() else { continue };
        count += 1;
        let text = body.to_string();
        let envelope = read(&text).unwrap();
        assert_eq!(envelope.model, model);
        assert_eq!(text[envelope.model_span.clone()], format!("\"{model}\""));
        assert_eq!(envelope.stream, body["stream"] == true);
        if body["metadata"]["user_id"].is_string() || body["prompt_cache_key"].is_string() {
            let session = "00000000-0000-4000-8000-000000000000";
            assert_eq!(envelope.session.as_deref(), Some(session));
        } else {
            assert_eq!(envelope.session, None);
        }
        let body = Bytes::copy_from_slice(text.as_bytes());
        let changed = replace_model(&body, envelope.model_span.clone(), "x\"\\é");
        let reread = Envelope::parse(&changed).unwrap();
        assert_eq!(reread.model, "x\"\\é");
        let back = replace_model(&changed, reread.model_span.clone(), model);
        assert_eq!(back, body);
    }
    assert!(count > 40, "{count}");
}

#[test]
fn envelope_fields_are_read() {
    let check = |body: &str, expect: (&str, bool, bool, Option<&str>)| {
        let read = read(body).unwrap();
        let ours =
            (&*read.model, read.stream, read.deferred_field.is_some(), read.session.as_deref());
        assert_eq!(ours, expect, "{body}");
    };
    check(r#"{"model":"m"}"#, ("m", false, false, None));
    check(" \n{ \"model\" : \"m\" } \r\n", ("m", false, false, None));
    check(r#"{"mod\u0065l":"m\u00e9"}"#, ("mé", false, false, None));
    check(r#"{"model":"m","stream":true,"max_tokens":7}"#, ("m", true, false, None));
    check(r#"{"model":"m","stream":null,"max_tokens":-1}"#, ("m", false, false, None));
    for (value, is_background) in
        [("true", true), ("\"yes\"", true), ("null", false), ("false", false)]
    {
        let body = format!(r#"{{"model":"m","background":{value}}}"#);
        check(&body, ("m", false, is_background, None));
        let body = format!(r#"{{"model":"m","deferred":{value}}}"#);
        check(&body, ("m", false, is_background, None));
    }
    check(r#"{"model":"m","max_output_tokens":9}"#, ("m", false, false, None));
    check(r#"{"model":"m","metadata":{"user_id":"who"}}"#, ("m", false, false, Some("who")));
    check(
        r#"{"model":"m","metadata":{"user_id":"{\"session_id\":\"s\"}"}}"#,
        ("m", false, false, Some("s")),
    );
    check(
        r#"{"model":"m","metadata":{"user_id":"{\"a\":1}"}}"#,
        ("m", false, false, Some("{\"a\":1}")),
    );
    check(r#"{"model":"m","metadata":{"user_id":null}}"#, ("m", false, false, None));
    check(r#"{"model":"m","metadata":{"user_id":""}}"#, ("m", false, false, None));
    check(r#"{"model":"m","metadata":[7],"prompt_cache_key":"k"}"#, ("m", false, false, Some("k")));
}

/// Upstreams that convert types could read a setting that the relay does not see.
#[test]
fn fields_that_decide_the_cost_have_their_documented_type() {
    let values = [
        ("boolean", &["true", "false"][..]),
        ("number", &["1", "0", "-1", "1.5", "1e3"]),
        ("text", &["\"true\"", "\"1\"", "\"\"", "\"x\""]),
        ("object", &["{}", "{\"a\":1}"]),
        ("array", &["[]", "[true]", "[1]"]),
    ];
    for (name, kind) in [
        ("stream", "boolean"),
        ("max_tokens", "number"),
        ("max_completion_tokens", "number"),
        ("max_output_tokens", "number"),
        ("n", "number"),
        ("best_of", "number"),
        ("speed", "text"),
        ("service_tier", "text"),
        ("stream_options", "object"),
        ("thinking", "object"),
        ("tools", "array"),
    ] {
        assert!(read(&format!(r#"{{"model":"m","{name}":null}}"#)).is_ok(), "{name}");
        for (other, values) in values {
            for value in values {
                let body = format!(r#"{{"model":"m","{name}": {value} }}"#);
                let found = read(&body);
                if kind == other {
                    assert!(found.is_ok(), "{body}: {found:?}");
                } else {
                    assert!(
                        matches!(found, Err(EnvelopeError::OtherType { name: found, .. }) if found == name),
                        "{body}: {found:?}"
                    );
                }
                let beside = Envelope::parse_with_model(body.as_bytes(), "m", true);
                assert_eq!(beside.is_ok(), kind == other, "{body}");
            }
        }
    }
    let options =
        |inside: &str| read(&format!(r#"{{"model":"m","stream_options":{inside}}}"#)).is_ok();
    for good in [r#"{"include_usage":true}"#, r#"{"include_usage":null,"other":1}"#, "{}"] {
        assert!(options(good), "{good}");
    }
    for bad in
        [r#"{"include_usage":"false"}"#, r#"{"include_usage":0}"#, r#"{"includeUsage":false}"#]
    {
        assert!(!options(bad), "{bad}");
    }
}

#[test]
fn model_without_escapes_is_not_copied() {
    let body = r#"{"messages":[],"model":"claude"}"#;
    assert!(matches!(read(body).unwrap().model, std::borrow::Cow::Borrowed("claude")));
}

#[test]
fn invalid_bodies_are_refused() {
    let check = |body: &str, why: EnvelopeError| assert_eq!(read(body), Err(why), "{body}");
    check("{}", EnvelopeError::NoModel);
    check(r#"{"model":""}"#, EnvelopeError::NoModel);
    check(r#"{"model":null}"#, EnvelopeError::ModelNotAString);
    check(r#"{"model":["m"]}"#, EnvelopeError::ModelNotAString);
    for body in ["[]", "1", "\"model\"", "null"] {
        check(body, EnvelopeError::NotAnObject);
    }
    for body in ["", " ", "\r\n"] {
        check(body, EnvelopeError::NoBody);
    }
    let broken = [
        "{",
        "{\"model\":\"m\"",
        "{\"model\":\"m\"}x",
        "{\"model\":\"m\",}",
        "{model:1}",
        "{\"model\":\"m\",\"a\":tru}",
        "{\"model\":\"m\",\"a\":[1,}",
        "{\"model\":\"m\",\"a\":01}",
        "{\"model\":\"m\",\"a\":\"\n\"}",
        "{\"model\":\"m\",\"a\":{\"b\":\"\\x\"}}",
        "{\"model\":\"m\"} {}",
        "\u{FEFF}{\"model\":\"m\"}",
    ];
    for body in broken {
        assert!(
            matches!(read(body), Err(EnvelopeError::NotJson { .. })),
            "{body:?}: {:?}",
            read(body)
        );
    }
    assert!(matches!(Envelope::parse(b"{\"model\":\"\xFF\"}"), Err(EnvelopeError::NotJson { .. })));
    let position = read("{\"model\":\n  x}").unwrap_err().to_string();
    assert_eq!(position, "The request body is not valid JSON. The error is at line 2, column 3.");
}

#[test]
fn duplicate_setting_is_refused_at_every_level() {
    for (body, name) in [
        (r#"{"model":"a","model":"b"}"#, "model"),
        (r#"{"model":"a","mod\u0065l":"a"}"#, "model"),
        (r#"{"model":"a","max_tokens":1,"max_tokens":2}"#, "max_tokens"),
        (r#"{"model":"a","messages":[],"messages":1}"#, "messages"),
        (r#"{"model":"a","tools":[],"tools":[]}"#, "tools"),
        (r#"{"model":"a","n":1,"n":128}"#, "n"),
        (r#"{"model":"a","never_heard_of":1,"never_heard_of":1}"#, "never_heard_of"),
        (r#"{"model":"a","stream_options":{},"stream_options":null}"#, "stream_options"),
        (
            r#"{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}"#,
            "include_usage",
        ),
        (r#"{"model":"a","thinking":{"budget_tokens":1,"budget_tokens":9}}"#, "budget_tokens"),
        (r#"{"model":"a","tools":[{},{"model":"x","model":"y"}]}"#, "model"),
        (r#"{"model":"a","messages":[{"role":"user","role":"system"}]}"#, "role"),
        (r#"{"model":"a","text":{"format":{"type":"a","type":"b"}}}"#, "type"),
    ] {
        assert_eq!(read(body), Err(EnvelopeError::Twice(name.into())), "{body}");
    }
    let deeper =
        r#"{"model":"m","tools":[{"input_schema":{"a":1,"a":1}}],"x":[[[{"a":1,"a":2}]]]}"#;
    assert!(read(deeper).is_ok(), "the prompt's own");
    let clock_skew =
        r#"{"model":"m","metadata":{"model":"x"},"messages":[{"role":"a"},{"role":"b"}]}"#;
    assert!(read(clock_skew).is_ok(), "one name in two objects");
}

#[test]
fn many_fields_are_compared_like_few() {
    let body = |names: &[String]| format!(r#"{{"model":"m","{}":0}}"#, names.join(r#"":0,""#));
    let mut names: Vec<String> = (0..1000).map(|number| format!("field{number}")).collect();
    assert!(read(&body(&names)).is_ok());
    names[700] = "field3".to_owned();
    assert_eq!(read(&body(&names)), Err(EnvelopeError::Twice("field3".into())));
    let names: Vec<String> = (0..FIELDS_MAX - 1).map(|number| format!("a{number}")).collect();
    assert!(read(&body(&names)).is_ok());
    let names: Vec<String> = (0..FIELDS_MAX).map(|number| format!("a{number}")).collect();
    assert_eq!(read(&body(&names)), Err(EnvelopeError::ManyFields));
}

#[test]
fn alternative_spelling_of_a_field_is_refused() {
    for (body, name, known_name) in [
        (r#"{"model":"a","MODEL":"b"}"#, "MODEL", "model"),
        (r#"{"Model":"b","model":"a"}"#, "Model", "model"),
        (r#"{"Model":"b"}"#, "Model", "model"),
        (r#"{"model":"a","\u004dodel":"b"}"#, "Model", "model"),
        (r#"{"model":"a","Max_Tokens":1}"#, "Max_Tokens", "max_tokens"),
        (r#"{"model":"a","maxTokens":1}"#, "maxTokens", "max_tokens"),
        (r#"{"model":"a","max-tokens":1}"#, "max-tokens", "max_tokens"),
        (r#"{"model":"a","STREAM":true}"#, "STREAM", "stream"),
        ("{\"model\":\"a\",\"\u{17f}tream\":true}", "\u{17f}tream", "stream"),
        ("{\"model\":\"a\",\"max_to\u{212a}ens\":1}", "max_to\u{212a}ens", "max_tokens"),
        (r#"{"model":"a","Tools":[]}"#, "Tools", "tools"),
        (r#"{"model":"a","mess_ages":[]}"#, "mess_ages", "messages"),
    ] {
        assert_eq!(
            read(body),
            Err(EnvelopeError::OtherCase { name: name.into(), known_name }),
            "{body}"
        );
    }
    for name in ["models", "mode", "odel", "model ", "", "max_tokens_to_sample", "Not_known"] {
        assert!(read(&format!(r#"{{"model":"m","{name}":1}}"#)).is_ok(), "{name}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"a":{open}{close},"model":"m"}}"#)
    };
    assert_eq!(read(&deep(DEPTH_MAX)).unwrap().model, "m");
    for levels in [DEPTH_MAX + 1, 1_000, 1_000_000] {
        assert_eq!(read(&deep(levels)), Err(EnvelopeError::TooDeep));
    }
    let objects = format!(r#"{{"model":"m","a":{}"#, r#"{"a":"#.repeat(1_000_000));
    assert_eq!(read(&objects), Err(EnvelopeError::TooDeep), "before its end is looked for");
    assert!(EnvelopeError::TooDeep.to_string().contains("At most 127 levels"));
}

#[test]
fn error_quotes_are_short_and_printable() {
    let name = format!("a\\n\\u001b[2J{}", "x".repeat(1_000));
    let error = read(&format!(r#"{{"model":"m","{name}":1,"{name}":2}}"#)).unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 120 && !text.contains(char::is_control), "{text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_not_panic(body: Vec<u8>) {
        let _ = Envelope::parse(&body);
    }

    #[test]
    fn truncated_body_is_an_error(at: prop::sample::Index) {
        let body = r#"{"messages":[{"role":"user","content":"é\n"}],"model":"m","max_tokens":9}"#;
        let at = at.index(body.len());
        prop_assert!(Envelope::parse(&body.as_bytes()[..at]).is_err());
    }

    #[test]
    fn any_model_name_survives(model in "\\PC{1,30}", other in "\\PC{1,30}") {
        let body = Bytes::from(serde_json::json!({"a": [1], "model": model, "z": 1}).to_string());
        let read = Envelope::parse(&body).unwrap();
        prop_assert_eq!(&*read.model, &model);
        let changed = replace_model(&body, read.model_span.clone(), &other);
        let reread = Envelope::parse(&changed).unwrap();
        prop_assert_eq!(&*reread.model, &other);
        prop_assert_eq!(replace_model(&changed, reread.model_span.clone(), &model), body.clone());
    }
}

/// Requests that refer to what one account keeps.
#[test]
fn state_that_a_request_refers_to_is_found() {
    for (fields, state_id, is_stored, is_thread) in [
        (r#""input":"a""#, None, true, false),
        (r#""store":false,"previous_response_id":null"#, None, false, false),
        (r#""previous_response_id":"resp_1""#, Some("resp_1"), true, false),
        (r#""conversation":"conv_1","store":true"#, Some("conv_1"), true, false),
        (r#""conversation":{"id":"conv_1"}"#, Some("conv_1"), true, false),
        (r#""thread":{"type":"create"}"#, None, true, true),
        (
            r#""thread":{"type":"continue","previous_message_id":"msg_1"}"#,
            Some("msg_1"),
            true,
            true,
        ),
    ] {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!(envelope.state_id.as_deref(), state_id, "{body}");
        assert_eq!((envelope.is_stored, envelope.is_thread), (is_stored, is_thread), "{body}");
    }
}

#[test]
fn tools_and_effort_are_read() {
    for (fields, has_tools, effort) in [
        ("", false, StatedEffort::Unset),
        (r#","tools":[],"reasoning_effort":null"#, false, StatedEffort::Unset),
        (r#","tools":null,"reasoning_effort":"none""#, false, StatedEffort::Off),
        (r#","tools":[ {"type":"function"}],"reasoning_effort":"low""#, true, StatedEffort::On),
    ] {
        let body = format!(r#"{{"model":"m","messages":[]{fields}}}"#);
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!((envelope.has_tools(), envelope.effort), (has_tools, effort), "{fields}");
    }
}
