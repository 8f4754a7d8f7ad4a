//! What each of OpenAI's models accepts (platform.openai.com, "Reasoning models", "Using GPT-5.2" and
//! the model pages, 2026-11; limits by LiteLLM's list 1.110.2).

use serde_json::Value;

/// A model of OpenAI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gpt {
    /// The version of GPT, or `None` for the o series.
    version: Option<(u32, u32)>,
    /// Whether it is a chat model (`gpt-5-chat-latest`), which does not reason.
    is_chat: bool,
}

impl Gpt {
    pub(crate) fn parse(model: &str) -> Option<Self> {
        let is_chat = model.contains("-chat");
        if let Some(rest) = model.strip_prefix("gpt-") {
            let number = rest.split('-').next()?;
            let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
            // `gpt-4o` counts as 4.0.
            let major = major.trim_end_matches('o').parse().ok()?;
            return Some(Self { version: Some((major, minor.parse().ok()?)), is_chat });
        }
        let number = model.strip_prefix('o')?.split('-').next()?;
        number.parse::<u32>().ok().map(|_| Self { version: None, is_chat })
    }

    pub(crate) fn reasons(self) -> bool {
        !self.is_chat && self.version.is_none_or(|version| version >= (5, 0))
    }

    /// The most output tokens.
    pub(crate) fn max_tokens(self) -> u64 {
        match self.version {
            None => 100_000,
            Some((4, 1)) => 32_768,
            Some(version) if version < (5, 0) || self.is_chat => 16_384,
            Some(_) => 128_000,
        }
    }

    /// The levels of `reasoning_effort` (`ReasoningEffort` in openai/openai-openapi f85dbe2,
    /// 2026-08-21, and the models' pages).
    pub(crate) fn efforts(self) -> &'static [&'static str] {
        match self.version {
            _ if !self.reasons() => &[],
            None => &["low", "medium", "high"],
            Some((5, 0)) => &["minimal", "low", "medium", "high"],
            Some((5, 1)) => &["none", "low", "medium", "high"],
            Some(version) if version < (5, 6) => &["none", "low", "medium", "high", "xhigh"],
            Some(_) => &["none", "low", "medium", "high", "xhigh", "max"],
        }
    }

    /// Whether a request without an effort reasons (5.1 to 5.4 do not: "Using GPT-5.2").
    fn reasons_unasked(self) -> bool {
        self.reasons() && !matches!(self.version, Some((5, 1..=4)))
    }

    /// Whether the model reasons with this effort.
    pub(crate) fn reasons_with(self, effort: Option<&str>) -> bool {
        effort.map_or(self.reasons_unasked(), |effort| effort != "none" && self.reasons())
    }

    /// Whether function tools need effort `none` on Chat Completions (openai/openai-openapi #541,
    /// danny-avila/`LibreChat` #14231, BerriAI/litellm #34569, 2026: since 5.4).
    pub(crate) fn refuses_tools_with_effort(self) -> bool {
        self.version.is_some_and(|version| version >= (5, 4)) && self.reasons()
    }

    /// Whether they need it even if the request has no effort (the same: since 5.6).
    pub(crate) fn refuses_tools_unasked(self) -> bool {
        self.version.is_some_and(|version| version >= (5, 6)) && self.reasons()
    }

    /// Whether `parallel_tool_calls` is refused (the o series; model pages).
    pub(crate) fn refuses_parallel_calls(self) -> bool {
        self.version.is_none()
    }

    /// Whether `verbosity` has values beside `medium` (since GPT-5).
    pub(crate) fn has_verbosity(self) -> bool {
        self.version.is_some_and(|version| version >= (5, 0)) && !self.is_chat
    }
}

/// Whether a value of a sampling parameter is its default.
pub(crate) fn is_default(name: &str, value: &Value) -> bool {
    let default = if name.ends_with("penalty") { 0.0 } else { 1.0 };
    value.as_f64().is_some_and(|value: f64| (value - default).abs() < f64::EPSILON)
}
