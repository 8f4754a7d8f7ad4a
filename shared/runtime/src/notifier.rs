//! Sends alerts: a signed POST to the operator's webhook, or a message to Amazon SNS.
//!
//! Refresh decides when to try again. Webhook addresses follow the same rules as upstreams.

use crate::aws::AwsClients;
use crate::upstream::{UpstreamAddress, UpstreamCallError, UpstreamClient};
use aws_config::SdkConfig;
use aws_lc_rs::hmac;
use aws_sdk_sns::config::Region;
use aws_sdk_sns::error::DisplayErrorContext;
use baton_domain::alert::{Alert, WebhookFormat};
use baton_domain::secret::Secret;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use std::time::Duration;

/// The header that proves when and by whom a delivery was made: `t=<unix seconds>,v1=<hex of
/// HMAC-SHA-256 under the signing secret over "<t>.<body>">`.
pub const SIGNATURE: HeaderName = HeaderName::from_static("baton-signature");

/// The header with the alert's id, by which a receiver can drop repetitions.
const ID: HeaderName = HeaderName::from_static("baton-alert-id");

/// The timeout of one delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest subject that SNS accepts, in characters (Publish, API reference, 2026-11).
const SUBJECT_MAX: usize = 99;

/// Delivers alerts.
#[derive(Clone)]
pub struct Notifier {
    http: UpstreamClient,
    aws: SdkConfig,
}

/// A webhook to call.
pub struct WebhookTarget<'a> {
    /// The address of the webhook.
    pub url: &'a Secret,
    /// The secret that calls are signed with.
    pub signing_secret: &'a Secret,
    /// The format of the body.
    pub format: WebhookFormat,
}

/// Why an alert was not delivered, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(String);

impl Notifier {
    /// Creates a notifier that calls webhooks with `http`. No I/O.
    pub fn new(aws: &AwsClients, http: UpstreamClient) -> Self {
        Self { http, aws: aws.config.clone() }
    }

    /// Calls a webhook, which has to answer 2xx.
    ///
    /// # Errors
    /// If the call fails or has another status.
    pub async fn call(
        &self,
        hook: &WebhookTarget<'_>,
        alert: &Alert,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let body = alert.webhook_body(hook.format);
        let signature = sign_body(hook.signing_secret, now.as_second(), &body);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, text) in [(SIGNATURE, &signature), (ID, &alert.id)] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        let address = UpstreamAddress::from(hook.url.expose());
        let call = self.http.call(Method::POST, &address, headers, Bytes::from(body));
        match tokio::time::timeout(DELIVERY_TIMEOUT, call).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(DeliveryError(format!(
                "the webhook answered with status {}",
                response.status()
            ))),
            // The reason would contain the address.
            Ok(Err(UpstreamCallError::BadUrl(_))) => {
                Err(DeliveryError("Baton is not allowed to call the webhook's address".to_owned()))
            }
            Ok(Err(error)) => Err(DeliveryError(error.to_string())),
            Err(_) => {
                Err(DeliveryError(format!("no answer within {} s", DELIVERY_TIMEOUT.as_secs())))
            }
        }
    }

    /// Publishes to a topic in the topic's own region.
    ///
    /// # Errors
    /// If SNS does not accept the message.
    pub async fn publish(&self, topic_arn: &str, alert: &Alert) -> Result<(), DeliveryError> {
        let mut config = aws_sdk_sns::config::Builder::from(&self.aws);
        if let Some(region) = topic_arn.split(':').nth(3) {
            config = config.region(Region::new(region.to_owned()));
        }
        let subject: String =
            format!("Baton: {}", alert.to_text()).chars().take(SUBJECT_MAX).collect();
        let result = aws_sdk_sns::Client::from_conf(config.build())
            .publish()
            .topic_arn(topic_arn)
            .subject(subject.replace(|letter: char| !letter.is_ascii_graphic(), " "))
            .message(alert.webhook_body(WebhookFormat::Json))
            .send();
        match tokio::time::timeout(DELIVERY_TIMEOUT, result).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(DeliveryError(DisplayErrorContext(&error).to_string())),
            Err(_) => {
                Err(DeliveryError(format!("no answer within {} s", DELIVERY_TIMEOUT.as_secs())))
            }
        }
    }
}

/// The value of [`SIGNATURE`].
fn sign_body(secret: &Secret, second: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, format!("{second}.{body}").as_bytes());
    format!("t={second},v1={}", hex::encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use aws_sdk_sns::config::{Credentials, SharedCredentialsProvider};
    use baton_domain::alert::AlertEvent;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Accepts one request, answers as SNS does, and returns the request.
    async fn topic(listener: tokio::net::TcpListener) -> String {
        let (mut line, _) = listener.accept().await.unwrap();
        let (mut came, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&came).contains("Version=") {
            let length = line.read(&mut piece).await.unwrap();
            assert!(length > 0, "cut: {:?}", String::from_utf8_lossy(&came));
            came.extend_from_slice(&piece[..length]);
        }
        let body = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        line.write_all(response.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&came).into_owned()
    }

    #[tokio::test]
    async fn sns_call_is_signed_for_the_region_of_the_topic() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = Credentials::new("id", "key", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .endpoint_url(format!("http://{address}"))
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let settings = Settings::from_lookup(|_| None).unwrap_or_else(|bad| panic!("{bad}"));
        let http = UpstreamClient::new(&settings.timers, false).unwrap();
        let notifier = Notifier::new(&AwsClients::new(&config), http);
        let at = "2026-11-22T21:05:30Z".parse().unwrap();
        let alert = Alert { id: "test#1".into(), at, event: AlertEvent::Test };
        let acquired = tokio::spawn(topic(listener));
        let published = notifier.publish("arn:aws:sns:eu-west-3:123456789012:alerts", &alert).await;
        assert!(published.is_ok(), "{:?}", published.err().map(|why| why.to_string()));
        let came = acquired.await.unwrap();
        for part in [
            "Action=Publish",
            "TopicArn=arn%3Aaws%3Asns%3Aeu-west-3%3A123456789012%3Aalerts",
            "Subject=Baton%3A%20this%20is%20a%20test",
            "/eu-west-3/sns/aws4_request",
        ] {
            assert!(came.contains(part), "no {part} in {came}");
        }
    }

    #[test]
    fn webhook_signature_matches_reference_value() {
        // python3: hmac.new(b"s3cret", b'1795381530.{"text":"hi"}', "sha256").hexdigest()
        let made = sign_body(&Secret::new("s3cret".into()), 1_795_381_530, r#"{"text":"hi"}"#);
        assert_eq!(
            made,
            "t=1795381530,v1=bc35ed41325a2d0277930e7c973ae9face9c538325d6bd7bee542673ff979e36"
        );
    }
}
