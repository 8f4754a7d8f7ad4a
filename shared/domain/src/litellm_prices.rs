//! Prices in the format of LiteLLM's public `model_prices_and_context_window.json`.

use crate::model_catalog::Vendor;
use crate::money::PicoUsd;
use crate::price::{LongPromptRates, ModelPrice, ServiceTier, TierPrice, TokenRates};
use serde_json::{Map, Value};

/// Thresholds of long prompts, in thousands of tokens, as the format names them.
const THRESHOLDS: [u64; 5] = [100, 128, 200, 256, 272];

/// Reads the text models that have a price by the token. Others are skipped.
///
/// # Errors
/// The text is no JSON object.
pub fn read(text: &str) -> Result<Vec<(Vendor, String, ModelPrice)>, serde_json::Error> {
    let models: Map<String, Value> = serde_json::from_str(text)?;
    Ok(models.iter().filter_map(|(name, row)| read_model(name, row)).collect())
}

/// The vendor of a provider's name, and the beginnings of ids that name it once more.
fn vendor_of(provider: &str) -> Option<(Vendor, &'static [&'static str])> {
    Some(match provider {
        "anthropic" => (Vendor::Anthropic, &["anthropic/"]),
        "azure" | "azure_ai" => (Vendor::Azure, &["azure/", "azure_ai/"]),
        "bedrock" | "bedrock_converse" | "bedrock_mantle" => {
            (Vendor::Bedrock, &["bedrock/", "bedrock_converse/", "bedrock_mantle/"])
        }
        "cerebras" => (Vendor::Cerebras, &["cerebras/"]),
        "cohere" | "cohere_chat" => (Vendor::Cohere, &["cohere/"]),
        "dashscope" => (Vendor::Dashscope, &["dashscope/"]),
        "deepseek" => (Vendor::Deepseek, &["deepseek/"]),
        "fireworks_ai" => (Vendor::Fireworks, &["fireworks_ai/"]),
        "gemini" => (Vendor::Google, &["gemini/"]),
        "groq" => (Vendor::Groq, &["groq/"]),
        "mistral" => (Vendor::Mistral, &["mistral/"]),
        "moonshot" => (Vendor::Moonshot, &["moonshot/"]),
        "openai" => (Vendor::Openai, &["openai/"]),
        "perplexity" => (Vendor::Perplexity, &["perplexity/"]),
        "together_ai" => (Vendor::Together, &["together_ai/"]),
        "xai" => (Vendor::Xai, &["xai/"]),
        "zai" => (Vendor::Zai, &["zai/"]),
        _ if provider.starts_with("vertex_ai") => (Vendor::Google, &["vertex_ai/"]),
        _ => return None,
    })
}

fn read_model(name: &str, row: &Value) -> Option<(Vendor, String, ModelPrice)> {
    let text = |field: &str| row[field].as_str();
    let provider = text("litellm_provider").or(text("provider"))?;
    if !matches!(text("mode"), None | Some("chat" | "responses" | "completion")) {
        return None;
    }
    let (vendor, begins) = vendor_of(provider)?;
    let id = begins.iter().find_map(|begin| name.strip_prefix(begin)).unwrap_or(name);
    if id.contains("commitment") || id.contains(char::is_whitespace) || id.contains('*') {
        return None;
    }
    let standard = rates(row, "", "", None)?;
    let tiers = [
        ("_flex", ServiceTier::Flex),
        ("_priority", ServiceTier::Priority),
        ("_ultrafast", ServiceTier::Ultrafast),
        ("_batches", ServiceTier::Batch),
    ];
    let threshold = THRESHOLDS.into_iter().find(|thousands| {
        !row[format!("input_cost_per_token_above_{thousands}k_tokens")].is_null()
    });
    let long = threshold.map(|thousands| format!("_above_{thousands}k_tokens"));
    let long_rates = |tier: &str| rates(row, long.as_deref()?, tier, Some(&standard));
    let tier_price = |(end, tier): (&str, ServiceTier)| {
        let standard = rates(row, "", end, Some(&standard))?;
        Some(TierPrice { tier, standard, above: long_rates(end) })
    };
    let count = |field: &str| row[field].as_u64().filter(|count| *count > 0);
    let input_max = count("max_input_tokens").or(count("max_tokens"));
    let price = ModelPrice {
        standard,
        above: threshold
            .zip(long_rates(""))
            .map(|(thousands, rates)| LongPromptRates { prompt_tokens: thousands * 1_000, rates }),
        tiers: tiers.into_iter().filter_map(tier_price).collect(),
        context_tokens: input_max,
        output_tokens: count("max_output_tokens").or(input_max),
        per_request: micros(&row["input_cost_per_request"]).map(|pico| pico / 1_000_000),
        ..ModelPrice::default()
    };
    Some((vendor, id.to_owned(), price))
}

