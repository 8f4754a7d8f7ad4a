//! `/alerts`: the channels for alerts, and alerts that are not delivered yet. The webhook's address
//! and the signing secret can be written but are never returned. The refresh function delivers
//! alerts.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{Accepted, ApiError, ApiResult, TypedResponse};
use crate::request_parts::JsonBody;
use crate::{AdminState, SharedAdminState};
use axum::extract::State;
use baton_api::alerts::{
    AlertSettingsChange, AlertSettingsResource, AlertTest, ChangedAlertSettings,
    ShownAlertSettings, WaitingAlert,
};
use baton_api::audit::AuditAction;
use baton_api::fields::FieldChange;
use baton_domain::alert::{Alert, AlertEvent, AlertPreferences, THRESHOLDS};
use baton_domain::relay_key::new_secret;
use baton_domain::secret::Secret;
use baton_runtime::upstream::check_url;
use baton_store::{AlertDelivery, AlertSettings, ConfigEdit, StoredEntity};
use serde_json::{Value, json};

const TARGET: &str = "alerts";

/// The minimum length of a signing secret in bytes.
const SIGNING_SECRET_MIN: usize = 16;

/// The maximum number of thresholds.
const THRESHOLDS_MAX: usize = 10;

pub(crate) async fn get_alert_settings(
    State(state): SharedAdminState,
) -> ApiResult<TypedResponse<AlertSettingsResource>> {
    let shown = alert_settings_resource(state.store.alert_settings.read().await?.as_ref());
    let waiting = state.pending_deliveries().await?;
    TypedResponse::new(&AlertSettingsResource { shown, waiting })
}

pub(crate) async fn set_alert_settings(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(input): JsonBody<AlertSettingsChange>,
) -> ApiResult<TypedResponse<ChangedAlertSettings>> {
    let before = state.store.alert_settings.read().await?;
    let old = alert_settings_resource(before.as_ref());
    let (shown, old_url, old_secret) = match before {
        Some(before) => {
            request.check_version(&before.preferences)?;
            (
                state.store.editor.next_version(&before.preferences),
                before.url,
                Some(before.signing_secret),
            )
        }
        None => (state.store.editor.new_stored(AlertPreferences::default(), None), None, None),
    };
    let url = input.url.apply_to(old_url);
    if let Some(url) = &url {
        check_url(url.expose(), state.allow_private_upstreams)
            .map_err(|error| ApiError::bad(format!("`url`: {error}")))?;
    }
    if let FieldChange::To(Some(arn)) = &input.sns_topic_arn {
        check_arn(arn)?;
    }
    let random = state.store.random_source();
    let is_made = input.signing_secret.is_none() && old_secret.is_none();
    let signing_secret = input
        .signing_secret
        .or(old_secret)
        .unwrap_or_else(|| new_secret([random.bits(), random.bits()]));
    if signing_secret.expose().len() < SIGNING_SECRET_MIN {
        let message = format!("`signing_secret`: expected {SIGNING_SECRET_MIN} characters or more");
        return Err(ApiError::bad(message));
    }
    let value = AlertPreferences {
        form: input.form.unwrap_or(shown.value.form),
        thresholds: match input.thresholds {
            FieldChange::Keep => shown.value.thresholds,
            FieldChange::To(given) => thresholds(given)?,
        },
        sns_topic_arn: input.sns_topic_arn.apply_to(shown.value.sns_topic_arn),
    };
    let settings =
        AlertSettings { preferences: StoredEntity { value, ..shown }, url, signing_secret };
    let mut edit = ConfigEdit::default();
    state.store.editor.save_alert_settings(&mut edit, &settings).await?;
    let shown = alert_settings_resource(Some(&settings));
    let note = AuditNote::updated(&TARGET, &old, &shown);
    let waiting = state.pending_deliveries().await?;
    let after = ChangedAlertSettings {
        settings: AlertSettingsResource { shown, waiting },
        // Returned only now, like the secret of a new key.
        signing_secret: is_made.then_some(settings.signing_secret),
    };
    state.commit_change(&request, edit, note, TypedResponse::new(&after)?).await
}

/// `POST /alerts/test`: sends a test alert on the same way as every other alert.
pub(crate) async fn send_test_alert(
    State(state): SharedAdminState,
    request: AdminRequest,
) -> ApiResult<Accepted<AlertTest>> {
    let settings = state.store.alert_settings.read().await?;
    let channels = settings.map(|settings| settings.channels()).unwrap_or_default();
    if channels.is_empty() {
        return Err(ApiError::bad(
            "there is nowhere to send it: first set `url` or `sns_topic_arn`",
        ));
    }
    let at = state.store.clock().now();
    let id = format!("test#{:032x}", state.store.random_source().bits());
    let alert = Alert { id, at, event: AlertEvent::Test };
    let mut edit = ConfigEdit::default();
    state.store.outbox.add_alert(&mut edit, &alert, &channels)?;
    let answer = AlertTest {
        id: alert.id,
        channels,
        message:
            "The test alert is sent within a minute. Until it arrives, it is listed as waiting."
                .to_owned(),
    };
    let after = json!({ "id": answer.id });
    let note = AuditNote::other_action(AuditAction::Test, &TARGET, &Value::Null, &after);
    state.commit_change(&request, edit, note, Accepted::new(&answer)?).await
}

impl AdminState {
    /// The undelivered alerts, with the reason of the last failure.
    async fn pending_deliveries(&self) -> ApiResult<Vec<WaitingAlert>> {
        let all = self.store.outbox.deliveries().await?;
        let view = |one: AlertDelivery| WaitingAlert {
            text: one.alert.to_text(),
            id: one.alert.id,
            channel: one.channel,
            tries: one.tries,
            last_error: one.last_error,
        };
        Ok(all.into_iter().map(view).collect())
    }
}

/// The settings for answers. Only the host of the webhook's address is returned, because the rest
/// often contains a key.
fn alert_settings_resource(settings: Option<&AlertSettings>) -> ShownAlertSettings {
    let host = |url: &Secret| url.expose().parse::<http::Uri>().ok()?.host().map(str::to_owned);
    let url = settings.and_then(|settings| settings.url.as_ref());
    let shown = settings.map(|settings| settings.preferences.value.clone()).unwrap_or_default();
    ShownAlertSettings {
        url_host: url.and_then(host),
        form: shown.form,
        thresholds: shown.thresholds,
        sns_topic_arn: shown.sns_topic_arn,
        version: settings.map_or(0, |settings| settings.preferences.version),
    }
}

fn thresholds(given: Option<Vec<u32>>) -> ApiResult<Vec<u32>> {
    let mut thresholds = given.unwrap_or_else(|| THRESHOLDS.to_vec());
    thresholds.sort_unstable();
    thresholds.dedup();
    let all_fit = thresholds.iter().all(|percent| (1..=100).contains(percent));
    if !all_fit || thresholds.len() > THRESHOLDS_MAX {
        return Err(ApiError::bad(format!(
            "`thresholds`: expected at most {THRESHOLDS_MAX} percentages from 1 to 100"
        )));
    }
    Ok(thresholds)
}

/// `arn:<partition>:sns:<region>:<account>:<name>`
fn check_arn(arn: &str) -> ApiResult<()> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, _, name] if !region.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(ApiError::bad(
            "`sns_topic_arn`: expected an ARN like arn:aws:sns:eu-central-1:123456789012:alerts",
        )),
    }
}
