//! Built-in prices and own prices of the operator: `/prices`.

use crate::fields::{ModelId, Moment};
use baton_domain::id::AccountId;
use baton_domain::model_capabilities::StatedCapabilities;
use baton_domain::money::PicoUsd;
use baton_domain::price::{ModelPrice, ServiceTier, TierPrice};
use baton_domain::token_rates::{LongPromptRates, TokenRates};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::convert::Infallible;
use std::str::FromStr;

/// The highest accepted price: a million dollars per million tokens. Anything above is a typing
/// error.
const MICROS_MAX: u64 = 1_000_000_000_000;
const MICROS: u64 = 1_000_000;

/// US dollars per million tokens, written with six decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsdPerMillion(u64);

impl UsdPerMillion {
    /// The price of a thousand, by the micro-dollars for one.
    fn for_thousand(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// The micro-dollars for one, by the price of a thousand. They are rounded up.
    fn micros_for_one(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

impl Serialize for UsdPerMillion {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{}.{:06}", self.0 / MICROS, self.0 % MICROS))
    }
}

impl<'de> Deserialize<'de> for UsdPerMillion {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let pico = PicoUsd::deserialize(input)?.pico();
        let micros = (pico % i128::from(MICROS) == 0).then_some(pico / i128::from(MICROS));
        let micros = micros.and_then(|micros| u64::try_from(micros).ok());
        micros.filter(|micros| *micros <= MICROS_MAX).map(Self).ok_or_else(|| {
            serde::de::Error::custom(
                "expected US dollars per million tokens, such as \"2.50\", with at most six decimal places",
            )
        })
    }
}

impl JsonSchema for UsdPerMillion {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": r"^[0-9]{1,5}(\.[0-9]{1,6})?$",
            "description": "USD per million tokens.",
        })
    }
}

/// Rates by class of tokens, in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rates")]
pub struct UsdRates {
    /// Prompt tokens that were neither read from nor written to a cache.
    pub input: UsdPerMillion,
    /// Tokens of the answer.
    pub output: UsdPerMillion,
    /// Prompt tokens read from the cache.
    pub cache_read: UsdPerMillion,
    /// Prompt tokens written to the cache for five minutes.
    pub cache_write_5m: UsdPerMillion,
    /// Prompt tokens written to the cache for an hour.
    pub cache_write_1h: UsdPerMillion,
}

impl From<TokenRates> for UsdRates {
    fn from(rates: TokenRates) -> Self {
        Self {
            input: UsdPerMillion(rates.input),
            output: UsdPerMillion(rates.output),
            cache_read: UsdPerMillion(rates.cache_read),
            cache_write_5m: UsdPerMillion(rates.cache_write_5m),
            cache_write_1h: UsdPerMillion(rates.cache_write_1h),
        }
    }
}

impl From<UsdRates> for TokenRates {
    fn from(usd: UsdRates) -> Self {
        Self {
            input: usd.input.0,
            output: usd.output.0,
            cache_read: usd.cache_read.0,
            cache_write_5m: usd.cache_write_5m.0,
            cache_write_1h: usd.cache_write_1h.0,
        }
    }
}

/// Rates of a new price. Only the classes that the vendor has need a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRates {
    /// Prompt tokens that were neither read from nor written to a cache.
    pub input: UsdPerMillion,
    /// Tokens of the answer.
    pub output: UsdPerMillion,
    /// Prompt tokens read from the cache; by default as much as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<UsdPerMillion>,
    /// Prompt tokens written to the cache for the vendor's shortest time; by default as much as
    /// `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<UsdPerMillion>,
    /// Prompt tokens written to the cache for the vendor's longest time; by default as much as
    /// `cache_write_5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<UsdPerMillion>,
}

impl From<NewRates> for TokenRates {
    fn from(new: NewRates) -> Self {
        let cache_write_5m = new.cache_write_5m.unwrap_or(new.input);
        Self {
            input: new.input.0,
            output: new.output.0,
            cache_read: new.cache_read.unwrap_or(new.input).0,
            cache_write_5m: cache_write_5m.0,
            cache_write_1h: new.cache_write_1h.unwrap_or(cache_write_5m).0,
        }
    }
}

impl From<TokenRates> for NewRates {
    fn from(rates: TokenRates) -> Self {
        Self {
            input: UsdPerMillion(rates.input),
            output: UsdPerMillion(rates.output),
            cache_read: Some(UsdPerMillion(rates.cache_read)),
            cache_write_5m: Some(UsdPerMillion(rates.cache_write_5m)),
            cache_write_1h: Some(UsdPerMillion(rates.cache_write_1h)),
        }
    }
}

