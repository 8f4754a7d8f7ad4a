//! What a list of models, or an operator, states about a model. It overrides what the model's name
//! says, because an operator's list knows models that are newer than this program, and names that
//! only the operator knows.

use super::{
    ChatSupport, EffortLevels, MediaKinds, ModelCapabilities, Sampling, SystemMessages,
    ThinkingMode,
};
use serde::{Deserialize, Serialize};

/// The capabilities that are stated for a model. A field that nobody states is `None`: the name of
/// the model then decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StatedCapabilities {
    /// Whether prompts can have images. If not, requests with images are refused or sent to another
    /// account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<bool>,
    /// Whether prompts can have PDF documents. If not, requests with PDF documents are refused or
    /// sent to another account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdf: Option<bool>,
    /// Whether prompts can have audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// Whether prompts can have videos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<bool>,
    /// Whether answers can have audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<bool>,
    /// Whether the model can think. If not, it gets no effort and no thinking budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// Whether the model decides itself how long it thinks: `thinking: {"type": "adaptive"}` of the
    /// Messages API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive_thinking: Option<bool>,
    /// The accepted levels of effort. The nearest one is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efforts: Option<EffortLevels>,
    /// Whether `temperature` and `top_p` are accepted. If not, they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<bool>,
    /// Whether the model calls tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether a request can choose how tools are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<bool>,
    /// Whether a request can force the call of a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_tools: Option<bool>,
    /// Whether the model calls several tools at once. If not, the setting for it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_calls: Option<bool>,
    /// Whether an answer can be bound to a JSON schema. If not, the prompt describes the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_outputs: Option<bool>,
    /// Whether an assistant's message can be last, for the model to continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<bool>,
    /// Whether the model takes system messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_messages: Option<bool>,
    /// Whether a system message can stand after a user's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later_system_messages: Option<bool>,
    /// Whether prompts are cached. If not, Baton does not ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_caching: Option<bool>,
    /// Whether the model is on Chat Completions. If not, accounts with the Responses API are called
    /// through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_completions: Option<bool>,
    /// Whether the vendor searches the web for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_search: Option<bool>,
    /// Whether the model can use a computer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computer_use: Option<bool>,
    /// Whether Baton can ask for the usage of a stream (`stream_options`). If not, the usage of a
    /// stream that reports none is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<bool>,
}

/// The place of one statement, to read or to set it.
pub(crate) type StatementField = fn(&mut StatedCapabilities) -> &mut Option<bool>;

impl StatedCapabilities {
    /// Every statement that is yes or no, in the order of their bits in [`StatementMasks`]. A new
    /// one comes last.
    pub(crate) const STATEMENTS: [StatementField; 21] = [
        |one| &mut one.images,
        |one| &mut one.pdf,
        |one| &mut one.audio,
        |one| &mut one.video,
        |one| &mut one.audio_output,
        |one| &mut one.reasoning,
        |one| &mut one.adaptive_thinking,
        |one| &mut one.sampling,
        |one| &mut one.tools,
        |one| &mut one.tool_choice,
        |one| &mut one.forced_tools,
        |one| &mut one.parallel_calls,
        |one| &mut one.structured_outputs,
        |one| &mut one.prefill,
        |one| &mut one.system_messages,
        |one| &mut one.later_system_messages,
        |one| &mut one.prompt_caching,
        |one| &mut one.chat_completions,
        |one| &mut one.web_search,
        |one| &mut one.computer_use,
        |one| &mut one.stream_options,
    ];

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The statements as bits.
    pub(crate) fn to_masks(self) -> StatementMasks {
        let mut own = self;
        let (mut yes, mut no) = (0, 0);
        for (bit, statement) in Self::STATEMENTS.iter().enumerate() {
            match *statement(&mut own) {
                Some(true) => yes |= 1 << bit,
                Some(false) => no |= 1 << bit,
                None => {}
            }
        }
        StatementMasks { yes, no, efforts: self.efforts.map(|levels| levels.0) }
    }

    /// The statements of [`Self::to_masks`].
    pub(crate) fn from_masks(StatementMasks { yes, no, efforts }: StatementMasks) -> Self {
        let mut own = Self { efforts: efforts.map(EffortLevels), ..Self::default() };
        for (bit, statement) in Self::STATEMENTS.iter().enumerate() {
            let has = |mask: u32| mask & (1 << bit) != 0;
            *statement(&mut own) = has(yes | no).then_some(has(yes));
        }
        own
    }
}

