//! The capabilities of a model behind the Messages API, derived from its name.
//!
//! The API refuses a request with a 400 if the model does not support a field, and offers no way to
//! ask before. Sources, read 2026-11-23: platform.claude.com, "Troubleshooting thinking" (which
//! thinking each model supports, which models refuse sampling parameters), "Effort",
//! "Mid-conversation system messages", and the model pages' output limits.

/// The features that a model supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelCapabilities {
    pub(super) thinking: ThinkingMode,
    /// Whether the model accepts `temperature` and `top_p`.
    pub(super) samples: bool,
    /// Whether a `system` message can follow a user's message.
    pub(super) system_turns: bool,
    /// The `max_tokens` of a request whose client set none, since the API requires a number.
    pub(super) max_tokens: u64,
}

/// How thinking is requested from a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingMode {
    /// The model does not think.
    No,
    /// `{"type":"enabled","budget_tokens":…}`
    Budget,
    /// `{"type":"adaptive"}` with `output_config.effort`.
    Adaptive,
}

/// The capabilities of a model. A model of another vendor gets only what every Messages API has
/// supported from its start. An unknown Claude model is treated as a new one.
pub(super) fn model_capabilities(model: &str) -> ModelCapabilities {
    let name = model.to_ascii_lowercase();
    let Some((_, claude)) = name.split_once("claude") else {
        let thinking = ThinkingMode::Budget;
        return ModelCapabilities {
            thinking,
            samples: true,
            system_turns: false,
            max_tokens: 8_192,
        };
    };
    let version = parse_version(claude);
    let system_since = match claude {
        _ if claude.contains("opus") => (4, 8),
        _ if claude.contains("sonnet") => (5, 1),
        _ => (5, 0),
    };
    ModelCapabilities {
        thinking: match version {
            _ if version < (3, 7) => ThinkingMode::No,
            _ if version < (4, 6) => ThinkingMode::Budget,
            _ => ThinkingMode::Adaptive,
        },
        samples: version < (4, 7),
        system_turns: version >= system_since,
        max_tokens: match version {
            _ if version < (3, 5) => 4_096,
            _ if version < (3, 7) => 8_192,
            _ => 32_000,
        },
    }
}

/// The version in `-opus-4-7`, `-3-5-sonnet-20241022`, `-sonnet-4-20250514`: the first one or two
/// short numbers. A name without numbers counts as the newest version.
fn parse_version(name: &str) -> (u64, u64) {
    let mut numbers = name
        .split(['-', '.', '@', '_', ':', '['])
        .skip_while(|part| !is_short_number(part))
        .take_while(|part| is_short_number(part))
        .filter_map(|part| part.parse().ok());
    numbers.next().map_or((u64::MAX, 0), |major| (major, numbers.next().unwrap_or(0)))
}

fn is_short_number(part: &str) -> bool {
    (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_follow_from_the_model_name() {
        use ThinkingMode::{Adaptive, Budget, No};
        let check = |model, thinking, samples, system_turns, max_tokens| {
            let expect = ModelCapabilities { thinking, samples, system_turns, max_tokens };
            assert_eq!(model_capabilities(model), expect, "{model}");
        };
        check("claude-3-haiku-20240307", No, true, false, 4_096);
        check("claude-3-5-sonnet-20241022", No, true, false, 8_192);
        check("claude-3-7-sonnet-latest", Budget, true, false, 32_000);
        check("claude-sonnet-4-20250514", Budget, true, false, 32_000);
        check("claude-sonnet-4-5-20250929", Budget, true, false, 32_000);
        check("us.anthropic.claude-opus-4-6-v1:0", Adaptive, true, false, 32_000);
        check("anthropic/claude-opus-4.7", Adaptive, false, false, 32_000);
        check("claude-opus-4-8", Adaptive, false, true, 32_000);
        check("claude-sonnet-5", Adaptive, false, false, 32_000);
        check("claude-sonnet-5-5", Adaptive, false, true, 32_000);
        check("claude-haiku-5-5", Adaptive, false, true, 32_000);
        check("claude-opus-5-5[1m]", Adaptive, false, true, 32_000);
        check("claude-mythos-preview", Adaptive, false, true, 32_000);
        check("glm-5", Budget, true, false, 8_192);
    }
}
