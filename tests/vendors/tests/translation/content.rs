//! What a translation must not lose in silence: attachments, tools that the client runs, and the form
//! of the answer.

use serde_json::Value;

/// The parts that hold an attachment, in every dialect.
const ATTACHMENTS: [&str; 8] = [
    "image",
    "document",
    "container_upload",
    "image_url",
    "input_image",
    "file",
    "input_file",
    "input_audio",
];

/// Checks that the vendor got what the client sent.
pub(crate) fn check_kept(client: &Value, vendor: &Value) -> Result<(), String> {
    let attachments = |body: &Value| {
        count(&body["messages"], is_attachment) + count(&body["input"], is_attachment)
    };
    if attachments(vendor) < attachments(client) {
        return Err("an attachment was dropped".to_owned());
    }
    let tools = |body: &Value| {
        let tools = body["tools"].as_array().into_iter().flatten();
        tools.filter(|tool| is_client_tool(tool)).count()
    };
    // Without a choice, the tools only explain the history.
    if tools(vendor) < tools(client) && client["tool_choice"] != "none" {
        return Err("a tool was dropped".to_owned());
    }
    if asks_for_form(client) && !vendor.to_string().to_lowercase().contains("json") {
        return Err("the form of the answer was dropped".to_owned());
    }
    Ok(())
}

/// A text as a document or a file can become text.
fn is_attachment(part: &Value) -> bool {
    let is_text_file = |data: &Value| data.as_str().is_some_and(|it| it.starts_with("data:text/"));
    let is_text = ["text", "content"].iter().any(|kind| part["source"]["type"] == *kind)
        || is_text_file(&part["file_data"])
        || is_text_file(&part["file"]["file_data"]);
    !is_text && ATTACHMENTS.iter().any(|kind| part["type"] == *kind)
}

fn count(value: &Value, is_counted: fn(&Value) -> bool) -> usize {
    let own = usize::from(is_counted(value));
    own + match value {
        Value::Array(list) => list.iter().map(|value| count(value, is_counted)).sum::<usize>(),
        Value::Object(map) => map.values().map(|value| count(value, is_counted)).sum(),
        _ => 0,
    }
}

fn is_client_tool(tool: &Value) -> bool {
    let kind = tool["type"].as_str().unwrap_or("custom");
    let starts = ["bash_", "text_editor_", "computer_", "memory_"];
    ["function", "custom"].contains(&kind) || starts.iter().any(|start| kind.starts_with(start))
}

fn asks_for_form(body: &Value) -> bool {
    let forms = [
        &body["response_format"]["type"],
        &body["text"]["format"]["type"],
        &body["output_config"]["format"]["type"],
        &body["output_format"]["type"],
    ];
    forms.iter().any(|form| form.as_str().is_some_and(|form| form != "text"))
}
