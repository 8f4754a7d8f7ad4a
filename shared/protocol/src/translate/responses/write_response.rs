//! Writes whole responses: as a body, and inside the events that begin and end a stream.

use super::item;
use crate::meter::ReportedUsage;
use crate::translate::ResponseContext;
use crate::translate::error::NeutralError;
use crate::translate::json_writer::{ObjectWriter, write_object};
use crate::translate::neutral_response::{NeutralResponse, StopReason};

/// The progress of a response.
#[derive(Debug, Clone, Copy)]
pub(super) enum ResponseState<'a> {
    InProgress,
    Over,
    Failed(&'a NeutralError),
}

/// Writes the whole answer.
pub(in crate::translate) fn write_whole_response(
    context: &ResponseContext,
    neutral_response: &NeutralResponse,
) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, |response| {
        write_response(response, context, neutral_response, ResponseState::Over);
    });
    out
}

/// The id by which the client knows the answer.
pub(super) fn response_id<'a>(
    context: &'a ResponseContext,
    response: &'a NeutralResponse,
) -> &'a str {
    response.id.as_deref().unwrap_or(&context.id)
}

/// Why a response is not complete.
pub(super) fn incomplete_reason(stop_reason: &StopReason) -> Option<&'static str> {
    match stop_reason {
        StopReason::MaxTokens | StopReason::Window => Some("max_output_tokens"),
        // A refusal is a complete response (OpenAI, "Structured outputs", refusals, 2026-11). Codex
        // takes an incomplete one for a broken stream and asks again.
        StopReason::Refusal
        | StopReason::End
        | StopReason::ToolUse
        | StopReason::Sequence(_)
        | StopReason::Pause => None,
    }
}

/// Writes the response. It does not repeat `tools`, because Codex's alone are 38 kB, three times in
/// a stream.
pub(super) fn write_response(
    response: &mut ObjectWriter<'_>,
    context: &ResponseContext,
    neutral_response: &NeutralResponse,
    state: ResponseState<'_>,
) {
    let incomplete_reason = incomplete_reason(&neutral_response.stop_reason)
        .filter(|_| matches!(state, ResponseState::Over));
    let status = match (state, incomplete_reason) {
        (ResponseState::InProgress, _) => "in_progress",
        (ResponseState::Failed(_), _) => "failed",
        (ResponseState::Over, Some(_)) => "incomplete",
        (ResponseState::Over, None) => "completed",
    };
    response.text("id", response_id(context, neutral_response));
    response.text("object", "response");
    response.number("created_at", context.created);
    response.text("status", status);
    response.text("model", &context.model);
    response.list("output", |items| {
        if !matches!(state, ResponseState::InProgress) {
            for (index, part) in neutral_response.parts.iter().enumerate() {
                let id =
                    item::item_id(response_id(context, neutral_response), index, part, context);
                items.object(|fields| item::write_item(fields, context, &id, part, true));
            }
        }
    });
    match state {
        ResponseState::Failed(neutral_error) => response.object("error", |error| {
            error.text("code", neutral_error.openai_code());
            error.text("message", &neutral_error.message);
        }),
        ResponseState::InProgress | ResponseState::Over => response.null("error"),
    }
    match incomplete_reason {
        Some(reason) => {
            response.object("incomplete_details", |details| details.text("reason", reason));
        }
        None => response.null("incomplete_details"),
    }
    match state {
        ResponseState::InProgress => response.null("usage"),
        ResponseState::Over | ResponseState::Failed(_) => {
            write_usage(response, &neutral_response.usage);
        }
    }
    response.flag("store", false);
    response.list("tools", |_| {});
    for (name, default) in [("tool_choice", "\"auto\""), ("parallel_tool_calls", "true")] {
        let requested = context.echo.iter().find(|(known_name, _)| *known_name == name);
        response.json(name, requested.map_or(default, |(_, json)| json));
    }
    for (name, json) in &context.echo {
        if !["tool_choice", "parallel_tool_calls"].contains(name) {
            response.json(name, json);
        }
    }
}

fn write_usage(fields: &mut ObjectWriter<'_>, reported_usage: &ReportedUsage) {
    fields.object("usage", |usage| {
        usage.number("input_tokens", reported_usage.prompt_tokens());
        usage.object("input_tokens_details", |details| {
            details.number("cached_tokens", reported_usage.cache_read);
            details.number("cache_write_tokens", reported_usage.cache_write);
        });
        usage.number("output_tokens", reported_usage.output);
        usage.object("output_tokens_details", |details| {
            details.number("reasoning_tokens", reported_usage.thinking.unwrap_or(0));
        });
        usage.number(
            "total_tokens",
            reported_usage.prompt_tokens().saturating_add(reported_usage.output),
        );
    });
}
