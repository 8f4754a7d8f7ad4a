//! State of resources that operators delete.

use crate::StoreError;
use crate::connection::Table;
use crate::item_names;
use crate::limits::LimitStore;
use crate::permissions::{Action, Permission, store_handle};
use baton_domain::id::AccountId;
use baton_domain::scope::LimitScope;

store_handle! {
    /// Removes the state of deleted resources.
    StateCleanup,
    Permission::on_state(&[Action::DeleteItem], &["health#*"]),
    Permission::on_state(&[Action::UpdateItem], &["limit#*"])
}

impl StateCleanup {
    /// Deletes the health of an account that no longer exists.
    pub async fn remove_health(&self, id: &AccountId) -> Result<(), StoreError> {
        self.connection.health.remove(id);
        self.connection.delete_item(Table::State, item_names::health(id)).await
    }

    /// Lets the item of a deleted scope expire after its open requests must have ended.
    pub async fn retire_limit(&self, scope: &LimitScope) -> Result<(), StoreError> {
        LimitStore::new(&self.connection).retire_limit(scope).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, key, open_handle};
    use baton_domain::key::Limits;

    #[tokio::test]
    async fn cleanup_of_what_does_not_exist_does_nothing() {
        let tables = TestTables::open().await;
        let cleanup = open_handle!(tables, StateCleanup);
        cleanup.remove_health(&account().id).await.expect("nothing to remove");
        let scope = LimitScope::Key(key(Limits::default()).id);
        cleanup.retire_limit(&scope).await.expect("nothing to retire");
    }
}
