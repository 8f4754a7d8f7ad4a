//! The alert settings: an item of the config table with an encrypted part.

use crate::StoreError;
use crate::connection::StoreConnection;
use crate::item::{Entity, StoredEntity};
use crate::item_names::SETTING;
use crate::permissions::{OPEN_VAULT, READ_CONFIG, store_handle};
use baton_domain::alert::{AlertChannel, AlertPreferences};
use baton_domain::secret::Secret;
use baton_runtime::vault::VaultError;
use serde::Deserialize;

/// The place that the webhook's address and signing key are encrypted for.
const PLACE: &str = "config/setting#alerts/secret";

impl Entity for AlertPreferences {
    type Id = &'static str;
    const KIND: &'static str = SETTING;
    fn id(&self) -> &&'static str {
        &"alerts"
    }
}

/// The alert settings with their secrets.
#[derive(Clone)]
pub struct AlertSettings {
    /// The part that can be shown.
    pub preferences: StoredEntity<AlertPreferences>,
    /// The webhook's address, if there is one. It is a secret because it is often the only key to a
    /// chat room.
    pub url: Option<Secret>,
    /// The secret that deliveries are signed with.
    pub signing_secret: Secret,
}

impl AlertSettings {
    /// The channels that alerts go to.
    pub fn channels(&self) -> Vec<AlertChannel> {
        let webhook = self.url.as_ref().map(|_| AlertChannel::Webhook);
        let topic = self.preferences.value.sns_topic_arn.as_ref().map(|_| AlertChannel::Sns);
        webhook.into_iter().chain(topic).collect()
    }
}

/// The secret part of the settings, in the form that is encrypted.
#[derive(Deserialize)]
struct AlertSecrets {
    url: Option<Secret>,
    signing_secret: Secret,
}

store_handle! {
    /// Reads the alert settings.
    AlertSettingsReader, READ_CONFIG, OPEN_VAULT
}

impl AlertSettingsReader {
    /// The alert settings, if the operator has set any.
    pub async fn read(&self) -> Result<Option<AlertSettings>, StoreError> {
        let Some(mut shown) = self.connection.read::<AlertPreferences>(&"alerts").await? else {
            return Ok(None);
        };
        let opened =
            self.connection.open_at(&shown.secret.take().ok_or(VaultError)?, PLACE).await?;
        let AlertSecrets { url, signing_secret } =
            serde_json::from_str(opened.expose()).map_err(|_| VaultError)?;
        Ok(Some(AlertSettings { preferences: shown, url, signing_secret }))
    }
}

impl AlertSettings {
    /// The settings in the form that is stored.
    pub(crate) async fn seal(
        &self,
        connection: &StoreConnection,
    ) -> Result<StoredEntity<AlertPreferences>, StoreError> {
        let secrets = Secret::new(
            serde_json::json!({
                "url": self.url.as_ref().map(Secret::expose),
                "signing_secret": self.signing_secret.expose(),
            })
            .to_string(),
        );
        let secret = Some(connection.seal_at(&secrets, PLACE).await?);
        Ok(StoredEntity { secret, ..self.preferences.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, open_handle, secret};
    use crate::{ConfigEdit, ConfigEditor};

    #[tokio::test]
    async fn settings_come_back_with_their_secrets() {
        let tables = TestTables::open().await;
        let (editor, reader) =
            (open_handle!(tables, ConfigEditor), open_handle!(tables, AlertSettingsReader));
        assert!(reader.read().await.expect("read").is_none());
        let settings = AlertSettings {
            preferences: editor.new_stored(AlertPreferences::default(), None),
            url: Some(secret("https://hooks.example/x")),
            signing_secret: secret("sign"),
        };
        let mut edit = ConfigEdit::default();
        editor.save_alert_settings(&mut edit, &settings).await.expect("an item");
        editor.apply(edit).await.expect("saved");
        let read = reader.read().await.expect("read").expect("there");
        assert_eq!(read.channels(), [AlertChannel::Webhook]);
        assert_eq!(read.signing_secret.expose(), "sign");
    }
}
