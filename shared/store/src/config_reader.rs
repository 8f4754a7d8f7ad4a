//! Reads of the config table: entities by id, and lists of them, oldest first, in pages, filtered
//! while they are read. Keys are cached.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{Entity, StoreItem, StoredEntity, text};
use crate::item_names::{self, BY_KIND, CREATED_AT, KIND, PK, SK};
use crate::list::{ListPage, read_cursor, write_cursor};
use crate::permissions::{LIST_CONFIG, READ_CONFIG, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::{AccountId, GroupId, KeyId, UserId};
use baton_domain::key::Key;
use baton_domain::scope::LimitScope;
use std::sync::Arc;

/// The most queries for one page. If a filter finds too little within them, the page is short and
/// has a cursor.
const QUERIES_MAX: u32 = 10;

store_handle! {
    /// Reads the entities that operators manage.
    ConfigReader, READ_CONFIG, LIST_CONFIG
}

impl ConfigReader {
    /// The key with this id, from the cache while the entry is fresh; `None` if it does not exist.
    pub async fn key(&self, id: &KeyId) -> Result<Option<Arc<StoredEntity<Key>>>, StoreError> {
        let read = || {
            let (store, id) = (self.clone(), id.clone());
            async move { Ok(store.read::<Key>(&id).await?.map(Arc::new)) }
        };
        self.connection.keys.get(id, read).await
    }

    /// Whether the cache holds the key with this id. Such a key is served without waiting for the
    /// database, also during an outage of the database.
    pub fn is_key_cached(&self, id: &KeyId) -> bool {
        self.connection.keys.get_for_outage(id).is_some_and(|entry| entry.is_some())
    }

    /// The entity with this id, read from the database; `None` if it does not exist.
    pub async fn read<T: Entity>(&self, id: &T::Id) -> Result<Option<StoredEntity<T>>, StoreError> {
        self.connection.read(id).await
    }

    /// One page of a kind, oldest first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] if `cursor` is not from an earlier page of this kind.
    pub async fn list<T: Entity>(
        &self,
        limit: i32,
        cursor: Option<&str>,
    ) -> Result<ListPage<StoredEntity<T>>, StoreError> {
        let start = cursor.map(read_list_cursor::<T>).transpose()?;
        let (items, next) = self.query_kind::<T>(Some(limit), start).await?;
        let data = items.into_iter().map(StoredEntity::from_item).collect::<Result<_, _>>()?;
        Ok(ListPage { data, next_cursor: next.as_ref().map(write_cursor) })
    }

    /// One page of the entities that the filter accepts. One query reads up to 1 MB, which is
    /// several thousand entities.
    ///
    /// # Errors
    /// The same as [`Self::list`].
    pub async fn list_where<T: Entity>(
        &self,
        limit: usize,
        cursor: Option<&str>,
        wants: &(dyn Fn(&T) -> bool + Sync),
    ) -> Result<ListPage<StoredEntity<T>>, StoreError> {
        let mut start = cursor.map(read_list_cursor::<T>).transpose()?;
        let mut data = Vec::new();
        for _ in 0..QUERIES_MAX {
            let (items, next) = self.query_kind::<T>(None, start).await?;
            for item in items {
                let start_key = list_key(&item);
                let stored = StoredEntity::<T>::from_item(item)?;
                if !wants(&stored.value) {
                    continue;
                }
                data.push(stored);
                if data.len() >= limit {
                    return Ok(ListPage { data, next_cursor: Some(write_cursor(&start_key)) });
                }
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
        Ok(ListPage { data, next_cursor: start.as_ref().map(write_cursor) })
    }

    async fn query_kind<T: Entity>(
        &self,
        limit: Option<i32>,
        start: Option<StoreItem>,
    ) -> Result<(Vec<StoreItem>, Option<StoreItem>), StoreError> {
        let response = self
            .connection
            .query(Table::Config)
            .index_name(BY_KIND)
            .key_condition_expression("#kind = :kind")
            .expression_attribute_names("#kind", KIND)
            .expression_attribute_values(":kind", AttributeValue::S(T::KIND.to_owned()))
            .set_exclusive_start_key(start)
            .set_limit(limit)
            .send()
            .await?;
        Ok((response.items.unwrap_or_default(), response.last_evaluated_key))
    }

    /// The ids of a group's accounts.
    pub async fn account_ids(&self, id: &GroupId) -> Result<Vec<AccountId>, StoreError> {
        let items = self.group_items(id).await?;
        let ids = items
            .iter()
            .filter_map(|item| text(item, SK).ok()?.strip_prefix("account#")?.parse().ok());
        Ok(ids.collect())
    }

    /// The items of a group: the group itself and the copies of its accounts.
    pub(crate) async fn group_items(&self, id: &GroupId) -> Result<Vec<StoreItem>, StoreError> {
        self.connection.partition(Table::Config, &item_names::group_partition(id)).await
    }

    /// The ids of the keys that belong to the user now.
    pub async fn key_ids_of(&self, user: &UserId) -> Result<Vec<KeyId>, StoreError> {
        let pages = self
            .connection
            .query(Table::Config)
            .key_condition_expression("#pk = :pk AND begins_with(#sk, :key)")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(item_names::scope_partition(&LimitScope::User(user.clone()))),
            )
            .expression_attribute_values(
                ":key",
                AttributeValue::S(item_names::MEMBER_KEY_PREFIX.to_owned()),
            )
            .into_paginator()
            .items()
            .send();
        let items: Vec<StoreItem> = pages.collect::<Result<_, _>>().await?;
        let read = |item: &StoreItem| {
            text(item, SK).ok()?.strip_prefix(item_names::MEMBER_KEY_PREFIX)?.parse().ok()
        };
        Ok(items.iter().filter_map(read).collect())
    }
}

const LIST_KEY: [&str; 4] = [PK, SK, KIND, CREATED_AT];

/// The key after which the next page starts, if a page ends with this item.
fn list_key(item: &StoreItem) -> StoreItem {
    let keys = item.iter().filter(|(name, _)| LIST_KEY.contains(&name.as_str()));
    keys.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn read_list_cursor<T: Entity>(cursor: &str) -> Result<StoreItem, StoreError> {
    let key = read_cursor(cursor, &LIST_KEY)?;
    if text(&key, KIND)? == T::KIND { Ok(key) } else { Err(StoreError::BadCursor) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, group, open_handle};
    use crate::{ConfigEdit, ConfigEditor};
    use baton_domain::key::{Group, Limits};

    #[tokio::test]
    async fn list_has_pages_and_refuses_the_cursor_of_another_kind() {
        let tables = TestTables::open().await;
        let (editor, config) =
            (open_handle!(tables, ConfigEditor), open_handle!(tables, ConfigReader));
        for bits in 1..=3 {
            let mut edit = ConfigEdit::default();
            let one = Group { id: GroupId::from_bits(bits), ..group() };
            editor.save_group(&mut edit, &editor.new_stored(one, None)).expect("an item");
            editor.apply(edit).await.expect("saved");
        }
        let first = config.list::<Group>(2, None).await.expect("read");
        let cursor = first.next_cursor.as_deref();
        let rest = config.list::<Group>(2, cursor).await.expect("read");
        assert_eq!((first.data.len(), rest.data.len()), (2, 1));
        let wants = |group: &Group| group.id == GroupId::from_bits(3);
        let found = config.list_where::<Group>(2, None, &wants).await.expect("read");
        assert_eq!(found.data.len(), 1);
        assert!(matches!(config.list::<Key>(2, cursor).await, Err(StoreError::BadCursor)));
    }

    #[tokio::test]
    async fn key_is_cached_and_accounts_of_a_group_are_found() {
        let tables = TestTables::open().await;
        let (key, group, _) = tables.store_key_group_and_account(Limits::default()).await;
        let config = open_handle!(tables, ConfigReader);
        assert!(!config.is_key_cached(&key.id));
        assert!(config.key(&key.id).await.expect("read").is_some());
        assert!(config.is_key_cached(&key.id));
        assert_eq!(config.account_ids(&group.id).await.expect("read"), [account().id]);
        assert!(config.key_ids_of(&UserId::from_bits(1)).await.expect("read").is_empty());
    }
}
