//! Sessions out of their first choice: when it matters where they went, and when it is noted.
//!
//! Only moves out of a cache domain that was out are remembered, and only while it was so lately
//! are they looked up: steady traffic neither reads nor writes any. Inside a domain a move
//! costs nothing, and a session that left a full account or one near its limit goes home as soon
//! as it can.

use crate::RelayState;
use crate::account_selection::AccountSelector;
use baton_domain::account::Account;
use baton_domain::account_selection::{MOVED, domain};

impl RelayState {
    /// Lets the chooser know where the session went, if it had to leave its first choice.
    pub(crate) async fn load_session_pin(&self, chooser: &mut AccountSelector) {
        let Some((session, _)) = self.find_pinnable_session(chooser) else { return };
        match Box::pin(self.store.find_session_pin(&chooser.session_pin_key(session))).await {
            Ok(to) => chooser.moved_to = to,
            Err(error) => tracing::warn!("where a session went is not known: {error}"),
        }
    }

    /// Notes beside the answer that the session was served by the account at `at`, if that is
    /// where it has just moved.
    pub(crate) fn store_session_pin(&self, chooser: &AccountSelector, at: usize) {
        let Some((session, home)) = self.find_pinnable_session(chooser) else { return };
        let to = domain(&chooser.pool().members[at].account);
        let from = chooser.moved_to.as_deref().unwrap_or(home);
        if from == to || !self.was_domain_unavailable(chooser, from) {
            return;
        }
        let (store, moving, to) =
            (self.store.clone(), chooser.session_pin_key(session), to.to_owned());
        self.leftovers.spawn(async move {
            if let Err(error) = store.put_session_pin(&moving, &to).await {
                tracing::warn!("where a session went is not stored: {error}");
            }
        });
    }

    /// The session and the cache domain of its first choice, if that was out so lately that
    /// the session may be elsewhere.
    fn find_pinnable_session<'a>(&self, chooser: &'a AccountSelector) -> Option<(u64, &'a str)> {
        let session = chooser.session.stable_number()?;
        // The usual case, before anything is computed.
        if !self.was_any_account_unavailable(
            chooser.pool().members.iter().map(|member| &member.account),
        ) {
            return None;
        }
        let home = domain(&chooser.pool().members[chooser.first_choice()?].account);
        self.was_domain_unavailable(chooser, home).then_some((session, home))
    }

    /// Whether an account of the cache domain was out so lately.
    fn was_domain_unavailable(&self, chooser: &AccountSelector, name: &str) -> bool {
        let accounts = chooser.pool().members.iter().map(|member| &member.account);
        self.was_any_account_unavailable(accounts.filter(|account| domain(account) == name))
    }

    /// Whether one of them was out so lately.
    fn was_any_account_unavailable<'a>(&self, accounts: impl Iterator<Item = &'a Account>) -> bool {
        let ids = accounts.map(|account| &account.id);
        self.store.was_any_unavailable(ids, MOVED, self.store.clock().now())
    }
}
