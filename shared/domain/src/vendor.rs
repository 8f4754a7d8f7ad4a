//! The vendors of models, and how an account's settings and a model's name tell which one it is.

use crate::account::Provider;

/// A vendor of models, or a host that asks own prices for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vendor {
    /// Anthropic's own API.
    Anthropic,
    /// Microsoft Azure.
    Azure,
    /// Amazon Bedrock.
    Bedrock,
    /// Cerebras.
    Cerebras,
    /// Cohere.
    Cohere,
    /// Alibaba's Model Studio.
    Dashscope,
    /// `DeepSeek`.
    Deepseek,
    /// Fireworks AI.
    Fireworks,
    /// Google, Gemini API and Vertex AI.
    Google,
    /// Groq.
    Groq,
    /// Mistral.
    Mistral,
    /// Moonshot AI.
    Moonshot,
    /// `OpenAI`.
    Openai,
    /// Perplexity.
    Perplexity,
    /// Together AI.
    Together,
    /// xAI.
    Xai,
    /// Z.ai.
    Zai,
}

impl Vendor {
    /// All vendors, in the order of their names.
    pub const ALL: [Self; 17] = [
        Self::Anthropic,
        Self::Azure,
        Self::Bedrock,
        Self::Cerebras,
        Self::Cohere,
        Self::Dashscope,
        Self::Deepseek,
        Self::Fireworks,
        Self::Google,
        Self::Groq,
        Self::Mistral,
        Self::Moonshot,
        Self::Openai,
        Self::Perplexity,
        Self::Together,
        Self::Xai,
        Self::Zai,
    ];

    /// The name in the catalog and in the version of a price.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Azure => "azure",
            Self::Bedrock => "bedrock",
            Self::Cerebras => "cerebras",
            Self::Cohere => "cohere",
            Self::Dashscope => "dashscope",
            Self::Deepseek => "deepseek",
            Self::Fireworks => "fireworks",
            Self::Google => "google",
            Self::Groq => "groq",
            Self::Mistral => "mistral",
            Self::Moonshot => "moonshot",
            Self::Openai => "openai",
            Self::Perplexity => "perplexity",
            Self::Together => "together",
            Self::Xai => "xai",
            Self::Zai => "zai",
        }
    }

    /// The vendor of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.as_str() == name)
    }

    /// The ends of the hosts at which the vendor sells.
    fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::Anthropic => &["anthropic.com"],
            Self::Azure => &["azure.com", "azure.us", "azure.cn"],
            Self::Bedrock => &["amazonaws.com", "amazonaws.com.cn", "api.aws"],
            Self::Cerebras => &["cerebras.ai"],
            Self::Cohere => &["cohere.com", "cohere.ai"],
            Self::Dashscope => &["aliyuncs.com"],
            Self::Deepseek => &["deepseek.com"],
            Self::Fireworks => &["fireworks.ai"],
            Self::Google => &["googleapis.com"],
            Self::Groq => &["groq.com"],
            Self::Mistral => &["mistral.ai"],
            Self::Moonshot => &["moonshot.ai", "moonshot.cn"],
            Self::Openai => &["openai.com"],
            Self::Perplexity => &["perplexity.ai"],
            Self::Together => &["together.ai", "together.xyz"],
            Self::Xai => &["x.ai"],
            Self::Zai => &["z.ai", "bigmodel.cn"],
        }
    }

    /// The vendor of every account of this provider; `None` if its accounts can have any vendor.
    pub(crate) fn of_provider(provider: Provider) -> Option<Self> {
        match provider {
            Provider::Bedrock => Some(Self::Bedrock),
            Provider::Anthropic | Provider::OpenaiCompatible => None,
        }
    }

    /// The vendor of an account, if its provider or its base URL says which it is.
    pub fn of_account(provider: Provider, base_url: &str) -> Option<Self> {
        let by_host = || {
            let host = host_of(base_url).to_ascii_lowercase();
            let ends_with = |end: &str| {
                host.strip_suffix(end)
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            };
            Self::ALL.into_iter().find(|vendor| vendor.hosts().iter().any(|end| ends_with(end)))
        };
        Self::of_provider(provider).or_else(by_host)
    }

    /// The region in the base URL of an account, where prices differ by region.
    pub(crate) fn region_of(self, base_url: &str) -> Option<&str> {
        if self != Self::Bedrock {
            return None;
        }
        let is_region = |part: &&str| {
            part.matches('-').count() >= 2 && part.ends_with(|c: char| c.is_ascii_digit())
        };
        host_of(base_url).split('.').find(is_region)
    }

    /// Whether the vendor serves models of its own only, apart from those in the catalog. Others are
    /// hosts of open models, or of models of several vendors.
    pub(crate) fn sells_only_own_models(self) -> bool {
        match self {
            Self::Anthropic
            | Self::Cohere
            | Self::Deepseek
            | Self::Google
            | Self::Mistral
            | Self::Moonshot
            | Self::Openai
            | Self::Xai
            | Self::Zai => true,
            Self::Azure
            | Self::Bedrock
            | Self::Cerebras
            | Self::Dashscope
            | Self::Fireworks
            | Self::Groq
            | Self::Perplexity
            | Self::Together => false,
        }
    }

    /// The vendor that makes the model, by the beginnings of its models' names.
    pub(crate) fn of_model(name: &str) -> Option<Self> {
        let starts = |begins: &[&str]| begins.iter().any(|begin| name.starts_with(begin));
        let makers: [(Self, &[&str]); 9] = [
            (Self::Openai, &["gpt-", "o1", "o3", "o4", "chatgpt-", "codex-", "chat-latest"]),
            (Self::Google, &["gemini-"]),
            (Self::Deepseek, &["deepseek-"]),
            (Self::Xai, &["grok-"]),
            (Self::Moonshot, &["kimi-", "moonshot-"]),
            (Self::Zai, &["glm-"]),
            (Self::Cohere, &["command-"]),
            (Self::Dashscope, &["qwen", "qwq-"]),
            (
                Self::Mistral,
                &["mistral-", "ministral-", "codestral-", "magistral-", "devstral-", "pixtral-"],
            ),
        ];
        makers.into_iter().find(|(_, begins)| starts(begins)).map(|(vendor, _)| vendor)
    }
}

/// The host in a base URL.
fn host_of(base_url: &str) -> &str {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    rest.split(['/', ':', '?', '#']).next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_follows_from_the_base_url() {
        let check = |url, vendor| {
            assert_eq!(Vendor::of_account(Provider::OpenaiCompatible, url), vendor, "{url}");
        };
        check("https://api.openai.com/v1", Some(Vendor::Openai));
        check("https://x.openai.azure.com/openai/v1", Some(Vendor::Azure));
        check("https://generativelanguage.googleapis.com/v1beta/openai", Some(Vendor::Google));
        check("https://api.x.ai", Some(Vendor::Xai));
        check("https://notx.ai", None);
        check("http://127.0.0.1:8080", None);
        let bedrock = Vendor::of_account(Provider::Bedrock, "http://127.0.0.1:1");
        assert_eq!(bedrock, Some(Vendor::Bedrock));
    }

    #[test]
    fn vendor_follows_the_provider_where_no_host_is_needed() {
        assert_eq!(Vendor::of_account(Provider::Bedrock, ""), Some(Vendor::Bedrock));
    }
}
