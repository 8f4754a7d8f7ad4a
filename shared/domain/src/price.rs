//! The cost of usage: list prices with start dates, and the rules for applying them.
//!
//! The built-in prices are in `prices.json`; operators can override them. `protocol::meter` reads usage
//! from the upstream's bytes, and the store keeps the operators' prices.

use crate::listed_price::listed_price;
use crate::model::{base_id, family_of};
use crate::model_capabilities::StatedCapabilities;
use crate::money::PicoUsd;
use crate::token_rates::{LongPromptRates, TokenRates};
use crate::usage::{BilledUsage, TokenCounts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A class of service with own prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// Slower.
    Flex,
    /// Faster.
    Priority,
    /// Still faster.
    Ultrafast,
    /// Within a day.
    Batch,
}

impl ServiceTier {
    /// The tier that an upstream reports; `None` for the usual one.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "flex" => Self::Flex,
            "priority" | "fast" => Self::Priority,
            "ultrafast" => Self::Ultrafast,
            "batch" => Self::Batch,
            _ => return None,
        })
    }

    /// Whether the tier is meant to be faster than the usual one, for a higher price.
    pub(crate) fn is_faster(self) -> bool {
        matches!(self, Self::Priority | Self::Ultrafast)
    }

    /// The factor of the usual rates, where a price does not list the tier: OpenAI's usual one
    /// (developers.openai.com, "Pricing", 2026-11). Anthropic's priority tier is paid in advance,
    /// so its use is recorded at the usual rates.
    fn usual_factor(self, model: &str) -> RateFactor {
        match self {
            Self::Flex | Self::Batch => RateFactor { numerator: 1, denominator: 2 },
            Self::Priority | Self::Ultrafast if model.contains("claude") => RateFactor::ONE,
            Self::Priority => RateFactor { numerator: 2, denominator: 1 },
            Self::Ultrafast => RateFactor { numerator: 4, denominator: 1 },
        }
    }
}

/// A factor of rates, as an exact fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateFactor {
    numerator: u32,
    denominator: u32,
}

impl RateFactor {
    pub(crate) const ONE: Self = Self { numerator: 1, denominator: 1 };

    pub(crate) fn times(self, other: Self) -> Self {
        Self {
            numerator: self.numerator * other.numerator,
            denominator: self.denominator * other.denominator,
        }
    }

    /// The amount times this factor, rounded as [`PicoUsd::scale`] says.
    pub(crate) fn apply_to(self, amount: PicoUsd) -> PicoUsd {
        amount.scale(self.numerator, self.denominator)
    }
}

/// Rates, and the factor by which they are still to be multiplied.
pub(crate) struct TierRates {
    pub(crate) rates: TokenRates,
    pub(crate) factor: RateFactor,
}

impl TierRates {
    /// Rates that a price lists, so they need no factor.
    fn listed(rates: TokenRates) -> Self {
        Self { rates, factor: RateFactor::ONE }
    }
}

/// The rates of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPrice {
    /// The tier.
    pub tier: ServiceTier,
    /// Its rates.
    pub standard: TokenRates,
    /// Its rates of long prompts, if they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<TokenRates>,
}

/// The price of one model from a start date on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The start date; the earliest price also applies before it.
    pub from: Timestamp,
    /// The usual rates.
    pub standard: TokenRates,
    /// The rates of `speed: fast`, if the model has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<TokenRates>,
    /// The rates of long prompts, if the model has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<LongPromptRates>,
    /// Whether `inference_geo: us` costs a tenth more: models 4.6 and later.
    #[serde(default)]
    pub us_geo: bool,
    /// The rates of tiers. A tier that is not listed costs a usual factor of the other rates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierPrice>,
    /// What an account pays of the list price, in millionths. The rates then do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<u64>,
    /// Micro-dollars for a web search, if it is not the usual price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_search: Option<u64>,
    /// Micro-dollars for a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<u64>,
    /// The most tokens that the model reads in one pass, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The most tokens that the model writes in one pass, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// What is stated about the model.
    #[serde(default, skip_serializing_if = "StatedCapabilities::is_empty")]
    pub capabilities: StatedCapabilities,
    /// The version of the price table, which is stored in every record priced by it.
    #[serde(default)]
    pub version: String,
}

