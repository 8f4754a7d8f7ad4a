//! Tests of the capabilities of models.

use super::*;
use proptest::prelude::*;

fn at_anthropic(model: &str) -> ModelCapabilities {
    ModelCapabilities::of(Provider::Anthropic, model, "api.anthropic.com")
}

fn at_openai(model: &str) -> ModelCapabilities {
    ModelCapabilities::of(Provider::OpenaiCompatible, model, "api.openai.com")
}

fn words(levels: EffortLevels) -> String {
    levels.levels().map(EffortLevel::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn claude_capabilities_follow_from_the_generation() {
    use Sampling::{All, None as Never, OneOf};
    use ThinkingMode::{Adaptive, Budget, None as No};
    let check = |model, thinking, sampling, system_turns, output, efforts: &str| {
        let model_capabilities = at_anthropic(model);
        assert_eq!(model_capabilities.thinking, thinking, "{model}");
        assert_eq!(model_capabilities.sampling, sampling, "{model}");
        let turns = model_capabilities.system_messages == SystemMessages::AfterUser;
        assert_eq!(turns, system_turns, "{model}");
        assert_eq!(model_capabilities.output_tokens_max, Some(output), "{model}");
        assert_eq!(words(model_capabilities.efforts), efforts, "{model}");
    };
    let (four_six, newest) = ("low medium high max", "low medium high xhigh max");
    check("claude-3-haiku-20240307", No, All, false, 4_096, "");
    check("claude-3-5-sonnet-20241022", No, All, false, 8_192, "");
    check("claude-3-7-sonnet-latest", Budget, All, false, 64_000, "");
    check("claude-sonnet-4-20250514", Budget, All, false, 64_000, "");
    check("claude-opus-4-1-20250805", Budget, OneOf, false, 32_000, "");
    check("claude-sonnet-4-5-20250929", Budget, OneOf, false, 64_000, "");
    check("us.anthropic.claude-opus-4-6-v1:0", Adaptive, OneOf, false, 128_000, four_six);
    check("anthropic/claude-opus-4.7", Adaptive, Never, false, 128_000, newest);
    check("claude-opus-4-8", Adaptive, Never, true, 128_000, newest);
    check("claude-sonnet-5", Adaptive, Never, false, 128_000, newest);
    check("claude-sonnet-5-5", Adaptive, Never, true, 128_000, newest);
    check("claude-haiku-5-5", Adaptive, Never, true, 128_000, newest);
    check("claude-opus-5-5[1m]", Adaptive, Never, true, 128_000, newest);
    check("claude-mythos-preview", Adaptive, Never, true, 128_000, newest);
    let other = at_anthropic("glm-5");
    assert_eq!((other.thinking, other.sampling), (Budget, All));
    assert_eq!(other.default_max_tokens(), 8_192);
}

#[test]
fn openai_capabilities_follow_from_the_family() {
    use ChatSupport::{Full, NoToolsWithEffort, NoToolsWithThinking, Nothing};
    use Sampling::{All, None as Never, WithoutReasoning};
    let check = |model, sampling, stops, efforts: &str, chat, output| {
        let capabilities = at_openai(model);
        assert_eq!(capabilities.sampling, sampling, "{model}");
        assert_eq!(capabilities.stop_sequences, stops, "{model}");
        assert_eq!(words(capabilities.efforts), efforts, "{model}");
        assert_eq!(capabilities.chat, chat, "{model}");
        assert_eq!(capabilities.output_tokens_max, Some(output), "{model}");
    };
    check("gpt-4o", All, true, "", Full, 16_384);
    check("gpt-4o-2024-08-06", All, true, "", Full, 16_384);
    check("gpt-4.1-mini", All, true, "", Full, 32_768);
    check("gpt-4.5-preview", All, true, "", Full, 16_384);
    check("o1", Never, true, "low medium high", Full, 100_000);
    check("o3-mini", Never, true, "low medium high", Full, 100_000);
    check("o3", Never, false, "low medium high", Full, 100_000);
    check("gpt-5", Never, false, "minimal low medium high", Full, 128_000);
    check("gpt-5-mini-2025-08-07", Never, false, "minimal low medium high", Full, 128_000);
    check("gpt-5-pro", Never, false, "high", Nothing, 272_000);
    check("gpt-5-chat-latest", All, false, "", Full, 16_384);
    check("gpt-5.1", WithoutReasoning, false, "none low medium high", Full, 128_000);
    check("gpt-5.1-codex-max", Never, false, "low medium high xhigh", Nothing, 128_000);
    let newer = "none low medium high xhigh";
    check("gpt-5.2", WithoutReasoning, false, newer, Full, 128_000);
    check("gpt-5.4", WithoutReasoning, false, newer, NoToolsWithEffort, 128_000);
    check("openai/gpt-5.5-2026-04-23", WithoutReasoning, false, newer, NoToolsWithEffort, 128_000);
    let newest = "none low medium high xhigh max";
    check("gpt-5.6-sol", WithoutReasoning, false, newest, NoToolsWithThinking, 128_000);
}

#[test]
fn other_vendors_and_hosts_have_their_own_rules() {
    let at = |model, host| ModelCapabilities::of(Provider::OpenaiCompatible, model, host);
    assert_eq!(at("made-up", "127.0.0.1:8000"), ModelCapabilities::UNKNOWN);
    let reasoning = RequiredContinuation::ReasoningContent;
    assert_eq!(at("deepseek-v4-pro", "api.deepseek.com").continuation, reasoning);
    assert_eq!(at("deepseek-chat", "api.deepseek.com").continuation, RequiredContinuation::None);
    assert_eq!(at("moonshotai/Kimi-K2-Thinking", "localhost").continuation, reasoning);
    let gemini = at("gemini-3.1-pro-preview", "generativelanguage.googleapis.com");
    assert_eq!(gemini.continuation, RequiredContinuation::ThoughtSignatures);
    assert!(gemini.refused_fields.contains(&"store"));
    assert!(at("mistral-large-latest", "localhost").refused_fields.contains(&"user"));
    let own = at("deepseek-v4-pro", "gateway.example");
    let routed = at("deepseek/deepseek-v4-pro", "openrouter.ai");
    assert!(own.thinking_switch && !own.structured_outputs);
    assert!(!routed.thinking_switch && routed.structured_outputs);
    assert_eq!(routed.efforts, EffortLevels::ALL);
    let routed = at("anthropic/claude-sonnet-4.6", "openrouter.ai");
    assert_eq!(routed.continuation, RequiredContinuation::ReasoningDetails);
    assert_eq!((routed.sampling, routed.efforts), (Sampling::OneOf, EffortLevels::ALL));
    assert_eq!(words(at("deepseek-v4-pro", "api.deepseek.com").efforts), "high max");
    assert_eq!(words(at("grok-4", "api.x.ai").efforts), "");
    assert_eq!(words(at("grok-4.5", "api.x.ai").efforts), "low medium high");
    assert_eq!(at("qwen3.8-27b", "localhost").system_messages, SystemMessages::First);
    assert_eq!(at("gpt-5.5", "localhost").system_messages, SystemMessages::Anywhere);
    assert!(at("made-up", "api.openai.com").names_completion_tokens);
    assert!(!at("made-up", "notopenai.com").names_completion_tokens);
}

#[test]
fn fields_of_answers_follow_from_the_host_or_the_plain_name() {
    use AcceptedHistoryFields::{All, Content, Openai, Reasoning};
    for (model, host, fields, has_thinking_parts) in [
        ("made-up", "127.0.0.1:8000", All, true),
        ("made-up", "api.openai.com", Openai, false),
        ("gpt-5.5", "gateway.example", Openai, false),
        ("openai/gpt-5.5", "gateway.example", All, true),
        ("openai/gpt-5.5", "openrouter.ai", All, true),
        ("my-deployment", "my.openai.azure.com", Openai, false),
        ("made-up", "api.mistral.ai", Content, true),
        ("mistral-large-latest", "localhost", Content, true),
        ("mistralai/mistral-large", "openrouter.ai", All, true),
        ("openai/gpt-oss-120b", "api.groq.com", Reasoning, false),
        ("qwen-3.8-27b", "api.cerebras.ai", Reasoning, false),
        ("gemini-3-pro", "generativelanguage.googleapis.com", All, false),
        ("deepseek-v4-pro", "api.deepseek.com", All, false),
        ("qwen3.8-27b", "localhost", All, true),
    ] {
        let capabilities = ModelCapabilities::of(Provider::OpenaiCompatible, model, host);
        let found = (capabilities.history_fields, capabilities.thinking_parts);
        assert_eq!(found, (fields, has_thinking_parts), "{model} {host}");
    }
}

/// Sources are at the top of `families`.
#[test]
fn fields_that_bound_the_output_follow_from_the_host_or_the_name() {
    use OutputBoundFields::{AnswerAndThinking, Either, MaxCompletionTokens, MaxTokens};
    for (model, host, fields) in [
        ("deepseek-v4-pro", "api.deepseek.com", MaxTokens),
        ("deepseek-v4-pro", "127.0.0.1:8000", MaxTokens),
        ("gpt-5.5", "api.deepseek.com", MaxTokens),
        ("mistral-large-latest", "api.mistral.ai", MaxTokens),
        ("made-up", "localhost", MaxTokens),
        ("glm-5", "api.z.ai", MaxTokens),
        ("openai/gpt-oss-120b", "api.together.xyz", MaxTokens),
        ("made-up", "notx.ai", MaxTokens),
        ("made-up", "api.openai.com", Either),
        ("my-deployment", "my.openai.azure.com", Either),
        ("prod-52", "my.services.ai.azure.com", Either),
        ("prod-52", "my.cognitiveservices.azure.com", Either),
        ("accounts/fireworks/models/glm-5", "api.fireworks.ai", Either),
        ("MiniMax-M3", "api.minimax.io", Either),
        ("deepseek/deepseek-v4-pro", "openrouter.ai", Either),
        ("openai/gpt-oss-120b", "api.groq.com", Either),
        ("qwen-3.8-27b", "api.cerebras.ai", Either),
        ("kimi-k2.6", "api.moonshot.ai", Either),
        ("kimi-k2.6", "localhost", MaxTokens),
        ("gpt-5.5", "localhost", Either),
        ("openai/gpt-4o", "gateway.example", Either),
        ("claude-opus-5-5", "gateway.example", Either),
        ("grok-4.5", "gateway.example", Either),
        ("qwen3.5-plus", "dashscope-intl.aliyuncs.com", MaxCompletionTokens),
        ("deepseek-v4-pro", "dashscope.aliyuncs.com", MaxCompletionTokens),
        ("doubao-seed-2", "ark.cn-beijing.volces.com", MaxCompletionTokens),
        ("Pro/zai-org/GLM-5", "api.siliconflow.cn", AnswerAndThinking),
    ] {
        let capabilities = ModelCapabilities::of(Provider::OpenaiCompatible, model, host);
        assert_eq!(capabilities.output_bound, fields, "{model} {host}");
        let names = capabilities.names_completion_tokens;
        assert!(names || fields != MaxCompletionTokens, "the translation bounds: {model} {host}");
        assert!(!names || fields != MaxTokens || host.contains("deepseek"), "{model} {host}");
    }
}

#[test]
fn media_of_open_models_follow_from_a_name_that_says_so() {
    for (model, host, images, pdf) in [
        ("qwen3-32b", "localhost", false, false),
        ("Qwen/Qwen2.5-72B-Instruct", "localhost", false, false),
        ("qwen3-next-80b-a3b-instruct", "localhost", false, false),
        ("qwen3-coder-480b-a35b-instruct", "localhost", false, false),
        ("qwen3-coder-plus", "dashscope.aliyuncs.com", false, false),
        ("qwq-32b", "localhost", false, false),
        ("openai/gpt-oss-120b", "api.groq.com", false, false),
        ("qwen2.5-vl-7b-instruct", "localhost", true, false),
        ("qwen3-vl-plus", "localhost", true, false),
        ("qwen3-omni-30b-a3b", "localhost", true, false),
        ("qwen3.5-27b", "localhost", true, false),
        ("qwen3.8-27b", "localhost", true, false),
        ("qwen-plus", "localhost", true, false),
        ("qwen/qwen3-32b", "openrouter.ai", false, true),
        ("made-up", "localhost", true, true),
    ] {
        let media = ModelCapabilities::of(Provider::OpenaiCompatible, model, host).media;
        assert_eq!((media.images, media.pdf), (images, pdf), "{model} {host}");
    }
}

#[test]
fn chat_support_follows_from_the_name_and_the_host() {
    use ChatSupport::{Full, NoToolsWithEffort, NoToolsWithThinking, Nothing};
    let support = |model, host| ModelCapabilities::of(Provider::OpenaiCompatible, model, host).chat;
    for (model, expected) in [
        ("gpt-4o", Full),
        ("gpt-4.1-mini", Full),
        ("gpt-5", Full),
        ("gpt-5-chat-latest", Full),
        ("gpt-5.2-2025-12-11", Full),
        ("gpt-oss-120b", Full),
        ("o3", Full),
        ("o4-mini", Full),
        ("gemini-3-pro", Full),
        ("claude-opus-5-5", Full),
        ("qwen3-codex-pro", Full),
        ("my-gpt-5.5", Full),
        ("gpt-5.4", NoToolsWithEffort),
        ("gpt-5.4-mini-2026-03-17", NoToolsWithEffort),
        ("openai/gpt-5.5", NoToolsWithEffort),
        ("gpt-5.6-terra", NoToolsWithThinking),
        ("gpt-5.10", NoToolsWithThinking),
        ("gpt-6-astra", NoToolsWithThinking),
        ("gpt-5-codex", Nothing),
        ("gpt-5.1-codex-max", Nothing),
        ("gpt-5.3-codex", Nothing),
        ("gpt-5.5-pro", Nothing),
        ("gpt-5-pro-2025-10-06", Nothing),
        ("o3-pro", Nothing),
        ("o3-deep-research", Nothing),
        ("codex-mini-latest", Nothing),
        ("computer-use-preview", Nothing),
    ] {
        assert_eq!(support(model, "api.openai.com"), expected, "{model}");
        assert_eq!(support(model, "a.example"), expected, "{model}");
        assert_eq!(support(model, "openrouter.ai"), Full, "{model}");
    }
}

#[test]
fn nearest_level_of_effort_is_chosen() {
    let check = |model: &str, requested: &str, expect: Option<&str>| {
        let nearest = at_openai(model).efforts.nearest(EffortLevel::parse(requested).unwrap());
        assert_eq!(nearest.map(EffortLevel::as_str), expect, "{model} {requested}");
    };
    check("gpt-4o", "high", None);
    check("gpt-5", "none", Some("minimal"));
    check("gpt-5", "max", Some("high"));
    check("gpt-5.5", "max", Some("xhigh"));
    check("gpt-5.5", "minimal", Some("low"));
    check("o3", "minimal", Some("low"));
    check("gpt-5-pro", "low", Some("high"));
    check("deepseek-v4-flash", "xhigh", Some("max"));
    check("deepseek-v4-flash", "low", Some("high"));
}

proptest! {
    #[test]
    fn every_name_has_capabilities(model in "\\PC{0,40}", host in "\\PC{0,20}") {
        for provider in [Provider::Anthropic, Provider::Bedrock, Provider::OpenaiCompatible] {
            ModelCapabilities::of(provider, &model, &host);
        }
    }

    #[test]
    fn nearest_level_belongs_to_the_set(bits in 0_u8..=0x7f, at in 0_usize..7) {
        let set = EffortLevels(bits);
        let nearest = set.nearest(EffortLevel::ALL[at]);
        prop_assert_eq!(nearest.is_none(), set.is_empty());
        prop_assert!(nearest.is_none_or(|level| set.contains(level)));
    }
}

/// Sources are in `families`.
#[test]
fn stream_options_follow_from_the_host_or_the_name() {
    for (model, host, expected) in [
        ("made-up", "localhost", true),
        ("made-up", "api.mistral.ai", false),
        ("mistral-large-latest", "localhost", false),
        ("databricks-llama-4", "adb-1.2.azuredatabricks.net", true),
        ("open-mistral-nemo", "localhost", false),
        ("ft:open-mistral-7b:1:x", "localhost", false),
        ("voxtral-small-latest", "localhost", false),
        ("databricks-claude-sonnet-4-5", "adb-1.2.azuredatabricks.net", false),
        ("gpt-5.5", "api.openai.com", true),
    ] {
        let capabilities = ModelCapabilities::of(Provider::OpenaiCompatible, model, host);
        assert_eq!(capabilities.stream_options, expected, "{model} {host}");
        let is_refused = !expected && host != "localhost";
        assert_eq!(capabilities.refuses_stream_options, is_refused, "{model} {host}");
        let stated = StatedCapabilities { stream_options: Some(true), ..Default::default() };
        let own = OwnCapabilities { stated, ..Default::default() };
        assert!(capabilities.with_own(own).stream_options);
    }
}
