//! The protocols of clients, and the operations that they ask of upstreams.

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
