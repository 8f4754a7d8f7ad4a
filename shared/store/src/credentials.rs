//! Encrypted credentials and proxy URLs of accounts.

use crate::StoreError;
use crate::connection::StoreConnection;
use crate::credential_binding::credential_binding;
use crate::item::StoredEntity;
use crate::item_names::{PEPPER, SECRET};
use crate::permissions::{OPEN_VAULT, READ_CONFIG, store_handle};
use crate::tokens;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::url_origin::origin;
use baton_runtime::vault::VaultError;

store_handle! {
    /// Opens what is stored encrypted for calls to upstreams, and the pepper.
    CredentialReader, READ_CONFIG, OPEN_VAULT
}

impl CredentialReader {
    /// An account's credential, read now: the static credential, or the access token received last.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if the credential cannot be decrypted or there is no token.
    pub async fn credential(&self, stored: &StoredEntity<Account>) -> Result<Secret, StoreError> {
        let account = &stored.value;
        if account.credential.is_renewed() {
            let token = tokens::read_token(&self.connection, &account.id)
                .await?
                .filter(|token| token.is_for(account));
            return token.and_then(|token| token.secrets.access_token).ok_or(VaultError.into());
        }
        let sealed = stored.secret.as_deref().unwrap_or_default();
        self.open_credential(account, sealed).await
    }

    /// Decrypts an account's credential.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] also if the credential was given for another upstream or proxy.
    pub(crate) async fn open_credential(
        &self,
        account: &Account,
        sealed: &[u8],
    ) -> Result<Secret, StoreError> {
        let vault = self.connection.open_vault().await?;
        let bound = credential_binding(account);
        Ok(vault.open_bound(sealed, &credential_place(&account.id), &bound)?)
    }

    /// The URL of the account's proxy, if it has one.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if the URL cannot be decrypted. The caller must not call the upstream
    /// without the proxy instead.
    pub async fn open_proxy(&self, account: &Account) -> Result<Option<Secret>, StoreError> {
        let Some(sealed) = &account.proxy_sealed else { return Ok(None) };
        let sealed = BASE64_STANDARD.decode(sealed).map_err(|_| VaultError)?;
        let proxy = self.connection.open_at(&sealed, &proxy_place(&account.id)).await?;
        // Credentials are bound to the proxy that `proxy_url` shows, so it must be the one used.
        let is_shown = |redacted_url: &str| origin(redacted_url) == origin(proxy.expose());
        if !account.proxy_url.as_deref().is_some_and(is_shown) {
            return Err(VaultError.into());
        }
        Ok(Some(proxy))
    }

    /// The stored pepper, which the admin function has created.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if there is none.
    pub(crate) async fn pepper(&self) -> Result<Secret, StoreError> {
        let sealed = self.connection.setting(PEPPER).await?.ok_or(VaultError)?;
        self.connection.open_at(&sealed, PEPPER).await
    }
}

/// Encrypts an account's credential and binds it to the account's upstream and proxy.
pub(crate) async fn seal_credential(
    connection: &StoreConnection,
    account: &Account,
    credential: &Secret,
) -> Result<Vec<u8>, StoreError> {
    let vault = connection.make_vault().await?;
    let bound = credential_binding(account);
    Ok(vault.seal_bound(credential, &credential_place(&account.id), &bound)?)
}

/// Encrypts the URL of an account's proxy.
pub(crate) async fn seal_proxy(
    connection: &StoreConnection,
    account: &AccountId,
    url: &Secret,
) -> Result<String, StoreError> {
    Ok(BASE64_STANDARD.encode(connection.seal_at(url, &proxy_place(account)).await?))
}

/// The place that a proxy URL is encrypted for.
fn proxy_place(account: &AccountId) -> String {
    format!("config/account#{account}/proxy_sealed")
}

/// The place that a credential is encrypted for: its table, item and attribute.
fn credential_place(account: &AccountId) -> String {
    format!("config/account#{account}/{SECRET}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, open_handle, secret};
    use crate::{ConfigEditor, SecretStore};

    #[tokio::test]
    async fn credential_opens_only_for_the_address_that_it_was_given_for() {
        let tables = TestTables::open().await;
        let editor = open_handle!(tables, ConfigEditor);
        let sealed = editor.seal_credential(&account(), &secret("sk")).await;
        let stored = editor.new_stored(account(), Some(sealed.expect("sealed")));
        let credentials = open_handle!(tables, CredentialReader);
        assert_eq!(credentials.credential(&stored).await.expect("opened").expose(), "sk");
        let mut elsewhere = stored;
        elsewhere.value.base_url = "https://evil.example".to_owned();
        assert!(matches!(credentials.credential(&elsewhere).await, Err(StoreError::Sealed(_))));
        assert!(credentials.open_proxy(&account()).await.expect("no proxy").is_none());
    }

    #[tokio::test]
    async fn pepper_is_read_but_not_created() {
        let tables = TestTables::open().await;
        let credentials = open_handle!(tables, CredentialReader);
        assert!(matches!(credentials.pepper().await, Err(StoreError::Sealed(_))));
        let created = open_handle!(tables, SecretStore).pepper().await.expect("created");
        assert_eq!(credentials.pepper().await.expect("read").expose(), created.expose());
    }
}
