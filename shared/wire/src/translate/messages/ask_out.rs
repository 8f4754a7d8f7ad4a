//! A Messages request, written.

use super::model::{self, Thinking, Ways};
use crate::translate::Options;
use crate::translate::ask::{Ask, Choice, Format, Part, Role, Source, Tool, Turn};
use crate::translate::read::is_object;
use crate::translate::write::{Fields, Items, object};

/// The least that may be thought (thinking page, 2026-11).
const BUDGET_MIN: u64 = 1_024;

/// Writes the request for `options.model`; what finds no place is added to `ask.dropped`.
pub(in crate::translate) fn write(ask: &mut Ask<'_>, options: &Options<'_>) -> Vec<u8> {
    let ways = model::ways(options.model);
    let late = late_systems(&ask.turns, ways);
    let plan = Plan::of(ask, ways).within(options.output_tokens_max);
    drop_unsigned(ask);
    let mut out = Vec::with_capacity(4_096);
    object(&mut out, |body| {
        body.text("model", options.model);
        body.number("max_tokens", plan.max_tokens);
        if options.caches_prompts {
            body.object("cache_control", |cache| cache.text("type", "ephemeral"));
        }
        write_system(body, &ask.turns, &late);
        body.list("messages", |messages| {
            for (turn, is_late) in ask.turns.iter().zip(&late) {
                if *is_late || turn.role != Role::System {
                    write_turn(messages, turn);
                }
            }
        });
        write_tools(body, ask);
        write_settings(body, ask, &plan);
    });
    for (name, _) in &ask.shared {
        ask.dropped.add(*name);
    }
    out
}

/// What follows from the model's ways.
struct Plan {
    max_tokens: u64,
    budget: Option<u64>,
    effort: Option<&'static str>,
    adaptive: bool,
    samples: bool,
}

impl Plan {
    fn of(ask: &mut Ask<'_>, ways: Ways) -> Self {
        let mut max_tokens = ask.max_tokens.unwrap_or(ways.max_tokens);
        let is_forced = matches!(ask.choice, Some(Choice::Any | Choice::Named(_)));
        let effort = match ask.effort.as_deref() {
            None => None,
            Some("none" | "minimal" | "low") => Some("low"),
            Some("medium") => Some("medium"),
            Some("xhigh") => Some("xhigh"),
            Some("max") => Some("max"),
            Some(_) => Some("high"),
        };
        let thinks = effort.is_some() && ask.effort.as_deref() != Some("none");
        let mut plan =
            Self { max_tokens, budget: None, effort: None, adaptive: false, samples: true };
        match ways.thinking {
            Thinking::Adaptive => {
                plan.effort = effort;
                // A forced tool and thinking exclude each other.
                plan.adaptive = thinks && !is_forced;
            }
            Thinking::Budget if !is_forced && !calls_without_thinking(&ask.turns) => {
                plan.budget = effort.filter(|_| thinks).map(budget);
            }
            Thinking::Budget | Thinking::No => {}
        }
        if thinks && plan.effort.is_none() && plan.budget.is_none() {
            ask.dropped.add("reasoning_effort");
        }
        if let Some(budget) = plan.budget {
            // The budget is part of `max_tokens`; a client means what it can see.
            max_tokens = if ask.max_tokens.is_some() {
                max_tokens.saturating_add(budget)
            } else {
                max_tokens.max(budget.saturating_mul(2))
            };
        }
        plan.samples = ways.samples && !plan.adaptive && plan.budget.is_none();
        let sampling = [("temperature", ask.temperature), ("top_p", ask.top_p)];
        for (name, _) in sampling.iter().filter(|(_, value)| value.is_some() && !plan.samples) {
            ask.dropped.add(*name);
        }
        Self { max_tokens, ..plan }
    }

    /// The plan inside what the model may be asked for; thinking must leave room for an answer.
    fn within(self, max: Option<u64>) -> Self {
        let max_tokens = max.map_or(self.max_tokens, |max| self.max_tokens.min(max));
        let budget = self.budget.filter(|budget| *budget < max_tokens);
        Self { max_tokens, budget, ..self }
    }
}

fn budget(effort: &str) -> u64 {
    match effort {
        "low" => BUDGET_MIN * 2,
        "medium" => BUDGET_MIN * 8,
        _ => BUDGET_MIN * 16,
    }
}

