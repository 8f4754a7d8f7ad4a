//! The data of the overview, in as few calls as possible: the sums of today's keys and models, and,
//! in batches over all tables, the totals of days, the health of accounts and some keys.

use super::item::{StoreItem, StoredEntity, key_of, text};
use super::item_names::{self, KEY_PART, MODEL_PART, PK, SK, TOTAL_DAY_PREFIX};
use super::rollups::{invalid_sums, read_sums};
use super::state::BATCH_MAX;
use super::{Entity, Store, StoreError};
use aws_sdk_dynamodb::types::KeysAndAttributes;
use baton_domain::id::{AccountId, KeyId};
use baton_domain::key::Key;
use baton_domain::rollup::{DAY_SHARDS, UsageSums};
use std::collections::{BTreeMap, HashMap};

/// The key or model that a day's sum is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DaySumKey {
    /// All requests of a key.
    Key(KeyId),
    /// All requests for a model.
    Model(String),
}

/// The data of the overview.
#[derive(Default)]
pub struct OverviewSnapshot {
    /// The sums of days (`2026-11-22`). Days without requests are left out.
    pub days: BTreeMap<String, UsageSums>,
    /// The keys that still exist.
    pub keys: HashMap<KeyId, StoredEntity<Key>>,
}

impl Store {
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

    /// Reads the sums of `days`, the health of `accounts` (into this process's memory), and `keys`.
    /// One call reads a hundred items; a day has three.
    pub async fn read_overview(
        &self,
        days: &[String],
        accounts: &[AccountId],
        keys: &[KeyId],
    ) -> Result<OverviewSnapshot, StoreError> {
        let tables = &self.resources;
        let mut requested_keys: Vec<(&str, StoreItem)> = Vec::new();
        for day in days {
            let shards = (0..DAY_SHARDS).map(|shard| key_of(item_names::total_day(shard, day)));
            requested_keys.extend(shards.map(|item_key| (tables.usage_table.as_str(), item_key)));
        }
        let health = accounts.iter().map(|id| key_of(item_names::health(id)));
        requested_keys.extend(health.map(|item_key| (tables.state_table.as_str(), item_key)));
        let places = keys.iter().map(|id| key_of(Key::place(id)));
        requested_keys.extend(places.map(|item_key| (tables.config_table.as_str(), item_key)));

        let batches = requested_keys.chunks(BATCH_MAX).map(|batch| self.batch_get_items(batch));
        let mut snapshot = OverviewSnapshot::default();
        let mut health = HashMap::new();
        for (table, item) in futures_util::future::try_join_all(batches).await?.concat() {
            if table == tables.usage_table {
                let day = text(&item, SK)?.trim_start_matches(TOTAL_DAY_PREFIX).to_owned();
                snapshot.days.entry(day).or_default().add_sums(&read_sums(&item)?);
            } else if table == tables.state_table {
                health.insert(text(&item, PK)?, item);
            } else {
                let key = StoredEntity::<Key>::from_item(item)?;
                snapshot.keys.insert(key.value.id.clone(), key);
            }
        }
        for id in accounts {
            self.health.merge_item(id, health.remove(&item_names::health(id).0))?;
        }
        Ok(snapshot)
    }

    /// Reads the items at these places, each returned with its table.
    async fn batch_get_items(
        &self,
        requested_keys: &[(&str, StoreItem)],
    ) -> Result<Vec<(String, StoreItem)>, StoreError> {
        let mut places = HashMap::<String, Vec<StoreItem>>::new();
        for (table, start_key) in requested_keys {
            places.entry((*table).to_owned()).or_default().push(start_key.clone());
        }
        let keys = |places| KeysAndAttributes::builder().set_keys(Some(places)).build().ok();
        let mut request: HashMap<String, KeysAndAttributes> =
            places.into_iter().filter_map(|(table, places)| Some((table, keys(places)?))).collect();
        let mut found = Vec::new();
        while !request.is_empty() {
            let response = self.db.batch_get_item().set_request_items(Some(request)).send().await?;
            for (table, items) in response.responses.unwrap_or_default() {
                found.extend(items.into_iter().map(|item| (table.clone(), item)));
            }
            request = response.unprocessed_keys.unwrap_or_default();
        }
        Ok(found)
    }
}

/// Parses the sort key that `item_names::rollup` builds.
fn parse_day_sum_key(sk: &str) -> Option<DaySumKey> {
    if let Some(bare) = sk.strip_prefix(KEY_PART) {
        return format!("key_{bare}").parse().ok().map(DaySumKey::Key);
    }
    let (_, model) = sk.strip_prefix(MODEL_PART)?.split_once('#')?;
    Some(DaySumKey::Model(model.to_owned()))
}