/// The properties besides the model that decide the rates.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RateModifiers {
    fast: bool,
    us: bool,
    tier: Option<ServiceTier>,
}

impl RateModifiers {
    pub(crate) fn from_usage(usage: &BilledUsage) -> Self {
        let is = |field: &Option<String>, word| field.as_deref() == Some(word);
        Self {
            fast: is(&usage.speed, "fast"),
            us: is(&usage.inference_geo, "us"),
            tier: usage.service_tier.as_deref().and_then(ServiceTier::from_word),
        }
    }
}

impl ModelPrice {
    /// The highest rates, class by class, of a request whose prompt has at most `prompt_tokens`.
    pub(crate) fn highest_rates(&self, may_be_fast: bool, prompt_tokens: u64) -> TokenRates {
        let fast = self.fast.filter(|_| may_be_fast);
        let long_prompt =
            self.above.filter(|long_prompt| prompt_tokens > long_prompt.prompt_tokens);
        let others = fast.into_iter().chain(long_prompt.map(|long_prompt| long_prompt.rates));
        others.fold(self.standard, TokenRates::higher_of)
    }

    /// This price times a number of millionths. A rate is rounded up. `web_search` is the usual
    /// price of a web search.
    pub(crate) fn multiply(self, factor: u64, web_search: u64, version: &str) -> Self {
        let times = |micros: u64| {
            let product = u128::from(micros) * u128::from(factor);
            u64::try_from(product.div_ceil(1_000_000)).unwrap_or(u64::MAX)
        };
        let rates = |rates: TokenRates| TokenRates {
            input: times(rates.input),
            output: times(rates.output),
            cache_read: times(rates.cache_read),
            cache_write_5m: times(rates.cache_write_5m),
            cache_write_1h: times(rates.cache_write_1h),
        };
        let tier = |tier: TierPrice| TierPrice {
            standard: rates(tier.standard),
            above: tier.above.map(rates),
            ..tier
        };
        // The version keeps the vendor, by which stored records find their price again.
        let end = self.version.find('/').map_or("", |at| &self.version[at..]);
        Self {
            standard: rates(self.standard),
            fast: self.fast.map(rates),
            above: self.above.map(|above| LongPromptRates { rates: rates(above.rates), ..above }),
            tiers: self.tiers.iter().copied().map(tier).collect(),
            web_search: Some(times(self.web_search.unwrap_or(web_search))),
            per_request: self.per_request.map(times),
            version: format!("{version}{end}"),
            ..self
        }
    }

    pub(crate) fn rates(&self, fast: bool, prompt_tokens: u64) -> &TokenRates {
        if let (true, Some(rates)) = (fast, &self.fast) {
            return rates;
        }
        match &self.above {
            Some(long_prompt) if prompt_tokens > long_prompt.prompt_tokens => &long_prompt.rates,
            _ => &self.standard,
        }
    }

    /// The factor of a request that is processed in the US only.
    pub(crate) fn us_factor(&self) -> RateFactor {
        if self.us_geo { RateFactor { numerator: 11, denominator: 10 } } else { RateFactor::ONE }
    }

    /// The highest rates of a tier, or the factor of the usual ones.
    pub(crate) fn highest_tier_rates(
        &self,
        tier: ServiceTier,
        model: &str,
        prompt_tokens: u64,
    ) -> TierRates {
        let usual = self.highest_rates(false, prompt_tokens);
        match self.tiers.iter().find(|one| one.tier == tier) {
            Some(listed) => {
                let rates = usual.higher_of(listed.standard);
                TierRates::listed(listed.above.map_or(rates, |above| rates.higher_of(above)))
            }
            None => TierRates { rates: usual, factor: tier.usual_factor(model) },
        }
    }

    /// The rates of a tier with the factor that they still need.
    fn tier_rates(&self, modifiers: RateModifiers, model: &str, prompt_tokens: u64) -> TierRates {
        let usual = *self.rates(modifiers.fast, prompt_tokens);
        let Some(tier) = modifiers.tier else { return TierRates::listed(usual) };
        let Some(listed) = self.tiers.iter().find(|one| one.tier == tier) else {
            return TierRates { rates: usual, factor: tier.usual_factor(model) };
        };
        let Some(above) = self.above.filter(|above| prompt_tokens > above.prompt_tokens) else {
            return TierRates::listed(listed.standard);
        };
        // Without listed rates for long prompts, no rate is below the usual one of a long prompt.
        TierRates::listed(listed.above.unwrap_or_else(|| listed.standard.higher_of(above.rates)))
    }

