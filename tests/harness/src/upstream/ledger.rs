//! The usage that the upstream served: the invoice that Baton's own numbers must equal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The tokens of one answer by billing class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedTokens {
    /// Uncached input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Tokens read from the prompt cache.
    pub cache_read: u64,
    /// Tokens written to the five-minute cache.
    pub cache_write_5m: u64,
    /// Tokens written to the one-hour cache.
    pub cache_write_1h: u64,
    /// Web searches made by the server.
    pub web_searches: u64,
}

impl ServedTokens {
    /// Numbers that depend only on the length of the body. The same request therefore costs the
    /// same directly and through the relay, and no class is zero or equal to another.
    pub fn of_body(body: &[u8]) -> Self {
        let length = body.len() as u64;
        Self {
            input: 11 + length % 89,
            output: 17 + length % 43,
            cache_read: 2_000 + length % 1_013,
            cache_write_5m: 100 + length % 101,
            cache_write_1h: 300 + length % 53,
            web_searches: 0,
        }
    }

    /// The `usage` object in the form of the Messages API.
    pub fn to_json(self, output: u64) -> Value {
        json!({
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_write_5m + self.cache_write_1h,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m,
                "ephemeral_1h_input_tokens": self.cache_write_1h,
            },
            "output_tokens": output,
            "service_tier": "standard",
            "inference_geo": "global",
        })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write_5m += other.cache_write_5m;
        self.cache_write_1h += other.cache_write_1h;
        self.web_searches += other.web_searches;
    }
}

/// The row of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Started answers with status 200.
    pub begun: u64,
    /// Those answers that were written to their last byte.
    pub complete: u64,
    /// Answers with an error status.
    pub errors: u64,
    /// Tokens of the complete answers.
    pub usage: ServedTokens,
}

/// The served usage by model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLedger {
    /// The rows, by the model name that the upstream received.
    pub models: BTreeMap<String, LedgerRow>,
    /// The number of `count_tokens` calls, which cost nothing.
    pub count_tokens: u64,
}

impl UsageLedger {
    /// The sum of all models.
    pub fn total(&self) -> LedgerRow {
        let mut total = LedgerRow::default();
        for row in self.models.values() {
            total.begun += row.begun;
            total.complete += row.complete;
            total.errors += row.errors;
            total.usage.add(row.usage);
        }
        total
    }

    pub(super) fn row(&mut self, model: &str) -> &mut LedgerRow {
        self.models.entry(model.to_owned()).or_default()
    }
}
