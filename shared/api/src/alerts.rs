//! Channels of alerts, and alerts that are not delivered yet: `/alerts`.

use crate::exposed;
use crate::fields::{FieldChange, HttpsAddress};
use baton_domain::alert::{AlertChannel, WebhookFormat};
use baton_domain::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The alert settings, without the address of the webhook and its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Alerts")]
pub struct AlertSettingsResource {
    /// The settings.
    #[serde(flatten)]
    pub shown: ShownAlertSettings,
    /// Alerts that are not delivered yet.
    pub waiting: Vec<WaitingAlert>,
}

/// The part of the alert settings that the audit trail keeps, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownAlertSettings {
    /// Host of the webhook; the rest of its address is secret.
    pub url_host: Option<String>,
    /// Format of webhook calls.
    pub form: WebhookFormat,
    /// Percentages of a money limit at which an alert is sent.
    #[schemars(length(max = 10), inner(range(min = 1, max = 100)))]
    pub thresholds: Vec<u32>,
    /// ARN of the SNS topic; null if alerts are not sent to SNS.
    pub sns_topic_arn: Option<String>,
    /// Version for `If-Match`; each change adds one.
    pub version: u64,
}

/// The alert settings after a change.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AlertsWithSecret")]
pub struct ChangedAlertSettings {
    /// The settings.
    #[serde(flatten)]
    pub settings: AlertSettingsResource,
    /// The secret that signs webhook calls. It is returned only once, where Baton made it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "exposed::optional"
    )]
    pub signing_secret: Option<Secret>,
}

/// An alert that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct WaitingAlert {
    /// Id of the alert.
    pub id: String,
    /// The channel by which the alert is sent.
    pub channel: AlertChannel,
    /// The alert.
    pub text: String,
    /// Failed attempts to deliver it.
    pub tries: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// New alert settings. Absent fields stay as they are. `null` removes the address or the topic and
/// restores the default thresholds.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "NewAlerts")]
pub struct AlertSettingsChange {
    /// Address of the webhook; null removes it.
    #[serde(skip_serializing_if = "FieldChange::is_keep", serialize_with = "exposed_change")]
    #[schemars(with = "Option<HttpsAddress>", extend("writeOnly" = true))]
    pub url: FieldChange<Secret>,
    /// Secret that signs webhook calls; absent keeps it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed::optional")]
    #[schemars(
        length(min = 16),
        regex(pattern = "^[!-~]+$"),
        extend("writeOnly" = true)
    )]
    pub signing_secret: Option<Secret>,
    /// Format of webhook calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<WebhookFormat>,
    /// Percentages of a money limit at which an alert is sent; null restores the default.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    #[schemars(length(max = 10), inner(range(min = 1, max = 100)))]
    pub thresholds: FieldChange<Vec<u32>>,
    /// ARN of the SNS topic; null removes it.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    #[schemars(regex(pattern = "^arn:aws:sns:[a-z0-9-]{1,32}:[0-9]{12}:[A-Za-z0-9_-]{1,80}$"))]
    pub sns_topic_arn: FieldChange<String>,
}

fn exposed_change<S: serde::Serializer>(
    change: &FieldChange<Secret>,
    out: S,
) -> Result<S::Ok, S::Error> {
    match change {
        FieldChange::To(Some(secret)) => exposed::secret(secret, out),
        FieldChange::To(None) | FieldChange::Keep => out.serialize_none(),
    }
}

/// A test alert that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertTest {
    /// Id of the test alert.
    pub id: String,
    /// The channels by which the alert is sent.
    pub channels: Vec<AlertChannel>,
    /// The next step, as a sentence for people.
    pub message: String,
}
