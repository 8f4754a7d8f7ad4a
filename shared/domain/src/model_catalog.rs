//! The built-in catalog: what vendors ask for their models, and how much a model reads and writes.
//!
//! `models.txt` has a line for each vendor and model, in the order of their names. A lookup is a
//! binary search in that text, so nothing is built at start and only the found line is parsed. The
//! file is made by `cargo run -p baton-domain --example model_catalog -- FILE` from the public list
//! of prices of LiteLLM ([`crate::litellm_prices`]).

use crate::account::Provider;
use crate::model::base_id;
use crate::price::{LongPromptRates, ModelPrice, ServiceTier, TierPrice, TokenRates};
use std::fmt::Write as _;

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

    /// The vendor of an account, if its base URL says which it is.
    pub fn of_account(provider: Provider, base_url: &str) -> Option<Self> {
        match provider {
            Provider::Bedrock => Some(Self::Bedrock),
            Provider::Anthropic | Provider::OpenaiCompatible => {
                let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
                let host = rest.split(['/', ':', '?', '#']).next()?.to_ascii_lowercase();
                let ends_with = |end: &str| {
                    host.strip_suffix(end)
                        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
                };
                Self::ALL.into_iter().find(|vendor| vendor.hosts().iter().any(|end| ends_with(end)))
            }
        }
    }

    /// The region in the base URL of an account, where prices differ by region.
    pub fn region_of(self, base_url: &str) -> Option<&str> {
        if self != Self::Bedrock {
            return None;
        }
        let host = base_url.split("://").last()?.split(['/', ':']).next()?;
        let is_region = |part: &&str| {
            part.matches('-').count() >= 2 && part.ends_with(|c: char| c.is_ascii_digit())
        };
        host.split('.').find(is_region)
    }

    /// The vendor that makes the model, by the beginnings of its models' names.
    fn of_model(name: &str) -> Option<Self> {
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

/// The catalog's text. A line has a key `vendor/model` and fields that begin with a letter each.
static MODELS: &str = include_str!("../models.txt");

/// The entry of a model at a vendor: that of the region if there is one; by the id as given, by the
/// id at the end of an ARN, else by the base ([`base_id`]).
pub fn entry(vendor: Vendor, region: Option<&str>, model: &str) -> Option<ModelPrice> {
    let model = model.to_ascii_lowercase();
    let last = model.rsplit('/').next().unwrap_or(&model);
    [model.as_str(), last, base_id(&model)].into_iter().find_map(|id| {
        let regional = || find(vendor, &format!("{}/{id}", region?));
        regional().or_else(|| find(vendor, id))
    })
}

/// The vendor that makes the model, if its name says so.
pub fn maker_of(model: &str) -> Option<Vendor> {
    let lower = model.to_ascii_lowercase();
    let name = base_id(lower.rsplit('/').next().unwrap_or(&lower));
    let claude = || name.starts_with("claude-").then_some(Vendor::Anthropic);
    Vendor::of_model(name).or_else(claude)
}

/// The entry of a model at the vendor that makes it, for hosts whose own prices are not known.
pub fn makers_entry(model: &str) -> Option<ModelPrice> {
    let lower = model.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    entry(Vendor::of_model(name)?, None, name)
}

/// Every entry: the vendor, the model's id and its price, by their names.
pub fn entries() -> impl Iterator<Item = (Vendor, &'static str, ModelPrice)> {
    MODELS.lines().filter_map(|line| {
        let (vendor, model) = line.split(' ').next()?.split_once('/')?;
        Some((Vendor::from_name(vendor)?, model, parse_line(line)?))
    })
}

/// The version of the catalog, in its first line.
pub fn version() -> &'static str {
    MODELS.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default()
}

