//! Strict twins of the vendors: fake upstreams that accept what the vendor accepts and refuse what
//! it refuses, in its words, codes and error form.
//!
//! There are two layers:
//!
//! * **Rules** are pure. [`Vendor::judge`] takes a request and the twin's [`TwinState`] and returns
//!   an [`AcceptedRequest`] or the vendor's [`VendorError`]. Each vendor has a module, and each rule
//!   names its source and date.
//! * **The server** is thin. [`Twin::start`] serves one vendor on a free port, answers accepted
//!   requests in the vendor's form, and keeps a ledger of all requests.
//!
//! A twin does what the prompt says: `[[tool]]` in the last user's text (or `TOOL:`) makes it call
//! the first tool that was offered, `[[tools]]` makes it call it twice, `[[tool:ls]]` also says what to
//! write in its arguments, and `[[tool@Bash:ls]]` which tool to call. `[[say:hi]]` is answered with
//! "hi", `[[recall]]` with its own last text, and a tool's output with that output. A forced choice is obeyed, and an answer in a schema follows the
//! schema. The continuation state that a vendor gives (signatures, encrypted reasoning, stored
//! responses, threads) is checked when it comes back.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a twin that cannot do its work fails the test that uses it, there and then"
)]

mod answer;
mod anthropic;
mod bedrock;
mod chat_shape;
mod deepseek;
mod gemini;
mod mistral;
mod openai;
mod qwen;
mod request;
mod schema;
mod server;
mod state;

pub use answer::{Answer, AnswerBody};
pub use request::{AcceptedRequest, Dialect, ForcedTool, OfferedTool, VendorError, VendorRequest};
pub use server::{LedgerEntry, Twin};
pub use state::{TwinState, seal};

/// The vendors that have a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    /// Anthropic's Messages API.
    Anthropic,
    /// Claude on Amazon Bedrock, through `InvokeModel`.
    Bedrock,
    /// OpenAI's Chat Completions and Responses.
    Openai,
    /// Gemini's OpenAI-compatible endpoint.
    Gemini,
    /// DeepSeek's API.
    DeepSeek,
    /// Mistral's API.
    Mistral,
    /// A model with a Qwen chat template, behind vLLM.
    Qwen,
}

impl Vendor {
    /// All vendors.
    pub const ALL: [Self; 7] = [
        Self::Anthropic,
        Self::Bedrock,
        Self::Openai,
        Self::Gemini,
        Self::DeepSeek,
        Self::Mistral,
        Self::Qwen,
    ];

    /// Judges a request as the vendor does.
    ///
    /// # Errors
    /// The vendor's refusal.
    pub fn judge(
        self,
        request: &VendorRequest,
        state: &TwinState,
    ) -> Result<AcceptedRequest, VendorError> {
        match self {
            Self::Anthropic => anthropic::judge(request, state),
            Self::Bedrock => bedrock::judge(request, state),
            Self::Openai => openai::judge(request, state),
            Self::Gemini => gemini::judge(request),
            Self::DeepSeek => deepseek::judge(request),
            Self::Mistral => mistral::judge(request),
            Self::Qwen => qwen::judge(request),
        }
    }

    /// Answers an accepted request, and notes the state that a later request can name.
    pub fn answer(self, accepted: &AcceptedRequest, state: &mut TwinState) -> Answer {
        answer::answer(self, accepted, state)
    }
}