/// Rates of long prompts of a new price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLongPromptRates {
    /// Prompts with more tokens than this cost `rates`.
    pub prompt_tokens: u64,
    /// The rates.
    pub rates: NewRates,
}

impl From<NewLongPromptRates> for LongPromptRates {
    fn from(new: NewLongPromptRates) -> Self {
        Self { prompt_tokens: new.prompt_tokens, rates: new.rates.into() }
    }
}

impl From<LongPromptRates> for NewLongPromptRates {
    fn from(above: LongPromptRates) -> Self {
        Self { prompt_tokens: above.prompt_tokens, rates: above.rates.into() }
    }
}

/// The rates of a service tier. A tier without rates costs twice (priority) or half (flex, batch)
/// as much as the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTierRates {
    /// The tier.
    pub tier: ServiceTier,
    /// Its rates.
    pub standard: NewRates,
    /// Its rates of long prompts, if they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<NewRates>,
}

impl From<NewTierRates> for TierPrice {
    fn from(new: NewTierRates) -> Self {
        let above = new.above.map(TokenRates::from);
        Self { tier: new.tier, standard: new.standard.into(), above }
    }
}

impl From<TierPrice> for NewTierRates {
    fn from(price: TierPrice) -> Self {
        let above = price.above.map(NewRates::from);
        Self { tier: price.tier, standard: price.standard.into(), above }
    }
}

/// Rates of long prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Above")]
pub struct UsdLongPromptRates {
    /// Prompts with more tokens than this cost `rates`.
    pub prompt_tokens: u64,
    /// The rates.
    pub rates: UsdRates,
}

impl From<LongPromptRates> for UsdLongPromptRates {
    fn from(above: LongPromptRates) -> Self {
        Self { prompt_tokens: above.prompt_tokens, rates: above.rates.into() }
    }
}

impl From<UsdLongPromptRates> for LongPromptRates {
    fn from(above: UsdLongPromptRates) -> Self {
        Self { prompt_tokens: above.prompt_tokens, rates: above.rates.into() }
    }
}

/// The price of a model from a date on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Price")]
pub struct PriceResource {
    /// Id of the model.
    pub model: String,
    /// From when the price applies.
    pub effective_from: Timestamp,
    /// The origin of the price.
    pub source: PriceSource,
    /// The usual rates.
    pub standard: UsdRates,
    /// The rates of `speed: fast`, if the model has it.
    pub fast: Option<UsdRates>,
    /// The rates of long prompts, if they differ.
    pub above: Option<UsdLongPromptRates>,
    /// Whether inference that stays in the US costs more.
    pub us_geo: bool,
    /// The rates of service tiers.
    #[serde(default)]
    pub tiers: Vec<NewTierRates>,
    /// What an account pays of the list price; the rates are then zero.
    #[serde(default)]
    pub multiplier: Option<UsdPerMillion>,
    /// US dollars for a thousand web searches, if it is not the usual price.
    #[serde(default)]
    pub web_search: Option<UsdPerMillion>,
    /// US dollars for a thousand requests, in addition to their tokens.
    #[serde(default)]
    pub per_request: Option<UsdPerMillion>,
    /// The most tokens that the model reads in one pass, if known.
    #[serde(default)]
    pub context_tokens: Option<u64>,
    /// The most tokens that the model writes in one pass, if known.
    #[serde(default)]
    pub output_tokens: Option<u64>,
    /// What is stated about the model.
    #[serde(default)]
    pub capabilities: StatedCapabilities,
    /// Version that usage records name.
    pub price_version: String,
}

impl PriceResource {
    /// The view of a price.
    pub fn from_price(model: &str, price: &ModelPrice, source: PriceSource) -> Self {
        Self {
            model: model.to_owned(),
            effective_from: price.from,
            source,
            standard: price.standard.into(),
            fast: price.fast.map(UsdRates::from),
            above: price.above.map(UsdLongPromptRates::from),
            us_geo: price.us_geo,
            tiers: price.tiers.iter().copied().map(NewTierRates::from).collect(),
            multiplier: price.multiplier.map(UsdPerMillion),
            web_search: price.web_search.map(UsdPerMillion::for_thousand),
            per_request: price.per_request.map(UsdPerMillion::for_thousand),
            context_tokens: price.context_tokens,
            output_tokens: price.output_tokens,
            capabilities: price.capabilities,
            price_version: price.version.clone(),
        }
    }
}

/// The origin of the price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// Baton's own list.
    Builtin,
    /// An operator has set it.
    Own,
    /// The catalog of the vendors' list prices.
    Catalog,
}

