//! Requests signed by an AWS role (Signature Version 4): the process's own, or one that it
//! assumes.
//!
//! The environment's credentials are looked for at the first signature, not before: whoever has
//! no such account pays nothing for it. What is signed is the text that is sent.

use crate::aws::load_sdk_config;
use crate::clock::Clock;
use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use baton_domain::secret::Secret;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, OnceCell};

/// The name that Bedrock's endpoints are signed for.
const SERVICE: &str = "bedrock";
/// Credentials are left so long before they run out; a request may wait that long at the upstream.
const SPARE: Duration = Duration::from_mins(5);
/// For how long credentials that tell no end are taken to be the same.
const UNENDING: Duration = Duration::from_mins(10);
/// So many assumed roles are kept.
const ROLES_MAX: usize = 256;

/// How an account's role is had. It is kept sealed, as a credential, since it may hold an external
/// id.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsAccess {
    /// The region of its endpoint, which is part of the signature.
    pub region: String,
    /// The role to assume; without one the process's own credentials sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// What the role's owner demands to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

impl AwsAccess {
    /// As an account's credential.
    pub fn to_secret(&self) -> Secret {
        Secret::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// From an account's credential.
    ///
    /// # Errors
    /// [`SigningError::NoAccess`]
    pub fn from_secret(secret: &Secret) -> Result<Self, SigningError> {
        serde_json::from_str(secret.expose()).map_err(|_| SigningError::NoAccess)
    }

    /// Where Bedrock is in its region.
    pub fn bedrock_url(&self) -> String {
        format!("https://bedrock-runtime.{}.amazonaws.com", self.region)
    }
}

/// A request could not be signed. Says nothing secret.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The account's credential is something else.
    #[error("its credential is no AWS role")]
    NoAccess,
    /// The environment has no credentials, or the role is not to be had.
    #[error("no AWS credentials: {0}")]
    NoCredentials(String),
    /// The URL or a header cannot be signed.
    #[error("it cannot be signed: {0}")]
    Unsignable(String),
}

/// Signs requests. Cloning shares the credentials.
#[derive(Clone)]
pub struct RequestSigner(Arc<SignerInner>);

struct SignerInner {
    clock: Clock,
    config: OnceCell<SdkConfig>,
    roles: Cache<AwsAccess, Arc<RoleCredentials>>,
}

/// One source of credentials and what it gave last.
struct RoleCredentials {
    provider: SharedCredentialsProvider,
    kept: Mutex<Option<(Credentials, SystemTime)>>,
}

impl RequestSigner {
    /// A signer with the environment's credentials. No I/O.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(SignerInner { clock, config: OnceCell::new(), roles: Cache::new(ROLES_MAX) }))
    }

    /// Adds the signature of a POST of `body` to `url`.
    ///
    /// # Errors
    /// [`NotSigned`]
    pub async fn sign(
        &self,
        access: &AwsAccess,
        url: &str,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), SigningError> {
        let now = SystemTime::from(self.0.clock.now());
        let identity: Identity = self.credentials(access, now).await?.into();
        let unsignable =
            |error: &dyn std::error::Error| SigningError::Unsignable(error.to_string());
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&access.region)
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsignable(&error))?
            .into();
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let signed = content_type.map(|value| (CONTENT_TYPE.as_str(), value)).into_iter();
        let request = SignableRequest::new("POST", url, signed, SignableBody::Bytes(body))
            .map_err(|error| unsignable(&error))?;
        let (made, _) = sign(request, &params).map_err(|error| unsignable(&error))?.into_parts();
        for (name, value) in made.headers() {
            let name = HeaderName::try_from(name).map_err(|error| unsignable(&error))?;
            let mut value = HeaderValue::from_str(value).map_err(|error| unsignable(&error))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(())
    }

    /// Credentials that are good for a while yet.
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
        // One asks; the others wait for what it is given.
        let mut kept = role.kept.lock().await;
        if let Some((credentials, until)) = &*kept
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
        *kept = Some((credentials.clone(), until));
        Ok(credentials)
    }

    async fn role(&self, access: &AwsAccess) -> Result<RoleCredentials, SigningError> {
        let config = self.0.config.get_or_init(load_sdk_config).await;
        let provider = match &access.role_arn {
            None => config.credentials_provider().ok_or_else(|| {
                SigningError::NoCredentials("the environment has none".to_owned())
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
        Ok(RoleCredentials { provider, kept: Mutex::new(None) })
    }
}

/// The error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().take(500).collect()
}
