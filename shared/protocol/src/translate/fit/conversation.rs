//! Fits the conversation to the shapes that the model accepts.
//!
//! OpenAI's own models accept any order of roles. Other models refuse a system message inside a
//! conversation, a conversation that ends with the assistant, or one without a user's message.

use crate::translate::TranslationError;
use crate::translate::neutral_request::{
    ConversationTurn, NeutralRequest, ToolChoice, ToolDefinition, TurnPart, TurnRole, shorten_name,
};
use baton_domain::model_capabilities::{CallIds, ModelCapabilities, SystemMessages};
use baton_domain::protocol::UpstreamProtocol;
use std::collections::HashSet;

/// What an assistant says between a tool's result and a user's image.
const READY: &str = "Show me the result.";

/// The longest id of a call at OpenAI ("string too long. Expected a string with maximum length 40",
/// `messages[].tool_calls[].id`; openai/openai-agents-js#361, 2026-11).
const SHORT_ID_MAX: usize = 40;

/// What a user says after an assistant's last message to a model that does not continue it.
const CONTINUE: &str = "Continue.";

/// Fits the conversation.
///
/// # Errors
/// Nothing is said in it.
pub(super) fn fit_conversation(
    request: &mut NeutralRequest<'_>,
    capabilities: &ModelCapabilities,
    upstream: UpstreamProtocol,
) -> Result<(), TranslationError> {
    let is_messages = upstream == UpstreamProtocol::Messages;
    let goes_anywhere = !is_messages && capabilities.system_messages == SystemMessages::Anywhere;
    if !goes_anywhere {
        place_systems(request, is_messages);
    }
    let is_silent = !request.turns.is_empty() && !request.turns.iter().any(turn_has_content);
    drop_empty_turns(request, is_messages);
    if is_messages && is_silent {
        return Err(TranslationError::field(
            "messages",
            "the conversation has no content. Send at least one message that is not empty.",
        ));
    }
    if !goes_anywhere && request.turns.iter().all(|turn| turn.role == TurnRole::System) {
        convert_system_turns_to_user(request);
    }
    if !capabilities.prefill
        && request.turns.last().is_some_and(|turn| turn.role == TurnRole::Assistant)
    {
        request.add_parts(TurnRole::User, vec![TurnPart::Text(CONTINUE.to_owned())]);
    }
    if upstream == UpstreamProtocol::Chat {
        fit_call_ids(request, capabilities.call_ids);
        if !capabilities.user_after_tool {
            put_texts_into_results(&mut request.turns);
        }
    }
    if is_messages {
        trim_prefill(&mut request.turns);
        declare_called_tools(request);
    }
    Ok(())
}

/// Moves system messages to where they are accepted. Those above the conversation become one.
/// Later ones become a part of the user's turn at their place, which keeps their meaning and the
/// cached prefix of the prompt. On the Messages API, one after a user's turn can be moved to the top
/// or even stay, which its writer does.
fn place_systems(request: &mut NeutralRequest<'_>, is_messages: bool) {
    let turns = std::mem::take(&mut request.turns);
    let mut previous = None;
    for turn in turns {
        let is_text = turn.parts.iter().all(|part| matches!(part, TurnPart::Text(_)));
        let stays = match previous {
            None => true,
            Some(TurnRole::User) => is_messages,
            Some(TurnRole::System | TurnRole::Assistant) => false,
        };
        let is_system = turn.role == TurnRole::System;
        if is_system && stays && is_text {
            match request.turns.last_mut() {
                Some(last) if last.role == TurnRole::System => last.parts.extend(turn.parts),
                _ => request.turns.push(turn),
            }
        } else {
            let role = if is_system { TurnRole::User } else { turn.role };
            previous = Some(role);
            request.add_parts(role, turn.parts);
        }
    }
}

/// Whether an API accepts the part as content of its own.
fn has_content(part: &TurnPart) -> bool {
    match part {
        TurnPart::Text(text) => !text.trim().is_empty(),
        TurnPart::Thinking { .. } | TurnPart::Redacted(_) => false,
        TurnPart::Image(_)
        | TurnPart::Document { .. }
        | TurnPart::Call(_)
        | TurnPart::Result { .. } => true,
    }
}

fn turn_has_content(turn: &ConversationTurn) -> bool {
    turn.parts.iter().any(has_content)
}

/// Drops turns without content. Several vendors refuse an assistant's message with neither text nor
/// calls (Moonshot: Toloka/tolokaforge#1286), and the Messages API refuses every empty turn. Turns
/// of one role that become adjacent are joined.
fn drop_empty_turns(request: &mut NeutralRequest<'_>, is_messages: bool) {
    let is_thinking =
        |part: &TurnPart| matches!(part, TurnPart::Thinking { .. } | TurnPart::Redacted(_));
    let is_kept = |turn: &ConversationTurn| match turn.role {
        _ if turn_has_content(turn) => true,
        // Its writer knows which thinking the upstream accepts.
        TurnRole::Assistant => is_messages && turn.parts.iter().any(is_thinking),
        TurnRole::User | TurnRole::System => !is_messages,
    };
    if request.turns.iter().all(is_kept) {
        return;
    }
    for turn in std::mem::take(&mut request.turns) {
        if is_kept(&turn) {
            request.add_parts(turn.role, turn.parts);
        } else if turn.parts.iter().any(is_thinking) {
            request.dropped.add_path("messages[].content[](thinking)");
        }
    }
}

