//! A response, whole: as a body and inside the events that begin and end a stream.

use super::item;
use crate::meter::Told;
use crate::translate::Asked;
use crate::translate::answer::{Answer, Stop};
use crate::translate::error::Fault;
use crate::translate::write::{Fields, object};

/// How far a response is.
#[derive(Debug, Clone, Copy)]
pub(super) enum State<'a> {
    InProgress,
    Over,
    Failed(&'a Fault),
}

/// The answer whole.
pub(in crate::translate) fn whole(asked: &Asked, answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    object(&mut out, |response| write(response, asked, answer, State::Over));
    out
}

/// The id under which a client knows the answer.
pub(super) fn id<'a>(asked: &'a Asked, answer: &'a Answer) -> &'a str {
    answer.id.as_deref().unwrap_or(&asked.id)
}

/// Why a response is not complete.
pub(super) fn incomplete(stop: &Stop) -> Option<&'static str> {
    match stop {
        Stop::MaxTokens | Stop::Window => Some("max_output_tokens"),
        Stop::Refusal => Some("content_filter"),
        Stop::End | Stop::ToolUse | Stop::Sequence(_) | Stop::Pause => None,
    }
}

/// Writes the response. `tools` are not repeated: Codex's alone are 38 kB, thrice in a stream.
pub(super) fn write(response: &mut Fields<'_>, asked: &Asked, answer: &Answer, state: State<'_>) {
    let cut = incomplete(&answer.stop).filter(|_| matches!(state, State::Over));
    let status = match (state, cut) {
        (State::InProgress, _) => "in_progress",
        (State::Failed(_), _) => "failed",
        (State::Over, Some(_)) => "incomplete",
        (State::Over, None) => "completed",
    };
    response.text("id", id(asked, answer));
    response.text("object", "response");
    response.number("created_at", asked.created);
    response.text("status", status);
    response.text("model", &asked.model);
    response.list("output", |items| {
        if !matches!(state, State::InProgress) {
            for (index, piece) in answer.pieces.iter().enumerate() {
                let id = item::id(id(asked, answer), index, piece, asked);
                items.object(|fields| item::write(fields, asked, &id, piece, true));
            }
        }
    });
    match state {
        State::Failed(fault) => response.object("error", |error| {
            error.text("code", fault.code());
            error.text("message", &fault.message);
        }),
        State::InProgress | State::Over => response.null("error"),
    }
    match cut {
        Some(reason) => {
            response.object("incomplete_details", |details| details.text("reason", reason));
        }
        None => response.null("incomplete_details"),
    }
    match state {
        State::InProgress => response.null("usage"),
        State::Over | State::Failed(_) => usage(response, &answer.usage),
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

fn usage(fields: &mut Fields<'_>, told: &Told) {
    fields.object("usage", |usage| {
        usage.number("input_tokens", told.prompt());
        usage.object("input_tokens_details", |details| {
            details.number("cached_tokens", told.cache_read);
            details.number("cache_write_tokens", told.cache_write);
        });
        usage.number("output_tokens", told.output);
        usage.object("output_tokens_details", |details| {
            details.number("reasoning_tokens", told.thinking.unwrap_or(0));
        });
        usage.number("total_tokens", told.prompt().saturating_add(told.output));
    });
}
