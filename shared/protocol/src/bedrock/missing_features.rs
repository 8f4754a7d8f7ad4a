//! What `InvokeModel` lacks of the Messages API (Bedrock user guide, "Anthropic Claude Messages API",
//! and platform.claude.com, "Amazon Bedrock", feature support, 2026-11): tools that Anthropic's servers
//! run, a cache control for the whole request, and media that are not in the request.

use super::raw_object::RawObject;
use crate::json::JsonValue;
use crate::translate::{ONLY_SERVER_TOOL, TranslationError};
use memchr::memmem;

/// The beginnings of the types of tools that Anthropic's servers run. Bedrock refuses them ("Input tag
/// '`web_search_20250305`' found using 'type' does not match any of the expected tags").
const SERVER_TOOLS: [&str; 5] =
    ["web_search_", "web_fetch_", "code_execution_", "mcp_toolset", "advisor_"];

/// The most marks of a cache in a request (platform.claude.com, "Prompt caching", 2026-11).
const CACHE_MARKS_MAX: usize = 4;

const NOT_IN_REQUEST: &str = "the upstream of this model fetches no URL and stores no file. Send the content as base64, or \
     use a model whose upstream supports it.";

/// The fields that are written anew.
#[derive(Default)]
pub(super) struct FittedFields {
    /// The field and its new value, or `None` if it is left out.
    pub(super) fields: Vec<(&'static str, Option<String>)>,
    /// What was left out, for the log.
    pub(super) dropped: Vec<String>,
}

impl FittedFields {
    /// Fits a request. A count of tokens runs no tool, so it needs none.
    ///
    /// # Errors
    /// Bedrock cannot answer the request as it is meant.
    pub(super) fn new(object: &RawObject<'_>, is_count: bool) -> Result<Self, TranslationError> {
        let mut fitted = Self::default();
        let messages = object.get("messages").map(JsonValue::from_checked);
        if let Some(messages) = messages {
            check_sources(messages)?;
        }
        fitted.drop_server_tools(object, is_count)?;
        fitted.move_cache_control(object, messages);
        Ok(fitted)
    }

    /// Leaves out tools that Bedrock does not run. Clients offer them with every request. If such a
    /// tool is the only or the chosen one, the answer would be made up.
    fn drop_server_tools(
        &mut self,
        object: &RawObject<'_>,
        is_count: bool,
    ) -> Result<(), TranslationError> {
        let tools = object.get("tools").map(JsonValue::from_checked).and_then(JsonValue::items);
        let is_server_tool = |tool: &JsonValue<'_>| {
            let kind = tool.field_text("type");
            kind.is_some_and(|kind| SERVER_TOOLS.iter().any(|start| kind.starts_with(start)))
        };
        let (missing, kept): (Vec<_>, Vec<_>) =
            tools.into_iter().flatten().partition(is_server_tool);
        let Some(first) = missing.first() else { return Ok(()) };
        let path = |tool: &JsonValue<'_>| {
            let kind = tool.field_text("type").unwrap_or_default();
            let shown: String = kind.chars().take(60).flat_map(char::escape_debug).collect();
            format!("tools[]({shown})")
        };
        let choice = object.get("tool_choice").map(JsonValue::from_checked);
        let kind = choice.and_then(|choice| choice.field_text("type"));
        let chosen = choice.and_then(|choice| choice.field_text("name"));
        let refused = match kind.as_deref() {
            Some("none") => None,
            Some("tool") => missing.iter().find(|tool| tool.field_text("name") == chosen),
            _ => Some(first).filter(|_| kept.is_empty()),
        };
        if let Some(tool) = refused.filter(|_| !is_count) {
            return Err(TranslationError::field(path(tool), ONLY_SERVER_TOOL));
        }
        if choice.is_some() && (kept.is_empty() || refused.is_some()) {
            self.fields.push(("tool_choice", None));
        }
        let texts: Vec<&str> = kept.iter().map(|tool| tool.raw()).collect();
        let list = (!kept.is_empty()).then(|| format!("[{}]", texts.join(",")));
        self.fields.push(("tools", list));
        self.dropped.extend(missing.iter().map(path));
        Ok(())
    }

    /// Moves a cache control of the whole request to the last block that can have one, which is
    /// where the Messages API puts it (platform.claude.com, "Prompt caching", automatic caching).
    fn move_cache_control(&mut self, object: &RawObject<'_>, messages: Option<JsonValue<'_>>) {
        let Some(control) = object.get("cache_control").map(JsonValue::from_checked) else {
            return;
        };
        self.fields.push(("cache_control", None));
        let marks = ["system", "tools", "messages"].iter().filter_map(|name| object.get(name));
        let marks: usize =
            marks.map(|raw| memmem::find_iter(raw, b"\"cache_control\"").count()).sum();
        let marked = messages
            .filter(|_| !control.is_null() && marks < CACHE_MARKS_MAX)
            .and_then(|messages| mark_last_block(messages, control.raw()));
        match marked {
            Some(marked) => self.fields.push(("messages", Some(marked))),
            None if control.is_null() => {}
            None => self.dropped.push("cache_control".to_owned()),
        }
    }
}