/// [`StatedCapabilities`] as bits, in the order of its list of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatementMasks {
    /// The statements that are true.
    pub(crate) yes: u32,
    /// The statements that are false.
    pub(crate) no: u32,
    /// The levels of effort, if they are known.
    pub(crate) efforts: Option<u8>,
}

/// What an operator has imported or set for a model with its price, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnCapabilities {
    /// The length of the context window in tokens.
    pub context_tokens: Option<u64>,
    /// The highest number of output tokens.
    pub output_tokens: Option<u64>,
    /// What else is stated.
    pub stated: StatedCapabilities,
}

impl ModelCapabilities {
    /// These capabilities with what an operator knows in place of what the name says.
    #[must_use]
    pub fn with_own(self, own: OwnCapabilities) -> Self {
        // A list that tells one number for both means the context.
        let output = own.output_tokens.filter(|output| own.context_tokens != Some(*output));
        Self {
            context_tokens: own.context_tokens.or(self.context_tokens),
            output_tokens_max: output.or(self.output_tokens_max),
            ..self.with_stated(own.stated)
        }
    }

    fn with_stated(self, stated: StatedCapabilities) -> Self {
        let MediaKinds { images, pdf, audio, text_documents } = self.media;
        Self {
            media: MediaKinds {
                images: stated.images.unwrap_or(images),
                pdf: stated.pdf.unwrap_or(pdf),
                audio: stated.audio.unwrap_or(audio),
                text_documents,
            },
            thinking: stated_thinking(self.thinking, stated),
            efforts: match stated.reasoning {
                Some(false) => EffortLevels::EMPTY,
                Some(true) | None => stated.efforts.unwrap_or(self.efforts),
            },
            effort_words: if stated.reasoning == Some(false) || stated.efforts.is_some() {
                EffortLevels::EMPTY
            } else {
                self.effort_words
            },
            sampling: match (stated.sampling, self.sampling) {
                (Some(false), _) => Sampling::None,
                (Some(true), Sampling::None) => Sampling::All,
                (Some(true) | None, by_name) => by_name,
            },
            // That a model calls several tools at once does not mean that this can be set.
            parallel_calls: self.parallel_calls && stated.parallel_calls != Some(false),
            structured_outputs: stated.structured_outputs.unwrap_or(self.structured_outputs),
            prefill: stated.prefill.unwrap_or(self.prefill),
            stream_options: stated.stream_options.unwrap_or(self.stream_options),
            refuses_stream_options: self.refuses_stream_options
                && stated.stream_options != Some(true),
            system_messages: match (stated.later_system_messages, self.system_messages) {
                (Some(false), _) => SystemMessages::First,
                (Some(true), SystemMessages::First) => SystemMessages::AfterUser,
                (Some(true) | None, by_name) => by_name,
            },
            prompt_caching: stated.prompt_caching.unwrap_or(self.prompt_caching),
            chat: match (stated.chat_completions, self.chat) {
                (Some(false), _) => ChatSupport::Nothing,
                (Some(true), ChatSupport::Nothing) => ChatSupport::Full,
                (Some(true) | None, by_name) => by_name,
            },
            ..self
        }
    }
}

