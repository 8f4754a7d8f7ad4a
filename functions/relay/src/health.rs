//! What a request teaches about its account: written beside the request, and only if it is news.

use crate::Means;
use baton_domain::health::{Health, after, served};
use baton_domain::id::AccountId;
use baton_domain::verdict::Effect;
use baton_wire::limits::utilisation_of;
use http::HeaderMap;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long an answer waits for a note that is still being written.
const PATIENCE: Duration = Duration::from_secs(1);

/// A change of an account's health on its way into the store.
pub(crate) struct Note(pub(crate) Option<JoinHandle<()>>);

impl Note {
    /// Nothing to write.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Waits until it is written, for a moment: a Lambda may freeze after the answer.
    pub(crate) async fn written(self) {
        if let Some(writing) = self.0 {
            let _either_way = tokio::time::timeout(PATIENCE, writing).await;
        }
    }
}

impl Means {
    /// Notes what a failure means for the account.
    pub(crate) fn note_miss(&self, account: &AccountId, effect: Effect) -> Note {
        let now = self.store.clock().now();
        self.note(account, move |health| after(health, &effect, now))
    }

    /// Notes a good answer for `model` with these headers.
    pub(crate) fn note_served(
        &self,
        account: &AccountId,
        model: &str,
        headers: &HeaderMap,
    ) -> Note {
        let (now, utilisation) = (self.store.clock().now(), utilisation_of(headers));
        let model = model.to_owned();
        self.note(account, move |health| served(health, &model, utilisation, now))
    }

    /// Notes a change, if it is one.
    pub(crate) fn note(
        &self,
        account: &AccountId,
        change: impl Fn(&Health) -> Option<Health> + Send + Sync + 'static,
    ) -> Note {
        if !self.store.change_health_here(account, &change) {
            return Note::nothing();
        }
        let (store, account) = (self.store.clone(), account.clone());
        Note(Some(self.leftovers.spawn(async move {
            if let Err(error) = store.write_health(&account, change).await {
                tracing::warn!(account_id = %account, "its health is not stored: {error}");
            }
        })))
    }
}
