//! Request bodies of real clients, and bodies that nobody should send.

use baton_wire::envelope::{BadBody, Envelope, replace_model};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;

fn read(body: &str) -> Result<Envelope<'_>, BadBody> {
    Envelope::read(body.as_bytes())
}

#[test]
fn every_recorded_request() {
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
        assert_eq!(envelope.max_tokens, body["max_tokens"].as_u64());
        if body["metadata"]["user_id"].is_string() || body["prompt_cache_key"].is_string() {
            let session = "00000000-0000-4000-8000-000000000000";
            assert_eq!(envelope.session.as_deref(), Some(session));
        } else {
            assert_eq!(envelope.session, None);
        }
        let body = Bytes::copy_from_slice(text.as_bytes());
        let changed = replace_model(&body, envelope.model_span.clone(), "x\"\\é");
        let reread = Envelope::read(&changed).unwrap();
        assert_eq!(reread.model, "x\"\\é");
        let back = replace_model(&changed, reread.model_span.clone(), model);
        assert_eq!(back, body);
    }
    assert!(count > 40, "{count}");
}

#[test]
fn fields() {
    let check = |body: &str, expect: (&str, bool, Option<u64>, Option<&str>)| {
        let read = read(body).unwrap();
        let ours = (&*read.model, read.stream, read.max_tokens, read.session.as_deref());
        assert_eq!(ours, expect, "{body}");
    };
    check(r#"{"model":"m"}"#, ("m", false, None, None));
    check(" \n{ \"model\" : \"m\" } \r\n", ("m", false, None, None));
    check(r#"{"mod\u0065l":"m\u00e9"}"#, ("mé", false, None, None));
    check(r#"{"model":"m","stream":true,"max_tokens":7}"#, ("m", true, Some(7), None));
    check(r#"{"model":"m","stream":"true","max_tokens":"7"}"#, ("m", false, None, None));
    check(r#"{"model":"m","stream":null,"max_tokens":-1}"#, ("m", false, None, None));
    check(r#"{"model":"m","max_tokens":1,"max_completion_tokens":9}"#, ("m", false, Some(9), None));
    check(r#"{"model":"m","max_output_tokens":9}"#, ("m", false, Some(9), None));
    check(r#"{"model":"m","tools":[{"model":1,"model":2}]}"#, ("m", false, None, None));
    check(r#"{"model":"m","metadata":{"user_id":"who"}}"#, ("m", false, None, Some("who")));
    check(
        r#"{"model":"m","metadata":{"user_id":"{\"session_id\":\"s\"}"}}"#,
        ("m", false, None, Some("s")),
    );
    check(
        r#"{"model":"m","metadata":{"user_id":"{\"a\":1}"}}"#,
        ("m", false, None, Some("{\"a\":1}")),
    );
    check(r#"{"model":"m","metadata":{"user_id":null}}"#, ("m", false, None, None));
    check(r#"{"model":"m","metadata":{"user_id":""}}"#, ("m", false, None, None));
    check(r#"{"model":"m","metadata":[7],"prompt_cache_key":"k"}"#, ("m", false, None, Some("k")));
    assert!(read(r#"{"model":"m","speed":"fast"}"#).unwrap().fast);
    assert!(!read(r#"{"model":"m","speed":"standard"}"#).unwrap().fast);
}

#[test]
fn a_borrowed_model_is_not_copied() {
    let body = r#"{"messages":[],"model":"claude"}"#;
    assert!(matches!(read(body).unwrap().model, std::borrow::Cow::Borrowed("claude")));
}

#[test]
fn bodies_that_cannot_be_relayed() {
    let check = |body: &str, why: BadBody| assert_eq!(read(body), Err(why), "{body}");
    check("{}", BadBody::NoModel);
    check(r#"{"model":""}"#, BadBody::NoModel);
    check(r#"{"model":null}"#, BadBody::ModelNotAString);
    check(r#"{"model":["m"]}"#, BadBody::ModelNotAString);
    check(r#"{"model":"a","model":"b"}"#, BadBody::Twice("model"));
    check(r#"{"model":"a","mod\u0065l":"a"}"#, BadBody::Twice("model"));
    check(r#"{"model":"a","max_tokens":1,"max_tokens":2}"#, BadBody::Twice("max_tokens"));
    let prompt = r#"{"model":"a","system":"b","system":"c","messages":[],"messages":1}"#;
    assert!(read(prompt).is_ok(), "what counts in a prompt is for the upstream to say");
    for body in ["[]", "1", "\"model\"", "null"] {
        check(body, BadBody::NotAnObject);
    }
    let broken = [
        "",
        " ",
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
        assert!(matches!(read(body), Err(BadBody::NotJson { .. })), "{body:?}: {:?}", read(body));
    }
    assert!(matches!(Envelope::read(b"{\"model\":\"\xFF\"}"), Err(BadBody::NotJson { .. })));
    let position = read("{\"model\":\n  x}").unwrap_err().to_string();
    assert_eq!(position, "the request body is not valid JSON (line 2, column 3)");
}

#[test]
fn nesting_has_no_limit() {
    let deep = format!(r#"{{"a":{}{},"model":"m"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&deep).unwrap().model, "m");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(body: Vec<u8>) {
        let _ = Envelope::read(&body);
    }

    #[test]
    fn any_cut_is_an_error(at: prop::sample::Index) {
        let body = r#"{"messages":[{"role":"user","content":"é\n"}],"model":"m","max_tokens":9}"#;
        let at = at.index(body.len());
        prop_assert!(Envelope::read(&body.as_bytes()[..at]).is_err());
    }

    #[test]
    fn any_model_survives(model in "\\PC{1,30}", other in "\\PC{1,30}") {
        let body = Bytes::from(serde_json::json!({"a": [1], "model": model, "z": 1}).to_string());
        let read = Envelope::read(&body).unwrap();
        prop_assert_eq!(&*read.model, &model);
        let changed = replace_model(&body, read.model_span.clone(), &other);
        let reread = Envelope::read(&changed).unwrap();
        prop_assert_eq!(&*reread.model, &other);
        prop_assert_eq!(replace_model(&changed, reread.model_span.clone(), &model), body.clone());
    }
}
