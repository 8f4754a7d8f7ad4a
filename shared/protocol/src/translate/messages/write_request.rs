//! Writes Messages requests.

use crate::translate::PromptCaching;
use crate::translate::WriteOptions;
use crate::translate::continuation::is_baton_state;
use crate::translate::json_reader::is_object;
use crate::translate::json_writer::{ArrayWriter, ObjectWriter, write_object_within};
use crate::translate::neutral_request::{
    ConversationTurn, MediaSource, NeutralRequest, OutputFormat, ToolChoice, ToolDefinition,
    TurnPart, TurnRole,
};
use baton_domain::model_capabilities::{
    EffortLevel, ModelCapabilities, Sampling, SystemMessages, ThinkingMode,
};
use xxhash_rust::xxh3::xxh3_64;

/// The smallest thinking budget (thinking page, 2026-11).
const BUDGET_MIN: u64 = 1_024;

/// Writes the request for `options.model`. Fields that the upstream does not support are added to
/// `request.dropped`.
pub(in crate::translate) fn write_request(
    request: &mut NeutralRequest<'_>,
    options: &WriteOptions<'_>,
) -> Vec<u8> {
    let WriteOptions { translation: options, capabilities } = *options;
    let late = late_systems(&request.turns, capabilities);
    let plan = ModelParameters::new(request, capabilities, options.output_tokens_default)
        .limited_to(capabilities.output_tokens_max);
    drop_unsigned_thinking(request);
    let mut out = Vec::with_capacity(request.output_capacity());
    write_object_within(&mut out, request.output_bytes_max(), |body| {
        body.text("model", options.model);
        body.number("max_tokens", plan.max_tokens);
        if options.prompt_caching == PromptCaching::Automatic {
            write_cache_control(body);
        }
        let marks = CacheMarks::new(request, options.prompt_caching, capabilities);
        write_system(body, &request.turns, &late, marks.system);
        body.list("messages", |messages| {
            for (index, (turn, is_late)) in request.turns.iter().zip(&late).enumerate() {
                if *is_late || turn.role != TurnRole::System {
                    write_turn(messages, turn, marks.turns.contains(&Some(index)));
                }
            }
        });
        write_tools(body, request, marks.tools);
        write_settings(body, request, &plan);
    });
    for (name, _) in &request.shared {
        request.dropped.add_path(*name);
    }
    out
}

/// The blocks that end a part of the prompt to be cached, for upstreams without a top-level
/// `cache_control`: the system's texts or else the tools, which stay the same, and the last two
/// turns of the user, of which the earlier one is where the last request was cached. The API takes
/// four marks (platform.claude.com, "Prompt caching", cache breakpoints, 2026-11).
#[derive(Default)]
struct CacheMarks {
    system: bool,
    tools: bool,
    turns: [Option<usize>; 2],
}

impl CacheMarks {
    fn new(
        request: &NeutralRequest<'_>,
        prompt_caching: PromptCaching,
        capabilities: &ModelCapabilities,
    ) -> Self {
        // Models without thinking are older than caching on Bedrock (Bedrock user guide, "Prompt
        // caching", supported models, 2026-11).
        let is_old = capabilities.thinking == ThinkingMode::None;
        if prompt_caching != PromptCaching::Blocks || is_old {
            return Self::default();
        }
        let is_user = |(_, turn): &(usize, &ConversationTurn)| turn.role == TurnRole::User;
        let turns = request.turns.iter().enumerate().filter(is_user);
        let mut latest = turns.rev().map(|(index, _)| index);
        let system = request.turns.iter().any(|turn| turn.role == TurnRole::System);
        Self { system, tools: !system, turns: [latest.next(), latest.next()] }
    }
}

fn write_cache_control(fields: &mut ObjectWriter<'_>) {
    fields.object("cache_control", |cache| cache.text("type", "ephemeral"));
}

/// The parameters that depend on the model's capabilities.
struct ModelParameters {
    max_tokens: u64,
    budget: Option<u64>,
    effort: Option<EffortLevel>,
    adaptive: bool,
}

