//! The protocols of clients and upstreams, and the operations that clients ask of upstreams.

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

/// The protocol that an upstream speaks. Bedrock speaks Messages, in its own framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions, as many vendors implement it.
    Chat,
    /// OpenAI Responses.
    Responses,
}

/// How requests and events travel. The framing of `InvokeModel` also has another address and other
/// places for model, version and betas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// The body as the protocol defines it, and server-sent events.
    ServerSentEvents,
    /// Bedrock's `InvokeModel`, with events as frames of the AWS event stream.
    AwsEventStream,
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
    /// All protocols.
    pub const ALL: [Self; 4] = [
        Self::AnthropicMessages,
        Self::OpenaiChat,
        Self::OpenaiResponses,
        Self::BedrockInvokeModel,
    ];

    /// The name in usage records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiResponses => "openai_responses",
            Self::BedrockInvokeModel => "bedrock_invoke_model",
        }
    }

    /// The framing of the client's requests and answers.
    pub fn framing(self) -> Framing {
        match self {
            Self::AnthropicMessages | Self::OpenaiChat | Self::OpenaiResponses => {
                Framing::ServerSentEvents
            }
            Self::BedrockInvokeModel => Framing::AwsEventStream,
        }
    }

    /// The protocol of an upstream that reads the client's body without a translation.
    pub fn body_protocol(self) -> UpstreamProtocol {
        match self {
            Self::AnthropicMessages | Self::BedrockInvokeModel => UpstreamProtocol::Messages,
            Self::OpenaiChat => UpstreamProtocol::Chat,
            Self::OpenaiResponses => UpstreamProtocol::Responses,
        }
    }
}
