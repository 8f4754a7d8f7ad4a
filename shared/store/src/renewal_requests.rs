//! Requests of the relay to refresh to renew the token of an account.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, key_of, number, text};
use crate::item_names::{self, RENEW, SK, VERSION};
use crate::permissions::{Action, Permission, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::AccountId;
use std::collections::HashMap;

store_handle! {
    /// Requests new tokens from refresh.
    RenewalRequestSender, Permission::on_state(&[Action::PutItem], &[RENEW])
}

impl RenewalRequestSender {
    /// Requests a new token of the account from refresh. Each process does this once for each
    /// version of the token.
    pub async fn request_renewal(&self, id: &AccountId, version: u64) -> Result<(), StoreError> {
        if self.connection.renewal_requests.get(id).is_some_and(|requested| requested >= version) {
            return Ok(());
        }
        self.connection.renewal_requests.insert(id.clone(), version);
        self.connection
            .put_request(Table::State, key_of(item_names::renew(id)))
            .item(VERSION, AttributeValue::N(version.to_string()))
            .send()
            .await?;
        self.connection.renewal_requested.notify_one();
        Ok(())
    }
}

store_handle! {
    /// Requests for new tokens.
    RenewalRequestReceiver, Permission::on_state(&[Action::Query, Action::DeleteItem], &[RENEW])
}

impl RenewalRequestReceiver {
    /// Waits until something in this process has requested a new token.
    pub async fn wait_for_renewal_request(&self) {
        self.connection.renewal_requested.notified().await;
    }

    /// The accounts for which a new token was requested, each with the version that does not work.
    pub async fn requested_renewals(&self) -> Result<HashMap<AccountId, u64>, StoreError> {
        let items = self.connection.partition(Table::State, RENEW).await?;
        let read = |item: &StoreItem| {
            let id = text(item, SK)?;
            let id = id.parse().map_err(|error| inconsistent(RENEW, &id, &error))?;
            Ok((id, number(item, VERSION)?))
        };
        items.iter().map(read).collect()
    }

    /// Deletes the request for a new token after it has been handled.
    pub async fn forget_renewal(&self, id: &AccountId) -> Result<(), StoreError> {
        self.connection.delete_item(Table::State, item_names::renew(id)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, open_handle};

    #[tokio::test]
    async fn renewal_is_requested_once_for_each_version() {
        let tables = TestTables::open().await;
        let (sender, receiver) = (
            open_handle!(tables, RenewalRequestSender),
            open_handle!(tables, RenewalRequestReceiver),
        );
        let id = account().id;
        sender.request_renewal(&id, 1).await.expect("requested");
        assert_eq!(
            receiver.requested_renewals().await.expect("read"),
            HashMap::from([(id.clone(), 1)])
        );
        receiver.forget_renewal(&id).await.expect("forgotten");
        sender.request_renewal(&id, 1).await.expect("ignored");
        assert!(receiver.requested_renewals().await.expect("read").is_empty());
        sender.request_renewal(&id, 2).await.expect("requested");
        assert_eq!(receiver.requested_renewals().await.expect("read").len(), 1);
    }
}
