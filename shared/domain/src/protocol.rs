//! The protocols of clients, and the providers that can serve them.

use crate::account::Provider;

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientProtocol {
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
pub enum UpstreamOperation {
    /// A model's answer, in the client's protocol.
    Answer(ClientProtocol),
    /// A token count, which only the Messages API has.
    Count,
    /// A list or description of models, which is not translated.
    Models,
}

impl ClientProtocol {
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
pub fn provider_serves(provider: Provider, operation: UpstreamOperation) -> bool {
    !matches!((provider, operation), (Provider::OpenaiCompatible, UpstreamOperation::Count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_serves_its_operations() {
        use ClientProtocol::{AnthropicMessages, BedrockInvokeModel, OpenaiChat, OpenaiResponses};
        let providers = [Provider::Anthropic, Provider::OpenaiCompatible, Provider::Bedrock];
        let table = [
            (UpstreamOperation::Answer(AnthropicMessages), [true, true, true]),
            (UpstreamOperation::Answer(OpenaiChat), [true, true, true]),
            (UpstreamOperation::Answer(OpenaiResponses), [true, true, true]),
            (UpstreamOperation::Answer(BedrockInvokeModel), [true, true, true]),
            (UpstreamOperation::Count, [true, false, true]),
            (UpstreamOperation::Models, [true, true, true]),
        ];
        for (want, expect) in table {
            assert_eq!(
                providers.map(|provider| provider_serves(provider, want)),
                expect,
                "{want:?}"
            );
        }
    }
}
