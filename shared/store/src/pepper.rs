//! Loads the pepper, the deployment's secret for hashing the secrets of relay keys.
//!
//! A setting can name the pepper. Otherwise the store has it.

use crate::{CredentialReader, SecretStore, StoreError};
use baton_runtime::aws::AwsClients;
use baton_runtime::live_secret::{LiveSecret, UnreadableSecret};
use baton_runtime::settings::Settings;

/// The pepper could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The secret that the setting names could not be read from AWS Secrets Manager.
    #[error(transparent)]
    Unreadable(#[from] UnreadableSecret),
    /// No setting names the pepper, and the store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Loads the pepper of the setting. Without a setting it loads the pepper of the store, and creates
/// one there if the store has none.
///
/// # Errors
/// Secrets Manager or the store failed.
pub async fn load_pepper(
    aws: &AwsClients,
    settings: &Settings,
    secrets: &SecretStore,
) -> Result<LiveSecret, PepperError> {
    match configured_pepper(aws, settings).await? {
        Some(pepper) => Ok(pepper),
        None => Ok(LiveSecret::from(&secrets.pepper().await?)),
    }
}

/// Loads the pepper as [`load_pepper`] does, but never creates one. The relay uses this function,
/// because its role cannot write secrets.
///
/// # Errors
/// Secrets Manager or the store failed, or the store has no pepper.
pub async fn load_existing_pepper(
    aws: &AwsClients,
    settings: &Settings,
    credentials: &CredentialReader,
) -> Result<LiveSecret, PepperError> {
    match configured_pepper(aws, settings).await? {
        Some(pepper) => Ok(pepper),
        None => Ok(LiveSecret::from(&credentials.pepper().await?)),
    }
}

async fn configured_pepper(
    aws: &AwsClients,
    settings: &Settings,
) -> Result<Option<LiveSecret>, UnreadableSecret> {
    let pepper = LiveSecret::from_setting(aws, settings, &settings.pepper_setting());
    if let Some(pepper) = &pepper {
        pepper.refresh().await?;
    }
    Ok(pepper)
}
