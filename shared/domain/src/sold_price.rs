//! The price of a model as a seller asks it: which of several known prices counts, and the cost of
//! usage by it.

use crate::account::{Account, Provider};
use crate::listed_price::listed_price;
use crate::model::{base_id, family_of};
use crate::model_capabilities::OwnCapabilities;
use crate::model_catalog;
use crate::money::PicoUsd;
use crate::price::{ModelPrice, PriceTable, RateModifiers, UsageCost, started, version_label};
use crate::record::UsageRecord;
use crate::usage::BilledUsage;
use crate::vendor::Vendor;
use jiff::Timestamp;

/// Whose prices apply to a model: those of a vendor, of one of its regions, or of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seller {
    pub(crate) vendor: Option<Vendor>,
    pub(crate) region: Option<String>,
    pub(crate) account: Option<String>,
}

impl Seller {
    /// The seller of an account's models.
    pub fn of_account(account: &Account) -> Self {
        let vendor = Vendor::of_account(account.provider, &account.base_url);
        let region = vendor.and_then(|vendor| vendor.region_of(&account.base_url));
        Self {
            vendor,
            region: region.map(str::to_owned),
            account: Some(account.id.as_str().to_owned()),
        }
    }
}

/// The prices of one vendor, or of one account.
#[derive(Debug, Clone, Copy)]
pub struct SoldPrices<'a> {
    pub(crate) table: &'a PriceTable,
    pub(crate) vendor: Option<Vendor>,
    pub(crate) region: Option<&'a str>,
    pub(crate) account: Option<&'a str>,
}

impl PriceTable {
    /// The prices of a model at a vendor whose own prices are not known.
    pub fn usual(&self) -> SoldPrices<'_> {
        SoldPrices { table: self, vendor: None, region: None, account: None }
    }

    /// The prices of a seller.
    pub fn sold_by<'a>(&'a self, seller: &'a Seller) -> SoldPrices<'a> {
        let Seller { vendor, region, account } = seller;
        SoldPrices {
            table: self,
            vendor: *vendor,
            region: region.as_deref(),
            account: account.as_deref(),
        }
    }

    /// The seller of an account's models. Accounts of one vendor for which the operator has set no
    /// price have the same seller.
    pub fn seller_of(&self, account: &Account) -> Seller {
        let begin = format!("{}/", account.id.as_str());
        let next = self.own.range(begin.clone()..).next();
        let has_own = next.is_some_and(|(name, _)| name.starts_with(&begin));
        let seller = Seller::of_account(account);
        Seller { account: seller.account.filter(|_| has_own), ..seller }
    }

    /// The prices that a stored record was subject to: its account, and the vendor that its price's
    /// version names.
    pub(crate) fn for_record<'a>(&'a self, record: &'a UsageRecord) -> SoldPrices<'a> {
        let mut parts = record.price_version.trim_end_matches('?').rsplit('/');
        let (name, region) = (parts.next(), parts.next().filter(|_| parts.next().is_some()));
        let by_provider = || Provider::from_name(&record.provider).and_then(Vendor::of_provider);
        let vendor = name.and_then(Vendor::from_name).or_else(by_provider);
        SoldPrices { table: self, vendor, region, account: Some(record.account_id.as_str()) }
    }

    /// [`SoldPrices::price`] for a vendor that is not known.
    pub fn price(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        self.usual().price(model, at)
    }

    /// [`SoldPrices::cost`] for a vendor that is not known.
    pub fn cost(&self, usage: &BilledUsage, model: &str, at: Timestamp) -> UsageCost {
        self.usual().cost(usage, model, at)
    }

    /// The most tokens that the model reads in one pass, by the latest price.
    pub fn context_tokens(&self, model: &str) -> Option<u64> {
        self.usual().context_tokens(model, Timestamp::MAX)
    }

    /// [`SoldPrices::has_price_bound`] for a vendor that is not known.
    pub fn has_price_bound(&self, model: &str, at: Timestamp) -> bool {
        self.usual().has_price_bound(model, at)
    }
}

