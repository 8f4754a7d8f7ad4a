//! The first start: creates the default group, the admin token, a first key, and a first account if
//! the environment has an API key for it. Each of them is created once, even if an earlier start
//! crashed.

use crate::AdminState;
use crate::api_response::ApiError;
use baton_api::new::New;
use baton_domain::account::Account;
use baton_domain::id::{GroupId, base62};
use baton_domain::key::{Group, Key};
use baton_domain::secret::Secret;
use baton_runtime::live_secret::LiveSecret;
use baton_runtime::settings::Settings;
use baton_store::{AdminStores, StoreError};

const FIRST_ACCOUNT: &str = "anthropic";

/// The secrets that were created, to be printed once.
#[derive(Default)]
pub struct FirstStart {
    /// A new admin token, if none is set and none was stored before.
    pub admin_token: Option<Secret>,
    /// The first key, if there was none.
    pub key: Option<Secret>,
    /// The name of the first account, if it was created.
    pub account: Option<String>,
}

/// Creates what is missing.
///
/// # Errors
/// A sentence for the person who starts Baton.
pub async fn first_start(
    settings: &Settings,
    pepper: impl Into<LiveSecret>,
    store: AdminStores,
) -> Result<FirstStart, String> {
    let fixed = settings.secrets.admin_token.as_ref().map(LiveSecret::from);
    let state = AdminState::new(settings, pepper.into(), fixed, store, None);
    let made = async {
        Ok::<_, ApiError>(FirstStart {
            key: state.first_key().await?,
            account: state.first_account(settings).await?,
            // The token comes last: once it is stored, no later start returns the secrets.
            admin_token: state.first_admin_token().await?,
        })
    };
    made.await.map_err(|error| error.to_string())
}

impl AdminState {
    /// Creates a key if no group exists, which is so only at the first start.
    async fn first_key(&self) -> Result<Option<Secret>, ApiError> {
        let group = self.store.config.read::<Group>(&GroupId::default_group()).await?;
        let any = !self.store.config.list::<Key>(1, None).await?.data.is_empty();
        if group.is_some() || any {
            return Ok(None);
        }
        Ok(Some(self.create_first_key("first key").await?))
    }

    async fn first_account(&self, settings: &Settings) -> Result<Option<String>, ApiError> {
        let Some(key) = &settings.upstreams.anthropic_api_key else { return Ok(None) };
        if !self.store.config.list::<Account>(1, None).await?.data.is_empty() {
            return Ok(None);
        }
        let (name, base_url) = (FIRST_ACCOUNT, &settings.upstreams.anthropic_base_url);
        self.create_first_account(New::with_api_key(name, base_url, key.clone())).await?;
        Ok(Some(FIRST_ACCOUNT.to_owned()))
    }

    async fn first_admin_token(&self) -> Result<Option<Secret>, ApiError> {
        if self.admin_token.is_some() || self.store.secrets.admin_token_hash().await?.is_some() {
            return Ok(None);
        }
        let (left, right) = (self.store.random_source().bits(), self.store.random_source().bits());
        let token = Secret::new(format!("bta_{}{}", base62(left, 21), base62(right, 21)));
        match self.store.secrets.put_admin_token_hash(self.pepper.hash(token.expose())).await {
            Ok(()) => Ok(Some(token)),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
