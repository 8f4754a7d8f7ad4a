//! Counts accounts by state, from the list of all accounts and their health, page by page.

use super::{Store, StoreError};
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::metric::{AccountState, AccountStateCounts};

const PAGE: i32 = 100;

impl Store {
    /// Counts all accounts. Each hundred accounts cost one Query and one or two batch reads.
    pub async fn count_account_states(&self) -> Result<AccountStateCounts, StoreError> {
        let (mut counts, mut cursor) = (AccountStateCounts::default(), None);
        loop {
            let page = self.list::<Account>(PAGE, cursor.as_deref()).await?;
            let ids: Vec<AccountId> = page.data.iter().map(|item| item.value.id.clone()).collect();
            self.read_health(&ids).await?;
            let now = self.clock().now();
            let state = |account: &Account| {
                AccountState::from_health(account, &self.health(&account.id), now)
            };
            counts.extend(page.data.iter().map(|stored| state(&stored.value)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(counts);
            }
        }
    }
}
