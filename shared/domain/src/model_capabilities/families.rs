//! The families of models, by the beginnings of their names.
//!
//! Sources, read 2026-11-23 to 2026-11-29. Anthropic: platform.claude.com, "Troubleshooting
//! thinking", "Effort", "Mid-conversation system messages", "Structured outputs", the migration
//! guide and the model pages' limits. OpenAI: the OpenAPI document's `ReasoningEffort` and `stop`,
//! the guides "Reasoning models" and "Using GPT-5.2", the model pages, openai/openai-openapi#541.
//! Google: "OpenAI compatibility". `DeepSeek`: "Thinking mode". Mistral: "Reasoning". xAI:
//! "Reasoning". Limits of tokens: LiteLLM's public list 1.110.2.
//!
//! Fields of answers that come back in a conversation's history, read 2026-11-29. OpenAI:
//! "Unknown parameter: 'messages[2].reasoning'". Mistral: charmbracelet/crush#1590 ("Extra inputs
//! are not permitted"). Groq: janhq/jan#8136 ("property '`reasoning_content`' is unsupported").
//! Cerebras: QwenLM/qwen-code#11045 and proxysoul/Empryo#209 (only `reasoning` is accepted). Google
//! ignores them in messages (QwenLM/qwen-code#3304), as `DeepSeek` does.
//!
//! Fields that bound the output on Chat Completions, read 2026-11-29. `max_completion_tokens` is
//! documented by OpenAI, Anthropic ("OpenAI SDK compatibility"), xAI (REST reference), Groq
//! (groq-python), Cerebras (its Python SDK), `OpenRouter` (OpenAPI document) and Moonshot
//! (platform.kimi.ai, "Chat"). `DeepSeek` ignores it (earendil-works/pi#8018, measured), and Mistral
//! refuses it (voideditor/void#128). Alibaba: "API compatibility upgrades" of 2026-11-02 says that
//! `max_tokens` does not always bound the thinking and that `max_completion_tokens` does.
//! `SiliconFlow`: "Reasoning" says that `max_tokens` excludes the chain of thought.

use super::EffortLevel::{High, Low, Max, Medium, Minimal, None as NoEffort, Xhigh};
use super::{
    AcceptedHistoryFields, CallIds, ChatSupport, EffortLevels, MediaKinds, ModelCapabilities,
    OutputBoundFields, RequiredContinuation, Sampling, SystemMessages, ThinkingMode,
};

const UNKNOWN: ModelCapabilities = ModelCapabilities::UNKNOWN;

/// A model whose family is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Family {
    /// A model of Anthropic, with its capabilities on the Messages API.
    Claude(ModelCapabilities),
    /// A model of another vendor.
    Other(ModelCapabilities),
}

/// OpenAI's fields that Google's compatible endpoint answers with "Unknown name" (ed-donner/agents#45,
/// MinLL/SkyrimNet-GamePlugin#77; ai.google.dev, "OpenAI compatibility", 2026-11).
const REFUSED_BY_GOOGLE: [&str; 10] = [
    "logit_bias",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
];

/// OpenAI's fields that Mistral answers with "Extra inputs are not permitted" (docs.mistral.ai, "Chat
/// completion endpoints", 2026-11, which lists the others; voideditor/void#128).
const REFUSED_BY_MISTRAL: [&str; 14] = [
    "audio",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "modalities",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "top_logprobs",
    "user",
    "verbosity",
    "web_search_options",
];

/// The values of Mistral's `reasoning_effort`.
const MISTRAL_EFFORTS: EffortLevels = EffortLevels::of(&[NoEffort, High]);

/// The family of a model's own name in small letters.
/// `is_routed` says that a path stood before it, so that a router or a host of open weights has the
/// model.
pub(super) fn by_name(name: &str, is_routed: bool) -> Option<Family> {
    if let Some((_, version)) = name.split_once("claude") {
        return Some(Family::Claude(claude(version)));
    }
    let other = openai(name)
        .or_else(|| google(name))
        .or_else(|| deepseek(name, is_routed))
        .or_else(|| mistral(name))
        .or_else(|| xai(name))
        .or_else(|| open_weights(name));
    other.map(Family::Other)
}