    /// The cost of one sampling pass. The factors 11/10 and 1/2 are applied to the sum, once. That
    /// is exact: every built-in rate is a multiple of 20 micro-dollars, so each product is a
    /// multiple of 20 pico-dollars. With an operator's odd rate the sum is rounded up by less than
    /// a pico-dollar.
    pub(crate) fn charge_pass(
        &self,
        tokens: &TokenCounts,
        modifiers: RateModifiers,
        model: &str,
    ) -> PicoUsd {
        let TierRates { rates, factor } = self.tier_rates(modifiers, model, tokens.prompt_tokens());
        let geo = if modifiers.us { self.us_factor() } else { RateFactor::ONE };
        geo.times(factor).apply_to(rates.charge_tokens(tokens))
    }
}

/// A cost and the price table that it was computed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCost {
    /// The list price.
    pub amount: PicoUsd,
    /// The version of the price of the model that served the request; ends in `?` unless `known`.
    pub version: String,
    /// Whether the table has a price for every model that served.
    pub is_priced: bool,
}

/// All known prices.
#[derive(Debug, Clone)]
pub struct PriceTable {
    version: String,
    /// Micro-dollars per search.
    pub(crate) web_search: u64,
    /// The rates of a model of no known family.
    unknown: TokenRates,
    /// The prices of each model, by start date.
    pub(crate) models: BTreeMap<String, Vec<ModelPrice>>,
    aliases: BTreeMap<String, String>,
    /// The context windows in tokens of the models for which they are known.
    pub(crate) contexts: BTreeMap<String, u64>,
    /// The prices that an operator has set, by start date. `models` has them too.
    pub(crate) own: BTreeMap<String, Vec<ModelPrice>>,
}

/// 5 and 25 dollars with the usual cache ratios.
const UNKNOWN: TokenRates = TokenRates {
    input: 5_000_000,
    output: 25_000_000,
    cache_read: 500_000,
    cache_write_5m: 6_250_000,
    cache_write_1h: 10_000_000,
};

static BUILTIN: LazyLock<PriceTable> = LazyLock::new(|| {
    // A test proves that the file parses. If it did not, everything would cost `UNKNOWN`.
    PriceTable::from_json(include_str!("../prices.json")).unwrap_or(PriceTable {
        version: "none".to_owned(),
        web_search: 10_000,
        unknown: UNKNOWN,
        models: BTreeMap::new(),
        aliases: BTreeMap::new(),
        contexts: BTreeMap::new(),
        own: BTreeMap::new(),
    })
});

/// The format of `prices.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    version: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "unit")]
    _unit: String,
    web_search: u64,
    unknown: TokenRates,
    models: BTreeMap<String, PriceFileModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFileModel {
    us_geo: bool,
    /// The context window, in tokens.
    #[serde(default)]
    context_tokens: Option<u64>,
    #[serde(default)]
    aliases: Vec<String>,
    periods: Vec<ModelPrice>,
}

