//! Session pins: remembers the cache domain of sessions that could not stay with their first
//! choice.
//!
//! A pin is stored only if a session left its cache domain because the domain was unavailable. Pins
//! are read only while that was recent, so normal traffic neither reads nor writes them. A move
//! inside a cache domain costs nothing, and a session that left a full account, or one near its
//! limit, returns to it as soon as possible.

use crate::RelayState;
use crate::account_selection::AccountSelector;
use baton_domain::account::Account;
use baton_domain::account_selection::{SESSION_PIN_LIFETIME, domain};

impl RelayState {
    /// Loads the session's pin into the selector, if its first choice was recently unavailable.
    pub(crate) async fn load_session_pin(&self, selector: &mut AccountSelector) {
        let Some((session, _)) = self.find_pinnable_session(selector) else { return };
        match Box::pin(self.store.session_pins.find_session_pin(&selector.session_pin_key(session)))
            .await
        {
            Ok(to) => selector.pinned_domain = to,
            Err(error) => tracing::warn!("cannot read the pin of a session: {error}"),
        }
    }

    /// Stores a pin if the session has just moved to the account at index `at`. The write does not
    /// delay the answer.
    pub(crate) fn store_session_pin(&self, selector: &AccountSelector, index: usize) {
        let Some((session, first_choice)) = self.find_pinnable_session(selector) else { return };
        let to = domain(&selector.pool().members[index].account);
        let from = selector.pinned_domain.as_deref().unwrap_or(first_choice);
        if from == to || !self.was_domain_unavailable(selector, from) {
            return;
        }
        let (store, pin_key, to) =
            (self.store.clone(), selector.session_pin_key(session), to.to_owned());
        self.background_tasks.spawn(async move {
            if let Err(error) = store.session_pins.put_session_pin(&pin_key, &to).await {
                tracing::warn!("cannot store the pin of a session: {error}");
            }
        });
    }

    /// Returns the session and the cache domain of its first choice, if that domain was unavailable
    /// so recently that the session might have moved.
    fn find_pinnable_session<'a>(&self, selector: &'a AccountSelector) -> Option<(u64, &'a str)> {
        let session = selector.session.stable_number()?;
        // The usual case is checked first, before anything is computed.
        if !self.was_any_account_unavailable(
            selector.pool().members.iter().map(|member| &member.account),
        ) {
            return None;
        }
        let first_choice = domain(&selector.pool().members[selector.first_choice()?].account);
        self.was_domain_unavailable(selector, first_choice).then_some((session, first_choice))
    }

    /// Returns whether an account of the cache domain was recently unavailable.
    fn was_domain_unavailable(&self, selector: &AccountSelector, name: &str) -> bool {
        let accounts = selector.pool().members.iter().map(|member| &member.account);
        self.was_any_account_unavailable(accounts.filter(|account| domain(account) == name))
    }

    /// Returns whether one of the accounts was recently unavailable.
    fn was_any_account_unavailable<'a>(&self, accounts: impl Iterator<Item = &'a Account>) -> bool {
        let ids = accounts.map(|account| &account.id);
        self.store.health.was_any_unavailable(ids, SESSION_PIN_LIFETIME, self.store.clock().now())
    }
}
