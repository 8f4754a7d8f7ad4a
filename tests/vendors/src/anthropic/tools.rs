//! The tools of a Messages request and the choice among them ("Tool reference", 2026-11;
//! anthropic-sdk-python 009b0353, `beta_tool_union_param.py`, 2026-08-07).

use super::content::check_pattern;
use super::model::Claude;
use super::{Place, check_keys};
use crate::request::{ForcedTool, OfferedTool};
use crate::schema::check_anthropic;
use serde_json::Value;

/// Tools that the client runs and whose schema Anthropic defines.
const CLIENT_TOOLS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
/// Tools that Anthropic's servers run. Bedrock has only the search for tools.
const SERVER_TOOLS: [&str; 6] = [
    "web_search_",
    "web_fetch_",
    "code_execution_",
    "mcp_toolset",
    "advisor_",
    "tool_search_tool_",
];

pub(super) fn check_tools(tools: &[Value], claude: Claude, place: Place) -> Result<(), String> {
    let mut names = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let at = format!("tools.{index}");
        match tool["type"].as_str() {
            None | Some("custom") => check_custom(tool, &format!("{at}.custom"), claude)?,
            Some(kind) => check_kind(kind, &at, place)?,
        }
        if let Some(name) = tool["name"].as_str() {
            if names.contains(&name) {
                return Err("tools: Tool names must be unique.".to_owned());
            }
            names.push(name);
        }
    }
    Ok(())
}

fn check_kind(kind: &str, at: &str, place: Place) -> Result<(), String> {
    let is_server = SERVER_TOOLS.iter().any(|start| kind.starts_with(start));
    let is_offered = match place {
        Place::Anthropic => is_server,
        Place::Bedrock => kind.starts_with("tool_search_tool_"),
    };
    if is_offered || CLIENT_TOOLS.iter().any(|start| kind.starts_with(start)) {
        return Ok(());
    }
    Err(format!(
        "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: \
         'bash_20250124', 'custom', 'text_editor_20250728'"
    ))
}

fn check_custom(tool: &Value, at: &str, claude: Claude) -> Result<(), String> {
    let keys = [
        "type",
        "name",
        "description",
        "input_schema",
        "cache_control",
        "strict",
        "defer_loading",
        "allowed_callers",
        "eager_input_streaming",
        "input_examples",
    ];
    check_keys(tool, at, &keys)?;
    check_pattern(&tool["name"], &format!("{at}.name"), 128)?;
    let schema = &tool["input_schema"];
    if !schema.is_object() {
        return Err(format!("{at}.input_schema: Field required"));
    }
    // anthropics/claude-code #40075, 2026: the root says `object` and has no alternatives.
    if schema["type"] != "object" {
        return Err(format!("{at}.input_schema.type: Input should be 'object'"));
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|name| schema.get(name).is_some()) {
        return Err(format!(
            "{at}.input_schema: input_schema does not support oneOf, allOf, or anyOf \
                            at the top level"
        ));
    }
    if tool["strict"] == true {
        if !claude.has_structured_outputs() {
            return Err(format!("{at}.strict: strict tools are not supported on this model"));
        }
        check_anthropic(schema, &format!("{at}.input_schema"))?;
    }
    Ok(())
}

/// Checks the choice, and returns the forced tool.
pub(super) fn check_choice(
    choice: Option<&Value>,
    tools: &[Value],
    thinks: bool,
) -> Result<Option<ForcedTool>, String> {
    let Some(choice) = choice else { return Ok(None) };
    let kind = choice["type"].as_str().unwrap_or_default();
    check_keys(choice, "tool_choice", &["type", "name", "disable_parallel_tool_use"])?;
    if !["auto", "any", "tool", "none"].contains(&kind) {
        return Err(format!(
            "tool_choice: Input tag '{kind}' found using 'type' does not match any of \
                            the expected tags: 'any', 'auto', 'none', 'tool'"
        ));
    }
    if tools.is_empty() && kind != "none" {
        return Err("tool_choice may only be specified while providing tools.".to_owned());
    }
    let is_forced = matches!(kind, "any" | "tool");
    if is_forced && thinks {
        return Err("Thinking may not be enabled when tool_choice forces tool use.".to_owned());
    }
    match (kind, choice["name"].as_str()) {
        ("any", _) => Ok(Some(ForcedTool::Any)),
        ("tool", Some(name)) if tools.iter().any(|tool| tool["name"] == name) => {
            Ok(Some(ForcedTool::Named(name.to_owned())))
        }
        ("tool", Some(name)) => Err(format!("Tool '{name}' not found in provided tools")),
        ("tool", None) => Err("tool_choice.tool.name: Field required".to_owned()),
        _ => Ok(None),
    }
}

/// The tools that the client runs. Those whose schema Anthropic defines take a command.
pub(super) fn offered(tools: &[Value]) -> Vec<OfferedTool> {
    let own = serde_json::json!({
        "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"],
    });
    let client_run = tools.iter().filter(|tool| {
        let kind = tool["type"].as_str().unwrap_or("custom");
        kind == "custom" || CLIENT_TOOLS.iter().any(|start| kind.starts_with(start))
    });
    client_run
        .map(|tool| OfferedTool {
            name: tool["name"].as_str().unwrap_or_default().to_owned(),
            schema: Some(tool.get("input_schema").unwrap_or(&own).clone()),
        })
        .collect()
}