/// The capabilities at a host that adds rules of its own to every model.
pub(super) fn at_host(capabilities: ModelCapabilities, host: &str) -> ModelCapabilities {
    let is_at = |domain: &str| belongs_to(host, domain);
    let output_bound = bound_fields_at(is_at).unwrap_or(capabilities.output_bound);
    let names_completion_tokens = capabilities.names_completion_tokens
        || output_bound == OutputBoundFields::MaxCompletionTokens;
    let capabilities = ModelCapabilities { names_completion_tokens, output_bound, ..capabilities };
    if is_at("openai.com") {
        return ModelCapabilities {
            names_completion_tokens: true,
            system_messages: SystemMessages::Anywhere,
            history_fields: AcceptedHistoryFields::Openai,
            thinking_parts: false,
            ..capabilities
        };
    }
    if is_at("openai.azure.com") {
        return ModelCapabilities {
            system_messages: SystemMessages::Anywhere,
            history_fields: AcceptedHistoryFields::Openai,
            thinking_parts: false,
            ..capabilities
        };
    }
    if is_at("openrouter.ai") {
        let continuation = RequiredContinuation::ReasoningDetails;
        return ModelCapabilities {
            continuation,
            efforts: EffortLevels::ALL,
            // It translates for OpenAI's models itself.
            chat: ChatSupport::Full,
            names_completion_tokens: false,
            history_fields: AcceptedHistoryFields::All,
            thinking_parts: true,
            // It reads a PDF for any model (openrouter.ai, "PDF inputs", 2026-11).
            media: MediaKinds { pdf: true, ..capabilities.media },
            ..capabilities
        };
    }
    if is_at("groq.com") || is_at("cerebras.ai") {
        let history_fields = AcceptedHistoryFields::Reasoning;
        return ModelCapabilities { history_fields, thinking_parts: false, ..capabilities };
    }
    if is_at("googleapis.com") {
        return ModelCapabilities {
            refused_fields: &REFUSED_BY_GOOGLE,
            history_fields: AcceptedHistoryFields::All,
            thinking_parts: false,
            ..capabilities
        };
    }
    if is_at("mistral.ai") {
        return ModelCapabilities {
            refused_fields: &REFUSED_BY_MISTRAL,
            developer_role: false,
            stream_options: false,
            refuses_stream_options: true,
            history_fields: AcceptedHistoryFields::Content,
            call_ids: CallIds::Nine,
            thinking_parts: true,
            ..capabilities
        };
    }
    capabilities
}

/// The capabilities of `model` at a host that has rules for some models.
pub(super) fn of_model_at_host(
    capabilities: ModelCapabilities,
    model: &str,
    host: &str,
) -> ModelCapabilities {
    // anomalyco/opencode#4698
    let domains = ["databricks.com", "azuredatabricks.net"];
    let is_databricks = domains.iter().any(|domain| belongs_to(host, domain));
    if is_databricks && model.to_ascii_lowercase().contains("claude") {
        return ModelCapabilities {
            stream_options: false,
            refuses_stream_options: true,
            ..capabilities
        };
    }
    capabilities
}

/// Whether a host, perhaps with a port, is `domain` or below it.
fn belongs_to(host: &str, domain: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let start = name.len().checked_sub(domain.len());
    start.and_then(|start| name.split_at_checked(start)).is_some_and(|(rest, end)| {
        end.eq_ignore_ascii_case(domain) && (rest.is_empty() || rest.ends_with('.'))
    })
}

/// The fields that bound the output of every model at a host, if the host decides that. `is_at`
/// returns whether the host belongs to a domain.
fn bound_fields_at(is_at: impl Fn(&str) -> bool) -> Option<OutputBoundFields> {
    use OutputBoundFields::{AnswerAndThinking, Either, MaxCompletionTokens, MaxTokens};
    let is_at_any = |domains: &[&str]| domains.iter().any(|domain| is_at(domain));
    let reads_both = [
        "openai.com",
        "openai.azure.com",
        "openai.azure.us",
        "openai.azure.cn",
        "services.ai.azure.com",
        "cognitiveservices.azure.com",
        "fireworks.ai",
        "minimax.io",
        "openrouter.ai",
        "groq.com",
        "cerebras.ai",
        "x.ai",
        "anthropic.com",
        "moonshot.ai",
        "moonshot.cn",
    ];
    if is_at_any(&reads_both) {
        Some(Either)
    } else if is_at_any(&["aliyuncs.com", "volces.com", "bytepluses.com"]) {
        Some(MaxCompletionTokens)
    } else if is_at_any(&["siliconflow.cn", "siliconflow.com"]) {
        Some(AnswerAndThinking)
    } else if is_at_any(&["deepseek.com", "mistral.ai"]) {
        Some(MaxTokens)
    } else {
        None
    }
}

