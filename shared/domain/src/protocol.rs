//! What a client speaks, and which upstreams it can be served by.

use crate::account::Provider;

/// A client's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Anthropic's Messages.
    AnthropicMessages,
    /// OpenAI's Chat Completions.
    OpenaiChat,
    /// OpenAI's Responses.
    OpenaiResponses,
}

/// What is wanted of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// An answer of a model, in the client's dialect.
    Answer(Protocol),
    /// A count of tokens, as only the Messages API has it.
    Count,
    /// What there is to know of models: nothing is translated.
    Models,
}

impl Protocol {
    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiResponses => "openai_responses",
        }
    }
}

/// Whether an upstream of this kind can be had for it, by itself or by translation.
pub fn serves(provider: Provider, want: Want) -> bool {
    !matches!((provider, want), (Provider::OpenaiCompatible, Want::Count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_what() {
        use Protocol::{AnthropicMessages, OpenaiChat, OpenaiResponses};
        let providers = [Provider::Anthropic, Provider::OpenaiCompatible, Provider::Bedrock];
        let table = [
            (Want::Answer(AnthropicMessages), [true, true, true]),
            (Want::Answer(OpenaiChat), [true, true, true]),
            (Want::Answer(OpenaiResponses), [true, true, true]),
            (Want::Count, [true, false, true]),
            (Want::Models, [true, true, true]),
        ];
        for (want, expect) in table {
            assert_eq!(providers.map(|provider| serves(provider, want)), expect, "{want:?}");
        }
    }
}
