//! A company's requests of a month, as records. The same numbers give the same records.

use std::collections::{BTreeMap, HashMap};

use baton_domain::record::UsageRecord;
use baton_domain::rollup::{Rollup, UsageSums, rollups_of};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::stores::AllStores;

/// The keys and accounts of the records.
#[derive(Clone)]
pub struct MonthIds {
    /// Keys with their users, if any.
    pub keys: Vec<(String, Option<String>)>,
    /// The accounts.
    pub accounts: Vec<String>,
}

/// Stores records with their sums, in the same way as stats.
pub async fn count(store: &AllStores, records: &[UsageRecord]) {
    // At most six actions for each record: the record and five sums.
    for some in records.chunks(16) {
        let mut sums = HashMap::<Rollup, UsageSums>::new();
        for record in some {
            for rollup in rollups_of(record) {
                sums.entry(rollup).or_default().add_sums(&UsageSums::from_record(record));
            }
        }
        let some: Vec<&UsageRecord> = some.iter().collect();
        store.stats.usage.commit(&some, &sums, &BTreeMap::new()).await.expect("stored");
    }
}

const MODELS: [(&str, u64); 4] =
    [("claude-opus-5-5", 40), ("claude-sonnet-5", 12), ("claude-haiku-5", 3), ("gpt-5.2", 7)];

impl MonthIds {
    /// The records of 30 days up to `now`: one for each key today, and `a_day` for each of the
    /// earlier days.
    pub fn month(&self, now: Timestamp, a_day: usize) -> Vec<UsageRecord> {
        let mut records = Vec::new();
        for (place, _) in self.keys.iter().enumerate() {
            records.push(self.record(records.len(), place, now));
        }
        for day in 1..30_i64 {
            let then = now - SignedDuration::from_hours(24 * day);
            // Fewer records at the weekend.
            let share = if then.as_second() / 86_400 % 7 < 2 { 3 } else { 1 };
            for place in 0..a_day / share {
                let at = then - SignedDuration::from_secs(i64::try_from(place).unwrap_or(0) * 7);
                records.push(self.record(records.len(), place * 13, at));
            }
        }
        records
    }

    fn record(&self, serial: usize, place: usize, at: Timestamp) -> UsageRecord {
        let (key, user) = &self.keys[place % self.keys.len()];
        let account = &self.accounts[serial % self.accounts.len()];
        // Squares spread the sizes, so that some keys and days are clearly larger than others.
        let size = u64::try_from((serial * serial + 7 * place) % 97 + 3).unwrap_or(1);
        let (model, price) = MODELS[(serial * 7 + serial / 5) % MODELS.len()];
        let outcome = match serial % 37 {
            5 => "upstream_error",
            11 => "client_disconnected",
            _ => "complete",
        };
        let tried = if serial % 23 == 4 {
            json!([{"account_id": account, "reason": "429 from the upstream; retry-after 30 s"}])
        } else {
            json!([])
        };
        let cost = size * price * 613;
        let record = json!({
            "v": 1, "id": format!("req_{serial:016}"), "started_at": at, "key_id": key, "user_id": user,
            "group_id": "grp_default", "account_id": account, "provider": "anthropic",
            "protocol": "anthropic_messages", "model": model, "upstream_model": model,
            "stream": true, "status": if outcome == "upstream_error" { 529 } else { 200 },
            "outcome": outcome, "estimated": false,
            "tokens": {
                "input": size * 31, "output": size * 17, "cache_read": size * 960,
                "cache_write_5m": size * 44, "cache_write_1h": 0,
            },
            "web_searches": 0, "service_tier": "standard", "inference_geo": null, "speed": null,
            "cost_usd": format!("{}.{:06}", cost / 1_000_000, cost % 1_000_000), "price_version": "2026-11-01",
            "ttft_ms": 300 + size * 9, "duration_ms": 1500 + size * 140, "attempts": 1,
            "tried": tried, "session_id": format!("ses_{}", serial % 50), "agent_id": null,
        });
        serde_json::from_value(record).expect("a record")
    }
}
