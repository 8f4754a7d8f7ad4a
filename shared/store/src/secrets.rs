//! The data key, encrypted credentials, and the hash of the admin token.

use super::item::key_of;
use super::item_names::{ADMIN_TOKEN, DATA_KEY, PEPPER, PK, SECRET, SESSION_SECRET, SETTING};
use super::{Store, StoreError, credential_binding};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::error::DisplayErrorContext;
use aws_sdk_kms::types::DataKeySpec;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_domain::account::Account;
use baton_domain::id::AccountId;
use baton_domain::relay_key;
use baton_domain::secret::Secret;
use baton_domain::url_origin::origin;
use baton_runtime::vault::{Vault, VaultError};

impl Store {
    /// Encrypts an account's credential and binds it to the account's upstream and proxy. Creates
    /// the data key if there is none yet. Only admin can do that: the other functions have
    /// permission neither to write it nor to get one from KMS.
    pub async fn seal_credential(
        &self,
        account: &Account,
        credential: &Secret,
    ) -> Result<Vec<u8>, StoreError> {
        let vault = self.vault.get_or_try_init(|| Box::pin(self.load_vault(true))).await?;
        let bound = credential_binding::credential_binding(account);
        Ok(vault.seal_bound(credential, &credential_place(&account.id), &bound)?)
    }

    /// Decrypts an account's credential.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] also if the credential was given for another upstream or proxy.
    pub async fn open_credential(
        &self,
        account: &Account,
        sealed: &[u8],
    ) -> Result<Secret, StoreError> {
        let vault = self.vault.get_or_try_init(|| Box::pin(self.load_vault(false))).await?;
        let bound = credential_binding::credential_binding(account);
        Ok(vault.open_bound(sealed, &credential_place(&account.id), &bound)?)
    }

    /// Encrypts a secret for its place; see [`Vault::seal`].
    pub(super) async fn seal_at(
        &self,
        secret: &Secret,
        binding: &str,
        may_create: bool,
    ) -> Result<Vec<u8>, StoreError> {
        let vault = self.vault.get_or_try_init(|| Box::pin(self.load_vault(may_create))).await?;
        Ok(vault.seal(secret, binding)?)
    }

    /// Decrypts a secret that was encrypted for the same place.
    pub(super) async fn open_at(&self, sealed: &[u8], binding: &str) -> Result<Secret, StoreError> {
        let vault = self.vault.get_or_try_init(|| Box::pin(self.load_vault(false))).await?;
        Ok(vault.open(sealed, binding)?)
    }

    /// Encrypts the URL of an account's proxy, for [`Account::proxy_sealed`].
    pub async fn seal_proxy(
        &self,
        account: &AccountId,
        url: &Secret,
    ) -> Result<String, StoreError> {
        Ok(BASE64_STANDARD.encode(self.seal_at(url, &proxy_place(account), true).await?))
    }

    /// The URL of the account's proxy, if it has one.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if the URL cannot be decrypted. The caller must not call the upstream
    /// without the proxy instead.
    pub async fn open_proxy(&self, account: &Account) -> Result<Option<Secret>, StoreError> {
        let Some(sealed) = &account.proxy_sealed else { return Ok(None) };
        let sealed = BASE64_STANDARD.decode(sealed).map_err(|_| VaultError)?;
        let proxy = self.open_at(&sealed, &proxy_place(&account.id)).await?;
        // Credentials are bound to the proxy that `proxy_url` shows, so it must be the one used.
        let is_shown = |redacted_url: &str| origin(redacted_url) == origin(proxy.expose());
        if !account.proxy_url.as_deref().is_some_and(is_shown) {
            return Err(VaultError.into());
        }
        Ok(Some(proxy))
    }

    /// The pepper for hashing key secrets: `given`, or else the stored one, which is created at the
    /// first call.
    pub async fn pepper_or(&self, configured: Option<&Secret>) -> Result<Secret, StoreError> {
        if let Some(configured) = configured {
            return Ok(configured.clone());
        }
        self.stored_secret(PEPPER).await
    }

