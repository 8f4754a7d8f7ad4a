//! The cost of usage: list prices with start dates, and the rules for applying them.
//!
//! The built-in prices are in `prices.json`; operators can override them. `protocol::meter` reads usage
//! from the upstream's bytes, and the store keeps the operators' prices.

use crate::listed_price::listed_price;
use crate::model::base_id;
use crate::money::PicoUsd;
use crate::usage::{BilledUsage, TokenCounts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Micro-dollars per million tokens, by class. A rate times a number of tokens is exactly an amount
/// of pico-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRates {
    /// Prompt tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Prompt tokens written to the cache for an hour.
    pub cache_write_1h: u64,
}

impl TokenRates {
    /// The cost of `tokens`.
    pub fn charge_tokens(&self, tokens: &TokenCounts) -> PicoUsd {
        [
            (self.input, tokens.input),
            (self.output, tokens.output),
            (self.cache_read, tokens.cache_read),
            (self.cache_write_5m, tokens.cache_write_5m),
            (self.cache_write_1h, tokens.cache_write_1h),
        ]
        .into_iter()
        .map(|(rate, count)| PicoUsd::from_tokens(rate, count))
        .sum()
    }

    /// The higher rate of the two, class by class.
    pub(crate) fn higher_of(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
        }
    }
}

/// The rates for long prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPromptRates {
    /// The longest prompt, in tokens of all classes, that still has the standard rates.
    pub prompt_tokens: u64,
    /// The rates of all tokens of a longer request, including its answer.
    pub rates: TokenRates,
}

/// The price of one model from a start date on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The version of the price table, which is stored in every record priced by it.
    #[serde(default)]
    pub version: String,
}

/// The properties besides the model that decide the rates.
#[derive(Debug, Clone, Copy, Default)]
struct RateModifiers {
    fast: bool,
    us: bool,
    batch: bool,
}

