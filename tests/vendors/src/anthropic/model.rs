//! What each generation of Claude accepts.
//!
//! Sources, read 2026-11-29: platform.claude.com, "Migration guide" (sampling, prefill, thinking),
//! "Effort", "Troubleshooting thinking", "Structured outputs" and the model pages' limits, as quoted
//! in public reports that each rule names.

/// The kinds of thinking that a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThinkingKinds {
    No,
    Budget,
    /// Both a budget and adaptive thinking (4.6).
    Both,
    Adaptive,
}

/// A model of Anthropic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claude {
    pub(crate) version: (u32, u32),
    pub(crate) family: Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Opus,
    Sonnet,
    Haiku,
    /// Fable, Mythos.
    Other,
}

impl Claude {
    /// Reads a model's name, also Bedrock's (`us.anthropic.claude-opus-4-6-v1:0`).
    pub(crate) fn parse(model: &str) -> Option<Self> {
        let (_, name) = model.split_once("claude-")?;
        let name = name.split(['[', '@', ':']).next().unwrap_or(name);
        let family = match () {
            () if name.contains("opus") => Family::Opus,
            () if name.contains("sonnet") => Family::Sonnet,
            () if name.contains("haiku") => Family::Haiku,
            () if ["fable", "mythos", "instant"].iter().any(|it| name.contains(it)) => {
                Family::Other
            }
            () => return None,
        };
        let numbers = name.split('-').filter(|part| (1..=2).contains(&part.len()));
        let mut numbers = numbers.filter_map(|part| part.parse().ok());
        let major = numbers.next().unwrap_or(5);
        Some(Self { version: (major, numbers.next().unwrap_or(0)), family })
    }

    /// The most output tokens (the model pages, by LiteLLM's list 1.110.2, 2026-11).
    pub(crate) fn max_tokens(self) -> u64 {
        match (self.family, self.version) {
            (_, version) if version < (3, 5) => 4_096,
            (_, version) if version < (3, 7) => 8_192,
            (Family::Opus, (4, 0 | 1)) => 32_000,
            (_, version) if version < (4, 6) => 64_000,
            _ => 128_000,
        }
    }

    pub(crate) fn thinking(self) -> ThinkingKinds {
        match self.version {
            version if version < (3, 7) => ThinkingKinds::No,
            version if version < (4, 6) => ThinkingKinds::Budget,
            (4, 6) => ThinkingKinds::Both,
            _ => ThinkingKinds::Adaptive,
        }
    }

    /// Whether `temperature`, `top_p` and `top_k` are accepted (NousResearch/hermes-agent #11137,
    /// 2026-04-16: since 4.7 they are not).
    pub(crate) fn samples(self) -> bool {
        self.version < (4, 7)
    }

    /// Whether only one of `temperature` and `top_p` is accepted (migration guide, "Use only
    /// `temperature` or `top_p`, not both": since 4.1; open-webui/open-webui #17922).
    pub(crate) fn samples_by_one(self) -> bool {
        self.version >= (4, 1)
    }

    /// The accepted effort levels ("Effort": since Opus 4.5; `max` since 4.6; `xhigh` since Opus 4.7
    /// and Sonnet 5).
    pub(crate) fn efforts(self) -> &'static [&'static str] {
        match (self.family, self.version) {
            (Family::Opus, (4, 5)) => &["low", "medium", "high"],
            (_, (4, 6)) => &["low", "medium", "high", "max"],
            (_, version) if version >= (4, 7) => &["low", "medium", "high", "xhigh", "max"],
            _ => &[],
        }
    }

    /// Whether the last message can be the assistant's (migration guide: not since 4.6).
    pub(crate) fn takes_prefill(self) -> bool {
        self.version < (4, 6)
    }

    /// Whether `output_config.format` and strict tools are accepted ("Structured outputs": since
    /// Sonnet 4.5, Haiku 4.5 and Opus 4.1).
    pub(crate) fn has_structured_outputs(self) -> bool {
        self.version >= (4, 5) || (self.family == Family::Opus && self.version == (4, 1))
    }

    /// Whether a system message can follow a user's ("Mid-conversation system messages": since
    /// Opus 4.8; Sonnet 5 refuses them, Sonnet 5.5 and Haiku 5.5 do not).
    pub(crate) fn takes_system_turns(self) -> bool {
        match self.family {
            Family::Opus => self.version >= (4, 8),
            Family::Sonnet => self.version >= (5, 1),
            Family::Haiku | Family::Other => self.version >= (5, 0),
        }
    }

    /// Whether thinking is bound to the account (observed with Claude Code 2.1.330, 2026-11-22).
    pub(crate) fn binds_thinking_to_account(self) -> bool {
        self.version >= (5, 5) && matches!(self.family, Family::Sonnet | Family::Haiku)
    }

    /// Whether the model thinks if the request says nothing (migration guide to Opus 5, 2026-07-24).
    pub(crate) fn thinks_unasked(self) -> bool {
        self.version >= (5, 0)
    }
}