/// A version number, as `4-7`, `4.7` and `5` name it.
type Version = (u64, u64);

/// The capabilities of a Claude model on the Messages API. An unknown one is treated as new.
fn claude(name: &str) -> ModelCapabilities {
    let version = parse_version(name);
    let is_opus = name.contains("opus");
    let system_since = match name {
        _ if is_opus => (4, 8),
        _ if name.contains("sonnet") => (5, 1),
        _ => (5, 0),
    };
    let is_structured = version >= (4, 5) || (is_opus && version >= (4, 1));
    ModelCapabilities {
        context_tokens: Some(if version < (4, 6) { 200_000 } else { 1_000_000 }),
        output_tokens_max: Some(match version {
            _ if version < (3, 5) => 4_096,
            _ if version < (3, 7) => 8_192,
            _ if version < (4, 5) && is_opus => 32_000,
            _ if version < (4, 6) => 64_000,
            _ => 128_000,
        }),
        sampling: match version {
            _ if version < (4, 1) => Sampling::All,
            _ if version < (4, 7) => Sampling::OneOf,
            _ => Sampling::None,
        },
        output_bound: OutputBoundFields::Either,
        logprobs: false,
        efforts: match version {
            _ if version < (4, 6) => EffortLevels::EMPTY,
            _ if version < (4, 7) => EffortLevels::range(Low, High).with(Max),
            _ => EffortLevels::range(Low, Max),
        },
        system_messages: if version >= system_since {
            SystemMessages::AfterUser
        } else {
            SystemMessages::First
        },
        prefill: version < (4, 6),
        structured_outputs: is_structured,
        strict_tools: is_structured,
        media: MediaKinds {
            // The first generation reads no PDF (platform.claude.com, "PDF support").
            pdf: version >= (3, 5),
            ..MediaKinds::WITHOUT_AUDIO
        },
        thinking: match version {
            _ if version < (3, 7) => ThinkingMode::None,
            _ if version < (4, 6) => ThinkingMode::Budget,
            _ => ThinkingMode::Adaptive,
        },
        ..UNKNOWN
    }
}

/// Whether a reasoning model of OpenAI is on Responses only; see [`ChatSupport::Nothing`].
fn is_responses_only(name: &str) -> bool {
    let mut parts = name.split('-');
    name.contains("-deep-research") || parts.any(|part| matches!(part, "pro" | "codex"))
}