impl PriceTable {
    /// The prices that Baton comes with.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a table in the format of `prices.json`.
    ///
    /// # Errors
    /// The text has another format.
    pub(crate) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let PriceFile { version, web_search, unknown, models, .. } = serde_json::from_str(text)?;
        let (rows, models, aliases) = (models, BTreeMap::new(), BTreeMap::new());
        let (contexts, own) = (BTreeMap::new(), BTreeMap::new());
        let mut table = Self { version, web_search, unknown, models, aliases, contexts, own };
        for (model, row) in rows {
            table.contexts.extend(row.context_tokens.map(|tokens| (model.clone(), tokens)));
            table.aliases.extend(row.aliases.into_iter().map(|alias| (alias, model.clone())));
            for price in row.periods {
                let version = table.version.clone();
                table.set(&model, ModelPrice { us_geo: row.us_geo, version, ..price });
            }
        }
        Ok(table)
    }

    /// The version of the built-in prices.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Sets a model's price from `price.from` on. It replaces a price with the same start date.
    pub fn set(&mut self, model: &str, price: ModelPrice) {
        insert_price(self.models.entry(model.to_owned()).or_default(), price);
    }

    /// Removes a model's prices that start at `at` or later. A name without prices first gets a
    /// copy of the prices that it is an alias of.
    pub(crate) fn end(&mut self, model: &str, at: Timestamp) {
        let mut prices = self.prices_of(model).map(<[ModelPrice]>::to_vec).unwrap_or_default();
        prices.retain(|price| price.from < at);
        self.models.insert(model.to_owned(), prices);
    }

    /// Every model with its prices, earliest first.
    pub fn models(&self) -> impl Iterator<Item = (&str, &[ModelPrice])> {
        self.models.iter().map(|(model, prices)| (model.as_str(), prices.as_slice()))
    }

    fn prices_of(&self, model: &str) -> Option<&[ModelPrice]> {
        self.find_row(model).map(|(_, prices)| prices)
    }

    /// The id under which the table has `model`. There are only a few of these ids.
    pub fn known(&self, model: &str) -> Option<&str> {
        self.find_row(model).map(|(id, _)| id)
    }

    pub(crate) fn find_row(&self, model: &str) -> Option<(&str, &[ModelPrice])> {
        let base = base_id(model);
        let found = self
            .models
            .get_key_value(model)
            .or_else(|| self.models.get_key_value(base))
            .or_else(|| self.models.get_key_value(self.aliases.get(base)?))?;
        Some((found.0, found.1))
    }

    /// The highest rates, class by class, of the model's family and of the public lists; 5 and 25
    /// dollars for a model of neither.
    pub(crate) fn guess(&self, model: &str, at: Timestamp) -> ModelPrice {
        let family = family_of(model);
        let same_family = self
            .models
            .iter()
            .filter(|(id, _)| family.is_some_and(|family| id.contains(family)))
            .filter_map(|(_, prices)| current(prices, at));
        let most_expensive =
            |all: &mut dyn Iterator<Item = TokenRates>| all.reduce(TokenRates::higher_of);
        let standard_rates = |price: &ModelPrice| {
            [Some(price.standard), price.above.map(|long_prompt| long_prompt.rates)]
        };
        let listed = listed_price(model);
        let listed_rates = listed.and_then(|listed| listed.standard);
        let known = same_family.clone().flat_map(standard_rates).flatten().chain(listed_rates);
        let fast = most_expensive(&mut same_family.filter_map(|price| price.fast));
        // Resellers give fast speed a name of its own (openrouter.ai, `claude-opus-4.6-fast`, 2026-11).
        let is_fast = model.split(|c: char| !c.is_alphanumeric()).any(|word| word == "fast");
        let known = known.chain(fast.filter(|_| is_fast));
        ModelPrice {
            from: at,
            standard: most_expensive(&mut { known }).unwrap_or(self.unknown),
            fast,
            above: listed.and_then(|listed| listed.above),
            us_geo: true,
            version: self.version.clone(),
            ..ModelPrice::default()
        }
    }
}

/// Inserts a price by its start date, in place of one with the same.
pub(crate) fn insert_price(prices: &mut Vec<ModelPrice>, price: ModelPrice) {
    prices.retain(|old| old.from != price.from);
    let index = prices.partition_point(|old| old.from < price.from);
    prices.insert(index, price);
}

/// The price that applies at a moment; before the first one, the first one.
pub(crate) fn current(prices: &[ModelPrice], at: Timestamp) -> Option<&ModelPrice> {
    started(prices, at).or(prices.first())
}

/// The last price that has started at a moment.
pub(crate) fn started(prices: &[ModelPrice], at: Timestamp) -> Option<&ModelPrice> {
    prices.iter().rev().find(|price| price.from <= at)
}

/// The end of the version of a price that is an estimate, because the model has none.
const ESTIMATE_MARK: char = '?';

pub(crate) fn version_label(price: &ModelPrice, is_priced: bool) -> String {
    if is_priced { price.version.clone() } else { format!("{}{ESTIMATE_MARK}", price.version) }
}

/// Whether the version of a price shows that the model had none, so that it is an estimate.
pub fn is_unpriced_version(version: &str) -> bool {
    version.ends_with(ESTIMATE_MARK)
}
