//! Rollups as items: adding to them, and reading them by period.

use crate::StoreError;
use crate::connection::{StoreConnection, Table};
use crate::item::{StoreItem, inconsistent, text};
use crate::item_names::{self, KEY_PART, MODEL_PART, PK, SK};
use crate::permissions::{Action, Permission, store_handle};
use crate::transaction::TransactionAction;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::KeyId;
use baton_domain::money::PicoUsd;
use baton_domain::rollup::{Rollup, RollupCell, SHARDS, UsageSums, UtcHour};
use baton_domain::usage::TokenCounts;
use std::collections::BTreeMap;

/// The key or model that a day's sum is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DaySumKey {
    /// All requests of a key.
    Key(KeyId),
    /// All requests for a model.
    Model(String),
}

/// The length of time that a total covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollupPeriod {
    /// UTC hours.
    Hour,
    /// UTC days.
    Day,
}

impl RollupPeriod {
    fn prefix(self) -> &'static str {
        match self {
            Self::Hour => "hour#",
            Self::Day => "day#",
        }
    }
}

/// Short attribute names, since every rollup item repeats them.
const FIELDS: [&str; 13] =
    ["r", "e", "ti", "to", "tr", "t5", "t1", "w", "c", "fm", "fn", "d", "np"];

fn numbers(sums: &UsageSums) -> [String; 13] {
    let tokens = &sums.tokens;
    [
        sums.requests.to_string(),
        sums.errors.to_string(),
        tokens.input.to_string(),
        tokens.output.to_string(),
        tokens.cache_read.to_string(),
        tokens.cache_write_5m.to_string(),
        tokens.cache_write_1h.to_string(),
        sums.web_searches.to_string(),
        sums.cost.pico().to_string(),
        sums.ttft_ms.to_string(),
        sums.ttft_count.to_string(),
        sums.duration_ms.to_string(),
        sums.unpriced.to_string(),
    ]
}

/// The action of a transaction that adds `sums` to a rollup. Zeros are omitted.
pub(crate) fn add_to(
    connection: &StoreConnection,
    rollup: &Rollup,
    sums: &UsageSums,
) -> TransactionAction {
    let (mut clauses, mut update) =
        (Vec::new(), connection.update(Table::Usage, item_names::rollup(rollup)));
    for (field, digits) in FIELDS.iter().zip(numbers(sums)).filter(|(_, digits)| digits != "0") {
        clauses.push(format!("#{field} :{field}"));
        update = update
            .expression_attribute_names(format!("#{field}"), *field)
            .expression_attribute_values(format!(":{field}"), AttributeValue::N(digits));
    }
    update.update_expression(format!("ADD {}", clauses.join(", "))).into()
}

pub(crate) fn read_sums(item: &StoreItem) -> Result<UsageSums, StoreError> {
    let digits = |field: &str| match item.get(field) {
        Some(AttributeValue::N(digits)) => Ok(digits.as_str()),
        None => Ok("0"),
        Some(_) => Err(invalid_sums(item, field)),
    };
    let count = |field: &str| digits(field)?.parse::<u64>().map_err(|_| invalid_sums(item, field));
    Ok(UsageSums {
        requests: count("r")?,
        errors: count("e")?,
        tokens: TokenCounts {
            input: count("ti")?,
            output: count("to")?,
            cache_read: count("tr")?,
            cache_write_5m: count("t5")?,
            cache_write_1h: count("t1")?,
        },
        web_searches: count("w")?,
        cost: PicoUsd::new(digits("c")?.parse().map_err(|_| invalid_sums(item, "c"))?),
        ttft_ms: count("fm")?,
        ttft_count: count("fn")?,
        duration_ms: count("d")?,
        unpriced: digits("np")?.parse().map_err(|_| invalid_sums(item, "np"))?,
    })
}