/// OpenAI's models. Their system messages can stand anywhere.
fn openai(name: &str) -> Option<ModelCapabilities> {
    if name.starts_with("codex-mini") || name.starts_with("computer-use-") {
        return Some(ModelCapabilities { chat: ChatSupport::Nothing, ..UNKNOWN });
    }
    let plain = ModelCapabilities {
        output_bound: OutputBoundFields::Either,
        efforts: EffortLevels::EMPTY,
        system_messages: SystemMessages::Anywhere,
        media: MediaKinds::IMAGES_AND_PDF,
        refused_fields: &["verbosity"],
        call_ids: CallIds::Short,
        history_fields: AcceptedHistoryFields::Openai,
        thinking_parts: false,
        ..UNKNOWN
    };
    let limits = |context, output| (Some(context), Some(output));
    if name.starts_with("gpt-4o") || name.starts_with("chatgpt-4o") {
        let is_first = name.contains("2024-05-13");
        let (context_tokens, output_tokens_max) =
            limits(128_000, if is_first { 4_096 } else { 16_384 });
        let media = if name.contains("audio") { MediaKinds::AUDIO } else { plain.media };
        return Some(ModelCapabilities { context_tokens, output_tokens_max, media, ..plain });
    }
    if name.starts_with("gpt-4.1") || name.starts_with("gpt-4.5") {
        let is_five = name.starts_with("gpt-4.5");
        let (context_tokens, output_tokens_max) =
            if is_five { limits(128_000, 16_384) } else { limits(1_047_576, 32_768) };
        return Some(ModelCapabilities { context_tokens, output_tokens_max, ..plain });
    }
    if name.starts_with("gpt-4-turbo") || name.starts_with("gpt-3.5") || name == "gpt-4" {
        let is_turbo = name.starts_with("gpt-4-turbo");
        let (context_tokens, output_tokens_max) = match name {
            _ if is_turbo => limits(128_000, 4_096),
            "gpt-4" => limits(8_192, 8_192),
            _ => limits(16_385, 4_096),
        };
        let media = if is_turbo { MediaKinds::IMAGES } else { MediaKinds::TEXT };
        let structured_outputs = false;
        let strict_tools = false;
        return Some(ModelCapabilities {
            context_tokens,
            output_tokens_max,
            structured_outputs,
            strict_tools,
            media,
            ..plain
        });
    }
    if let Some(version) = name.strip_prefix("gpt-").filter(|rest| rest.starts_with(['5', '6'])) {
        return Some(gpt_5(version, plain));
    }
    let is_o = ["o1", "o3", "o4"].iter().any(|start| {
        name.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    is_o.then(|| o_series(name, plain))
}

/// The reasoning models `o1` to `o4`.
fn o_series(name: &str, plain: ModelCapabilities) -> ModelCapabilities {
    let is_small = name.starts_with("o1-mini") || name.starts_with("o1-preview");
    let is_research = name.contains("deep-research");
    let is_mini_3 = name.starts_with("o3-mini");
    ModelCapabilities {
        context_tokens: Some(if is_small { 128_000 } else { 200_000 }),
        output_tokens_max: Some(match name {
            _ if name.starts_with("o1-mini") => 65_536,
            _ if is_small => 32_768,
            _ => 100_000,
        }),
        names_completion_tokens: true,
        sampling: Sampling::None,
        stop_sequences: name.starts_with("o1") || is_mini_3,
        logprobs: false,
        // The setting is not supported with reasoning models (OpenAI, "Function calling").
        parallel_calls: false,
        chat: if is_responses_only(name) { ChatSupport::Nothing } else { ChatSupport::Full },
        efforts: match name {
            _ if is_small => EffortLevels::EMPTY,
            _ if is_research => EffortLevels::of(&[Medium]),
            _ => EffortLevels::range(Low, High),
        },
        media: if is_small || is_mini_3 { MediaKinds::TEXT } else { plain.media },
        ..plain
    }
}

/// The reasoning models from `gpt-5` on. `name` starts with the version.
fn gpt_5(name: &str, plain: ModelCapabilities) -> ModelCapabilities {
    let version = parse_dotted_version(name);
    let is_pro = name.contains("-pro");
    let is_codex = name.contains("codex");
    let base = ModelCapabilities {
        context_tokens: Some(match version {
            _ if name.contains("mini") || name.contains("nano") => 272_000,
            (5, 4 | 5) => 1_050_000,
            _ if version >= (5, 6) => 922_000,
            _ => 272_000,
        }),
        output_tokens_max: Some(if is_pro && version == (5, 0) { 272_000 } else { 128_000 }),
        names_completion_tokens: true,
        stop_sequences: false,
        logprobs: false,
        refused_fields: &[],
        ..plain
    };
    if name.contains("chat") {
        return ModelCapabilities {
            context_tokens: Some(128_000),
            output_tokens_max: Some(16_384),
            sampling: if version == (5, 0) { Sampling::All } else { Sampling::None },
            ..base
        };
    }
    let most = match version {
        _ if name.contains("codex-max") => Xhigh,
        _ if version < (5, 2) => High,
        _ if version < (5, 6) => Xhigh,
        _ => Max,
    };
    let efforts = match version {
        (5, 0) if is_pro => EffortLevels::of(&[High]),
        _ if is_pro => EffortLevels::range(Medium, most),
        _ if is_codex => EffortLevels::range(Low, most),
        (5, 0) => EffortLevels::range(Minimal, High),
        _ => EffortLevels::range(Low, most).with(NoEffort),
    };
    let thinks_always = !efforts.contains(NoEffort);
    ModelCapabilities {
        sampling: if thinks_always { Sampling::None } else { Sampling::WithoutReasoning },
        efforts,
        chat: match version {
            _ if is_responses_only(name) => ChatSupport::Nothing,
            (5, 4 | 5) => ChatSupport::NoToolsWithEffort,
            (5, 6..) | (6.., _) => ChatSupport::NoToolsWithThinking,
            _ => ChatSupport::Full,
        },
        ..base
    }
}

/// Gemini behind Google's compatible endpoint, which refuses fields that it does not know.
fn google(name: &str) -> Option<ModelCapabilities> {
    let version = parse_dotted_version(name.strip_prefix("gemini-")?);
    let is_flash = name.contains("flash");
    Some(ModelCapabilities {
        context_tokens: Some(1_048_576),
        output_tokens_max: Some(if version < (2, 5) { 8_192 } else { 65_535 }),
        efforts: match version {
            _ if version < (2, 5) => EffortLevels::EMPTY,
            (2, 5) if is_flash => EffortLevels::range(Minimal, High).with(NoEffort),
            _ => EffortLevels::range(Minimal, High),
        },
        parallel_calls: false,
        logprobs: false,
        continuation: if version >= (3, 0) {
            RequiredContinuation::ThoughtSignatures
        } else {
            RequiredContinuation::None
        },
        refused_fields: &REFUSED_BY_GOOGLE,
        thinking_parts: false,
        ..UNKNOWN
    })
}

/// `DeepSeek`'s models. Routers and hosts of the weights fit efforts, schemas and forced tools to
/// their own servers.
fn deepseek(name: &str, is_routed: bool) -> Option<ModelCapabilities> {
    let rest = name.strip_prefix("deepseek-")?;
    let (is_new, is_chat) = (
        rest.starts_with("v4") || rest.starts_with("flash") || rest.starts_with("pro"),
        rest.starts_with("chat"),
    );
    let weights = ModelCapabilities {
        context_tokens: Some(if is_new { 1_000_000 } else { 131_072 }),
        output_tokens_max: match rest {
            _ if is_new => Some(393_216),
            _ if is_chat => Some(8_192),
            _ if rest.starts_with("reasoner") => Some(65_536),
            _ => None,
        },
        media: if rest.contains("vision") { MediaKinds::IMAGES } else { MediaKinds::TEXT },
        continuation: if is_new || rest.starts_with("reasoner") {
            RequiredContinuation::ReasoningContent
        } else {
            RequiredContinuation::None
        },
        thinking_parts: false,
        ..UNKNOWN
    };
    if is_routed {
        return Some(weights);
    }
    // "Create chat completion", `reasoning_effort`: `low` and `medium` are taken as `high`, `xhigh` as
    // `max`.
    Some(ModelCapabilities {
        efforts: if is_new { EffortLevels::of(&[High, Max]) } else { EffortLevels::EMPTY },
        effort_words: EffortLevels::range(Low, Max),
        structured_outputs: false,
        developer_role: false,
        thinking_switch: !is_chat,
        ..weights
    })
}

/// Mistral's models. Their API refuses fields that it does not know, `stream_options.include_usage`
/// among them (openai/openai-agents-python#442), ids of calls that are not nine letters and digits
/// (nearai/ironclaw#1241), a user's message after a tool's, and an assistant's at the end
/// (docs.mistral.ai, "Chat completion endpoints", 2026-11).
fn mistral(name: &str) -> Option<ModelCapabilities> {
    // A model that was fine-tuned has the name of its base behind `ft:`.
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    let names =
        ["mistral-", "magistral", "codestral", "devstral", "ministral", "pixtral", "voxtral"];
    if !starts(&names) && !starts(&["open-mistral", "open-mixtral", "open-codestral"]) {
        return None;
    }
    let reasons = starts(&["mistral-small-2603", "mistral-medium-3.5", "mistral-medium-3-5"])
        || starts(&["mistral-medium-2604", "mistral-large-4", "mistral-small-4"]);
    Some(ModelCapabilities {
        efforts: if reasons { MISTRAL_EFFORTS } else { EffortLevels::EMPTY },
        effort_words: MISTRAL_EFFORTS,
        logprobs: false,
        prefill: false,
        refused_fields: &REFUSED_BY_MISTRAL,
        developer_role: false,
        stream_options: false,
        call_ids: CallIds::Nine,
        history_fields: AcceptedHistoryFields::Content,
        user_after_tool: false,
        ..UNKNOWN
    })
}

fn xai(name: &str) -> Option<ModelCapabilities> {
    let rest = name.strip_prefix("grok-")?;
    let version = parse_dotted_version(rest);
    let is_mini_3 = rest.starts_with("3-mini");
    let reasons = version >= (4, 0) || is_mini_3 || rest.starts_with("code");
    let is_plain = rest.contains("non-reasoning") || !reasons;
    Some(ModelCapabilities {
        efforts: match version {
            _ if is_mini_3 => EffortLevels::of(&[Low, High]),
            _ if is_plain || rest.starts_with("code") => EffortLevels::EMPTY,
            _ if rest.contains("multi-agent") => EffortLevels::range(Low, Xhigh),
            // `4.20` is older than `4.3`.
            (4, 3..20) => EffortLevels::range(Low, High),
            _ => EffortLevels::EMPTY,
        },
        output_bound: OutputBoundFields::Either,
        stop_sequences: is_plain,
        system_messages: SystemMessages::Anywhere,
        ..UNKNOWN
    })
}

/// Families whose weights are open, so that any server can have them.
fn open_weights(name: &str) -> Option<ModelCapabilities> {
    // Kimi refuses calls without it ("thinking is enabled but `reasoning_content` is missing").
    if name.starts_with("kimi") && !name.contains("instruct") {
        let continuation = RequiredContinuation::ReasoningContent;
        return Some(ModelCapabilities { continuation, ..UNKNOWN });
    }
    if let Some(rest) = name.strip_prefix("qwen") {
        // Its chat template raises "Unexpected message role." (huggingface.co/Qwen, 2026-11).
        let media = qwen_media(rest);
        return Some(ModelCapabilities { media, developer_role: false, ..UNKNOWN });
    }
    if name.starts_with("qwq") || name.starts_with("gpt-oss") {
        return Some(ModelCapabilities { media: MediaKinds::TEXT, ..UNKNOWN });
    }
    ["kimi", "glm"].iter().any(|start| name.starts_with(start)).then_some(UNKNOWN)
}

/// What a Qwen model reads. The open models read texts only up to version 3, except those with a word
/// for it in their names, and images from 3.5 on (huggingface.co/Qwen; docs.nvidia.com, "Qwen3.8
/// 27B": "native vision-language model", 2026-11). No server of them reads a file ("Unknown part type:
/// file", langchain-ai/openwiki#63). A name without a version can be any model.
fn qwen_media(rest: &str) -> MediaKinds {
    let has = |words: &[&str]| words.iter().any(|word| rest.contains(word));
    let is_text = has(&["coder", "math"])
        || rest.starts_with(|first: char| first.is_ascii_digit())
            && parse_dotted_version(rest) < (3, 5)
            && !has(&["vl", "omni", "audio", "vision"]);
    if is_text {
        return MediaKinds::TEXT;
    }
    MediaKinds { pdf: false, ..MediaKinds::ALL }
}

/// The version in `-opus-4-7`, `-3-5-sonnet-20241022`, `-sonnet-4-20250514`: the first one or two
/// short numbers. A name without numbers counts as the newest version.
fn parse_version(name: &str) -> Version {
    let mut numbers = name
        .split(['-', '.', '@', '_', ':', '['])
        .skip_while(|part| !is_short_number(part))
        .take_while(|part| is_short_number(part))
        .filter_map(|part| part.parse().ok());
    numbers.next().map_or((u64::MAX, 0), |major| (major, numbers.next().unwrap_or(0)))
}

/// The version at the beginning of `5.1-codex`, `5-mini`, `2.5-flash`.
fn parse_dotted_version(name: &str) -> Version {
    let end = name.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(name.len());
    let mut numbers = name[..end].split('.').filter_map(|part| part.parse().ok());
    numbers.next().map_or((u64::MAX, 0), |major| (major, numbers.next().unwrap_or(0)))
}

fn is_short_number(part: &str) -> bool {
    (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
}
