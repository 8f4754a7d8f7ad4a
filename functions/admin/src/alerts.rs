//! `/alerts`: where alerts go, and whether they arrive. Address and signing secret go in and never
//! out; telling is refresh's business.

use crate::answer::{Answer, Refused, body};
use crate::query::Change;
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use baton_cloud::store::AlertSettings;
use baton_cloud::upstream::check_url;
use baton_domain::alert::{Alert, Event, Form, Settings, THRESHOLDS};
use baton_domain::relay_key::new_secret;
use baton_domain::secret::Secret;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// Thresholds that one may set.
const THRESHOLDS_MAX: usize = 10;

/// The settings as an operator gives them: what is absent has its default, but the two secrets,
/// which stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    url: Change<Secret>,
    #[serde(default)]
    signing_secret: Option<Secret>,
    #[serde(default)]
    form: Form,
    thresholds: Option<Vec<u32>>,
    sns_topic_arn: Option<String>,
}

pub(crate) async fn read(State(office): Shared) -> Answer<Json<Value>> {
    office.alerts_now().await.map(Json)
}

pub(crate) async fn set(State(office): Shared, bytes: Bytes) -> Answer<Json<Value>> {
    let input: Input = body(&bytes)?;
    let before = office.store.alert_settings().await?;
    let (old_url, old_secret) =
        before.map_or((None, None), |before| (before.url, Some(before.signing_secret)));
    let url = input.url.over(old_url);
    if let Some(url) = &url {
        check_url(url.expose(), office.allow_private_upstreams).map_err(Refused::bad)?;
    }
    if let Some(arn) = &input.sns_topic_arn {
        check_arn(arn)?;
    }
    let dice = office.store.dice();
    let is_made = input.signing_secret.is_none() && old_secret.is_none();
    let signing_secret = input
        .signing_secret
        .or(old_secret)
        .unwrap_or_else(|| new_secret([dice.bits(), dice.bits()]));
    if signing_secret.expose().len() < 16 {
        return Err(Refused::bad("`signing_secret` has 16 characters or more"));
    }
    let thresholds = thresholds(input.thresholds)?;
    let shown = Settings { form: input.form, thresholds, sns_topic_arn: input.sns_topic_arn };
    let settings = AlertSettings { shown, url, signing_secret };
    office.store.put_alert_settings(&settings).await?;
    let mut view = office.alerts_now().await?;
    if is_made {
        // This once, as with a new key.
        view["signing_secret"] = json!(settings.signing_secret.expose());
    }
    Ok(Json(view))
}

/// `POST /alerts/test`: an alert like any other, on the way that all take.
pub(crate) async fn test(State(office): Shared) -> Answer<Response> {
    let settings = office.store.alert_settings().await?;
    let channels = settings.map(|settings| settings.channels()).unwrap_or_default();
    if channels.is_empty() {
        return Err(Refused::bad(
            "there is nowhere to send it: set `url` or `sns_topic_arn` first",
        ));
    }
    let at = office.store.clock().now();
    let id = format!("test#{:032x}", office.store.dice().bits());
    let alert = Alert { id, at, event: Event::Test };
    office.store.put_alert(&alert, &channels).await?;
    let answer = json!({
        "id": alert.id, "channels": channels,
        "message": "it is sent within a minute; until it has arrived, GET /alerts shows it as waiting",
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

impl Office {
    async fn alerts_now(&self) -> Answer<Value> {
        let settings = self.store.alert_settings().await?;
        let host = |url: &Secret| url.expose().parse::<http::Uri>().ok()?.host().map(str::to_owned);
        let url = settings.as_ref().and_then(|settings| settings.url.as_ref());
        let shown = settings.as_ref().map(|settings| settings.shown.clone()).unwrap_or_default();
        let waiting = self.store.deliveries().await?;
        let waiting: Vec<Value> = waiting
            .iter()
            .map(|one| {
                json!({
                    "id": one.alert.id, "channel": one.channel, "text": one.alert.text(),
                    "tries": one.tries, "last_error": one.last_error,
                })
            })
            .collect();
        Ok(json!({
            "url_host": url.and_then(host), "form": shown.form, "thresholds": shown.thresholds,
            "sns_topic_arn": shown.sns_topic_arn, "waiting": waiting,
        }))
    }
}

fn thresholds(given: Option<Vec<u32>>) -> Answer<Vec<u32>> {
    let mut thresholds = given.unwrap_or_else(|| THRESHOLDS.to_vec());
    thresholds.sort_unstable();
    thresholds.dedup();
    let all_fit = thresholds.iter().all(|percent| (1..=100).contains(percent));
    if !all_fit || thresholds.len() > THRESHOLDS_MAX {
        return Err(Refused::bad(format!(
            "`thresholds` are at most {THRESHOLDS_MAX} numbers from 1 to 100, in percent"
        )));
    }
    Ok(thresholds)
}

/// `arn:<partition>:sns:<region>:<account>:<name>`
fn check_arn(arn: &str) -> Answer<()> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, _, name] if !region.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(Refused::bad(
            "`sns_topic_arn` is like arn:aws:sns:eu-central-1:123456789012:alerts",
        )),
    }
}
