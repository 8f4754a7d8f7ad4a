//! Who asks: the first valid key among the credential headers.

use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_cloud::store::Stored;
use baton_domain::key::{Key, Unusable};
use baton_domain::model::allows;
use baton_domain::money::PicoUsd;
use baton_domain::relay_key::{RelayKey, is_within};
use baton_domain::scope::Scope;
use baton_wire::headers::credentials;
use std::sync::Arc;

/// The key that a request came with, and what is reserved for the request against its limits.
#[derive(Clone)]
pub(crate) struct Caller {
    stored: Arc<Stored<Key>>,
    pub(crate) reserved_usd: Option<PicoUsd>,
    pub(crate) reserved_pools: Vec<Scope>,
}

impl Caller {
    pub(crate) fn key(&self) -> &Key {
        &self.stored.value
    }

    /// Whether the key may ask for `model`. A relay key is no model: its name would be kept in
    /// records and logs, and go upstream.
    pub(crate) fn may_use(&self, model: &str) -> Result<(), Refusal> {
        if is_within(model.as_bytes()) {
            return Err(Refusal::key_for_model());
        }
        if allows(&self.key().models, model) {
            Ok(())
        } else {
            Err(Refusal::model_not_allowed(model))
        }
    }
}

impl Means {
    /// Tries every credential of the request; form and checksum first, so that a mistyped key
    /// costs no I/O. Of several that fail, the one that got furthest explains most.
    pub(crate) async fn authenticate(&self, asked: &Asked) -> Result<Caller, Refusal> {
        if let Err(error) = self.pepper.refresh().await {
            return Err(Refusal::store(&error));
        }
        let mut furthest = (Stage::Presented, Refusal::no_key());
        for candidate in credentials(&asked.head.headers) {
            match self.caller(asked, candidate).await {
                Ok(caller) => return Ok(caller),
                Err(failed) if failed.0 >= furthest.0 => furthest = failed,
                Err(_) => {}
            }
        }
        Err(furthest.1)
    }

    async fn caller(&self, asked: &Asked, candidate: &str) -> Result<Caller, (Stage, Refusal)> {
        let presented =
            RelayKey::parse(candidate).map_err(|_| (Stage::Presented, Refusal::malformed_key()))?;
        let unknown = || (Stage::WellFormed, Refusal::unknown_key());
        let stored = self.store.key(&presented.id).await;
        let stored = stored.map_err(|error| (Stage::Known, Refusal::store(&error)))?;
        let stored = stored.ok_or_else(unknown)?;
        let hash = stored.secret.as_deref().unwrap_or_default();
        if !self.pepper.matches(presented.secret, hash) {
            return Err(unknown());
        }
        match stored.value.usable(asked.at) {
            Ok(()) => Ok(Caller { stored, reserved_usd: None, reserved_pools: Vec::new() }),
            Err(Unusable::Disabled) => Err((Stage::Known, Refusal::disabled_key())),
            Err(Unusable::Expired) => Err((Stage::Known, Refusal::expired_key())),
        }
    }
}

/// How far a credential got before it failed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Presented,
    WellFormed,
    Known,
}
