//! The processing tier that a request asks for. Clients choose it, and upstreams have separate limits
//! and capacity for some tiers.

use std::borrow::Cow;

/// The tier of a request. Unknown ones count as one tier, so that invented names do not make the
/// health of an account grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequestTier {
    /// No tier, or a name of the usual one.
    #[default]
    Standard,
    /// `flex` of OpenAI and Groq.
    Flex,
    /// `priority` of OpenAI.
    Priority,
    /// Any other tier.
    Other,
}

impl RequestTier {
    /// The tier by the value of `service_tier`: OpenAI (`auto`, `default`, `flex`, `priority`,
    /// `scale`), Anthropic (`auto`, `standard_only`), Groq (`auto`, `on_demand`, `flex`,
    /// `performance`), by their API references, 2026-11.
    pub fn from_name(name: &str) -> Self {
        match name {
            "auto" | "default" | "standard" | "standard_only" | "on_demand" => Self::Standard,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            _ => Self::Other,
        }
    }

    /// The name under which a cooldown of the model in this tier is stored. Cooldowns of the usual
    /// tier have the model's own name and hold for all tiers.
    pub fn model_key(self, model: &str) -> Cow<'_, str> {
        match self {
            Self::Standard => Cow::Borrowed(model),
            Self::Flex => Cow::Owned(format!("{model} (flex)")),
            Self::Priority => Cow::Owned(format!("{model} (priority)")),
            Self::Other => Cow::Owned(format!("{model} (other tier)")),
        }
    }
}
