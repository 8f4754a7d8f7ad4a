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
    asked: &ResponseContext,
    answer: &NeutralResponse,
) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, |response| write_response(response, asked, answer, ResponseState::Over));
    out
}

/// The id by which the client knows the answer.
pub(super) fn response_id<'a>(asked: &'a ResponseContext, answer: &'a NeutralResponse) -> &'a str {
    answer.id.as_deref().unwrap_or(&asked.id)
}

/// Why a response is not complete.
pub(super) fn incomplete_reason(stop: &StopReason) -> Option<&'static str> {
    match stop {
        StopReason::MaxTokens | StopReason::Window => Some("max_output_tokens"),
        StopReason::Refusal => Some("content_filter"),
        StopReason::End | StopReason::ToolUse | StopReason::Sequence(_) | StopReason::Pause => None,
    }
}

/// Writes the response. It does not repeat `tools`, because Codex's alone are 38 kB, three times in
/// a stream.
pub(super) fn write_response(
    response: &mut ObjectWriter<'_>,
    asked: &ResponseContext,
    answer: &NeutralResponse,
    state: ResponseState<'_>,
) {
    let cut = incomplete_reason(&answer.stop).filter(|_| matches!(state, ResponseState::Over));
    let status = match (state, cut) {
        (ResponseState::InProgress, _) => "in_progress",
        (ResponseState::Failed(_), _) => "failed",
        (ResponseState::Over, Some(_)) => "incomplete",
        (ResponseState::Over, None) => "completed",
    };
    response.text("id", response_id(asked, answer));
    response.text("object", "response");
    response.number("created_at", asked.created);
    response.text("status", status);
    response.text("model", &asked.model);
    response.list("output", |items| {
        if !matches!(state, ResponseState::InProgress) {
            for (index, piece) in answer.pieces.iter().enumerate() {
                let id = item::item_id(response_id(asked, answer), index, piece, asked);
                items.object(|fields| item::write_item(fields, asked, &id, piece, true));
            }
        }
    });
    match state {
        ResponseState::Failed(fault) => response.object("error", |error| {
            error.text("code", fault.openai_code());
            error.text("message", &fault.message);
        }),
        ResponseState::InProgress | ResponseState::Over => response.null("error"),
    }
    match cut {
        Some(reason) => {
            response.object("incomplete_details", |details| details.text("reason", reason));
        }
        None => response.null("incomplete_details"),
    }
    match state {
        ResponseState::InProgress => response.null("usage"),
        ResponseState::Over | ResponseState::Failed(_) => write_usage(response, &answer.usage),
    }
    response.flag("store", false);
    response.list("tools", |_| {});
    for (name, default) in [("tool_choice", "\"auto\""), ("parallel_tool_calls", "true")] {
        let asked = asked.echo.iter().find(|(known, _)| *known == name);
        response.json(name, asked.map_or(default, |(_, json)| json));
    }
    for (name, json) in &asked.echo {
        if !["tool_choice", "parallel_tool_calls"].contains(name) {
            response.json(name, json);
        }
    }
}

fn write_usage(fields: &mut ObjectWriter<'_>, told: &ReportedUsage) {
    fields.object("usage", |usage| {
        usage.number("input_tokens", told.prompt_tokens());
        usage.object("input_tokens_details", |details| {
            details.number("cached_tokens", told.cache_read);
            details.number("cache_write_tokens", told.cache_write);
        });
        usage.number("output_tokens", told.output);
        usage.object("output_tokens_details", |details| {
            details.number("reasoning_tokens", told.thinking.unwrap_or(0));
        });
        usage.number("total_tokens", told.prompt_tokens().saturating_add(told.output));
    });
}