/// Turns system messages into user messages. OpenAI answers a system message alone, which title
/// makers and evaluations send; the Messages API and many chat templates need a user's message.
fn convert_system_turns_to_user(request: &mut NeutralRequest<'_>) {
    for turn in std::mem::take(&mut request.turns) {
        request.add_parts(TurnRole::User, turn.parts);
    }
}

/// Fits the ids of calls and of their results, which stay equal. An id that fits stays, because the
/// upstream can have made it.
fn fit_call_ids(request: &mut NeutralRequest<'_>, call_ids: CallIds) {
    let fit = |id: &mut String| {
        if let Some(fitting) = fit_call_id(id, call_ids) {
            *id = fitting;
        }
    };
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match part {
            TurnPart::Call(call) => fit(&mut call.id),
            TurnPart::Result { id, .. } => fit(id),
            TurnPart::Text(_)
            | TurnPart::Image(_)
            | TurnPart::Document { .. }
            | TurnPart::Thinking { .. }
            | TurnPart::Redacted(_) => {}
        }
    }
}

/// The id that stands for this one where the model does not accept it. Equal ids stay equal.
pub(crate) fn fit_call_id(id: &str, call_ids: CallIds) -> Option<String> {
    match call_ids {
        CallIds::Short if id.len() > SHORT_ID_MAX => Some(shorten_name(id, SHORT_ID_MAX)),
        CallIds::Nine if id.len() != 9 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            // The last digits of a hash, after its underscore.
            let hashed = shorten_name(id, 0);
            Some(hashed[hashed.len() - 9..].to_owned())
        }
        CallIds::Any | CallIds::Short | CallIds::Nine => None,
    }
}

/// Puts what a user says beside results into the last of them, where no user's message can follow
/// a tool's. What is not text follows a word of the assistant.
fn put_texts_into_results(turns: &mut Vec<ConversationTurn>) {
    for turn in std::mem::take(turns) {
        let is_result = |part: &TurnPart| matches!(part, TurnPart::Result { .. });
        if !turn.parts.iter().any(is_result) {
            turns.push(turn);
            continue;
        }
        let (mut results, said): (Vec<_>, Vec<_>) = turn.parts.into_iter().partition(is_result);
        let mut shown = Vec::new();
        for result in &mut results {
            if let TurnPart::Result { parts, .. } = result {
                let is_text = |part: &mut TurnPart| !matches!(part, TurnPart::Text(_));
                shown.extend(parts.extract_if(.., is_text));
            }
        }
        let (texts, others): (Vec<_>, Vec<_>) =
            said.into_iter().partition(|part| matches!(part, TurnPart::Text(_)));
        shown.extend(others);
        if let Some(TurnPart::Result { parts, .. }) = results.last_mut() {
            for text in texts {
                if !parts.is_empty() {
                    parts.push(TurnPart::Text("\n\n".to_owned()));
                }
                parts.push(text);
            }
        }
        turns.push(ConversationTurn { role: turn.role, parts: results });
        if !shown.is_empty() {
            let ready = vec![TurnPart::Text(READY.to_owned())];
            turns.push(ConversationTurn { role: TurnRole::Assistant, parts: ready });
            turns.push(ConversationTurn { role: TurnRole::User, parts: shown });
        }
    }
}

/// Removes the white space at the end of a last assistant's text, which the Messages API refuses
/// ("final assistant content cannot end with trailing whitespace").
fn trim_prefill(turns: &mut [ConversationTurn]) {
    if let Some(ConversationTurn { role: TurnRole::Assistant, parts }) = turns.last_mut()
        && let Some(TurnPart::Text(text)) = parts.last_mut()
    {
        text.truncate(text.trim_end().len());
    }
}

/// Declares the tools whose calls are in the history of a request without tools, and forbids to
/// call them. OpenAI accepts such a history, and clients send it to have a conversation summarized
/// or handed over. The Messages API refuses it ("Requests which include `tool_use` or `tool_result`
/// blocks must define tools", BerriAI/litellm `anthropic/chat/transformation.py`, 2026-11).
fn declare_called_tools(request: &mut NeutralRequest<'_>) {
    if !request.tools.is_empty() {
        return;
    }
    let mut known = HashSet::new();
    let mut names: Vec<String> = Vec::new();
    let mut has_results = false;
    for part in request.turns.iter().flat_map(|turn| &turn.parts) {
        match part {
            TurnPart::Call(call) if known.insert(call.name.as_str()) => {
                names.push(call.name.clone());
            }
            TurnPart::Result { .. } => has_results = true,
            TurnPart::Call(_)
            | TurnPart::Text(_)
            | TurnPart::Image(_)
            | TurnPart::Document { .. }
            | TurnPart::Thinking { .. }
            | TurnPart::Redacted(_) => {}
        }
    }
    if names.is_empty() && has_results {
        names.push("tool".to_owned());
    }
    if !names.is_empty() {
        request.tool_choice = Some(ToolChoice::None);
        let declare = |name| ToolDefinition { name, description: None, schema: None, strict: None };
        request.tools = names.into_iter().map(declare).collect();
    }
}