/// Whether the last answer called tools without the thinking that led there: models that think by
/// budget then refuse to think on ("Expected `thinking`, but found `tool_use`").
fn calls_without_thinking(turns: &[Turn]) -> bool {
    let last = turns.iter().rev().find(|turn| turn.role == Role::Assistant);
    last.is_some_and(|turn| {
        let calls = turn.parts.iter().any(|part| matches!(part, Part::Call(_)));
        let signed = turn.parts.first().is_some_and(|part| {
            matches!(part, Part::Thinking { signature: Some(_), .. } | Part::Redacted(_))
        });
        calls && !signed
    })
}

/// Which system turns may stay where they are: after a user's turn and before an answer, if the
/// model takes them. The others go to the top, as Anthropic's own OpenAI layer has it.
fn late_systems(turns: &[Turn], ways: Ways) -> Vec<bool> {
    let role = |at: Option<usize>| at.and_then(|at| turns.get(at)).map(|turn| turn.role);
    let late = |at: usize| {
        let follows = role(at.checked_sub(1)) == Some(Role::User);
        let precedes = matches!(role(Some(at + 1)), None | Some(Role::Assistant));
        ways.system_turns && role(Some(at)) == Some(Role::System) && follows && precedes
    };
    (0..turns.len()).map(late).collect()
}

fn write_system(body: &mut Fields<'_>, turns: &[Turn], late: &[bool]) {
    let tops = turns.iter().zip(late).filter(|(turn, late)| turn.role == Role::System && !**late);
    let parts: Vec<&Part> =
        tops.flat_map(|(turn, _)| &turn.parts).filter(|part| is_said(part)).collect();
    if !parts.is_empty() {
        body.list("system", |blocks| parts.iter().for_each(|part| write_part(blocks, part)));
    }
}

/// The API refuses empty texts, and thinking that it did not sign.
fn is_said(part: &Part) -> bool {
    match part {
        Part::Text(text) => !text.trim().is_empty(),
        Part::Thinking { signature, .. } => signature.is_some(),
        _ => true,
    }
}

/// Thinking that this API did not sign cannot be given back to it.
fn drop_unsigned(ask: &mut Ask<'_>) {
    let mut parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    if parts.any(|part| matches!(part, Part::Thinking { signature: None, .. })) {
        ask.dropped.add("reasoning(unsigned)");
    }
}

fn write_turn(messages: &mut Items<'_>, turn: &Turn) {
    let mut parts: Vec<&Part> = turn.parts.iter().filter(|part| is_said(part)).collect();
    // Results answer the calls before them, so they come first.
    parts.sort_by_key(|part| !matches!(part, Part::Result { .. }));
    if parts.is_empty() {
        return;
    }
    messages.object(|message| {
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        message.text("role", role);
        message.list("content", |blocks| parts.iter().for_each(|part| write_part(blocks, part)));
    });
}

fn write_part(blocks: &mut Items<'_>, part: &Part) {
    blocks.object(|block| match part {
        Part::Text(text) => {
            block.text("type", "text");
            block.text("text", text);
        }
        Part::Image(source) => {
            block.text("type", "image");
            write_source(block, source);
        }
        Part::Document { title, source } => {
            block.text("type", "document");
            write_source(block, source);
            if let Some(title) = title {
                block.text("title", title);
            }
        }
        Part::Thinking { text, signature } => {
            block.text("type", "thinking");
            block.text("thinking", text);
            block.text("signature", signature.as_deref().unwrap_or_default());
        }
        Part::Redacted(data) => {
            block.text("type", "redacted_thinking");
            block.text("data", data);
        }
        Part::Call(call) => {
            block.text("type", "tool_use");
            block.text("id", &plain_id(&call.id));
            block.text("name", &call.name);
            write_input(block, &call.arguments);
        }
        Part::Result { id, parts, is_error } => {
            block.text("type", "tool_result");
            block.text("tool_use_id", &plain_id(id));
            block.list("content", |blocks| {
                parts.iter().filter(|part| is_said(part)).for_each(|part| write_part(blocks, part));
            });
            if *is_error {
                block.flag("is_error", true);
            }
        }
    });
}

