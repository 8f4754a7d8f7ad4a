//! The AWS clients, created from one configuration.
//!
//! On AWS the configuration comes from the environment. On one machine it comes from `infra/local`,
//! and only the endpoint differs.

pub use aws_config::SdkConfig;

use crate::settings::Settings;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, Region};
use aws_credential_types::Credentials;
use std::time::Duration;

/// The timeout of one try of a call. The calls made here take milliseconds, except a wait of 20 s
/// for messages.
const TRY_TIMEOUT: Duration = Duration::from_secs(29);

/// Clients for the AWS services that Baton uses. Clones are cheap.
#[derive(Clone)]
pub struct AwsClients {
    /// For the tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    /// For the data key of the vault.
    pub kms: aws_sdk_kms::Client,
    /// For clients that only few functions create, so that the others do not hold them.
    pub(crate) config: SdkConfig,
}

impl AwsClients {
    /// Creates clients with `config`. No I/O.
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            config: config.clone(),
        }
    }

    /// Clients for the environment's region, credentials and endpoints, or for the local stores of
    /// the settings. Credentials are fetched at the first call, not here.
    pub async fn from_env(settings: &Settings) -> Self {
        let loader = loader();
        let loader = match &settings.storage.local_stores {
            Some(url) => local(loader, url),
            None => loader,
        };
        Self::new(&loader.load().await)
    }
}

/// Configures clients for the local stores at `url`, which need no credentials. This comes before
/// the environment is read, so that the SDK does not look for a region or a role on the network.
fn local(loader: ConfigLoader, url: &str) -> ConfigLoader {
    let credentials = Credentials::new("local", "local", None, None, "baton-local-stores");
    loader.endpoint_url(url).region(Region::new("us-east-1")).credentials_provider(credentials)
}

/// The environment's configuration.
#[cfg(feature = "outbound")]
pub(crate) async fn load_sdk_config() -> SdkConfig {
    loader().load().await
}

fn loader() -> ConfigLoader {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
            aws_smithy_http_client::tls::rustls_provider::CryptoMode::AwsLc,
        ))
        .build_https();
    // Stalled-stream protection checks the clock all the time. Nothing is streamed here, and one
    // timer limits a try as well.
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .http_client(http)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(TRY_TIMEOUT).build())
}
