//! The AWS clients of a process. All of them use one configuration.
//!
//! On AWS the SDK reads the configuration from the environment. With `baton up` the crate in
//! `infra/local` provides it: the clients are the same, but their calls go to the local stores.

pub use aws_config::SdkConfig;

use crate::settings::Settings;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, Region};
use aws_credential_types::Credentials;
use std::time::Duration;

/// The timeout of one try of a call. All calls take milliseconds, except for the call that waits up
/// to 20 s for messages of the queue.
const TRY_TIMEOUT: Duration = Duration::from_secs(29);

/// Clients for the AWS services that Baton uses. Clones are cheap.
#[derive(Clone)]
pub struct AwsClients {
    /// The client for the tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    /// The client for the KMS key that encrypts the data key.
    pub kms: aws_sdk_kms::Client,
    /// The configuration, from which a function creates the clients that only few functions need.
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

    /// Creates clients with the region, credentials and endpoints of the environment, or for the
    /// local stores if the settings name them. Credentials are fetched at the first call, not here.
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

/// Loads the SDK's configuration from the environment.
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
    // Stalled-stream protection reads the clock for each part of a body. No body is streamed here,
    // and the timeout of a try also ends a stalled call.
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .http_client(http)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(TRY_TIMEOUT).build())
}