fn write_source(block: &mut Fields<'_>, source: &Source) {
    block.object("source", |fields| match source {
        Source::Data { media_type, data } => {
            fields.text("type", "base64");
            fields.text("media_type", media_type);
            fields.text("data", data);
        }
        Source::Url(url) => {
            fields.text("type", "url");
            fields.text("url", url);
        }
    });
}

/// Arguments as an object, which the API demands; what a model wrote that is none is kept in one.
fn write_input(block: &mut Fields<'_>, arguments: &str) {
    if is_object(arguments) {
        block.json("input", arguments.trim());
    } else if arguments.trim().is_empty() {
        block.json("input", "{}");
    } else {
        block.object("input", |input| input.text("arguments", arguments));
    }
}

/// An id of other vendors, in the letters that this API takes (`^[a-zA-Z0-9_-]+$`).
fn plain_id(id: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    if id.is_empty() { "_".to_owned() } else { id.chars().map(letter).collect() }
}

fn write_tools(body: &mut Fields<'_>, ask: &Ask<'_>) {
    if !ask.tools.is_empty() {
        body.list("tools", |tools| {
            ask.tools.iter().for_each(|tool| tools.object(|fields| write_tool(fields, tool)));
        });
    }
    let choice = ask.choice.clone().or((ask.parallel == Some(false)).then_some(Choice::Auto));
    let Some(choice) = choice.filter(|_| !ask.tools.is_empty()) else { return };
    body.object("tool_choice", |fields| {
        match &choice {
            Choice::Auto => fields.text("type", "auto"),
            Choice::Any => fields.text("type", "any"),
            Choice::None => fields.text("type", "none"),
            Choice::Named(name) => {
                fields.text("type", "tool");
                fields.text("name", name);
            }
        }
        if let (Some(parallel), true) = (ask.parallel, choice != Choice::None) {
            fields.flag("disable_parallel_tool_use", !parallel);
        }
    });
}

fn write_tool(fields: &mut Fields<'_>, tool: &Tool<'_>) {
    fields.text("name", &tool.name);
    if let Some(description) = &tool.description {
        fields.text("description", description);
    }
    fields.json("input_schema", tool.schema.unwrap_or(r#"{"type":"object"}"#));
    if tool.strict == Some(true) {
        fields.flag("strict", true);
    }
}

fn write_settings(body: &mut Fields<'_>, ask: &mut Ask<'_>, plan: &Plan) {
    if plan.samples {
        write_temperature(body, ask);
        body.raw("top_p", ask.top_p);
    }
    // White space alone is refused.
    let stops: Vec<&String> = ask.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stops.len() < ask.stop.len() {
        ask.dropped.add("stop");
    }
    if !stops.is_empty() {
        body.list("stop_sequences", |list| stops.iter().for_each(|stop| list.text(stop)));
    }
    if let Some(tokens) = plan.budget {
        body.object("thinking", |thinking| {
            thinking.text("type", "enabled");
            thinking.number("budget_tokens", tokens);
        });
    } else if plan.adaptive {
        body.object("thinking", |thinking| {
            thinking.text("type", "adaptive");
            if ask.summary {
                thinking.text("display", "summarized");
            }
        });
    }
    if let Some(Format::Json(path)) = ask.format {
        ask.dropped.add(path);
        ask.format = None;
    }
    if plan.effort.is_some() || ask.format.is_some() {
        body.object("output_config", |config| {
            if let Some(effort) = plan.effort {
                config.text("effort", effort);
            }
            if let Some(Format::Schema { schema, .. }) = &ask.format {
                config.object("format", |format| {
                    format.text("type", "json_schema");
                    format.json("schema", schema);
                });
            }
        });
    }
    if let Some(user) = &ask.user {
        body.object("metadata", |metadata| metadata.text("user_id", user));
    }
    if ask.stream {
        body.flag("stream", true);
    }
}

/// OpenAI's scale ends at 2, this one at 1; Anthropic's own OpenAI layer cuts too.
fn write_temperature(body: &mut Fields<'_>, ask: &mut Ask<'_>) {
    let Some(temperature) = ask.temperature else { return };
    let is_above = temperature.parse::<f64>().is_ok_and(|temperature| temperature > 1.0);
    if is_above {
        ask.dropped.add("temperature(above 1)");
    }
    body.json("temperature", if is_above { "1" } else { temperature });
}