impl RateModifiers {
    fn from_usage(usage: &BilledUsage) -> Self {
        let is = |field: &Option<String>, word| field.as_deref() == Some(word);
        Self {
            fast: is(&usage.speed, "fast"),
            us: is(&usage.inference_geo, "us"),
            batch: is(&usage.service_tier, "batch"),
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

    pub(crate) fn rates(&self, fast: bool, prompt_tokens: u64) -> &TokenRates {
        if let (true, Some(rates)) = (fast, &self.fast) {
            return rates;
        }
        match &self.above {
            Some(long_prompt) if prompt_tokens > long_prompt.prompt_tokens => &long_prompt.rates,
            _ => &self.standard,
        }
    }

    /// The cost of one sampling pass. The factors 11/10 and 1/2 are applied to the sum, once. That
    /// is exact: every built-in rate is a multiple of 20 micro-dollars, so each product is a
    /// multiple of 20 pico-dollars. With an operator's odd rate the sum is rounded up by less than
    /// a pico-dollar.
    fn charge_pass(&self, tokens: &TokenCounts, modifiers: RateModifiers) -> PicoUsd {
        let list = self.rates(modifiers.fast, tokens.prompt_tokens()).charge_tokens(tokens);
        let (times, per) = if modifiers.us && self.us_geo { (11, 10) } else { (1, 1) };
        list.scale(times, if modifiers.batch { per * 2 } else { per })
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

/// Model families, as they are named in ids. An unknown model costs the highest rates of its
/// family.
const FAMILIES: [&str; 5] = ["opus", "sonnet", "haiku", "fable", "mythos"];

/// All known prices.
#[derive(Debug, Clone)]
pub struct PriceTable {
    version: String,
    /// Micro-dollars per search.
    web_search: u64,
    /// The rates of a model of no known family.
    unknown: TokenRates,
    /// The prices of each model, by start date.
    models: BTreeMap<String, Vec<ModelPrice>>,
    aliases: BTreeMap<String, String>,
    /// The context windows in tokens of the models for which they are known.
    contexts: BTreeMap<String, u64>,
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
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let PriceFile { version, web_search, unknown, models, .. } = serde_json::from_str(text)?;
        let (rows, models, aliases) = (models, BTreeMap::new(), BTreeMap::new());
        let contexts = BTreeMap::new();
        let mut table = Self { version, web_search, unknown, models, aliases, contexts };
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
        let prices = self.models.entry(model.to_owned()).or_default();
        prices.retain(|old| old.from != price.from);
        let index = prices.partition_point(|old| old.from < price.from);
        prices.insert(index, price);
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

    /// The price of `model` at a moment, if the table has one: by the id as given, else by its base
    /// ([`base_id`]), else by the model that the base is an alias of.
    pub fn price(&self, model: &str, at: Timestamp) -> Option<&ModelPrice> {
        current(self.prices_of(model)?, at)
    }

    fn prices_of(&self, model: &str) -> Option<&[ModelPrice]> {
        self.find_row(model).map(|(_, prices)| prices)
    }

    /// The id under which the table has `model`. There are only a few of these ids.
    pub fn known(&self, model: &str) -> Option<&str> {
        self.find_row(model).map(|(id, _)| id)
    }

    fn find_row(&self, model: &str) -> Option<(&str, &[ModelPrice])> {
        let base = base_id(model);
        let found = self
            .models
            .get_key_value(model)
            .or_else(|| self.models.get_key_value(base))
            .or_else(|| self.models.get_key_value(self.aliases.get(base)?))?;
        Some((found.0, found.1))
    }

    /// The cost of `usage`: each iteration at the price of its model, the rest at the price of
    /// `model`, which served the request, plus web searches. The length of a prompt is that of a
    /// single pass.
    pub fn cost(&self, usage: &BilledUsage, model: &str, at: Timestamp) -> UsageCost {
        let modifiers = RateModifiers::from_usage(usage);
        let (price, mut is_priced) = self.price_or_guess(model, at);
        let searches = self.web_searches(usage.web_searches);
        let mut amount = searches + price.charge_pass(&usage.outside_iterations(), modifiers);
        for iteration in &usage.iterations {
            let served_model = iteration.model.as_deref().unwrap_or(model);
            let (price, is_known) = self.price_or_guess(served_model, at);
            is_priced &= is_known;
            amount += price.charge_pass(&iteration.tokens, modifiers);
        }
        UsageCost { amount, version: version_label(&price, is_priced), is_priced }
    }

    /// The cost of this number of web searches.
    pub(crate) fn web_searches(&self, count: u64) -> PicoUsd {
        PicoUsd::from_micros(self.web_search.saturating_mul(count))
    }

    /// The most tokens that the model reads and writes in one pass, if that is known.
    pub fn context_tokens(&self, model: &str) -> Option<u64> {
        self.known(model).and_then(|id| self.contexts.get(id)).copied()
    }

    /// The model's price and `true`, or an estimate that is never free and `false`.
    pub(crate) fn price_or_guess(&self, model: &str, at: Timestamp) -> (ModelPrice, bool) {
        match self.price(model, at) {
            Some(price) => (price.clone(), true),
            None => (self.guess(model, at), false),
        }
    }

    /// Whether no upstream can ask more for `model` than the table says: the model has a price, is a
    /// public one with listed prices, or is a new one of a known family.
    pub fn has_price_bound(&self, model: &str, at: Timestamp) -> bool {
        // The name of an inference profile can contain any words.
        let is_public = |model: &str| {
            !model.starts_with("arn:")
                && (listed_price(model).is_some() || family_of(model).is_some())
        };
        self.price(model, at).is_some() || is_public(model)
    }

    /// The highest rates, class by class, of the model's family and of the public lists; 5 and 25
    /// dollars for a model of neither.
    fn guess(&self, model: &str, at: Timestamp) -> ModelPrice {
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
        ModelPrice {
            from: at,
            standard: most_expensive(&mut { known }).unwrap_or(self.unknown),
            fast: most_expensive(&mut same_family.filter_map(|price| price.fast)),
            above: listed.and_then(|listed| listed.above),
            us_geo: true,
            version: self.version.clone(),
        }
    }
}

/// The family that a model's name contains.
fn family_of(model: &str) -> Option<&'static str> {
    let lower = model.to_ascii_lowercase();
    FAMILIES.into_iter().find(|family| lower.contains(family))
}

fn current(prices: &[ModelPrice], at: Timestamp) -> Option<&ModelPrice> {
    prices.iter().rev().find(|price| price.from <= at).or(prices.first())
}

pub(crate) fn version_label(price: &ModelPrice, is_priced: bool) -> String {
    if is_priced { price.version.clone() } else { format!("{}?", price.version) }
}
