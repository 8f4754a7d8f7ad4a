//! Accounts of Baton whose upstream is a strict twin of a vendor.
//!
//! The account has the vendor's own address, because Baton fits requests to the host as well. The
//! twin is its proxy, so that nothing leaves this machine.

use baton_test_vendors::{Twin, Vendor};
use serde_json::{Value, json};

use crate::eventually::eventually;
use crate::system::{SOON, TestKey, TestSystem, tokens};
use crate::upstream::ServedTokens;

/// An account at a vendor, and the model to which it maps all models.
#[derive(Clone, Copy, Debug)]
pub struct TwinUpstream {
    /// The name in tables.
    pub name: &'static str,
    /// The vendor.
    pub vendor: Vendor,
    /// The vendor's address. The scheme is not `https`, because the twin is an HTTP proxy.
    base_url: &'static str,
    model: &'static str,
    speaks_responses: bool,
    /// Whether its model tells what it thinks.
    pub shows_thinking: bool,
}

/// An account for each vendor. OpenAI has two, for its two APIs.
pub const TWIN_UPSTREAMS: [TwinUpstream; 8] = [
    upstream("Anthropic", Vendor::Anthropic, "http://api.anthropic.com", "claude-opus-5-5"),
    upstream(
        "Amazon Bedrock",
        Vendor::Bedrock,
        "http://bedrock-runtime.us-east-1.amazonaws.com",
        "us.anthropic.claude-opus-4-8-v1:0",
    ),
    upstream("OpenAI Chat", Vendor::Openai, "http://api.openai.com", "gpt-5.5"),
    TwinUpstream {
        speaks_responses: true,
        ..upstream("OpenAI Responses", Vendor::Openai, "http://api.openai.com", "gpt-5.5")
    },
    upstream(
        "Gemini",
        Vendor::Gemini,
        "http://generativelanguage.googleapis.com/v1beta/openai",
        "gemini-3-pro",
    ),
    upstream("DeepSeek", Vendor::DeepSeek, "http://api.deepseek.com", "deepseek-v4-pro"),
    upstream("Mistral", Vendor::Mistral, "http://api.mistral.ai", "mistral-large-latest"),
    upstream("Qwen on vLLM", Vendor::Qwen, "http://vllm.example", "qwen3.8-27b"),
];

const fn upstream(
    name: &'static str,
    vendor: Vendor,
    base_url: &'static str,
    model: &'static str,
) -> TwinUpstream {
    let shows_thinking =
        matches!(vendor, Vendor::Anthropic | Vendor::Bedrock | Vendor::DeepSeek | Vendor::Qwen);
    TwinUpstream { name, vendor, base_url, model, speaks_responses: false, shows_thinking }
}

impl TwinUpstream {
    /// Creates a key in a new group of this name, whose only account is at this twin.
    pub async fn key(&self, system: &TestSystem, name: &str, twin: &Twin) -> TestKey {
        let group = system.group(name).await;
        let provider = match self.vendor {
            Vendor::Anthropic => "anthropic",
            Vendor::Bedrock => "bedrock",
            Vendor::Openai | Vendor::Gemini | Vendor::DeepSeek | Vendor::Mistral | Vendor::Qwen => {
                "openai_compatible"
            }
        };
        let fields = json!({
            "provider": provider, "speaks_responses": self.speaks_responses,
            "model_map": {"*": self.model}, "groups": [group], "proxy_url": twin.url(),
        });
        system.account_with(name, self.base_url, fields).await;
        system.key(name).group(&group).create().await
    }
}

/// Waits until the tokens in the summary of a key are those that the twin served.
pub async fn summary_equals_twin(system: &TestSystem, key: &TestKey, twin: &Twin) {
    let mut served = ServedTokens::default();
    twin.ledger().iter().for_each(|entry| served.add(served_tokens(&entry.usage)));
    eventually("the summary equals the twin's ledger", SOON, async || {
        let rows = system.summary("by=key").await;
        let row = rows.iter().find(|row| row["group"]["key"] == key.id.as_str());
        let summed = row.map_or_else(ServedTokens::default, tokens);
        if summed == served { Ok(()) } else { Err((summed, served)) }
    })
    .await;
}

/// The tokens in a usage of any vendor. All tokens that are neither of the prompt nor of the
/// visible answer are of the output (Gemini's thinking).
fn served_tokens(usage: &Value) -> ServedTokens {
    let number = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    if usage.get("cache_read_input_tokens").is_some() {
        return ServedTokens {
            input: number("/input_tokens"),
            output: number("/output_tokens"),
            cache_read: number("/cache_read_input_tokens"),
            ..ServedTokens::default()
        };
    }
    let prompt = number("/prompt_tokens") + number("/input_tokens");
    let cached = number("/prompt_tokens_details/cached_tokens")
        + number("/input_tokens_details/cached_tokens");
    ServedTokens {
        input: prompt - cached,
        output: number("/total_tokens") - prompt,
        cache_read: cached,
        ..ServedTokens::default()
    }
}
