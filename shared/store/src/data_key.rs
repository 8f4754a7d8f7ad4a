//! The vault of this process: its data key is kept in the config table, wrapped by KMS.

use crate::StoreError;
use crate::connection::{StoreConnection, Table};
use crate::item::key_of;
use crate::item_names::{DATA_KEY, ItemKey, PK, SECRET, SETTING};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::error::DisplayErrorContext;
use aws_sdk_kms::types::DataKeySpec;
use baton_domain::secret::Secret;
use baton_runtime::vault::{Vault, VaultError};

impl StoreConnection {
    /// The vault.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if there is no data key yet.
    pub(crate) async fn open_vault(&self) -> Result<&Vault, StoreError> {
        self.vault.get_or_try_init(|| Box::pin(self.load_vault(false))).await
    }

    /// The vault, with a new data key if there is none yet. Only admin has the permissions for that.
    pub(crate) async fn make_vault(&self) -> Result<&Vault, StoreError> {
        self.vault.get_or_try_init(|| Box::pin(self.load_vault(true))).await
    }

    /// Encrypts a secret for its place; see [`Vault::seal`]. Creates the data key if there is none.
    pub(crate) async fn seal_at(
        &self,
        secret: &Secret,
        binding: &str,
    ) -> Result<Vec<u8>, StoreError> {
        Ok(self.make_vault().await?.seal(secret, binding)?)
    }

    /// Decrypts a secret that was encrypted for the same place.
    pub(crate) async fn open_at(&self, sealed: &[u8], binding: &str) -> Result<Secret, StoreError> {
        Ok(self.open_vault().await?.open(sealed, binding)?)
    }

    async fn load_vault(&self, may_create: bool) -> Result<Vault, StoreError> {
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
    pub(crate) async fn put_setting_once(
        &self,
        name: &str,
        value: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        match self.put_setting(name, value.clone()).await {
            Ok(()) => Ok(value),
            Err(StoreError::Conflict) => Ok(self.setting(name).await?.ok_or(VaultError)?),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a setting, if it is stored.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = ItemKey::new(name, SETTING);
        let item = self.get_item(Table::Config, key, true).await?;
        Ok(match item.and_then(|mut item| item.remove(SECRET)) {
            Some(AttributeValue::B(blob)) => Some(blob.into_inner()),
            _ => None,
        })
    }

    /// Stores a setting.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is stored already.
    pub(crate) async fn put_setting(&self, name: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.put_request(Table::Config, key_of(ItemKey::new(name, SETTING)))
            .item(SECRET, AttributeValue::B(Blob::new(value)))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .send()
            .await?;
        Ok(())
    }
}
