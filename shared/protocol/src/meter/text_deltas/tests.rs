//! Tables of generated and other text, in every API, and the estimates of images.

use super::super::output_count::IMAGE_TOKENS;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn content_deltas_are_counted_in_characters() {
    let check = |delta: &str, chars| {
        let data = format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
        assert_eq!(count_content_delta(data.as_bytes()).text.chars, chars, "{delta}");
    };
    check(r#"{"type":"text_delta","text":"Hello"}"#, 5);
    check(r#"{"type":"text_delta","text":""}"#, 0);
    check(r#"{"type":"text_delta","text":"é漢🦀"}"#, 3);
    check(r#"{"type":"text_delta","text":"a\n\"b\\\u00e9"}"#, 6);
    check(r#"{"type":"thinking_delta","thinking":"hm"}"#, 2);
    check(r#"{"type":"input_json_delta","partial_json":"{\"a\":"}"#, 5);
    check(r#"{"type":"signature_delta","signature":"abcdef"}"#, 0);
    check(r#"{"type":"citations_delta","citation":{"cited_text":"abc","title":"t"}}"#, 0);
    check(r#"{"text":"Hello","type":"text_delta"}"#, 5);
    check(r#"{"type" : "text_delta", "text" : "a\u00e9"}"#, 2);
    check(r#"{"type":"text_delta","text":"Hello","more":"text"}"#, 9);
    check(r#"{"type":"future_delta","z":1}"#, 0);
    check(r#"{"type":"future_delta","future":"text"}"#, 4);
    check(r#"{"type":"text_delta","text":"cut"#, 4);
    check("null", 0);
}

/// Fields in which the vendors send generated text have this one in the tables below.
const TEXT: &str = "ten words.";

fn assert_counted(rows: &[Value]) {
    for row in rows {
        assert_eq!(count_output(row.to_string().as_bytes()).text.chars, 10, "{row}");
    }
}

#[test]
fn every_generated_text_of_chat_is_counted() {
    let text = TEXT;
    let choice = |key: &str, part: Value| json!({"choices": [{"index": 0, key: part}]});
    let mut rows = Vec::new();
    for key in ["delta", "message"] {
        for part in [
            json!({"content": text}),
            json!({"content": [{"type": "text", "text": text}]}),
            json!({"content": null, "refusal": text}),
            json!({"reasoning_content": text}),
            json!({"reasoning": text}),
            json!({"reasoning": text, "reasoning_content": text}),
            json!({"reasoning_details": [{"type": "reasoning.text", "text": text, "id": "x"}]}),
            json!({"reasoning": text, "reasoning_details": [{"text": text, "signature": "s"}]}),
            json!({"reasoning_content": text, "thinking_blocks": [{"thinking": text}]}),
            json!({"function_call": {"arguments": text}}),
            json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                "function": {"arguments": text}}]}),
            json!({"tool_calls": [{"id": "call_1", "type": "custom", "custom": {"input": text}}]}),
            json!({"audio": {"id": "a", "data": "UklGRg==", "transcript": text}}),
            json!({"role": "assistant", "content": text, "annotations": [{"title": "t"}]}),
            json!({"future": {"field": [text]}}),
            json!({"name": "model", "tool_calls": [{"function": {"name": text, "arguments": ""}}]}),
        ] {
            rows.push(choice(key, part));
        }
    }
    rows.push(json!({"choices": [{"index": 0, "text": text, "logprobs": {"tokens": ["a"]}}]}));
    assert_counted(&rows);
}

/// The Messages API, and the Converse API of Bedrock.
#[test]
fn every_generated_text_of_messages_is_counted() {
    let (text, mut rows) = (TEXT, Vec::new());
    for delta in [
        json!({"type": "text_delta", "text": text}),
        json!({"type": "thinking_delta", "thinking": text}),
        json!({"type": "input_json_delta", "partial_json": text}),
        json!({"type": "compaction_delta", "content": text}),
        json!({"text": text}),
        json!({"toolUse": {"input": text}}),
        json!({"reasoningContent": {"text": text}}),
    ] {
        rows.push(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    }
    for block in [
        json!({"type": "text", "text": text}),
        json!({"type": "thinking", "thinking": text, "signature": "abc"}),
        json!({"type": "redacted_thinking", "data": text}),
        json!({"type": "tool_use", "id": "toolu_1", "input": text}),
        json!({"type": "text", "text": text, "citations": [{"cited_text": "c"}]}),
    ] {
        rows.push(json!({"type": "content_block_start", "index": 0, "content_block": block}));
        rows.push(json!({"type": "message", "role": "assistant", "content": [block]}));
        rows.push(json!({"output": {"message": {"role": "assistant", "content": [block]}}}));
    }
    assert_counted(&rows);
}

#[test]
fn every_generated_text_of_responses_is_counted() {
    let (text, mut rows) = (TEXT, Vec::new());
    for name in [
        "output_text",
        "refusal",
        "function_call_arguments",
        "custom_tool_call_input",
        "mcp_call_arguments",
        "code_interpreter_call_code",
        "reasoning_text",
        "reasoning_summary_text",
        "audio.transcript",
    ] {
        rows.push(json!({
            "type": format!("response.{name}.delta"), "item_id": "msg_1", "delta": text,
            "logprobs": [{"token": "a"}], "obfuscation": "padding"
        }));
    }
    for item in [
        json!({"type": "message", "content": [{"type": "output_text", "text": text}]}),
        json!({"type": "message", "content": [{"type": "refusal", "refusal": text}]}),
        json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}),
        json!({"type": "reasoning", "encrypted_content": "e", "content": [{"text": text}]}),
        json!({"type": "function_call", "call_id": "c", "arguments": text, "status": "done"}),
        json!({"type": "custom_tool_call", "call_id": "c", "input": text}),
        json!({"type": "mcp_call", "arguments": text, "output": "from the server"}),
        json!({"type": "code_interpreter_call", "code": text, "outputs": [{"logs": "l"}]}),
        json!({"type": "web_search_call", "action": {"type": "search", "query": text}}),
        json!({"type": "apply_patch_call", "operation": {"type": "x", "diff": text}}),
    ] {
        rows.push(json!({"type": "response.output_item.done", "item": item}));
        rows.push(json!({"object": "response", "output": [item], "instructions": "no"}));
        rows.push(json!({"type": "response.completed", "response": {"output": [item]}}));
    }
    assert_counted(&rows);
}

#[test]
fn text_that_no_model_generated_is_not_counted() {
    for row in [
        json!({"error": {"message": "no"}}),
        json!({"message": "no", "detail": "no", "text": "no"}),
        json!({"type": "message_start", "message": {"id": "msg_1", "content": []}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"a": "b"}, "system_fingerprint": "fp", "provider": "p"}),
        json!({"type": "content_block_start", "content_block": {
            "type": "web_search_tool_result", "content": [{"title": "t", "page_age": "a"}]}}),
        json!({"content_block": {"content": {"stdout": "s"}, "type": "code_execution_tool_result"}}),
        json!({"type": "response.audio.delta", "delta": "UklGRg=="}),
        json!({"type": "response.output_audio.delta", "delta": "UklGRg=="}),
        json!({"item": {"type": "mcp_list_tools", "tools": [{"name": "n"}], "x": "y"}}),
        json!({"item": {"type": "image_generation_call", "result": "iVBORw0KGgo="}}),
        json!({"choices": [{"delta": {"images": [{"image_url": {"url": "data:x"}}]}}]}),
        json!({"choices": [{"delta": {"content": "", "channel": "final", "name": "model"}}]}),
        json!({"choices": [{"message": {"content": "", "extra_content":
            {"google": {"thought_signature": "abc"}}}}]}),
        json!({"choices": [{"delta": {"thought_signature": "a", "thoughtSignature": "b"}}]}),
    ] {
        assert_eq!(count_output(row.to_string().as_bytes()).text.chars, 0, "{row}");
    }
}

/// Tokenizers make at most one token of each byte of UTF-8.
#[test]
fn bytes_of_text_are_those_of_its_utf8() {
    for (json, text) in [
        ("plain", "plain"),
        ("é漢🦀", "é漢🦀"),
        (r#"a\n\"b\\"#, "a\n\"b\\"),
        (r"\u0041\u007f\u0080\u00e9\u07ff\u0800\uffff", "A\u{7f}\u{80}é\u{7ff}\u{800}\u{ffff}"),
    ] {
        let delta = format!(r#"{{"type":"text_delta","text":"{json}"}}"#);
        let usual = format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
        let other = format!(r#"{{"choices":[{{"delta":{{"content":"{json}"}}}}]}}"#);
        for event in [usual, other] {
            let bytes = count_content_delta(event.as_bytes()).text.bytes;
            assert_eq!(bytes, text.len() as u64, "{event}");
        }
    }
    // Half a character can be at the end of a delta, so each half has the bytes of any other escape.
    let halves = count_output(br#"{"delta":"\ud83e\udd80"}"#);
    assert!(halves.text.bytes >= 4, "{halves:?}");
    let images = count_output(br#"{"choices":[{"delta":{"content":"ab","images":["x","y"]}}]}"#);
    assert_eq!(images.tokens_max(), 2 + 2 * IMAGE_TOKENS);
}

#[test]
fn images_and_sound_are_output_without_text() {
    let data = "iVBORw0KGgo=".repeat(1_000);
    let url = format!("data:image/png;base64,{data}");
    let image = json!({"type": "image_url", "image_url": {"url": url}, "index": 0});
    let choice = |key: &str, part: Value| json!({"choices": [{"index": 0, key: part}]});
    for (row, images) in [
        // OpenRouter and LiteLLM ("Image generation", 2026-11).
        (choice("delta", json!({"content": "", "images": [image]})), 1),
        (choice("message", json!({"content": null, "images": [image, image]})), 2),
        (choice("message", json!({"content": [image]})), 1),
        (choice("delta", json!({"images": [{"b64_json": data}]})), 1),
        (choice("delta", json!({"images": [url]})), 1),
        (json!({"choices": [{"delta": {"images": ["x"]}, "message": {"images": ["x"]}}]}), 1),
        (choice("delta", json!({"images": []})), 0),
        (choice("delta", json!({"images": [{"image_url": {"url": ""}}]})), 0),
        (json!({"item": {"type": "image_generation_call", "result": data}}), 1),
        (json!({"output": [{"result": data, "type": "image_generation_call"}]}), 1),
        (json!({"item": {"type": "image_generation_call", "result": null}}), 0),
        (json!({"item": {"type": "function_call_output", "images": [image]}}), 0),
        (json!({"item": {"type": "mcp_call", "output": [image], "result": data}}), 0),
        (json!({"images": [image]}), 0),
    ] {
        let count = count_output(row.to_string().as_bytes());
        let text = TextLength::default();
        let expected = OutputCount { text, images, has_output: images > 0 };
        assert_eq!(count, expected, "{row}");
        assert_eq!(count.estimate_tokens(), images * IMAGE_TOKENS, "{row}");
    }
    for row in [
        choice("delta", json!({"audio": {"id": "a", "data": data}})),
        json!({"type": "response.output_audio.delta", "delta": data}),
    ] {
        let count = count_output(row.to_string().as_bytes());
        let text = TextLength::default();
        let expected = OutputCount { text, images: 0, has_output: true };
        assert_eq!(count, expected, "{row}");
    }
}

#[test]
fn beginning_of_a_chunk_with_output_is_recognized() {
    let check = |text: &str, expect| {
        assert_eq!(begins_with_output(text.as_bytes()), expect, "{text}");
    };
    let start = r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"","#;
    check(start, false);
    check(&format!(r#"{start}"images":[{{"type":"image_url","image_url":{{"url":"data:"#), true);
    check(&format!(r#"{start}"tool_calls":[{{"index":0,"id":"c","type":"function""#), false);
    check(&format!(r#"{start}"tool_calls":[{{"function":{{"arguments":"A"#), true);
    check(r#"{"choices":[{"delta":{"content":"A"#, true);
    check(r#"{"choices":[{"delta":{"audio":{"data":"A"#, true);
    check(r#"{"choices":[{"delta":{"role":"assistant"#, false);
    check(r#"{"error":{"message":"A"#, false);
    check(r#"{"message":"A","content":"A","output":"A","delta":"A"#, false);
    check("", false);
}

#[test]
fn all_texts_of_a_chunk_are_counted() {
    let check =
        |data: &str, chars| assert_eq!(count_output(data.as_bytes()).text.chars, chars, "{data}");
    check(r#"{"choices":[{"delta":{"content":"Hé"}},{"delta":{"content":"Hi!"}}]}"#, 5);
    check(
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{}"}},{"function":{"arguments":"[1]"}}]}}]}"#,
        5,
    );
    check(r#"{"choices":[{"delta":{"content": "Hé", "x":{"arguments":"{}"}}}]}"#, 4);
    // The input of a call counts as it is written, whatever its names are.
    check(r#"{"content":[{"type":"tool_use","input":{"id":"x","output":[1,2]}}]}"#, 25);
    check(r#"{"content_block":{"type":"tool_use","input":{}}}"#, 0);
    check(r#"{"content_block":{"type":"tool_use","input": null}}"#, 0);
    // Text that was cut or is not JSON.
    check(r#"{"choices":[{"logprobs":-Infinity,"delta":{"content":"word"},"x":NaN}]}"#, 4);
    check(r#"{"choices":[{"delta":{"content":"half of"#, 7);
    check(r#"{"choices":[{"delta":{"content":"a"},}],,"delta":"b"}"#, 2);
    check(r#"{"delta" "x"}"#, 0);
    check(r#"{"a":"\"delta\": \"no\""}"#, 0);
    check(r#"{"choices":[}]}"#, 0);
    check(r#"{"delta""#, 0);
    check(r#"{"delta":"\"#, 1);
    for noise in ["", "{", "[", "\"", "{\"", "{\"delta\":", "}", "]", ":", ",", "{\"a\\"] {
        check(noise, 0);
    }
}

#[test]
fn deep_text_counts_as_a_whole() {
    let deep = format!(r#"{{"delta":{}"text"#, "[".repeat(100_000));
    assert!(count_output(deep.as_bytes()).text.chars > 99_000);
    let other = format!(r#"{{"other":{}"text"#, "[".repeat(100_000));
    assert_eq!(count_output(other.as_bytes()).text.chars, 0);
}

proptest! {
    /// No generated text is lost at any place of the output, and each cut counts at most as
    /// much as the whole.
    #[test]
    fn strings_in_output_are_counted_at_any_place(
        texts in prop::collection::vec("[a-zé\\\\\"\n]{0,8}", 1..6),
        nested in any::<bool>(),
        cut in 0..200_usize,
    ) {
        let parts: Vec<Value> = texts
            .iter()
            .map(|text| if nested { json!({"part": {"text": text}}) } else { json!(text) })
            .collect();
        let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
        let chars = u64::try_from(chars).unwrap();
        let bytes = u64::try_from(texts.concat().len()).unwrap();
        for event in [
            json!({"choices": [{"delta": {"content": parts}}]}),
            json!({"type": "x", "delta": {"any": parts}}),
            json!({"content": parts}),
            json!({"response": {"output": parts}}),
        ] {
            let event = event.to_string();
            let counted = count_output(event.as_bytes()).text;
            prop_assert_eq!(counted, TextLength { chars, bytes }, "{}", event);
            let part = &event.as_bytes()[..cut.min(event.len())];
            prop_assert!(count_output(part).text.chars <= chars + 1, "{}", event);
        }
    }

    #[test]
    fn any_bytes_are_scanned(bytes in prop::collection::vec(
        prop::sample::select(b"{}[]:,\"\\ adelta1".to_vec()), 0..200,
    )) {
        count_output(&bytes);
    }
}
