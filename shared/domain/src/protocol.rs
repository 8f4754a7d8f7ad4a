//! The protocols of clients, and the providers that can serve them.

use crate::account::Provider;

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Anthropic Messages.
    AnthropicMessages,
    /// OpenAI Chat Completions.
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Bedrock `InvokeModel`: Anthropic Messages in another format.
    BedrockInvokeModel,
}

/// The kind of a request to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// A model's answer, in the client's protocol.
    Answer(Protocol),
    /// A token count, which only the Messages API has.
    Count,
    /// A list or description of models, which is not translated.
    Models,
}

impl Protocol {
    /// The name in usage records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiResponses => "openai_responses",
            Self::BedrockInvokeModel => "bedrock_invoke_model",
        }
    }
}

/// Whether an upstream of this provider can serve the request, directly or by translation.
pub fn serves(provider: Provider, want: Want) -> bool {
    !matches!((provider, want), (Provider::OpenaiCompatible, Want::Count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_what() {
        use Protocol::{AnthropicMessages, BedrockInvokeModel, OpenaiChat, OpenaiResponses};
        let providers = [Provider::Anthropic, Provider::OpenaiCompatible, Provider::Bedrock];
        let table = [
            (Want::Answer(AnthropicMessages), [true, true, true]),
            (Want::Answer(OpenaiChat), [true, true, true]),
            (Want::Answer(OpenaiResponses), [true, true, true]),
            (Want::Answer(BedrockInvokeModel), [true, true, true]),
            (Want::Count, [true, false, true]),
            (Want::Models, [true, true, true]),
        ];
        for (want, expect) in table {
            assert_eq!(providers.map(|provider| serves(provider, want)), expect, "{want:?}");
        }
    }
}