fn stated_thinking(by_name: ThinkingMode, stated: StatedCapabilities) -> ThinkingMode {
    match (stated.reasoning, stated.adaptive_thinking, by_name) {
        (Some(false), _, _) => ThinkingMode::None,
        (Some(true) | None, Some(true), _) => ThinkingMode::Adaptive,
        (Some(true) | None, Some(false), ThinkingMode::Adaptive)
        | (Some(true), Some(false) | None, ThinkingMode::None) => ThinkingMode::Budget,
        (Some(true) | None, Some(false) | None, by_name) => by_name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Provider;
    use crate::model_capabilities::EffortLevel;
    use proptest::prelude::*;

    fn with(model: &str, stated: StatedCapabilities) -> ModelCapabilities {
        let is_claude = model.contains("claude");
        let provider = if is_claude { Provider::Anthropic } else { Provider::OpenaiCompatible };
        let own = OwnCapabilities { stated, ..OwnCapabilities::default() };
        ModelCapabilities::of(provider, model, "a.example").with_own(own)
    }

    #[test]
    fn limits_of_an_operator_override_those_of_the_name() {
        let limits = |context_tokens, output_tokens| OwnCapabilities {
            context_tokens,
            output_tokens,
            ..OwnCapabilities::default()
        };
        let known = with("gpt-4o", StatedCapabilities::default());
        assert_eq!(known.with_own(OwnCapabilities::default()), known);
        let own = known.with_own(limits(Some(64_000), Some(2_000)));
        assert_eq!((own.context_tokens, own.output_tokens_max), (Some(64_000), Some(2_000)));
        assert_eq!(own.default_max_tokens(), 2_000);
        let context = known.with_own(limits(Some(64_000), Some(64_000)));
        assert_eq!(context.output_tokens_max, known.output_tokens_max, "one number for both");
        let unknown = ModelCapabilities::UNKNOWN.with_own(limits(None, Some(4_000)));
        assert_eq!(unknown.default_max_tokens(), 4_000);
    }

    #[test]
    fn stated_capabilities_override_those_of_the_name() {
        let nothing = StatedCapabilities::default();
        let refused =
            StatedCapabilities::from_masks(StatementMasks { yes: 0, no: u32::MAX, efforts: None });
        let own = with("made-up", refused);
        let none = MediaKinds { text_documents: true, ..MediaKinds::TEXT };
        assert_eq!((own.media, own.thinking), (none, ThinkingMode::None));
        assert_eq!((own.efforts, own.sampling), (EffortLevels::EMPTY, Sampling::None));
        assert!(!own.parallel_calls && !own.structured_outputs && !own.prefill);
        assert_eq!((own.system_messages, own.chat), (SystemMessages::First, ChatSupport::Nothing));
        assert!(!own.prompt_caching);

        let accepted =
            StatedCapabilities::from_masks(StatementMasks { yes: u32::MAX, no: 0, efforts: None });
        let own = with("qwen3-coder", accepted);
        assert!(own.media.images && own.media.pdf && own.media.audio);
        let own = with("claude-opus-5-5", accepted);
        assert_eq!((own.sampling, own.thinking), (Sampling::All, ThinkingMode::Adaptive));
        assert!(own.prefill);
        assert_eq!(with("claude-3-haiku-20240307", nothing).thinking, ThinkingMode::None);
        let thinks = StatedCapabilities { reasoning: Some(true), ..nothing };
        assert_eq!(with("claude-3-haiku-20240307", thinks).thinking, ThinkingMode::Budget);
        let later = StatedCapabilities { later_system_messages: Some(true), ..nothing };
        assert_eq!(with("claude-opus-4-5", later).system_messages, SystemMessages::AfterUser);
        assert_eq!(with("gpt-4o", later).system_messages, SystemMessages::Anywhere);
        let fixed = StatedCapabilities { adaptive_thinking: Some(false), ..nothing };
        assert_eq!(with("claude-opus-5-5", fixed).thinking, ThinkingMode::Budget);
        let chat = StatedCapabilities { chat_completions: Some(true), ..nothing };
        assert_eq!(with("o3-pro", nothing).chat, ChatSupport::Nothing);
        assert_eq!(with("o3-pro", chat).chat, ChatSupport::Full);
        assert_eq!(with("gpt-5.5", chat).chat, ChatSupport::NoToolsWithEffort);
        let levels = EffortLevels::of(&[EffortLevel::Low]);
        let effort = StatedCapabilities { efforts: Some(levels), ..nothing };
        assert_eq!(with("gpt-4o", effort).efforts, levels);
    }

    #[test]
    fn json_has_only_what_is_stated() {
        let stated = StatedCapabilities {
            images: Some(false),
            efforts: Some(EffortLevels::of(&[EffortLevel::None, EffortLevel::High])),
            ..StatedCapabilities::default()
        };
        let json = serde_json::to_string(&stated).unwrap();
        assert_eq!(json, r#"{"images":false,"efforts":["none","high"]}"#);
        assert_eq!(serde_json::from_str::<StatedCapabilities>(&json).unwrap(), stated);
        assert!(serde_json::from_str::<StatedCapabilities>("{}").unwrap().is_empty());
        assert!(serde_json::from_str::<StatedCapabilities>(r#"{"efforts":["much"]}"#).is_err());
    }

    proptest! {
        #[test]
        fn masks_keep_every_statement(yes: u32, no: u32, efforts in prop::option::of(0_u8..0x80)) {
            let most = (1 << StatedCapabilities::STATEMENTS.len()) - 1;
            let (yes, no) = (yes & most, no & !yes & most);
            let masks = StatementMasks { yes, no, efforts };
            prop_assert_eq!(StatedCapabilities::from_masks(masks).to_masks(), masks);
        }

        #[test]
        fn nothing_stated_changes_nothing(model in "\\PC{0,20}") {
            let known = ModelCapabilities::of(Provider::OpenaiCompatible, &model, "");
            prop_assert_eq!(known.with_own(OwnCapabilities::default()), known);
        }
    }
}
