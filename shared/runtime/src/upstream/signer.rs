//! Signs requests with an AWS role (Signature Version 4): the process's own role, or one that it
//! assumes.
//!
//! The environment's credentials are loaded at the first signature, so that deployments without
//! such accounts do not pay for it. The signature covers the exact text that is sent.

use crate::aws::load_sdk_config;
use crate::clock::Clock;
use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use baton_domain::secret::Secret;
use baton_providers::SIGNING_SERVICE;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::spawn_blocking;

/// Credentials are replaced this long before they expire, because a request can wait that long at
/// the upstream.
const SPARE: Duration = Duration::from_mins(5);
/// How long credentials without an expiry time are cached.
const UNENDING: Duration = Duration::from_mins(10);
/// The number of assumed roles that are cached.
const ROLES_MAX: usize = 256;
/// Longer bodies are hashed on another thread, so that they do not delay other requests.
const HASHED_HERE_MAX: usize = 256 * 1024;

/// How to get an account's role. It is stored encrypted like a credential, because it can contain
/// an external id.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsAccess {
    /// The region of the endpoint, which is part of the signature.
    pub region: String,
    /// The role to assume. Without it, this process's own credentials sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The external id that the role's owner requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

impl AwsAccess {
    /// Encodes this as an account's credential.
    pub fn to_secret(&self) -> Secret {
        Secret::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// Decodes an account's credential.
    ///
    /// # Errors
    /// [`SigningError::NoAccess`] if the credential is of another kind.
    pub fn from_secret(secret: &Secret) -> Result<Self, SigningError> {
        serde_json::from_str(secret.expose()).map_err(|_| SigningError::NoAccess)
    }
}

/// The reason why a request could not be signed. It contains no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The account's credential is not an AWS role.
    #[error("the credential is not an AWS role")]
    NoAccess,
    /// The environment has no credentials, or the role could not be assumed.
    #[error("AWS credentials are missing: {0}")]
    NoCredentials(String),
    /// The URL or a header cannot be signed.
    #[error("the request cannot be signed: {0}")]
    Unsignable(String),
}

/// The SHA-256 of a body in hexadecimal digits.
async fn hash_body(body: &Bytes) -> Result<String, SigningError> {
    let hash = |body: &[u8]| {
        digest(&SHA256, body).as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    if body.len() <= HASHED_HERE_MAX {
        return Ok(hash(body));
    }
    let body = body.clone();
    let hashed = spawn_blocking(move || hash(&body)).await;
    hashed.map_err(|error| SigningError::Unsignable(error.to_string()))
}

/// Signs requests. Clones share the credentials.
#[derive(Clone)]
pub struct RequestSigner(Arc<SignerInner>);

struct SignerInner {
    clock: Clock,
    config: OnceCell<SdkConfig>,
    roles: Cache<AwsAccess, Arc<RoleCredentials>>,
}

/// A source of credentials, and the credentials that it returned last.
struct RoleCredentials {
    provider: SharedCredentialsProvider,
    cached: Mutex<Option<(Credentials, SystemTime)>>,
}

impl RequestSigner {
    /// Creates a signer that uses the environment's credentials. No I/O.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(SignerInner { clock, config: OnceCell::new(), roles: Cache::new(ROLES_MAX) }))
    }

    /// Adds the signature of a POST of `body` to `url` to the headers.
    ///
    /// # Errors
    /// [`SigningError`] if there are no credentials or the request cannot be signed.
    pub async fn sign(
        &self,
        access: &AwsAccess,
        url: &str,
        headers: &mut HeaderMap,
        body: &Bytes,
    ) -> Result<(), SigningError> {
        let digest = hash_body(body).await?;
        let now = SystemTime::from(self.0.clock.now());
        let identity: Identity = self.credentials(access, now).await?.into();
        let to_signing_error =
            |error: &dyn std::error::Error| SigningError::Unsignable(error.to_string());
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&access.region)
            .name(SIGNING_SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| to_signing_error(&error))?
            .into();
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let signed = content_type.map(|value| (CONTENT_TYPE.as_str(), value)).into_iter();
        let request = SignableRequest::new("POST", url, signed, SignableBody::Precomputed(digest))
            .map_err(|error| to_signing_error(&error))?;
        let (created, _) =
            sign(request, &params).map_err(|error| to_signing_error(&error))?.into_parts();
        for (name, value) in created.headers() {
            let name = HeaderName::try_from(name).map_err(|error| to_signing_error(&error))?;
            let mut value =
                HeaderValue::from_str(value).map_err(|error| to_signing_error(&error))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(())
    }

    /// Credentials that are still valid for a while.
    async fn credentials(
        &self,
        access: &AwsAccess,
        now: SystemTime,
    ) -> Result<Credentials, SigningError> {
        let role = if let Some(role) = self.0.roles.get(access) {
            role
        } else {
            let role = Arc::new(self.role(access).await?);
            self.0.roles.insert(access.clone(), Arc::clone(&role));
            role
        };
        // One request fetches credentials; the others wait for the result.
        let mut cached = role.cached.lock().await;
        if let Some((credentials, until)) = &*cached
            && now < *until
        {
            return Ok(credentials.clone());
        }
        let credentials = role
            .provider
            .provide_credentials()
            .await
            .map_err(|error| SigningError::NoCredentials(chain(&error)))?;
        let until = credentials
            .expiry()
            .map_or(now + UNENDING, |end| end.checked_sub(SPARE).unwrap_or(now));
        *cached = Some((credentials.clone(), until));
        Ok(credentials)
    }

    async fn role(&self, access: &AwsAccess) -> Result<RoleCredentials, SigningError> {
        let config = self.0.config.get_or_init(load_sdk_config).await;
        let provider = match &access.role_arn {
            None => config.credentials_provider().ok_or_else(|| {
                SigningError::NoCredentials("the environment has no credentials".to_owned())
            })?,
            Some(arn) => {
                let region = config.region().cloned();
                let region = region.unwrap_or_else(|| Region::new(access.region.clone()));
                let mut role = AssumeRoleProvider::builder(arn)
                    .configure(config)
                    .region(region)
                    .session_name("baton");
                if let Some(id) = &access.external_id {
                    role = role.external_id(id);
                }
                SharedCredentialsProvider::new(role.build().await)
            }
        };
        Ok(RoleCredentials { provider, cached: Mutex::new(None) })
    }
}

/// The error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().take(500).collect()
}