/// The messages with the cache control on the last block that can have one. `None` if there is no
/// such block, or if it has one.
fn mark_last_block(messages: JsonValue<'_>, control: &str) -> Option<String> {
    let all: Vec<JsonValue<'_>> = messages.items()?.collect();
    let (at, replaced, marked) = all.iter().rev().find_map(|message| {
        let content = message.field("content")?;
        if content.text().is_some_and(|text| !text.trim().is_empty()) {
            let block = format!(
                r#"[{{"type":"text","text":{},"cache_control":{control}}}]"#,
                content.raw()
            );
            return Some((content.raw(), content.raw().len(), block));
        }
        let blocks: Vec<JsonValue<'_>> = content.items()?.collect();
        let block = blocks.into_iter().rev().find(|block| can_be_marked(*block))?;
        Some((block.raw(), 1, format!(r#"{{"cache_control":{control},"#)))
    })?;
    if marked.starts_with('{') && at.contains("\"cache_control\"") {
        return None;
    }
    let whole = messages.raw();
    let start = at.as_ptr().addr() - whole.as_ptr().addr();
    Some(format!("{}{marked}{}", whole.get(..start)?, whole.get(start + replaced..)?))
}

/// Whether a block can have a cache control: thinking and empty texts cannot.
fn can_be_marked(block: JsonValue<'_>) -> bool {
    match block.field_text("type").as_deref() {
        None | Some("thinking" | "redacted_thinking") => false,
        Some("text") => block.field_text("text").is_some_and(|text| !text.trim().is_empty()),
        Some(_) => true,
    }
}

/// Refuses images and documents whose content is not in the request.
fn check_sources(messages: JsonValue<'_>) -> Result<(), TranslationError> {
    let body = messages.raw().as_bytes();
    // As a name, the word is followed by a colon.
    let is_value = |word: &str| {
        memmem::find_iter(body, word.as_bytes()).any(|at| {
            let rest = body.get(at + word.len()..).unwrap_or_default().trim_ascii_start();
            !rest.starts_with(b":")
        })
    };
    if !is_value("\"url\"") && !is_value("\"file\"") {
        return Ok(());
    }
    for (index, message) in messages.items().into_iter().flatten().enumerate() {
        check_blocks(message, &format!("messages[{index}]"))?;
    }
    Ok(())
}

fn check_blocks(holder: JsonValue<'_>, at: &str) -> Result<(), TranslationError> {
    let blocks = holder.field("content").and_then(JsonValue::items).into_iter().flatten();
    for (index, block) in blocks.enumerate() {
        let at = format!("{at}.content[{index}]");
        match block.field_text("type").as_deref() {
            Some("image" | "document") => {
                let source = block.field("source");
                let kind = source.and_then(|source| source.field_text("type"));
                if let Some(kind @ ("url" | "file")) = kind.as_deref() {
                    let name = format!("{at}.source({kind})");
                    return Err(TranslationError::field(name, NOT_IN_REQUEST));
                }
            }
            Some("tool_result") => check_blocks(block, &at)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::bedrock::{BedrockBodyError, count_tokens_to_bedrock, messages_to_invoke_model};
    use serde_json::{Value, json};

    fn convert(body: &Value) -> Result<(Value, Vec<String>), String> {
        let made = messages_to_invoke_model(body.to_string().as_bytes(), [].into_iter());
        made.map(|made| (serde_json::from_slice(&made.body).unwrap(), made.dropped)).map_err(
            |error| match error {
                BedrockBodyError::Translation(error) => error.to_string(),
                error => panic!("{error}"),
            },
        )
    }

    #[test]
    fn server_tools_are_dropped_beside_others_and_refused_alone() {
        let own = json!({"name": "Bash", "input_schema": {"type": "object"}});
        let editor = json!({"type": "text_editor_20250728", "name": "edit"});
        for kind in ["web_search_20250305", "web_fetch_20260209", "code_execution_20250825"] {
            let search = json!({"type": kind, "name": "search"});
            let body = |tools: Value, choice: Value| {
                let mut body = json!({"messages": [], "tools": tools});
                if !choice.is_null() {
                    body["tool_choice"] = choice;
                }
                body
            };
            let both = json!([own, search, editor]);
            let (made, dropped) = convert(&body(both.clone(), Value::Null)).unwrap();
            assert_eq!(made["tools"], json!([own, editor]));
            assert_eq!(dropped, [format!("tools[]({kind})")]);
            let chosen = json!({"type": "tool", "name": "Bash"});
            assert_eq!(
                convert(&body(both.clone(), chosen.clone())).unwrap().0["tool_choice"],
                chosen
            );
            let none = convert(&body(json!([search]), json!({"type": "none"}))).unwrap().0;
            assert!(none.get("tools").is_none() && none.get("tool_choice").is_none());
            for refused in [
                body(json!([search]), Value::Null),
                body(json!([search]), json!({"type": "any"})),
                body(both, json!({"type": "tool", "name": "search"})),
            ] {
                let words = convert(&refused).unwrap_err();
                assert!(words.starts_with(&format!("tools[]({kind}): ")), "{words}");
                let counted =
                    count_tokens_to_bedrock(refused.to_string().as_bytes(), [].into_iter());
                assert!(counted.is_ok(), "a count runs no tool");
            }
        }
    }

    #[test]
    fn cache_control_of_the_request_moves_to_the_last_block() {
        let control = json!({"type": "ephemeral", "ttl": "1h"});
        let made = |messages: Value| {
            let body = json!({"cache_control": control, "messages": messages});
            let (made, dropped) = convert(&body).unwrap();
            assert!(made.get("cache_control").is_none());
            (made["messages"].clone(), dropped.is_empty())
        };
        let text = json!({"type": "text", "text": "a"});
        let mut marked = text.clone();
        marked["cache_control"] = control.clone();
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        assert_eq!(made(user(json!("a"))), (user(json!([marked])), true));
        let two = made(user(json!([text, text]))).0;
        assert_eq!(two, user(json!([text, marked])));
        let thinking = json!({"type": "thinking", "thinking": "t", "signature": "s"});
        assert_eq!(made(user(json!([text, thinking]))).0, user(json!([marked, thinking])));
        let mut before = user(json!([text]));
        let empty = json!({"role": "assistant", "content": ""});
        before.as_array_mut().unwrap().push(empty.clone());
        let mut after = user(json!([marked]));
        after.as_array_mut().unwrap().push(empty);
        assert_eq!(made(before).0, after);
        // A block with a mark of its own keeps it, and a fifth mark would be refused.
        assert_eq!(made(user(json!([marked]))), (user(json!([marked])), false));
        let five = json!([marked, marked, marked, marked, text]);
        assert_eq!(made(user(five.clone())), (user(five), false));
        assert_eq!(made(json!([])), (json!([]), false));
    }

    #[test]
    fn media_that_are_not_in_the_request_are_refused_by_their_place() {
        let image = |source: Value| json!({"type": "image", "source": source});
        let url = json!({"type": "url", "url": "https://a.example/a.png"});
        let file = json!({"type": "file", "file_id": "file_1"});
        let data = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
        let document = json!({"type": "document", "source": url});
        let result =
            |block: Value| json!({"type": "tool_result", "tool_use_id": "a", "content": [block]});
        for (block, place) in [
            (image(url.clone()), "messages[0].content[1].source(url): "),
            (image(file), "messages[0].content[1].source(file): "),
            (document, "messages[0].content[1].source(url): "),
            (result(image(url)), "messages[0].content[1].content[0].source(url): "),
        ] {
            let text = json!({"type": "text", "text": "the \"url\" and \"file\""});
            let body = json!({"messages": [{"role": "user", "content": [text, block]}]});
            let words = convert(&body).unwrap_err();
            assert!(words.starts_with(place), "{words}");
        }
        let body = json!({"messages": [{"role": "user", "content": [
            image(data), {"type": "tool_use", "id": "a", "name": "f", "input": {"type": "url"}},
        ]}]});
        assert_eq!(convert(&body).unwrap().0["messages"], body["messages"]);
    }
}