/// A new price: rates, or for an account a multiplier of the list price.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrice {
    /// Id of the model. `openai/gpt-5.2` is the price of one vendor only. `all` with a multiplier
    /// means every model.
    #[schemars(with = "ModelId")]
    pub model: String,
    /// The account that pays this price; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// What the account pays of the list price, such as 0.85.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UsdPerMillion>")]
    pub multiplier: Option<UsdPerMillion>,
    /// From when the price applies; by default from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub effective_from: Option<String>,
    /// The usual rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<NewRates>,
    /// The rates of `speed: fast`, if the model has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<NewRates>,
    /// The rates of long prompts, if they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<NewLongPromptRates>,
    /// Whether inference that stays in the US costs more.
    #[serde(default)]
    pub us_geo: bool,
    /// The rates of service tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<NewTierRates>,
    /// US dollars for a thousand web searches, if it is not the usual price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_search: Option<UsdPerMillion>,
    /// The most tokens that the model reads in one pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The most tokens that the model writes in one pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// US dollars for a thousand requests, in addition to their tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<UsdPerMillion>,
    /// What is known about the model. It overrides what Baton knows by the model's name.
    #[serde(default, skip_serializing_if = "StatedCapabilities::is_empty")]
    pub capabilities: StatedCapabilities,
}

impl NewPrice {
    /// A new price of a model with these rates.
    pub fn from_price(model: String, price: &ModelPrice) -> Self {
        Self {
            model,
            standard: Some(price.standard.into()),
            fast: price.fast.map(NewRates::from),
            above: price.above.map(NewLongPromptRates::from),
            us_geo: price.us_geo,
            tiers: price.tiers.iter().copied().map(NewTierRates::from).collect(),
            web_search: price.web_search.map(UsdPerMillion::for_thousand),
            context_tokens: price.context_tokens,
            output_tokens: price.output_tokens,
            per_request: price.per_request.map(UsdPerMillion::for_thousand),
            capabilities: price.capabilities,
            ..Self::default()
        }
    }

    /// The price. `None` if it has neither rates nor a multiplier, or both.
    pub fn price(&self, from: Timestamp, version: String) -> Option<ModelPrice> {
        let standard = match (self.standard, self.multiplier) {
            (Some(rates), None) => rates.into(),
            (None, Some(_)) if self.account_id.is_some() => TokenRates::default(),
            _ => return None,
        };
        Some(ModelPrice {
            from,
            standard,
            fast: self.fast.map(TokenRates::from),
            above: self.above.map(LongPromptRates::from),
            us_geo: self.us_geo,
            tiers: self.tiers.iter().copied().map(TierPrice::from).collect(),
            multiplier: self.multiplier.map(|factor| factor.0),
            web_search: self.web_search.map(UsdPerMillion::micros_for_one),
            per_request: self.per_request.map(UsdPerMillion::micros_for_one),
            context_tokens: self.context_tokens,
            output_tokens: self.output_tokens,
            capabilities: self.capabilities,
            version,
        })
    }
}

/// The id of a model in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedModel(pub String);

impl FromStr for PricedModel {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl JsonSchema for PricedModel {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PricedModel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "maxLength": 256,
            "pattern": "^[0-9A-Za-z][0-9A-Za-z._:@-]*$",
        })
    }
}

/// Query parameters of the list of prices.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PriceFilter {
    /// Only resources whose name contains this text; upper and lower case are equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
}

/// The price of a model to delete.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PriceSelector {
    /// Start date of the price to delete.
    #[schemars(with = "Moment")]
    pub effective_from: String,
}

/// A recalculation of past costs. A call examines at most `limit` requests of the period. Repeat
/// the same call until `done` is true.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rerate")]
pub struct RerateRequest {
    /// Start of the period.
    #[schemars(with = "Moment")]
    pub from: String,
    /// End of the period.
    #[schemars(with = "Moment")]
    pub to: String,
    /// Only count what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// How many requests this call examines at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5000))]
    pub limit: Option<u32>,
}

/// The progress of a recalculation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Rerated")]
pub struct RerateReport {
    /// Whether the whole period is done.
    pub done: bool,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Start of the period.
    pub from: Timestamp,
    /// End of the period.
    pub to: Timestamp,
    /// Requests that this call and those before it examined.
    pub examined: u64,
    /// Requests whose cost changed.
    pub changed: u64,
    /// Sum of the changes in US dollars.
    #[schemars(regex(pattern = r"^-?[0-9]{1,30}(\.[0-9]{1,12})?$"))]
    pub difference_usd: PicoUsd,
    /// The requests since this time have been examined; null if the whole period is done.
    pub next: Option<Timestamp>,
}
