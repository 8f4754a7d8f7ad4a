//! Prices in the format of LiteLLM's public `model_prices_and_context_window.json`.

use crate::account::Provider;
use crate::model_capabilities::{
    EffortLevel, EffortLevels, ModelCapabilities, StatedCapabilities, StatementField,
};
use crate::money::PicoUsd;
use crate::price::{ModelPrice, ServiceTier, TierPrice};
use crate::token_rates::{LongPromptRates, TokenRates};
use crate::vendor::Vendor;
use serde_json::{Map, Value};

/// Thresholds of long prompts, in thousands of tokens, as the format names them.
const THRESHOLDS: [u64; 5] = [100, 128, 200, 256, 272];

/// A model of the list with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LitellmModel {
    /// The company that sells the model at this price.
    pub vendor: Vendor,
    /// The id of the model, without the name of the vendor.
    pub id: String,
    /// The price.
    pub price: ModelPrice,
}

/// Reads the text models that have a price by the token. Others are skipped.
///
/// # Errors
/// The text is no JSON object.
pub fn read(text: &str) -> Result<Vec<LitellmModel>, serde_json::Error> {
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

fn read_model(name: &str, row: &Value) -> Option<LitellmModel> {
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
        capabilities: read_capabilities(vendor, id, row),
        ..ModelPrice::default()
    };
    Some(LitellmModel { vendor, id: id.to_owned(), price })
}

/// The fields of statements (BerriAI/litellm, `model_prices_and_context_window_schema.json` and
/// docs.litellm.ai, "Model metadata", read 2026-11).
const STATEMENTS: [(&str, StatementField); 18] = [
    ("supports_image_input", |one| &mut one.images),
    ("supports_vision", |one| &mut one.images),
    ("supports_pdf_input", |one| &mut one.pdf),
    ("supports_audio_input", |one| &mut one.audio),
    ("supports_video_input", |one| &mut one.video),
    ("supports_audio_output", |one| &mut one.audio_output),
    ("supports_reasoning", |one| &mut one.reasoning),
    ("supports_adaptive_thinking", |one| &mut one.adaptive_thinking),
    ("supports_sampling_params", |one| &mut one.sampling),
    ("supports_function_calling", |one| &mut one.tools),
    ("supports_tool_choice", |one| &mut one.tool_choice),
    ("supports_forced_tool_use", |one| &mut one.forced_tools),
    ("supports_parallel_function_calling", |one| &mut one.parallel_calls),
    ("supports_system_messages", |one| &mut one.system_messages),
    ("supports_mid_conversation_system", |one| &mut one.later_system_messages),
    ("supports_prompt_caching", |one| &mut one.prompt_caching),
    ("supports_web_search", |one| &mut one.web_search),
    ("supports_computer_use", |one| &mut one.computer_use),
];

/// What the row states about its model. A missing field states nothing.
fn read_capabilities(vendor: Vendor, id: &str, row: &Value) -> StatedCapabilities {
    let mut stated = StatedCapabilities::default();
    for (field, statement) in STATEMENTS {
        if let Some(accepts) = row[field].as_bool() {
            *statement(&mut stated) = Some(accepts);
        }
    }
    let list = |field: &str| row[field].as_array();
    let has = |list: &[Value], word: &str| list.iter().any(|one| one == word);
    if let Some(kinds) = list("supported_modalities") {
        stated.images = stated.images.or(Some(has(kinds, "image")));
        stated.audio = stated.audio.or(Some(has(kinds, "audio")));
        stated.video = stated.video.or(Some(has(kinds, "video")));
    }
    stated.chat_completions = match list("supported_endpoints") {
        Some(routes) if has(routes, "/v1/responses") => Some(has(routes, "/v1/chat/completions")),
        _ if row["mode"] == "responses" => Some(false),
        _ => None,
    };
    stated.efforts = read_efforts(vendor, id, row);
    stated.structured_outputs = structured_outputs(vendor, id, row);
    stated.prefill = row["supports_assistant_prefill"].as_bool();
    if prefills_with_a_mark(vendor) {
        stated.prefill = stated.prefill.filter(|accepts| !accepts);
    }
    stated
}

/// The levels of effort. The format names those beside the usual ones, as far as they are known.
fn read_efforts(vendor: Vendor, id: &str, row: &Value) -> Option<EffortLevels> {
    let stated =
        |level: EffortLevel| row[format!("supports_{}_reasoning_effort", level.as_str())].as_bool();
    EffortLevels::ALL.levels().find_map(stated)?;
    let provider = match vendor {
        Vendor::Anthropic | Vendor::Bedrock => Provider::Anthropic,
        _ => Provider::OpenaiCompatible,
    };
    let by_name = ModelCapabilities::of(provider, id, "").efforts;
    let is_known = by_name != EffortLevels::ALL && !by_name.is_empty();
    let usual = EffortLevels::of(&[EffortLevel::Low, EffortLevel::Medium, EffortLevel::High]);
    let usual = if is_known { by_name } else { usual };
    let has = |level: &EffortLevel| stated(*level).unwrap_or(usual.contains(*level));
    Some(EffortLevels::ALL.levels().filter(has).collect::<Vec<_>>().into())
}