impl ModelParameters {
    fn new(
        request: &mut NeutralRequest<'_>,
        capabilities: &ModelCapabilities,
        output_tokens_default: Option<u64>,
    ) -> Self {
        let default = output_tokens_default.unwrap_or_else(|| capabilities.default_max_tokens());
        let mut max_tokens = request.max_tokens.unwrap_or(default);
        let is_forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
        let level = |text| EffortLevel::parse(text).unwrap_or(EffortLevel::High);
        let effort = request.effort.as_deref().map(level);
        let is_thinking = effort.is_some_and(|level| level != EffortLevel::None);
        let mut plan = Self { max_tokens, budget: None, effort: None, adaptive: false };
        match capabilities.thinking {
            ThinkingMode::Adaptive => {
                plan.effort = effort.and_then(|level| capabilities.efforts.nearest(level));
                // A forced tool and thinking exclude each other.
                plan.adaptive = is_thinking && !is_forced;
            }
            ThinkingMode::Budget if !is_forced && !calls_without_thinking(&request.turns) => {
                plan.budget = effort.filter(|_| is_thinking).map(thinking_budget);
            }
            ThinkingMode::Budget | ThinkingMode::None => {}
        }
        if is_thinking && plan.effort.is_none() && plan.budget.is_none() {
            request.dropped.add_path("reasoning_effort");
        }
        if let Some(budget) = plan.budget {
            // `max_tokens` includes the budget, but a client's limit refers to the visible answer.
            max_tokens = if request.max_tokens.is_some() {
                max_tokens.saturating_add(budget)
            } else {
                max_tokens.max(budget.saturating_mul(2))
            };
        }
        if plan.adaptive || plan.budget.is_some() {
            request.fit_sampling(Sampling::None);
        } else {
            request.fit_sampling(capabilities.sampling);
        }
        Self { max_tokens, ..plan }
    }

    /// Cuts the parameters to the model's limit. Thinking must leave room for an answer.
    fn limited_to(self, max: Option<u64>) -> Self {
        let max_tokens = max.map_or(self.max_tokens, |max| self.max_tokens.min(max));
        let budget = self.budget.filter(|budget| *budget < max_tokens);
        Self { max_tokens, budget, ..self }
    }
}

fn thinking_budget(effort: EffortLevel) -> u64 {
    match effort {
        EffortLevel::None | EffortLevel::Minimal | EffortLevel::Low => BUDGET_MIN * 2,
        EffortLevel::Medium => BUDGET_MIN * 8,
        EffortLevel::High | EffortLevel::Xhigh | EffortLevel::Max => BUDGET_MIN * 16,
    }
}

/// Whether the last answer called tools and lacks the thinking that led to the calls. Models with
/// thinking budgets then refuse to think ("Expected `thinking`, but found `tool_use`").
fn calls_without_thinking(turns: &[ConversationTurn]) -> bool {
    let last = turns.iter().rev().find(|turn| turn.role == TurnRole::Assistant);
    last.is_some_and(|turn| {
        let calls = turn.parts.iter().any(|part| matches!(part, TurnPart::Call(_)));
        let signed = turn.parts.first().is_some_and(|part| {
            matches!(part, TurnPart::Thinking { .. } | TurnPart::Redacted(_)) && is_accepted(part)
        });
        calls && !signed
    })
}

/// Selects the system turns that can stay in place: if the model supports them, those after a
/// user's turn and before an answer. The others move to the top, as in Anthropic's own OpenAI
/// layer.
fn late_systems(turns: &[ConversationTurn], capabilities: &ModelCapabilities) -> Vec<bool> {
    let role = |at: Option<usize>| at.and_then(|index| turns.get(index)).map(|turn| turn.role);
    let late = |index: usize| {
        let follows = role(index.checked_sub(1)) == Some(TurnRole::User);
        let precedes = matches!(role(Some(index + 1)), None | Some(TurnRole::Assistant));
        capabilities.system_messages != SystemMessages::First
            && role(Some(index)) == Some(TurnRole::System)
            && follows
            && precedes
    };
    (0..turns.len()).map(late).collect()
}

fn write_system(
    body: &mut ObjectWriter<'_>,
    turns: &[ConversationTurn],
    late: &[bool],
    is_marked: bool,
) {
    let tops =
        turns.iter().zip(late).filter(|(turn, late)| turn.role == TurnRole::System && !**late);
    let parts: Vec<&TurnPart> =
        tops.flat_map(|(turn, _)| &turn.parts).filter(|part| is_accepted(part)).collect();
    if !parts.is_empty() {
        body.list("system", |blocks| write_parts(blocks, &parts, is_marked));
    }
}

/// Whether the API accepts the part. It refuses empty texts, and thinking that it did not sign.
fn is_accepted(part: &TurnPart) -> bool {
    match part {
        TurnPart::Text(text) => !text.trim().is_empty(),
        TurnPart::Thinking { signature, .. } => {
            signature.as_deref().is_some_and(|signature| !is_baton_state(signature))
        }
        _ => true,
    }
}

/// Drops thinking that this API did not sign, since the API refuses it.
fn drop_unsigned_thinking(request: &mut NeutralRequest<'_>) {
    let mut parts = request.turns.iter().flat_map(|turn| &turn.parts);
    if parts.any(|part| matches!(part, TurnPart::Thinking { .. }) && !is_accepted(part)) {
        request.dropped.add_path("reasoning(unsigned)");
    }
}

