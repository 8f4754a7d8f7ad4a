//! The highest listed prices of models for which Baton has no price.
//!
//! A money limit holds only if the price of a request is not estimated too low. The list has, for
//! each public text model, the highest price that any vendor asks. A model that is not on it can
//! have any price.

use crate::model::base_id;
use crate::token_rates::{LongPromptRates, TokenRates};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The highest listed rates of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedPrice {
    /// `None` if the rates of an unknown model are high enough.
    pub(crate) standard: Option<TokenRates>,
    pub(crate) above: Option<LongPromptRates>,
}

static LISTED: LazyLock<BTreeMap<String, ListedPrice>> = LazyLock::new(|| {
    let mut listed = BTreeMap::new();
    for line in include_str!("../listed_models.txt").lines() {
        if let Some((name, price)) = parse_line(line) {
            let known = listed.entry(key_of(name)).or_insert(price);
            known.standard = higher_of(known.standard, price.standard, TokenRates::higher_of);
            known.above = higher_of(known.above, price.above, |one, other| LongPromptRates {
                prompt_tokens: one.prompt_tokens.min(other.prompt_tokens),
                rates: one.rates.higher_of(other.rates),
            });
        }
    }
    listed
});

/// The highest listed price of a model, if it is listed.
pub(crate) fn listed_price(model: &str) -> Option<ListedPrice> {
    LISTED.get(&key_of(model)).copied()
}

/// The name without vendors, dates and case.
fn key_of(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    base_id(name).to_ascii_lowercase()
}

fn higher_of<T>(one: Option<T>, other: Option<T>, higher: impl Fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(higher(one, other)),
        (one, other) => one.or(other),
    }
}

/// Reads a line of the list: a name, its rates, the longest usual prompt, the rates of longer ones.
fn parse_line(line: &str) -> Option<(&str, ListedPrice)> {
    let mut words = line.split_whitespace();
    let name = words.next().filter(|name| !name.starts_with('#'))?;
    let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let rates = |numbers: &[u64]| match *numbers {
        [input, output, cache_read, short, hour] => Some(TokenRates {
            input,
            output,
            cache_read,
            cache_write_5m: short,
            cache_write_1h: hour,
        }),
        _ => None,
    };
    let standard = numbers.get(..5).and_then(rates);
    let above = numbers.get(5).zip(numbers.get(6..).and_then(rates));
    let above = above.map(|(tokens, rates)| LongPromptRates { prompt_tokens: *tokens, rates });
    Some((name, ListedPrice { standard, above }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_lines_have_all_rates_or_none() {
        let lines = include_str!("../listed_models.txt").lines();
        for line in lines.filter(|line| !line.starts_with('#')) {
            let count = line.split_whitespace().count();
            assert!(matches!(count, 1 | 6 | 12), "{line}");
            let (_, price) = parse_line(line).unwrap();
            assert_eq!(price.standard.is_some(), count > 1, "{line}");
            assert_eq!(price.above.is_some(), count == 12, "{line}");
        }
    }

    #[test]
    fn model_is_found_by_each_vendor_name() {
        let input =
            |model: &str| listed_price(model).map(|price| price.standard.map(|it| it.input));
        for model in
            ["o1-pro", "openai/o1-pro", "o1-pro-2025-03-19", "O1-Pro", "openrouter/openai/o1-pro"]
        {
            assert_eq!(input(model), Some(Some(150_000_000)), "{model}");
        }
        assert_eq!(input("gpt-4o-mini"), Some(None));
        for model in
            ["", "m", "my-model", "gpt-5.5\u{200b}", " gpt-5.5", "~gpt-5.5", "gpt-5.5:nitro"]
        {
            assert_eq!(input(model), None, "{model}");
        }
    }
}
