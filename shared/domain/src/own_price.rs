//! Prices that operators have set, and how they override the built-in prices.
//!
//! From an operator's first price of a model on, the built-in prices of that model no longer count:
//! an agreed price holds until another one is agreed.

use crate::id::AccountId;
use crate::price::{ModelPrice, PriceTable, insert_price};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of an operator's price: a model and the start date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceId {
    /// The id of the model.
    pub model: String,
    /// When the price takes effect.
    pub from: Timestamp,
}

impl fmt::Display for PriceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model, self.from)
    }
}

/// Splits the name of a price that one account pays, such as `acc_1/gpt-5.2` or `acc_1/all`, into
/// the account and the model. Returns `None` for other names.
pub fn split_account_price(name: &str) -> Option<(AccountId, &str)> {
    let (account, model) = name.split_once('/')?;
    Some((account.parse().ok()?, model))
}

/// A price that an operator has set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnPrice {
    /// The model and the start date.
    pub id: PriceId,
    /// The price; its `from` is that of the id.
    pub price: ModelPrice,
}

impl PriceTable {
    /// This table with an operator's prices in place of the built-in ones.
    #[must_use]
    pub fn with_own(&self, own: &[OwnPrice]) -> Self {
        let mut table = self.clone();
        for OwnPrice { id, .. } in own {
            table.end(&id.model, id.from);
        }
        for OwnPrice { id, price } in own {
            table.set(&id.model, price.clone());
            insert_price(table.own.entry(id.model.clone()).or_default(), price.clone());
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token_rates::TokenRates;
    use crate::usage::{BilledUsage, TokenCounts};

    fn at(day: &str) -> Timestamp {
        format!("{day}T00:00:00Z").parse().unwrap()
    }

    fn own(model: &str, from: &str, input: u64) -> OwnPrice {
        let standard =
            TokenRates { input, output: 0, cache_read: 0, cache_write_5m: 0, cache_write_1h: 0 };
        let from = at(from);
        let version = format!("own-{input}");
        let price = ModelPrice { from, standard, version, ..ModelPrice::default() };
        OwnPrice { id: PriceId { model: model.to_owned(), from }, price }
    }

    /// Checks the version and the micro-dollars per million prompt tokens.
    fn check(table: &PriceTable, model: &str, day: &str, version: &str, micros: u64) {
        let tokens = TokenCounts { input: 1_000_000, ..TokenCounts::default() };
        let usage = BilledUsage { tokens, ..BilledUsage::default() };
        let cost = table.cost(&usage, model, at(day));
        let found = (cost.version.as_str(), cost.amount.pico());
        assert_eq!(found, (version, i128::from(micros) * 1_000_000), "{model} on {day}");
    }

    const FILE: &str = r#"{
        "version": "b", "source": "", "unit": "", "web_search": 0,
        "unknown": {"input": 9, "output": 9, "cache_read": 9, "cache_write_5m": 9, "cache_write_1h": 9},
        "models": {"m-1": {"us_geo": false, "aliases": ["m-alias"], "periods": [
            {"from": "2025-01-01T00:00:00Z", "standard": {"input": 1, "output": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}},
            {"from": "2026-06-01T00:00:00Z", "standard": {"input": 2, "output": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}}
        ]}}
    }"#;

    #[test]
    fn own_price_applies_until_the_next_own_price() {
        let builtin = PriceTable::from_json(FILE).unwrap();
        let table = builtin.with_own(&[own("m-1", "2026-08-01", 6), own("m-1", "2026-03-01", 5)]);
        check(&table, "m-1", "2025-06-01", "b", 1);
        check(&table, "m-1", "2026-02-28", "b", 1);
        check(&table, "m-1", "2026-03-01", "own-5", 5);
        check(&table, "m-1", "2026-07-01", "own-5", 5);
        check(&table, "m-1", "2026-08-01", "own-6", 6);
        check(&table, "m-alias", "2026-08-01", "own-6", 6);
        check(&builtin, "m-1", "2026-08-01", "b", 2);
    }

    #[test]
    fn limits_are_those_of_the_nearest_own_price() {
        let with_limits = |model: &str, context: u64| {
            let mut own = own(model, "2026-03-01", 5);
            own.price.context_tokens = Some(context);
            own.price.output_tokens = Some(context / 2);
            own
        };
        let builtin = PriceTable::from_json(FILE).unwrap();
        let limits = |table: &PriceTable, model: &str| {
            let limits = table.usual().own_capabilities(model, at("2026-04-01"));
            (limits.context_tokens, limits.output_tokens)
        };
        assert_eq!(limits(&builtin, "m-1"), (None, None));
        let table = builtin.with_own(&[
            with_limits("m-1", 1_000),
            with_limits("gpt-x", 2_000),
            with_limits("openai/gpt-x", 4_000),
            own("m-2", "2026-03-01", 5),
        ]);
        assert_eq!(limits(&table, "m-1"), (Some(1_000), Some(500)));
        assert_eq!(limits(&table, "gpt-x"), (Some(4_000), Some(2_000)));
        assert_eq!(limits(&table, "m-2"), (None, None));
        assert_eq!(limits(&table, "m-3"), (None, None));
    }

    #[test]
    fn alias_keeps_its_price_until_its_own_price_begins() {
        let table = PriceTable::from_json(FILE).unwrap();
        let table = table
            .with_own(&[own("m-alias", "2026-08-01", 7), own("m-1-20260101", "2026-08-01", 8)]);
        check(&table, "m-alias", "2026-07-01", "b", 2);
        check(&table, "m-alias", "2026-08-01", "own-7", 7);
        check(&table, "m-1-20260101", "2025-07-01", "b", 1);
        check(&table, "m-1-20260101", "2026-09-01", "own-8", 8);
        check(&table, "m-1", "2026-09-01", "b", 2);
        check(&table.with_own(&[own("new", "2026-08-01", 4)]), "new", "2026-09-01", "own-4", 4);
    }
}