fn write_turn(messages: &mut ArrayWriter<'_>, turn: &ConversationTurn, is_marked: bool) {
    let mut parts: Vec<&TurnPart> = turn.parts.iter().filter(|part| is_accepted(part)).collect();
    // Results answer the calls before them, so they come first.
    parts.sort_by_key(|part| !matches!(part, TurnPart::Result { .. }));
    if parts.is_empty() {
        return;
    }
    messages.object(|message| {
        let role = match turn.role {
            TurnRole::System => "system",
            TurnRole::User => "user",
            TurnRole::Assistant => "assistant",
        };
        message.text("role", role);
        message.list("content", |blocks| write_parts(blocks, &parts, is_marked));
    });
}

/// Writes the parts. `is_marked` says that the prompt is cached up to the last one.
fn write_parts(blocks: &mut ArrayWriter<'_>, parts: &[&TurnPart], is_marked: bool) {
    for (index, part) in parts.iter().enumerate() {
        blocks.object(|block| {
            write_part(block, part);
            if is_marked && index + 1 == parts.len() {
                write_cache_control(block);
            }
        });
    }
}

fn write_part(block: &mut ObjectWriter<'_>, part: &TurnPart) {
    match part {
        TurnPart::Text(text) => {
            block.text("type", "text");
            block.text("text", text);
        }
        TurnPart::Image(source) => {
            block.text("type", "image");
            write_source(block, source);
        }
        TurnPart::Document { title, source } => {
            block.text("type", "document");
            write_source(block, source);
            if let Some(title) = title {
                block.text("title", title);
            }
        }
        TurnPart::Thinking { text, signature } => {
            block.text("type", "thinking");
            block.text("thinking", text);
            block.text("signature", signature.as_deref().unwrap_or_default());
        }
        TurnPart::Redacted(data) => {
            block.text("type", "redacted_thinking");
            block.text("data", data);
        }
        TurnPart::Call(call) => {
            block.text("type", "tool_use");
            block.text("id", &sanitize_id(&call.id));
            block.text("name", &call.name);
            write_input(block, &call.arguments);
        }
        TurnPart::Result { id, parts, is_error } => {
            block.text("type", "tool_result");
            block.text("tool_use_id", &sanitize_id(id));
            let parts: Vec<&TurnPart> = parts.iter().filter(|part| is_accepted(part)).collect();
            block.list("content", |blocks| write_parts(blocks, &parts, false));
            if *is_error {
                block.flag("is_error", true);
            }
        }
    }
}

fn write_source(block: &mut ObjectWriter<'_>, source: &MediaSource) {
    block.object("source", |fields| match source {
        MediaSource::Data { media_type, data } => {
            fields.text("type", "base64");
            fields.text("media_type", media_type);
            fields.text("data", data);
        }
        MediaSource::Url(url) => {
            fields.text("type", "url");
            fields.text("url", url);
        }
        MediaSource::Text(text) => {
            fields.text("type", "text");
            fields.text("media_type", "text/plain");
            fields.text("data", text);
        }
    });
}

/// Writes arguments as an object, which the API requires. Arguments that are not an object are
/// wrapped in one.
fn write_input(block: &mut ObjectWriter<'_>, arguments: &str) {
    if is_object(arguments) {
        block.json("input", arguments.trim());
    } else if arguments.trim().is_empty() {
        block.json("input", "{}");
    } else {
        block.object("input", |input| input.text("arguments", arguments));
    }
}

/// The most characters of another vendor's id that stay next to its hash.
const PLAIN_ID_MAX: usize = 40;

/// Replaces the characters of another vendor's id that this API does not accept
/// (`^[a-zA-Z0-9_-]+$`). A hash keeps apart ids that differ only in such characters.
pub(crate) fn sanitize_id(id: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() {
        return "_".to_owned();
    }
    if id.chars().all(is_kept) {
        return id.to_owned();
    }
    let plain = id.chars().map(|c| if is_kept(c) { c } else { '_' });
    let plain: String = plain.take(PLAIN_ID_MAX).collect();
    format!("{plain}_{:016x}", xxh3_64(id.as_bytes()))
}