fn find(vendor: Vendor, id: &str) -> Option<ModelPrice> {
    let key = format!("{}/{id}", vendor.as_str());
    let (mut low, mut high) = (0, MODELS.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let start = MODELS.as_bytes()[low..middle].iter().rposition(|byte| *byte == b'\n');
        let start = start.map_or(low, |at| low + at + 1);
        let rest = MODELS.get(start..)?;
        let line = rest.split('\n').next()?;
        match line.split(' ').next()?.cmp(&key) {
            std::cmp::Ordering::Equal => {
                let price = parse_line(line)?;
                // A version with a region has three parts.
                let region = id.rsplit_once('/').map_or("", |(region, _)| region);
                let end = if region.is_empty() { "" } else { "/" };
                let version = format!("{}/{region}{end}{}", version(), vendor.as_str());
                return Some(ModelPrice { version, ..price });
            }
            std::cmp::Ordering::Less => low = start + line.len() + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    None
}

/// The letters of the tiers.
const TIERS: [(char, ServiceTier); 4] = [
    ('f', ServiceTier::Flex),
    ('p', ServiceTier::Priority),
    ('u', ServiceTier::Ultrafast),
    ('b', ServiceTier::Batch),
];

/// Writes a line of the catalog. An upper-case letter is for long prompts.
pub fn write_line(vendor: Vendor, model: &str, price: &ModelPrice) -> String {
    let mut line = format!("{}/{}", vendor.as_str(), model.to_ascii_lowercase());
    let rates = |rates: &TokenRates| {
        let TokenRates { input, output, cache_read, cache_write_5m, cache_write_1h } = rates;
        format!("{input},{output},{cache_read},{cache_write_5m},{cache_write_1h}")
    };
    let mut add = |letter: char, text: String| {
        // Writing to a string does not fail.
        let _ = write!(line, " {letter}{text}");
    };
    add('s', rates(&price.standard));
    if let Some(above) = &price.above {
        add('l', above.prompt_tokens.to_string());
        add('S', rates(&above.rates));
    }
    for (letter, tier) in TIERS {
        if let Some(tier) = price.tiers.iter().find(|one| one.tier == tier) {
            add(letter, rates(&tier.standard));
            if let Some(above) = &tier.above {
                add(letter.to_ascii_uppercase(), rates(above));
            }
        }
    }
    for (letter, count) in
        [('c', price.context_tokens), ('o', price.output_tokens), ('r', price.per_request)]
    {
        if let Some(count) = count {
            add(letter, count.to_string());
        }
    }
    line
}

fn parse_rates(text: &str) -> Option<TokenRates> {
    let mut numbers = text.split(',').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    Some(TokenRates {
        input: next()?,
        output: next()?,
        cache_read: next()?,
        cache_write_5m: next()?,
        cache_write_1h: next()?,
    })
}

fn parse_line(line: &str) -> Option<ModelPrice> {
    let field = |letter: char| line.split(' ').skip(1).find_map(|word| word.strip_prefix(letter));
    let rates = |letter: char| field(letter).and_then(parse_rates);
    let count = |letter: char| field(letter).and_then(|text| text.parse().ok());
    let tier = |(letter, tier): (char, ServiceTier)| {
        let above = rates(letter.to_ascii_uppercase());
        rates(letter).map(|standard| TierPrice { tier, standard, above })
    };
    Some(ModelPrice {
        standard: rates('s')?,
        above: count('l')
            .zip(rates('S'))
            .map(|(prompt_tokens, rates)| LongPromptRates { prompt_tokens, rates }),
        tiers: TIERS.into_iter().filter_map(tier).collect(),
        context_tokens: count('c'),
        output_tokens: count('o'),
        per_request: count('r'),
        version: version().to_owned(),
        ..ModelPrice::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_each_is_found() {
        let keys: Vec<_> =
            MODELS.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        assert!(keys.is_sorted() && keys.len() > 1_000, "{}", keys.len());
        let mut count = 0;
        for (vendor, model, price) in entries() {
            let found = find(vendor, model).unwrap();
            assert_eq!(found.standard, price.standard, "{model}");
            let line = write_line(vendor, model, &price);
            assert!(MODELS.contains(&format!("\n{line}\n")), "{line}");
            count += 1;
        }
        assert_eq!(count, keys.len());
        assert!(find(Vendor::Openai, "zzz").is_none() && find(Vendor::Anthropic, "").is_none());
    }

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

    /// Bedrock's pricing page, read 2026-11: a geography's profile costs a tenth more, and some
    /// regions have own prices.
    #[test]
    fn geography_and_region_decide_bedrock_s_price() {
        let input = |region, model| entry(Vendor::Bedrock, region, model).unwrap().standard.input;
        assert_eq!(input(None, "anthropic.claude-opus-4-6-v1"), 5_000_000);
        assert_eq!(input(None, "us.anthropic.claude-opus-4-6-v1"), 5_500_000);
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-6-v1";
        assert_eq!(input(None, arn), 5_500_000);
        let url = "https://bedrock-runtime.us-east-1.amazonaws.com";
        assert_eq!(Vendor::Bedrock.region_of(url), Some("us-east-1"));
        let regional = entry(Vendor::Bedrock, Some("us-east-1"), "zai.glm-5").unwrap();
        assert_eq!(regional.version, "litellm-1.110.2/us-east-1/bedrock");
        assert_eq!(Vendor::Openai.region_of(url), None);
    }

    #[test]
    fn maker_s_entry_is_found_by_the_names_of_resellers() {
        for name in ["gpt-5.2", "openai/gpt-5.2", "GPT-5.2", "gpt-5.2-2025-12-11"] {
            assert_eq!(makers_entry(name).unwrap().standard.input, 1_750_000, "{name}");
        }
        assert!(makers_entry("my-model").is_none());
    }
}
