//! The data of the overview, in as few calls as possible: batches over all tables with the totals
//! of days, the health of accounts and some keys.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{Entity as _, StoredEntity, text};
use crate::item_names::{self, PK, SK, TOTAL_DAY_PREFIX};
use crate::permissions::{ANY, Action, Permission, Resource, store_handle};
use crate::rollups::read_sums;
use baton_domain::id::{AccountId, KeyId};
use baton_domain::key::Key;
use baton_domain::rollup::{DAY_SHARDS, UsageSums};
use std::collections::{BTreeMap, HashMap};

/// The data of the overview.
#[derive(Default)]
pub struct OverviewSnapshot {
    /// The sums of days (`2026-11-22`). Days without requests are left out.
    pub days: BTreeMap<String, UsageSums>,
    /// The keys that still exist.
    pub keys: HashMap<KeyId, StoredEntity<Key>>,
}

store_handle! {
    /// The data of the overview.
    OverviewReader,
    Permission::on(Resource::ConfigTable, &[Action::BatchGetItem], ANY),
    Permission::on_state(&[Action::BatchGetItem], &["health#*"]),
    Permission::on_usage(&[Action::BatchGetItem], &["rollup#*"])
}

impl OverviewReader {
    /// Reads the sums of `days`, the health of `accounts` (into this process's memory), and `keys`.
    /// One call reads a hundred items; a day has three.
    pub async fn read(
        &self,
        days: &[String],
        accounts: &[AccountId],
        keys: &[KeyId],
    ) -> Result<OverviewSnapshot, StoreError> {
        let mut places = Vec::new();
        for day in days {
            let shards = 0..DAY_SHARDS;
            places.extend(shards.map(|shard| (Table::Usage, item_names::total_day(shard, day))));
        }
        places.extend(accounts.iter().map(|id| (Table::State, item_names::health(id))));
        places.extend(keys.iter().map(|id| (Table::Config, Key::item_key(id))));
        let mut snapshot = OverviewSnapshot::default();
        let mut health = HashMap::new();
        for (table, item) in self.connection.batch_get(places, false).await? {
            match table {
                Table::Usage => {
                    let day = text(&item, SK)?.trim_start_matches(TOTAL_DAY_PREFIX).to_owned();
                    snapshot.days.entry(day).or_default().add_sums(&read_sums(&item)?);
                }
                Table::State => drop(health.insert(text(&item, PK)?, item)),
                Table::Config => {
                    let key = StoredEntity::<Key>::from_item(item)?;
                    snapshot.keys.insert(key.value.id.clone(), key);
                }
            }
        }
        for id in accounts {
            let item = health.remove(&item_names::health(id).pk);
            self.connection.health.merge_item(id, item)?;
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, key, open_handle, record};
    use crate::usage_writer::tests::commit;
    use baton_domain::key::Limits;

    #[tokio::test]
    async fn overview_has_days_health_and_keys() {
        let tables = TestTables::open().await;
        tables.store_key_group_and_account(Limits::default()).await;
        commit(&tables, &record(1)).await.expect("stored");
        let (days, id) = (["2026-11-22".to_owned()], key(Limits::default()).id);
        let overview = open_handle!(tables, OverviewReader);
        let seen =
            overview.read(&days, &[account().id], std::slice::from_ref(&id)).await.expect("read");
        assert_eq!(seen.days["2026-11-22"].requests, 1);
        assert_eq!(seen.keys[&id].value.name, "ci");
    }
}
