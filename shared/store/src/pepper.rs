//! The pepper for hashing the secrets of relay keys.

use crate::{CredentialReader, SecretStore, StoreError};
use baton_runtime::aws::AwsClients;
use baton_runtime::live_secret::{LiveSecret, UnreadableSecret};
use baton_runtime::settings::Settings;

/// Why the pepper is not known.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// Secrets Manager failed.
    #[error(transparent)]
    Unreadable(#[from] UnreadableSecret),
    /// The store failed, which keeps the pepper if none is configured.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the pepper: the configured one, or else the one in the store, which is created if there is
/// none.
///
/// # Errors
/// If it cannot be read.
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

/// The same for the relay, which may not create the pepper.
///
/// # Errors
/// If it cannot be read or does not exist.
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
