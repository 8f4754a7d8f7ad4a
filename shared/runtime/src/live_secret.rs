//! Secrets of the deployment that can change while the process runs: the admin token, the pepper of
//! keys, the secret for console sessions, and the OpenID client secret.
//!
//! Each is either a fixed text (an environment variable, `baton up`) or an entry of AWS Secrets
//! Manager, named by its ARN. Entries are read at start and again every few minutes, so that a new
//! value works without a deployment and is not in any function's configuration. There is no
//! background timer, because a Lambda is frozen between requests: a request that finds a value too
//! old reads it again. During that read, and while Secrets Manager fails, the known value stays
//! valid.

use crate::aws::AwsClients;
use crate::settings::{SecretSetting, Settings};
use aws_lc_rs::hmac;
use aws_sdk_secretsmanager::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use baton_domain::secret::Secret;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// The wait after a failed read before the next try.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// The stages of a value in Secrets Manager: AWS Secrets Manager User Guide, "Secret versions"
/// (November 2026).
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret could not be read. The message contains only the name of the secret.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read the secret {id} from AWS Secrets Manager: {reason}; check that it exists and that \
     the function's role allows secretsmanager:GetSecretValue for it"
)]
pub struct UnreadableSecret {
    id: String,
    reason: String,
}

/// The values of a secret that are valid now.
pub struct SecretValues {
    values: Vec<(Secret, hmac::Key)>,
}

impl SecretValues {
    fn new(texts: impl IntoIterator<Item = Secret>) -> Self {
        let key = |text: &Secret| hmac::Key::new(hmac::HMAC_SHA256, text.expose().as_bytes());
        let values = texts.into_iter().map(|text| (text.clone(), key(&text))).collect();
        Self { values }
    }

    /// The current value, which is used for everything new.
    pub fn current(&self) -> Option<&Secret> {
        self.values.first().map(|(text, _)| text)
    }

    /// Every value that is still valid, the current one first.
    pub fn texts(&self) -> impl Iterator<Item = &Secret> {
        self.values.iter().map(|(text, _)| text)
    }

    /// The same values as HMAC-SHA-256 keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.values.iter().map(|(_, key)| key)
    }
}

/// A secret with its valid values. Clones share them.
#[derive(Clone)]
pub struct LiveSecret(Arc<LiveSecretInner>);

struct LiveSecretInner {
    values: RwLock<Arc<SecretValues>>,
    source: Option<SecretSource>,
}

/// The entry in Secrets Manager that a secret is read from.
struct SecretSource {
    client: aws_sdk_secretsmanager::Client,
    id: String,
    keeps_previous: bool,
    lifetime: Duration,
    /// When the entry is due to be read again. The reader holds the lock.
    due: tokio::sync::Mutex<Option<Instant>>,
}

impl From<&Secret> for LiveSecret {
    /// A secret that never changes.
    fn from(text: &Secret) -> Self {
        let values = RwLock::new(Arc::new(SecretValues::new([text.clone()])));
        Self(Arc::new(LiveSecretInner { values, source: None }))
    }
}

impl LiveSecret {
    /// The secret of this `setting`, if it is set. No I/O: entries of Secrets Manager are read at
    /// the first [`refresh`](Self::refresh).
    pub fn from_setting(
        aws: &AwsClients,
        settings: &Settings,
        setting: &SecretSetting,
    ) -> Option<Self> {
        let Some(id) = &setting.arn else { return setting.text.as_ref().map(Self::from) };
        let source = SecretSource {
            client: aws_sdk_secretsmanager::Client::new(&aws.config),
            id: id.clone(),
            keeps_previous: setting.keeps_previous,
            lifetime: settings.secrets.lifetime,
            due: tokio::sync::Mutex::default(),
        };
        let values = RwLock::new(Arc::new(SecretValues::new([])));
        Some(Self(Arc::new(LiveSecretInner { values, source: Some(source) })))
    }

    /// The values that are valid now.
    pub fn values(&self) -> Arc<SecretValues> {
        Arc::clone(&self.0.values.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secret again if it is due. Of several concurrent callers, one reads and the others
    /// continue with the known values.
    ///
    /// # Errors
    /// If no value is known yet and it cannot be read.
    pub async fn refresh(&self) -> Result<(), UnreadableSecret> {
        let Some(source) = &self.0.source else { return Ok(()) };
        let is_known = self.values().current().is_some();
        let mut due = match source.due.try_lock() {
            Ok(due) => due,
            Err(_) if is_known => return Ok(()),
            Err(_) => source.due.lock().await,
        };
        if due.is_some_and(|due| Instant::now() < due) {
            return Ok(());
        }
        // Boxed, so that the futures of requests, which seldom read, stay small.
        match Box::pin(source.read()).await {
            Ok(values) => {
                *self.0.values.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(values);
                *due = Some(Instant::now() + source.lifetime);
                Ok(())
            }
            Err(error) if is_known => {
                tracing::warn!("{error}; the previous value stays in use");
                *due = Some(Instant::now() + source.lifetime.min(RETRY_INTERVAL));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl SecretSource {
    /// The current value, and the previous one if that stays valid. Each line of a value is a
    /// secret.
    async fn read(&self) -> Result<SecretValues, UnreadableSecret> {
        let unreadable = |reason: String| UnreadableSecret { id: self.id.clone(), reason };
        let current = self.read_stage(CURRENT).await?;
        let current = current.ok_or_else(|| unreadable("it has no value".to_owned()))?;
        let previous = if self.keeps_previous { self.read_stage(PREVIOUS).await? } else { None };
        let texts = [Some(current), previous].into_iter().flatten();
        let lines: Vec<Secret> = texts.flat_map(|text| lines(&text)).collect();
        if lines.is_empty() {
            return Err(unreadable("its value is empty".to_owned()));
        }
        Ok(SecretValues::new(lines))
    }

    async fn read_stage(&self, stage: &str) -> Result<Option<Secret>, UnreadableSecret> {
        let call = self.client.get_secret_value().secret_id(&self.id).version_stage(stage);
        match call.send().await {
            Ok(response) => Ok(response.secret_string.map(Secret::new)),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => {
                let reason = DisplayErrorContext(&error).to_string();
                Err(UnreadableSecret { id: self.id.clone(), reason })
            }
        }
    }
}

/// The lines of a value, without surrounding whitespace.
fn lines(text: &Secret) -> Vec<Secret> {
    let lines = text.expose().lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| Secret::new(line.to_owned())).collect()
}