    /// The stored session secret, which signs console sessions if none is configured. It is created
    /// at the first call.
    pub async fn session_secret(&self) -> Result<Secret, StoreError> {
        self.stored_secret(SESSION_SECRET).await
    }

    async fn stored_secret(&self, name: &str) -> Result<Secret, StoreError> {
        let vault = self.vault.get_or_try_init(|| Box::pin(self.load_vault(true))).await?;
        let sealed = if let Some(sealed) = self.setting(name).await? {
            sealed
        } else {
            let generated = relay_key::new_secret([self.random.bits(), self.random.bits()]);
            self.put_setting_once(name, vault.seal(&generated, name)?).await?
        };
        Ok(vault.open(&sealed, name)?)
    }

    /// The hash of the admin token, if one was generated.
    pub async fn admin_token_hash(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.setting(ADMIN_TOKEN).await
    }

    /// Stores the hash of a generated admin token.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one already.
    pub async fn put_admin_token_hash(&self, hash: Vec<u8>) -> Result<(), StoreError> {
        self.put_setting(ADMIN_TOKEN, hash).await
    }

    pub(super) async fn load_vault(&self, may_create: bool) -> Result<Vault, StoreError> {
        let wrapped = match self.setting(DATA_KEY).await? {
            Some(wrapped) => wrapped,
            None if may_create => self.create_data_key().await?,
            None => return Err(VaultError.into()),
        };
        let response = self
            .kms
            .decrypt()
            .key_id(&self.resources.data_key_id)
            .ciphertext_blob(aws_sdk_kms::primitives::Blob::new(wrapped))
            .encryption_context("table", "config")
            .encryption_context("item", DATA_KEY)
            .send()
            .await
            .map_err(|error| StoreError::Database(DisplayErrorContext(&error).to_string()))?;
        let plain = response.plaintext.ok_or(VaultError)?;
        Ok(Vault::new(plain.as_ref(), self.random.clone())?)
    }

    /// Creates a data key. If another process was faster, returns the key of that process.
    async fn create_data_key(&self) -> Result<Vec<u8>, StoreError> {
        let created = self
            .kms
            .generate_data_key()
            .key_id(&self.resources.data_key_id)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context("table", "config")
            .encryption_context("item", DATA_KEY)
            .send()
            .await
            .map_err(|error| StoreError::Database(DisplayErrorContext(&error).to_string()))?;
        let wrapped = created.ciphertext_blob.ok_or(VaultError)?.into_inner();
        self.put_setting_once(DATA_KEY, wrapped).await
    }

    /// Stores `value`, unless another process was faster. Returns the stored value.
    async fn put_setting_once(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        match self.put_setting(name, value.clone()).await {
            Ok(()) => Ok(value),
            Err(StoreError::Conflict) => Ok(self.setting(name).await?.ok_or(VaultError)?),
            Err(error) => Err(error),
        }
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.config_table)
            .set_key(Some(key_of((name.to_owned(), SETTING.to_owned()))))
            .consistent_read(true)
            .send()
            .await?;
        Ok(match response.item.and_then(|mut item| item.remove(SECRET)) {
            Some(AttributeValue::B(blob)) => Some(blob.into_inner()),
            _ => None,
        })
    }

    async fn put_setting(&self, name: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.db
            .put_item()
            .table_name(&self.resources.config_table)
            .set_item(Some(key_of((name.to_owned(), SETTING.to_owned()))))
            .item(SECRET, AttributeValue::B(Blob::new(value)))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .send()
            .await?;
        Ok(())
    }
}

/// The place that a proxy URL is encrypted for.
fn proxy_place(account: &AccountId) -> String {
    format!("config/account#{account}/proxy_sealed")
}

/// The place that a credential is encrypted for: its table, item and attribute.
fn credential_place(account: &AccountId) -> String {
    format!("config/account#{account}/{SECRET}")
}