impl SoldPrices<'_> {
    /// The price of `model` at a moment, if it is known. The first of these counts: an operator's
    /// price for the account, for the vendor, and for the model; the vendor's entry in the catalog;
    /// a built-in price; the entry of the vendor that makes the model; an operator's price that
    /// starts later.
    pub fn price(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        self.own_price(model, at).or_else(|| self.listed_price(model, at))
    }

    /// The price of `model` without the operator's.
    fn listed_price(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        // The built-in prices of Claude models are newer than the catalog's, with earlier periods.
        let in_catalog = self.vendor.filter(|vendor| *vendor != Vendor::Anthropic);
        in_catalog
            .and_then(|vendor| model_catalog::entry(vendor, self.region, model))
            .or_else(|| self.built_in(model, at))
            .or_else(|| model_catalog::makers_entry(model))
            .or_else(|| self.later_price(model))
    }

    /// The operator's price for the account, for the vendor, or for the model. A multiple is one of
    /// the next price, which is none itself: a client can send the name under which a multiple is
    /// stored (`acc_1/all`) as a model.
    fn own_price(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        let mut started = self.own_rows(model).filter_map(|prices| started(prices, at));
        let price = started.next()?;
        let Some(factor) = price.multiplier else { return Some(price.clone()) };
        let next = started.find(|price| price.multiplier.is_none()).cloned();
        let list = next.or_else(|| {
            let others = SoldPrices { account: None, ..*self };
            others.listed_price(model, at)
        })?;
        Some(list.multiply(factor, self.table.web_search, &price.version))
    }

    /// The operator's first price of the model. It holds before its start, if there is no other.
    fn later_price(&self, model: &str) -> Option<ModelPrice> {
        let first = |prices: &[ModelPrice]| {
            prices.first().filter(|price| price.multiplier.is_none()).cloned()
        };
        self.own_rows(model).find_map(first)
    }

    /// The operator's prices of the model, each list with the earliest first: those for the account,
    /// for the vendor, and for the model.
    fn own_rows(&self, model: &str) -> impl Iterator<Item = &[ModelPrice]> {
        let has_own = !self.table.own.is_empty();
        let sellers = has_own.then(|| [self.account, self.vendor_or_maker(model)]);
        let of_seller =
            move |seller: &str| [model, base_id(model), "all"].map(|id| format!("{seller}/{id}"));
        let sold = sellers.into_iter().flatten().flatten().flat_map(of_seller);
        let row = has_own.then(|| self.table.find_row(model)).flatten();
        sold.chain(row.map(|(id, _)| id.to_owned()))
            .filter_map(|name| self.table.own.get(&name).map(Vec::as_slice))
    }

    fn vendor_or_maker(&self, model: &str) -> Option<&'static str> {
        let maker = || model_catalog::maker_of(model);
        self.vendor.or_else(maker).map(Vendor::as_str)
    }

    /// What an operator has set with a price of the model: for the account, for the vendor, or for
    /// the model. A multiple of a list says nothing about the model.
    pub fn own_capabilities(&self, model: &str, at: Timestamp) -> OwnCapabilities {
        let known = self
            .own_rows(model)
            .filter_map(|prices| started(prices, at))
            .filter(|price| price.multiplier.is_none())
            .map(|price| OwnCapabilities {
                context_tokens: price.context_tokens,
                output_tokens: price.output_tokens,
                stated: price.capabilities,
            });
        let mut known = known.filter(|own| *own != OwnCapabilities::default());
        known.next().unwrap_or_default()
    }

    /// The built-in price of the model, whoever sells it.
    fn built_in(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        let (id, prices) = self.table.find_row(model)?;
        let own = self.table.own.get(id).map(Vec::as_slice).unwrap_or_default();
        let is_own = |price: &ModelPrice| own.iter().any(|own| own.from == price.from);
        let mut prices = prices.iter().filter(|price| !is_own(price));
        let started = prices.clone().rfind(|price| price.from <= at);
        let price = started.or_else(|| prices.next())?.clone();
        let context_tokens = price.context_tokens.or(self.table.contexts.get(id).copied());
        Some(ModelPrice { context_tokens, ..price })
    }

    /// The cost of `usage`: each iteration at the price of its model, the rest at the price of
    /// `model`, which served the request, plus web searches. The length of a prompt is that of a
    /// single pass.
    pub fn cost(&self, usage: &BilledUsage, model: &str, at: Timestamp) -> UsageCost {
        let modifiers = RateModifiers::from_usage(usage);
        let (price, mut is_priced) = self.price_or_guess(model, at);
        let mut amount = self.fees(&price, usage.web_searches)
            + price.charge_pass(&usage.outside_iterations(), modifiers, model);
        for iteration in &usage.iterations {
            let served_model = iteration.model.as_deref().unwrap_or(model);
            let (price, is_known) = self.price_or_guess(served_model, at);
            is_priced &= is_known;
            amount += price.charge_pass(&iteration.tokens, modifiers, served_model);
        }
        UsageCost { amount, version: version_label(&price, is_priced), is_priced }
    }

    /// What a request with this number of web searches costs besides its tokens.
    pub(crate) fn fees(&self, price: &ModelPrice, searches: u64) -> PicoUsd {
        let search = price.web_search.unwrap_or(self.table.web_search);
        let request = price.per_request.unwrap_or_default();
        PicoUsd::from_micros(search.saturating_mul(searches).saturating_add(request))
    }

    /// The most tokens that the model reads in one pass, if that is known.
    pub fn context_tokens(&self, model: &str, at: Timestamp) -> Option<u64> {
        self.price(model, at).and_then(|price| price.context_tokens)
    }

    /// The model's price and `true`, or an estimate that is never free and `false`.
    pub(crate) fn price_or_guess(&self, model: &str, at: Timestamp) -> (ModelPrice, bool) {
        match self.price(model, at) {
            Some(price) => (price, true),
            None => (self.table.guess(model, at), false),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_price::{OwnPrice, PriceId};
    use crate::token_rates::TokenRates;

    fn own(model: &str, price: ModelPrice) -> OwnPrice {
        OwnPrice { id: PriceId { model: model.to_owned(), from: price.from }, price }
    }

    fn rate(input: u64) -> ModelPrice {
        let standard = TokenRates { input, output: input, ..TokenRates::default() };
        ModelPrice { standard, version: format!("own-{input}"), ..ModelPrice::default() }
    }

    #[test]
    fn most_specific_price_counts() {
        let multiplier = ModelPrice { multiplier: Some(850_000), ..rate(0) };
        let table = PriceTable::builtin().with_own(&[
            own("acc_1/gpt-5.2", rate(1)),
            own("acc_2/all", multiplier),
            own("azure/gpt-5.2", rate(3)),
            own("gpt-5.5", rate(4)),
        ]);
        let check = |vendor, account: &str, model: &str, expect: (u64, &str)| {
            let seller = Seller { vendor, region: None, account: Some(account.to_owned()) };
            let price = table.sold_by(&seller).price(model, Timestamp::UNIX_EPOCH).unwrap();
            let found = (price.standard.input, price.version.as_str());
            assert_eq!(found, expect, "{vendor:?} {account} {model}");
        };
        let openai = Some(Vendor::Openai);
        check(openai, "acc_1", "gpt-5.2-2025-12-11", (1, "own-1"));
        check(openai, "acc_2", "gpt-5.2", (1_487_500, "own-0/openai"));
        check(openai, "acc_3", "gpt-5.2", (1_750_000, "litellm-1.110.2/openai"));
        check(Some(Vendor::Azure), "acc_3", "gpt-5.2", (3, "own-3"));
        check(openai, "acc_3", "gpt-5.5", (4, "own-4"));
        check(None, "acc_3", "gpt-5.2", (1_750_000, "litellm-1.110.2/openai"));
        check(Some(Vendor::Anthropic), "acc_2", "claude-opus-5-5", (3_400_000, "own-0"));
    }

    #[test]
    fn price_does_not_apply_before_its_start() {
        let from = |day: &str, price: ModelPrice| ModelPrice {
            from: format!("2026-{day}T00:00:00Z").parse().unwrap(),
            ..price
        };
        let multiplier = |factor: u64, version: &str| ModelPrice {
            multiplier: Some(factor),
            version: version.to_owned(),
            ..rate(0)
        };
        let table = PriceTable::builtin().with_own(&[
            own("gpt-5.2", from("03-01", rate(1))),
            own("azure/gpt-5.2", from("03-01", rate(2))),
            own("acc_1/gpt-5.2", from("03-01", rate(3))),
            own("acc_2/gpt-5.2", from("03-01", multiplier(500_000, "half"))),
            own("acc_2/all", from("02-01", multiplier(800_000, "most"))),
            own("new", from("03-01", rate(4))),
            own("claude-opus-4-6", from("03-01", rate(5))),
        ]);
        let check = |vendor, account: &str, model: &str, [before, after]: [u64; 2]| {
            let seller =
                Seller { vendor: Some(vendor), region: None, account: Some(account.into()) };
            let input = |day: &str| {
                let at = format!("2026-{day}T00:00:00Z").parse().unwrap();
                table.sold_by(&seller).price(model, at).unwrap().standard.input
            };
            assert_eq!([input("02-28"), input("03-02")], [before, after], "{account} {model}");
        };
        check(Vendor::Openai, "acc_9", "gpt-5.2", [1_750_000, 1]);
        check(Vendor::Azure, "acc_9", "gpt-5.2", [1_750_000, 2]);
        check(Vendor::Openai, "acc_1", "gpt-5.2", [1_750_000, 3]);
        check(Vendor::Openai, "acc_2", "gpt-5.2", [1_400_000, 1]);
        check(Vendor::Openai, "acc_2", "gpt-5.5", [4_000_000, 4_000_000]);
        check(Vendor::Bedrock, "acc_9", "us.anthropic.claude-opus-4-6-v1", [5_500_000, 5]);
        // Without another price, the first one is better than a guess.
        check(Vendor::Openai, "acc_9", "new", [4, 4]);
    }

    /// A client can send any name as a model.
    #[test]
    fn name_of_a_multiple_is_not_a_model() {
        let multiplier = ModelPrice { multiplier: Some(500_000), ..rate(0) };
        let rows = ["acc_1/all", "openai/all", "all"];
        let table = PriceTable::builtin().with_own(&rows.map(|id| own(id, multiplier.clone())));
        let seller = Seller { account: Some("acc_1".to_owned()), ..Seller::default() };
        for model in rows {
            assert_eq!(table.price(model, Timestamp::MAX), None, "{model}");
            assert_eq!(table.sold_by(&seller).price(model, Timestamp::MAX), None, "{model}");
        }
        assert!(table.sold_by(&seller).price("gpt-5.2", Timestamp::MAX).is_some());
    }

    #[test]
    fn multiplier_applies_to_searches_and_requests() {
        let multiplier = ModelPrice { multiplier: Some(500_000), ..rate(0) };
        let list = ModelPrice { per_request: Some(40), ..rate(2_000_000) };
        let table = PriceTable::builtin().with_own(&[own("acc_1/all", multiplier), own("m", list)]);
        let cost = |account: &str| {
            let seller = Seller { account: Some(account.to_owned()), ..Seller::default() };
            let usage = BilledUsage { web_searches: 3, ..BilledUsage::default() };
            table.sold_by(&seller).cost(&usage, "m", Timestamp::UNIX_EPOCH).amount
        };
        assert_eq!(cost("acc_2"), PicoUsd::from_micros(30_040));
        assert_eq!(cost("acc_1"), PicoUsd::from_micros(15_020));
    }
}
