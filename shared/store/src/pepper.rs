//! The pepper for hashing the secrets of relay keys.

use crate::{Store, StoreError};
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

/// Reads the pepper: the configured one, or else the one in the store.
///
/// # Errors
/// If it cannot be read.
pub async fn load_pepper(
    aws: &AwsClients,
    settings: &Settings,
    store: &Store,
) -> Result<LiveSecret, PepperError> {
    match LiveSecret::from_setting(aws, settings, &settings.pepper_setting()) {
        Some(pepper) => {
            pepper.refresh().await?;
            Ok(pepper)
        }
        None => Ok(LiveSecret::from(&store.pepper_or(None).await?)),
    }
}
