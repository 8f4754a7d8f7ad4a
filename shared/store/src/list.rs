//! Lists of the config table: all entities of a kind, oldest first, in pages, filtered while they
//! are read.

use super::config_edit::{ListPage, read_cursor, write_cursor};
use super::item::{Entity, StoreItem, StoredEntity, text};
use super::item_names::{BY_KIND, CREATED_AT, KIND, PK, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;

/// The most queries for one page. If a filter finds too little within them, the page is short and
/// has a cursor.
const QUERIES_MAX: u32 = 10;

impl Store {
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
            .db
            .query()
            .table_name(&self.resources.config_table)
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
