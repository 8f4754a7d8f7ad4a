//! Secrets of the deployment that are not configured outside: the pepper, the session secret, and
//! the hash of the admin token.

use crate::StoreError;
use crate::item_names::{ADMIN_TOKEN, PEPPER, SESSION_SECRET};
use crate::permissions::{
    ANY, Action, MAKE_VAULT, OPEN_VAULT, Permission, READ_CONFIG, Resource, store_handle,
};
use baton_domain::relay_key;
use baton_domain::secret::Secret;

store_handle! {
    /// The secrets of the deployment. Creates those that do not exist yet.
    SecretStore,
    READ_CONFIG,
    Permission::on(Resource::ConfigTable, &[Action::PutItem], ANY),
    OPEN_VAULT,
    MAKE_VAULT
}

impl SecretStore {
    /// The stored pepper for hashing key secrets, which is created at the first call.
    pub async fn pepper(&self) -> Result<Secret, StoreError> {
        self.stored_secret(PEPPER).await
    }

    /// The stored session secret, which signs console sessions if none is configured. It is created
    /// at the first call.
    pub async fn session_secret(&self) -> Result<Secret, StoreError> {
        self.stored_secret(SESSION_SECRET).await
    }

    async fn stored_secret(&self, name: &str) -> Result<Secret, StoreError> {
        let connection = &self.connection;
        let vault = connection.make_vault().await?;
        let sealed = if let Some(sealed) = connection.setting(name).await? {
            sealed
        } else {
            let random = &connection.random;
            let generated = relay_key::new_secret([random.bits(), random.bits()]);
            connection.put_setting_once(name, vault.seal(&generated, name)?).await?
        };
        Ok(vault.open(&sealed, name)?)
    }

    /// The hash of the admin token, if one was generated.
    pub async fn admin_token_hash(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.connection.setting(ADMIN_TOKEN).await
    }

    /// Stores the hash of a generated admin token.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one already.
    pub async fn put_admin_token_hash(&self, hash: Vec<u8>) -> Result<(), StoreError> {
        self.connection.put_setting(ADMIN_TOKEN, hash).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle};

    #[tokio::test]
    async fn secrets_are_created_once() {
        let tables = TestTables::open().await;
        let [first, second] = [(); 2].map(|()| open_handle!(tables, SecretStore));
        let pepper = first.pepper().await.expect("created");
        assert_eq!(second.pepper().await.expect("read").expose(), pepper.expose());
        let session_secret = first.session_secret().await.expect("created");
        assert_ne!(session_secret.expose(), pepper.expose());
        assert_eq!(first.admin_token_hash().await.expect("read"), None);
        first.put_admin_token_hash(vec![1]).await.expect("stored");
        assert!(matches!(second.put_admin_token_hash(vec![2]).await, Err(StoreError::Conflict)));
        assert_eq!(second.admin_token_hash().await.expect("read"), Some(vec![1]));
    }
}