pub(crate) fn invalid_sums(item: &StoreItem, detail: &str) -> StoreError {
    let part = |name| text(item, name).unwrap_or_default();
    inconsistent(
        &part(PK),
        &part(SK),
        &format_args!("attribute `{detail}` has an unexpected value"),
    )
}

store_handle! {
    /// Reads rollups.
    RollupReader, Permission::on_usage(&[Action::Query], &["rollup#*"])
}

impl RollupReader {
    /// All totals between two hours or days, both inclusive (`2026-11-22T21` or `2026-11-22`), in
    /// no particular order. Each period appears once for each shard.
    pub async fn totals(
        &self,
        period: RollupPeriod,
        from: &str,
        to: &str,
    ) -> Result<Vec<(String, UsageSums)>, StoreError> {
        let mut items = Vec::new();
        for shard in 0..SHARDS {
            let (low, high) = (period.prefix().to_owned() + from, period.prefix().to_owned() + to);
            for item in self.range(item_names::total_partition(shard), low, high).await? {
                let at = text(&item, SK)?.trim_start_matches(period.prefix()).to_owned();
                items.push((at, read_sums(&item)?));
            }
        }
        Ok(items)
    }

    /// The cube's cells of one day.
    pub async fn cells(&self, day: &str) -> Result<Vec<(RollupCell, UsageSums)>, StoreError> {
        let mut items = Vec::new();
        for shard in 0..SHARDS {
            let partition = item_names::cube_partition(day, shard);
            for item in self.range(partition, day.to_owned(), format!("{day}\u{10ffff}")).await? {
                let cell = parse_cell(&text(&item, SK)?).ok_or_else(|| invalid_sums(&item, SK))?;
                items.push((cell, read_sums(&item)?));
            }
        }
        Ok(items)
    }

    /// The sums of each key and each model on a day. One Query returns several thousand sums.
    pub async fn read_day_sums(
        &self,
        day: &str,
    ) -> Result<BTreeMap<DaySumKey, UsageSums>, StoreError> {
        let mut parts = BTreeMap::<DaySumKey, UsageSums>::new();
        let partition = item_names::day_partition(day);
        for item in self.range(partition, KEY_PART.to_owned(), format!("{MODEL_PART}~")).await? {
            let part =
                parse_day_sum_key(&text(&item, SK)?).ok_or_else(|| invalid_sums(&item, SK))?;
            parts.entry(part).or_default().add_sums(&read_sums(&item)?);
        }
        Ok(parts)
    }

    async fn range(
        &self,
        pk: String,
        low: String,
        high: String,
    ) -> Result<Vec<StoreItem>, StoreError> {
        let items = self
            .connection
            .query(Table::Usage)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :low AND :high")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":low", AttributeValue::S(low))
            .expression_attribute_values(":high", AttributeValue::S(high))
            .into_paginator()
            .items()
            .send();
        items.collect::<Result<Vec<_>, _>>().await.map_err(Into::into)
    }
}

/// Parses the sort key that `item_names::rollup` builds: hour, key, user, group, account, model.
fn parse_cell(sk: &str) -> Option<RollupCell> {
    let mut parts = sk.splitn(6, '#');
    Some(RollupCell {
        hour: UtcHour::parse(parts.next()?)?,
        key: format!("key_{}", parts.next()?).parse().ok()?,
        user: match parts.next()? {
            "-" => None,
            bare => Some(format!("usr_{bare}").parse().ok()?),
        },
        group: format!("grp_{}", parts.next()?).parse().ok()?,
        account: format!("acc_{}", parts.next()?).parse().ok()?,
        model: parts.next()?.to_owned(),
    })
}

/// Parses the sort key that `item_names::rollup` builds.
fn parse_day_sum_key(sk: &str) -> Option<DaySumKey> {
    if let Some(bare) = sk.strip_prefix(KEY_PART) {
        return format!("key_{bare}").parse().ok().map(DaySumKey::Key);
    }
    let (_, model) = sk.strip_prefix(MODEL_PART)?.split_once('#')?;
    Some(DaySumKey::Model(model.to_owned()))
}
