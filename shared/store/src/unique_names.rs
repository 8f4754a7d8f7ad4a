//! Names that are unique inside one kind. Each name is a separate item, which is written on the
//! condition that it does not exist. So if two entities claim a name at the same time, one
//! conflicts.
//!
//! Entities stored by versions without these items get them when a name of their kind is first
//! looked up. If two of them have the same name, the item belongs to the oldest; the others stay as
//! they are.

use super::config_edit::{ConfigEdit, put};
use super::item::{Entity, key_of, text};
use super::item_names::{self, ID, PK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use baton_domain::account::Account;
use baton_domain::key::{Group, Key, User};

/// A kind of entity whose names are unique.
pub trait UniquelyNamed: Entity {
    /// The name.
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($type:ty),+) => {
        $(impl UniquelyNamed for $type {
            fn name(&self) -> &str {
                &self.name
            }
        })+
    };
}

named!(Account, Group, Key, User);

impl Store {
    /// The id of the entity that has this name.
    pub async fn holder_of_name<T: UniquelyNamed>(
        &self,
        name: &str,
    ) -> Result<Option<String>, StoreError> {
        self.note_names::<T>().await?;
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of(item_names::unique_name(T::KIND, name))))
            .consistent_read(true)
            .send()
            .await?;
        response.item.map(|item| text(&item, ID)).transpose()
    }

    /// Claims the entity's name; `edit` conflicts if another entity has it.
    pub fn claim_name<T: UniquelyNamed>(&self, edit: &mut ConfigEdit, value: &T) {
        edit.actions.push(put(self.name_put::<T>(value.name(), &value.id().to_string())));
    }

    /// Releases the entity's name, if the name's item belongs to this entity.
    pub async fn release_name<T: UniquelyNamed>(
        &self,
        edit: &mut ConfigEdit,
        value: &T,
    ) -> Result<(), StoreError> {
        if self.holder_of_name::<T>(value.name()).await? == Some(value.id().to_string()) {
            edit.actions.push(self.delete(item_names::unique_name(T::KIND, value.name()), None));
        }
        Ok(())
    }

    fn name_put<T: UniquelyNamed>(
        &self,
        name: &str,
        id: &str,
    ) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        let mut item = key_of(item_names::unique_name(T::KIND, name));
        item.insert(ID.to_owned(), AttributeValue::S(id.to_owned()));
        Put::builder()
            .table_name(&self.resources.config_table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
    }

    /// Writes the items of all existing names of a kind. This happens once for each deployment.
    async fn note_names<T: UniquelyNamed>(&self) -> Result<(), StoreError> {
        let marker_key = item_names::names_noted(T::KIND);
        if self.is_noted(&marker_key).await? {
            return Ok(());
        }
        let mut cursor = None;
        loop {
            let page = self.list::<T>(1000, cursor.as_deref()).await?;
            for stored in page.data {
                let mut edit = ConfigEdit::default();
                self.claim_name(&mut edit, &stored.value);
                match self.apply(edit).await {
                    // An older entity has this name.
                    Ok(()) | Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut item = key_of(marker_key);
        item.insert(ID.to_owned(), AttributeValue::S(T::KIND.to_owned()));
        let mark = self.db.put_item().table_name(&self.resources.config_table);
        mark.set_item(Some(item)).send().await?;
        Ok(())
    }

    async fn is_noted(&self, marker_key: &item_names::ItemKey) -> Result<bool, StoreError> {
        if self.noted_names.get(&marker_key.0).is_some() {
            return Ok(true);
        }
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of(marker_key.clone())))
            .send()
            .await?;
        if response.item.is_some() {
            self.noted_names.insert(marker_key.0.clone(), ());
        }
        Ok(response.item.is_some())
    }
}
