//! What tokens cost, by class.

use crate::money::PicoUsd;
use crate::usage::TokenCounts;
use serde::{Deserialize, Serialize};

/// Micro-dollars per million tokens, by class. A rate times a number of tokens is exactly an amount
/// of pico-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRates {
    /// Prompt tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache for five minutes, or for the shortest time that the vendor
    /// has (thirty minutes at OpenAI).
    pub cache_write_5m: u64,
    /// Prompt tokens written to the cache for an hour, or for the longest time that the vendor has
    /// (twelve hours at OpenAI).
    pub cache_write_1h: u64,
}

impl TokenRates {
    /// The cost of `tokens`.
    pub(crate) fn charge_tokens(&self, tokens: &TokenCounts) -> PicoUsd {
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