/// Whether answers can be bound to a schema. The format also says so of models for which LiteLLM
/// makes up for it with a tool or with words: models of Bedrock, Claude models without a statement
/// of their own, and models of vendors that only know `json_object`.
fn structured_outputs(vendor: Vendor, id: &str, row: &Value) -> Option<bool> {
    let stated = |field: &str| row[field].as_bool();
    let at_bedrock = [
        "supports_bedrock_native_structured_output_by_default",
        "supports_bedrock_native_structured_output",
    ];
    let at_bedrock = at_bedrock.into_iter().find_map(stated);
    let is_made_up_for =
        vendor == Vendor::Bedrock || id.contains("claude") || id.contains("deepseek");
    let by_litellm = stated("supports_response_schema");
    at_bedrock
        .filter(|_| vendor == Vendor::Bedrock)
        .or_else(|| stated("supports_native_structured_output"))
        .or_else(|| by_litellm.filter(|accepts| !(is_made_up_for && *accepts)))
}

/// Whether the vendor continues a last message only if it has a mark that LiteLLM adds (`prefix`:
/// docs.mistral.ai and api-docs.deepseek.com, "Chat prefix completion", 2026-11).
fn prefills_with_a_mark(vendor: Vendor) -> bool {
    matches!(vendor, Vendor::Mistral | Vendor::Deepseek)
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
        let [LitellmModel { vendor, id, price }] = read.as_slice() else { panic!("{read:?}") };
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
        assert!(price.capabilities.is_empty());
    }

    /// What the row of a model states, with one more field or none.
    fn stated(provider: &str, id: &str, fields: &Value) -> StatedCapabilities {
        let mut row = serde_json::json!({ "litellm_provider": provider, "mode": "chat",
            "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6 });
        for (name, value) in fields.as_object().unwrap() {
            row[name] = value.clone();
        }
        let models = serde_json::json!({ id: row });
        let [LitellmModel { price, .. }] = read(&models.to_string()).unwrap().try_into().unwrap();
        price.capabilities
    }

    #[test]
    fn every_statement_is_read() {
        for accepts in [true, false] {
            for (field, statement) in STATEMENTS {
                let mut found = stated("openai", "m", &serde_json::json!({ field: accepts }));
                assert_eq!(statement(&mut found).take(), Some(accepts), "{field}");
                assert!(found.is_empty(), "{field}");
            }
        }
    }

    #[test]
    fn lists_and_modes_are_read() {
        let of = |fields: Value| stated("openai", "m", &fields);
        let found = of(serde_json::json!({ "supported_modalities": ["text", "image"] }));
        assert_eq!((found.images, found.audio, found.pdf), (Some(true), Some(false), None));
        let routes = |routes: &[&str]| {
            of(serde_json::json!({ "supported_endpoints": routes })).chat_completions
        };
        assert_eq!(routes(&["/v1/responses"]), Some(false));
        assert_eq!(routes(&["/v1/chat/completions", "/v1/responses"]), Some(true));
        assert_eq!(routes(&["/v1/chat/completions"]), None);
        assert_eq!(of(serde_json::json!({ "mode": "responses" })).chat_completions, Some(false));
    }

    #[test]
    fn efforts_begin_with_the_usual_three() {
        let words = |fields: Value| {
            let efforts = stated("openai", "m", &fields).efforts?;
            Some(efforts.levels().map(EffortLevel::as_str).collect::<Vec<_>>().join(" "))
        };
        let expect = |words: &str| Some(words.to_owned());
        assert_eq!(words(serde_json::json!({ "supports_reasoning": true })), None);
        let fields = serde_json::json!({ "supports_none_reasoning_effort": true, "supports_xhigh_reasoning_effort": true });
        assert_eq!(words(fields), expect("none low medium high xhigh"));
        let of_pro = serde_json::json!({ "supports_xhigh_reasoning_effort": false });
        let of_pro = stated("openai", "gpt-5.5-pro", &of_pro).efforts.unwrap();
        assert!(!of_pro.contains(EffortLevel::Low) && !of_pro.contains(EffortLevel::Xhigh));
        let fields = serde_json::json!({ "supports_low_reasoning_effort": false });
        assert_eq!(words(fields), expect("medium high"));
    }

    /// LiteLLM says that it can do something, which does not mean that the upstream can.
    #[test]
    fn what_litellm_makes_up_for_is_not_the_model_s() {
        let schema = serde_json::json!({ "supports_response_schema": true });
        let found = |provider, id| stated(provider, id, &schema).structured_outputs;
        assert_eq!(found("openai", "m"), Some(true));
        assert_eq!(found("anthropic", "claude-3-5-haiku-20241022"), None);
        assert_eq!(found("deepseek", "deepseek/deepseek-chat"), None);
        assert_eq!(found("bedrock", "amazon.nova-pro-v1:0"), None);
        let native = serde_json::json!({ "supports_response_schema": true, "supports_native_structured_output": false });
        assert_eq!(stated("anthropic", "claude-x", &native).structured_outputs, Some(false));
        let prefill = |provider, accepts: bool| {
            stated(provider, "m", &serde_json::json!({ "supports_assistant_prefill": accepts }))
                .prefill
        };
        assert_eq!([prefill("mistral", true), prefill("mistral", false)], [None, Some(false)]);
        assert_eq!(prefill("anthropic", true), Some(true));
    }
}