fn write_tools(body: &mut ObjectWriter<'_>, request: &NeutralRequest<'_>, is_marked: bool) {
    if !request.tools.is_empty() {
        body.list("tools", |tools| {
            for (index, tool) in request.tools.iter().enumerate() {
                let adapted = request.adapted_schemas.get(&index).map(String::as_str);
                let is_marked = is_marked && index + 1 == request.tools.len();
                tools.object(|fields| write_tool(fields, tool, adapted, is_marked));
            }
        });
    }
    let choice = request
        .tool_choice
        .clone()
        .or((request.parallel_tool_calls == Some(false)).then_some(ToolChoice::Auto));
    let Some(choice) = choice.filter(|_| !request.tools.is_empty()) else { return };
    body.object("tool_choice", |fields| {
        match &choice {
            ToolChoice::Auto => fields.text("type", "auto"),
            ToolChoice::Any => fields.text("type", "any"),
            ToolChoice::None => fields.text("type", "none"),
            ToolChoice::Named(name) => {
                fields.text("type", "tool");
                fields.text("name", name);
            }
        }
        if let (Some(parallel), true) = (request.parallel_tool_calls, choice != ToolChoice::None) {
            fields.flag("disable_parallel_tool_use", !parallel);
        }
    });
}

fn write_tool(
    fields: &mut ObjectWriter<'_>,
    tool: &ToolDefinition<'_>,
    adapted_schema: Option<&str>,
    is_marked: bool,
) {
    fields.text("name", &tool.name);
    if let Some(description) = &tool.description {
        fields.text("description", description);
    }
    let schema = adapted_schema.or(tool.schema).unwrap_or(r#"{"type":"object"}"#);
    fields.json("input_schema", schema);
    if tool.strict == Some(true) {
        fields.flag("strict", true);
    }
    if is_marked {
        write_cache_control(fields);
    }
}

fn write_settings(
    body: &mut ObjectWriter<'_>,
    request: &mut NeutralRequest<'_>,
    plan: &ModelParameters,
) {
    write_temperature(body, request);
    body.raw("top_p", request.top_p);
    // The API refuses stop sequences that consist of white space.
    let stops: Vec<&String> = request
        .stop_sequences
        .iter()
        .filter(|stop_sequence| !stop_sequence.trim().is_empty())
        .collect();
    if stops.len() < request.stop_sequences.len() {
        request.dropped.add_path("stop");
    }
    if !stops.is_empty() {
        body.list("stop_sequences", |list| {
            for stop_sequence in stops {
                list.text(stop_sequence);
            }
        });
    }
    if let Some(tokens) = plan.budget {
        body.object("thinking", |thinking| {
            thinking.text("type", "enabled");
            thinking.number("budget_tokens", tokens);
        });
    } else if plan.adaptive {
        body.object("thinking", |thinking| {
            thinking.text("type", "adaptive");
            if request.wants_summary {
                thinking.text("display", "summarized");
            }
        });
    }
    if plan.effort.is_some() || request.format.is_some() {
        body.object("output_config", |config| {
            if let Some(effort) = plan.effort {
                config.text("effort", effort.as_str());
            }
            if let Some(OutputFormat::Schema { schema, .. }) = &request.format {
                config.object("format", |format| {
                    format.text("type", "json_schema");
                    format.json("schema", schema);
                });
            }
        });
    }
    if let Some(user) = &request.user {
        body.object("metadata", |metadata| metadata.text("user_id", user));
    }
    if request.stream {
        body.flag("stream", true);
    }
}

/// Writes the temperature. OpenAI's scale ends at 2, Anthropic's at 1. Larger values become 1, as
/// in Anthropic's own OpenAI layer.
fn write_temperature(body: &mut ObjectWriter<'_>, request: &mut NeutralRequest<'_>) {
    let Some(temperature) = request.temperature else { return };
    let is_above = temperature.parse::<f64>().is_ok_and(|temperature| temperature > 1.0);
    if is_above {
        request.dropped.add_path("temperature(above 1)");
    }
    body.json("temperature", if is_above { "1" } else { temperature });
}

#[cfg(test)]
mod tests {
    use super::sanitize_id;
    use std::collections::HashSet;

    #[test]
    fn ids_that_differ_in_replaced_characters_stay_different() {
        for id in ["toolu_01", "call-1_b", "a_b", "_"] {
            assert_eq!(sanitize_id(id), id);
        }
        assert_eq!(sanitize_id(""), "_");
        let long = "x".repeat(500) + ".";
        let ids =
            ["a_b", "a.b", "a b", "a:b", "a\u{e4}b", "functions.Bash:0", "functions_Bash_0", &long];
        let sanitized: HashSet<String> = ids.iter().map(|id| sanitize_id(id)).collect();
        assert_eq!(sanitized.len(), ids.len(), "{sanitized:?}");
        for id in &sanitized {
            let is_accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            assert!(id.len() <= 64 && id.chars().all(is_accepted), "{id}");
        }
    }
}
