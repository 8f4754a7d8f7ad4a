//! Fits sampling, effort, bounds and OpenAI's own fields to the model.

use crate::translate::neutral_request::{ConversationTurn, NeutralRequest, ToolChoice, TurnPart};
use baton_domain::model_capabilities::{
    ChatSupport, EffortLevel, EffortLevels, ModelCapabilities, RequiredContinuation, Sampling,
};
use baton_domain::protocol::UpstreamProtocol;

/// The longest id of an end user at Anthropic (Messages API reference, `metadata.user_id`, 2026-11).
const USER_ID_MAX: usize = 256;

/// Fits the settings. On the Messages API, thinking decides about effort and sampling, so its writer
/// fits these.
pub(super) fn fit_settings(
    request: &mut NeutralRequest<'_>,
    capabilities: &ModelCapabilities,
    upstream: UpstreamProtocol,
) {
    if let (Some(requested), Some(max)) = (request.max_tokens, capabilities.output_tokens_max) {
        request.max_tokens = Some(requested.min(max));
    }
    match upstream {
        UpstreamProtocol::Messages => {
            request.user = request.user.take().map(opaque_user);
            return;
        }
        UpstreamProtocol::Chat => {
            if capabilities.thinking_switch {
                let has_lost_thinking = lost_thinking(request, capabilities.continuation);
                switch_thinking(request, has_lost_thinking);
            }
            fit_effort(request, capabilities);
            fit_tools_on_chat(request, capabilities.chat);
            // The field needs `store` ("The 'metadata' parameter is only allowed when 'store' is
            // enabled": looplj/axonhub#1380), and nothing is stored.
            drop_shared(request, |name| name == "metadata");
        }
        UpstreamProtocol::Responses => fit_effort(request, capabilities),
    }
    request.fit_sampling(capabilities.sampling);
    if !capabilities.stop_sequences && !request.stop_sequences.is_empty() {
        request.dropped.add_path("stop");
        request.stop_sequences.clear();
    }
    if !capabilities.parallel_calls && request.parallel_tool_calls.take().is_some() {
        request.dropped.add_path("parallel_tool_calls");
    }
    // The answer's probabilities are not translated, and Chat Completions refuses the field without
    // `logprobs`.
    drop_shared(request, |name| name == "top_logprobs");
    let refuses = |name: &str| capabilities.refused_fields.contains(&name);
    drop_shared(request, refuses);
    if refuses("user") && request.user.take().is_some() {
        request.dropped.add_path("user");
    }
}

/// Chooses the level of effort that the model accepts and that is nearest to the requested one.
pub(super) fn fit_effort(request: &mut NeutralRequest<'_>, capabilities: &ModelCapabilities) {
    if capabilities.efforts == EffortLevels::ALL {
        return;
    }
    let Some(text) = request.effort.take() else { return };
    let requested = EffortLevel::parse(&text);
    let nearest = requested.and_then(|level| capabilities.efforts.nearest(level));
    if nearest.is_none() {
        request.dropped.add_path("reasoning_effort");
    }
    request.effort = nearest.map(|level| level.as_str().to_owned());
}

/// OpenAI's newer models accept tools on Chat Completions only without reasoning. gpt-5.6 reasons
/// by default, so `none` has to be written even if the client says nothing (BerriAI/litellm#34569,
/// with the answers of OpenAI's API, 2026-07).
fn fit_tools_on_chat(request: &mut NeutralRequest<'_>, chat: ChatSupport) {
    match chat {
        ChatSupport::NoToolsWithEffort | ChatSupport::NoToolsWithThinking => {}
        ChatSupport::Full | ChatSupport::Nothing => return,
    }
    if request.tools.is_empty() {
        return;
    }
    let none = EffortLevel::None.as_str();
    if request.effort.as_deref().is_some_and(|effort| effort != none) {
        request.dropped.add_path("reasoning_effort(with tools)");
    }
    request.effort = Some(none.to_owned());
}

/// Switches thinking off where the client does, for a forced tool, which excludes thinking, and for
/// calls whose thinking is lost, which are refused (api-docs.deepseek.com, "Thinking mode", tool
/// calls, 2026-11).
pub(super) fn switch_thinking(request: &mut NeutralRequest<'_>, has_lost_thinking: bool) {
    let is_forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
    let is_off = request.effort.as_deref() == Some(EffortLevel::None.as_str());
    request.is_thinking_off = is_forced || is_off || has_lost_thinking;
    if request.is_thinking_off {
        request.effort = None;
    }
}

/// Whether the history has calls, and no thinking before any of them, as with a client that does not
/// keep it. Of a client that keeps it, calls without it were made by other models, for which an empty
/// text is accepted.
fn lost_thinking(request: &NeutralRequest<'_>, continuation: RequiredContinuation) -> bool {
    if continuation != RequiredContinuation::ReasoningContent {
        return false;
    }
    let has = |turn: &&ConversationTurn, is: fn(&TurnPart) -> bool| turn.parts.iter().any(is);
    let mut callers =
        request.turns.iter().filter(|turn| has(turn, |part| matches!(part, TurnPart::Call(_))));
    let is_thinking = |part: &TurnPart| matches!(part, TurnPart::Thinking { .. });
    callers.clone().next().is_some() && !callers.any(|turn| has(&turn, is_thinking))
}

fn drop_shared(request: &mut NeutralRequest<'_>, is_dropped: impl Fn(&str) -> bool) {
    let dropped = &mut request.dropped;
    request.shared.retain(|(name, _)| {
        if is_dropped(name) {
            dropped.add_path(*name);
        }
        !is_dropped(name)
    });
}

/// The end user in a form that says nothing about a person. Anthropic refuses e-mail addresses and
/// telephone numbers (Messages API reference, `metadata.user_id`; BerriAI/litellm#10106, 2026-11).
fn opaque_user(user: String) -> String {
    let is_number = user.bytes().filter(u8::is_ascii_digit).count() >= 7
        && user.chars().all(|c| c.is_ascii_digit() || "+-() ./".contains(c));
    if user.contains('@') || is_number || user.len() > USER_ID_MAX {
        crate::translate::neutral_request::shorten_name(&user, 0).replacen('_', "user_", 1)
    } else {
        user
    }
}

impl NeutralRequest<'_> {
    /// Drops the sampling parameters that a model does not accept. A value of 1 is the default of
    /// both and means nothing.
    pub(in crate::translate) fn fit_sampling(&mut self, sampling: Sampling) {
        let is_one = |digits: Option<&str>| {
            digits.is_some_and(|digits| {
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                whole == "1" && fraction.bytes().all(|digit| digit == b'0')
            })
        };
        let keeps = match sampling {
            Sampling::All => return,
            Sampling::OneOf if self.temperature.is_none() || self.top_p.is_none() => return,
            Sampling::OneOf if is_one(self.temperature) && !is_one(self.top_p) => (false, true),
            Sampling::OneOf => (true, false),
            Sampling::WithoutReasoning if self.effort.as_deref() == Some("none") => return,
            Sampling::WithoutReasoning | Sampling::None => (false, false),
        };
        if !keeps.0 && self.temperature.take().is_some() {
            self.dropped.add_path("temperature");
        }
        if !keeps.1 && self.top_p.take().is_some() {
            self.dropped.add_path("top_p");
        }
    }
}
