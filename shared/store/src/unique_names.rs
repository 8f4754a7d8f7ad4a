//! Names that are unique inside one kind. Each name is a separate item, which is written on the
//! condition that it does not exist. So if two entities claim a name at the same time, one
//! conflicts.
//!
//! Entities stored by versions without these items get them when a name of their kind is first
//! looked up. If two of them have the same name, the item belongs to the oldest; the others stay as
//! they are.

use crate::StoreError;
use crate::config_editor::ConfigEdit;
use crate::config_reader::ConfigReader;
use crate::connection::Table;
use crate::item::{Entity, key_of, text};
use crate::item_names::{self, ID};
use crate::permissions::{
    ANY, Action, LIST_CONFIG, Permission, READ_CONFIG, Resource, store_handle,
};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::builders::PutBuilder;
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

store_handle! {
    /// The holders of names.
    UniqueNames,
    READ_CONFIG,
    LIST_CONFIG,
    Permission::on(Resource::ConfigTable, &[Action::PutItem, Action::DeleteItem], ANY)
}

impl UniqueNames {
    /// The id of the entity that has this name.
    pub async fn holder_of_name<T: UniquelyNamed>(
        &self,
        name: &str,
    ) -> Result<Option<String>, StoreError> {
        self.note_names::<T>().await?;
        let item = self
            .connection
            .get_item(Table::Config, item_names::unique_name(T::KIND, name), true)
            .await?;
        item.map(|item| text(&item, ID)).transpose()
    }

    /// Claims the entity's name; `edit` conflicts if another entity has it.
    pub fn claim_name<T: UniquelyNamed>(&self, edit: &mut ConfigEdit, value: &T) {
        edit.actions.push(self.name_put::<T>(value.name(), &value.id().to_string()).into());
    }

    /// Releases the entity's name, if the name's item belongs to this entity.
    pub async fn release_name<T: UniquelyNamed>(
        &self,
        edit: &mut ConfigEdit,
        value: &T,
    ) -> Result<(), StoreError> {
        if self.holder_of_name::<T>(value.name()).await? == Some(value.id().to_string()) {
            let place = item_names::unique_name(T::KIND, value.name());
            edit.actions.push(self.connection.delete(Table::Config, place).into());
        }
        Ok(())
    }

    fn name_put<T: UniquelyNamed>(&self, name: &str, id: &str) -> PutBuilder {
        let mut item = key_of(item_names::unique_name(T::KIND, name));
        item.insert(ID.to_owned(), AttributeValue::S(id.to_owned()));
        self.connection.put_new(Table::Config, item)
    }

    /// Writes the items of all existing names of a kind. This happens once for each deployment.
    async fn note_names<T: UniquelyNamed>(&self) -> Result<(), StoreError> {
        let marker_key = item_names::names_noted(T::KIND);
        if self.is_noted(&marker_key).await? {
            return Ok(());
        }
        let mut cursor = None;
        loop {
            let page =
                ConfigReader::new(&self.connection).list::<T>(1000, cursor.as_deref()).await?;
            for stored in page.data {
                let mut edit = ConfigEdit::default();
                self.claim_name(&mut edit, &stored.value);
                match edit.apply(&self.connection).await {
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
        self.connection.put_item(Table::Config, item).await
    }

    async fn is_noted(&self, marker_key: &item_names::ItemKey) -> Result<bool, StoreError> {
        if self.connection.noted_names.get(&marker_key.pk).is_some() {
            return Ok(true);
        }
        let item = self.connection.get_item(Table::Config, marker_key.clone(), false).await?;
        if item.is_some() {
            self.connection.noted_names.insert(marker_key.pk.clone(), ());
        }
        Ok(item.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, group, open_handle};
    use baton_domain::id::GroupId;

    #[tokio::test]
    async fn name_has_one_holder() {
        let tables = TestTables::open().await;
        let names = open_handle!(tables, UniqueNames);
        let [first, second] = [1, 2].map(|bits| Group { id: GroupId::from_bits(bits), ..group() });
        let claim = async |group: &Group| {
            let mut edit = ConfigEdit::default();
            names.claim_name(&mut edit, group);
            edit.apply(&names.connection).await
        };
        claim(&first).await.expect("claimed");
        assert!(matches!(claim(&second).await, Err(StoreError::Conflict)));
        let holder = names.holder_of_name::<Group>("team").await.expect("read");
        assert_eq!(holder, Some(first.id.to_string()));
        let mut edit = ConfigEdit::default();
        names.release_name(&mut edit, &first).await.expect("read");
        edit.apply(&names.connection).await.expect("released");
        claim(&second).await.expect("claimed");
    }
}