/// The rates with this mark of long prompts and of a tier. Cache reads and writes without a rate of
/// their own keep their ratio to the usual input; without any, they cost as much as other input.
fn rates(row: &Value, long: &str, tier: &str, usual: Option<&TokenRates>) -> Option<TokenRates> {
    let rate = |class: &str| micros(&row[format!("{class}{long}{tier}")]);
    let (input, output) = (rate("input_cost_per_token")?, rate("output_cost_per_token")?);
    let by_ratio = |of: fn(&TokenRates) -> u64| {
        let usual = usual.filter(|usual| usual.input > 0)?;
        Some((u128::from(of(usual)) * u128::from(input)).div_ceil(u128::from(usual.input)))
            .and_then(|rate| u64::try_from(rate).ok())
    };
    let class = |names: &[&str], of: fn(&TokenRates) -> u64, default: u64| {
        let own = names.iter().find_map(|name| rate(name).filter(|rate| *rate > 0));
        own.or_else(|| by_ratio(of)).unwrap_or(default)
    };
    let cache_read = class(&["cache_read_input_token_cost"], |usual| usual.cache_read, input);
    let short = class(&["cache_creation_input_token_cost"], |usual| usual.cache_write_5m, input);
    let hour =
        ["cache_creation_input_token_cost_above_1hr", "cache_creation_input_token_cost_above_12hr"];
    let hour = class(&hour, |usual| usual.cache_write_1h, short);
    Some(TokenRates { input, output, cache_read, cache_write_5m: short, cache_write_1h: hour })
}

/// Dollars for a token as micro-dollars for a million tokens.
fn micros(value: &Value) -> Option<u64> {
    let dollars = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    let pico: PicoUsd = format!("{dollars:.12}").parse().ok()?;
    u64::try_from(pico.pico()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_tiers_and_thresholds_are_read() {
        let text = r#"{"sample_spec": {}, "azure/gpt-x": {"litellm_provider": "azure", "mode": "chat",
            "max_input_tokens": 1000, "max_output_tokens": 100,
            "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 2e-07, "cache_creation_input_token_cost": 2.5e-06,
            "cache_creation_input_token_cost_above_12hr": 4e-06,
            "input_cost_per_token_priority": 4e-06, "output_cost_per_token_priority": 2e-05,
            "input_cost_per_token_above_272k_tokens": 4e-06, "output_cost_per_token_above_272k_tokens": 1.5e-05},
            "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-06}}"#;
        let read = read(text).unwrap();
        let [(vendor, id, price)] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!((*vendor, id.as_str()), (Vendor::Azure, "gpt-x"));
        let all = |rates: &TokenRates| {
            [
                rates.input,
                rates.output,
                rates.cache_read,
                rates.cache_write_5m,
                rates.cache_write_1h,
            ]
        };
        let check = |rates: &TokenRates, expect: [u64; 5]| assert_eq!(all(rates), expect);
        check(&price.standard, [2_000_000, 10_000_000, 200_000, 2_500_000, 4_000_000]);
        let above = price.above.unwrap();
        assert_eq!(above.prompt_tokens, 272_000);
        check(&above.rates, [4_000_000, 15_000_000, 400_000, 5_000_000, 8_000_000]);
        check(&price.tiers[0].standard, [4_000_000, 20_000_000, 400_000, 5_000_000, 8_000_000]);
        assert_eq!((price.context_tokens, price.output_tokens), (Some(1_000), Some(100)));
    }
}
