//! The price of a model as a seller asks it: which of several known prices counts, and the cost of
//! usage by it.

use crate::account::{Account, Provider};
use crate::listed_price::listed_price;
use crate::model::{base_id, family_of};
use crate::model_capabilities::OwnLimits;
use crate::model_catalog;
use crate::money::PicoUsd;
use crate::price::{ModelPrice, PriceTable, RateModifiers, UsageCost, current, version_label};
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
        let next = self.models.range(begin.clone()..).next();
        let has_own = next.is_some_and(|(name, _)| name.starts_with(&begin));
        let seller = Seller::of_account(account);
        Seller { account: seller.account.filter(|_| has_own), ..seller }
    }

    /// The prices that a stored record was subject to: its account, and the vendor that its price's
    /// version names.
    pub fn for_record<'a>(&'a self, record: &'a UsageRecord) -> SoldPrices<'a> {
        let mut parts = record.price_version.trim_end_matches('?').rsplit('/');
        let (name, region) = (parts.next(), parts.next().filter(|_| parts.next().is_some()));
        let by_provider =
            || (record.provider == Provider::Bedrock.as_str()).then_some(Vendor::Bedrock);
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
    /// a built-in price; the entry of the vendor that makes the model.
    pub fn price(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        if let Some(price) = self.own_price(model, at) {
            return Some(price);
        }
        // The built-in prices of Claude models are newer than the catalog's, with earlier periods.
        let in_catalog = self.vendor.filter(|vendor| *vendor != Vendor::Anthropic);
        in_catalog
            .and_then(|vendor| model_catalog::entry(vendor, self.region, model))
            .or_else(|| self.listed(model, at))
            .or_else(|| model_catalog::makers_entry(model))
    }

    /// The operator's price for the account, for the vendor, or for the model.
    fn own_price(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        if self.table.own.is_empty() {
            return None;
        }
        let of_seller = |seller: &str| self.own_row(seller, model, at);
        if let Some(price) = self.account.and_then(of_seller) {
            let Some(factor) = price.multiplier else { return Some(price.clone()) };
            let list = SoldPrices { account: None, ..*self }.price(model, at)?;
            return Some(list.multiply(factor, &price.version));
        }
        if let Some(price) = self.vendor_or_maker(model).and_then(of_seller) {
            return Some(price.clone());
        }
        let (id, _) = self.table.find_row(model)?;
        if self.table.own.contains(id) { self.listed(model, at) } else { None }
    }

    /// The operator's price of an account or a vendor for the model.
    fn own_row(&self, seller: &str, model: &str, at: Timestamp) -> Option<&ModelPrice> {
        let qualified = [model, base_id(model), "all"].map(|id| format!("{seller}/{id}"));
        let prices = qualified.iter().find_map(|name| self.table.models.get(name))?;
        current(prices, at).filter(|price| price.multiplier.is_none() || price.from <= at)
    }

    fn vendor_or_maker(&self, model: &str) -> Option<&'static str> {
        let maker = || model_catalog::maker_of(model);
        self.vendor.or_else(maker).map(Vendor::as_str)
    }

    /// The limits that an operator has set with a price of the model: for the account, for the
    /// vendor, or for the model. A multiple of a list says nothing about limits.
    pub fn own_limits(&self, model: &str, at: Timestamp) -> OwnLimits {
        if self.table.own.is_empty() {
            return OwnLimits::default();
        }
        let row = self.table.find_row(model).filter(|(id, _)| self.table.own.contains(*id));
        let sellers = [self.account, self.vendor_or_maker(model)];
        let of_sellers =
            sellers.into_iter().flatten().filter_map(|seller| self.own_row(seller, model, at));
        let limits = of_sellers
            .chain(row.and_then(|(_, prices)| current(prices, at)))
            .filter(|price| price.multiplier.is_none())
            .map(|price| OwnLimits {
                context_tokens: price.context_tokens,
                output_tokens: price.output_tokens,
            });
        limits.into_iter().find(|limits| *limits != OwnLimits::default()).unwrap_or_default()
    }

    /// The table's price of the model, whoever sells it.
    fn listed(&self, model: &str, at: Timestamp) -> Option<ModelPrice> {
        let (id, prices) = self.table.find_row(model)?;
        let price = current(prices, at)?.clone();
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
    use crate::price::TokenRates;

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
}
