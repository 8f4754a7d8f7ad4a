//! The built-in catalog: what vendors ask for their models, and how much a model reads and writes.
//!
//! `models.txt` has a line for each vendor and model, in the order of their names. A lookup is a
//! binary search in that text, so nothing is built at start and only the found line is parsed. The
//! file is made by `cargo run -p baton-domain --example model_catalog -- FILE` from the public list
//! of prices of LiteLLM ([`crate::litellm_prices`]).

use crate::model::base_id;
use crate::model_capabilities::{StatedCapabilities, StatementMasks};
use crate::price::{ModelPrice, ServiceTier, TierPrice};
use crate::token_rates::{LongPromptRates, TokenRates};
use crate::vendor::Vendor;
use std::fmt::Write as _;

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
pub(crate) fn maker_of(model: &str) -> Option<Vendor> {
    let lower = model.to_ascii_lowercase();
    let name = base_id(lower.rsplit('/').next().unwrap_or(&lower));
    let claude = || name.starts_with("claude-").then_some(Vendor::Anthropic);
    Vendor::of_model(name).or_else(claude)
}

/// The entry of a model at the vendor that makes it, for hosts whose own prices are not known.
pub(crate) fn makers_entry(model: &str) -> Option<ModelPrice> {
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
    if !price.capabilities.is_empty() {
        let StatementMasks { yes, no, efforts } = price.capabilities.to_masks();
        let efforts = efforts.map(|levels| format!(",{levels:x}")).unwrap_or_default();
        add('k', format!("{yes:x},{no:x}{efforts}"));
    }
    line
}

/// Reads bits in hexadecimal: what is accepted, what is not, and the levels of effort.
fn parse_capabilities(text: &str) -> Option<StatedCapabilities> {
    let mut numbers = text.split(',').map(|number| u32::from_str_radix(number, 16).ok());
    let (yes, no) = (numbers.next()??, numbers.next()??);
    let efforts = numbers.next().flatten().and_then(|levels| u8::try_from(levels).ok());
    Some(StatedCapabilities::from_masks(StatementMasks { yes, no, efforts }))
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
        capabilities: field('k').and_then(parse_capabilities).unwrap_or_default(),
        version: version().to_owned(),
        ..ModelPrice::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_capabilities::EffortLevel;

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
    fn entries_state_what_their_models_accept() {
        let stated = |vendor, model| entry(vendor, None, model).unwrap().capabilities;
        let claude = stated(Vendor::Anthropic, "claude-opus-4-8");
        assert_eq!(
            (claude.images, claude.prefill, claude.sampling),
            (Some(true), Some(false), Some(false))
        );
        assert_eq!(stated(Vendor::Openai, "o3-pro").chat_completions, Some(false));
        assert_eq!(stated(Vendor::Openai, "o3-mini").images, Some(false));
        let efforts = stated(Vendor::Openai, "gpt-5.4").efforts.unwrap();
        let words: Vec<&str> = efforts.levels().map(EffortLevel::as_str).collect();
        assert_eq!(words, ["none", "low", "medium", "high", "xhigh"]);
    }

    #[test]
    fn maker_s_entry_is_found_by_the_names_of_resellers() {
        for name in ["gpt-5.2", "openai/gpt-5.2", "GPT-5.2", "gpt-5.2-2025-12-11"] {
            assert_eq!(makers_entry(name).unwrap().standard.input, 1_750_000, "{name}");
        }
        assert!(makers_entry("my-model").is_none());
    }
}
