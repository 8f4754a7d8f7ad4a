//! The usage that Baton reports, polled until it is complete.

use std::time::Duration;

use serde_json::Value;

use super::{TestKey, TestSystem};
use crate::eventually::eventually;
use crate::upstream::{LedgerRow, ServedTokens};

/// The time for usage to appear, if the test is not about that time.
pub const SOON: Duration = Duration::from_secs(20);

impl TestSystem {
    /// The current rows of `GET /usage/summary`.
    pub async fn summary(&self, query: &str) -> Vec<Value> {
        self.rows(&format!("/usage/summary?{query}")).await
    }

    /// The current newest page of `GET /usage/events` for a key.
    pub async fn events(&self, key: &TestKey) -> Vec<Value> {
        self.rows(&format!("/usage/events?key_id={}&limit=1000", key.id)).await
    }

    async fn rows(&self, path: &str) -> Vec<Value> {
        let body = self.admin().get(path).await.ok().json();
        body["data"].as_array().unwrap_or_else(|| panic!("no data: {body}")).clone()
    }

    /// Waits until the key has exactly this number of events.
    pub async fn events_of(&self, key: &TestKey, count: usize) -> Vec<Value> {
        self.events_within(SOON, key, count).await
    }

    /// The same with a time limit.
    pub async fn events_within(
        &self,
        patience: Duration,
        key: &TestKey,
        count: usize,
    ) -> Vec<Value> {
        eventually(&format!("{count} usage events"), patience, async || {
            let events = self.events(key).await;
            if events.len() == count { Ok(events) } else { Err(events) }
        })
        .await
    }

    /// Waits until the summary of the whole system, in one row, equals the upstream's ledger. If a
    /// request had several attempts or an answer was cut, the two differ correctly.
    pub async fn summary_equals(&self, row: &LedgerRow) {
        self.summary_equals_within(SOON, row).await;
    }

    /// The same with a time limit.
    pub async fn summary_equals_within(&self, patience: Duration, row: &LedgerRow) {
        eventually("the summary equals the upstream's ledger", patience, async || {
            let rows = self.summary("").await;
            let [only] = rows.as_slice() else { return Err((format!("{rows:?}"), *row)) };
            let same = only["requests"] == row.begun + row.errors && tokens(only) == row.usage;
            if same { Ok(()) } else { Err((only.to_string(), *row)) }
        })
        .await;
    }
}

/// The tokens of a usage event or of a summary row.
pub fn tokens(row: &Value) -> ServedTokens {
    let class = |name: &str| {
        row["tokens"][name].as_u64().unwrap_or_else(|| panic!("tokens.{name} is missing: {row}"))
    };
    ServedTokens {
        input: class("input"),
        output: class("output"),
        cache_read: class("cache_read"),
        cache_write_5m: class("cache_write_5m"),
        cache_write_1h: class("cache_write_1h"),
        web_searches: row["web_searches"].as_u64().unwrap_or_default(),
    }
}
