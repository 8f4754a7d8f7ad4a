//! `/alerts`: the channels for alerts, and alerts that are not delivered yet. The webhook's address
//! and the signing secret can be written but are never returned. The refresh function delivers
//! alerts.

use crate::answer::{Answer, Refused, Told, body};
use crate::query::Change;
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::body::Bytes;
use axum::extract::State;
use baton_cloud::store::{AlertSettings, Delivery, Edit, Stored};
use baton_cloud::upstream::check_url;
use baton_domain::alert::{Alert, Event, Form, Settings, THRESHOLDS};
use baton_domain::relay_key::new_secret;
use baton_domain::secret::Secret;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

const TARGET: &str = "alerts";

/// The minimum length of a signing secret in bytes.
const SIGNING_SECRET_MIN: usize = 16;

/// The maximum number of thresholds.
const THRESHOLDS_MAX: usize = 10;

/// The settings in a request. Absent fields stay unchanged. `null` removes the address or the topic
/// and restores the default thresholds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    url: Change<Secret>,
    #[serde(default)]
    signing_secret: Option<Secret>,
    form: Option<Form>,
    #[serde(default)]
    thresholds: Change<Vec<u32>>,
    #[serde(default)]
    sns_topic_arn: Change<String>,
}

pub(crate) async fn read(State(office): Shared) -> Answer {
    let mut now = view(office.store.alert_settings().await?.as_ref());
    now["waiting"] = office.waiting().await?;
    Ok(Told::ok(now))
}

pub(crate) async fn set(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let input: Input = body(&bytes)?;
    let before = office.store.alert_settings().await?;
    let old = view(before.as_ref());
    let (shown, old_url, old_secret) = match before {
        Some(before) => {
            visit.agrees(&before.shown)?;
            (office.store.revise(&before.shown), before.url, Some(before.signing_secret))
        }
        None => (office.store.stamp(Settings::default(), None), None, None),
    };
    let url = input.url.over(old_url);
    if let Some(url) = &url {
        check_url(url.expose(), office.allow_private_upstreams)
            .map_err(|why| Refused::bad(format!("`url`: {why}")))?;
    }
    if let Change::To(Some(arn)) = &input.sns_topic_arn {
        check_arn(arn)?;
    }
    let dice = office.store.dice();
    let is_made = input.signing_secret.is_none() && old_secret.is_none();
    let signing_secret = input
        .signing_secret
        .or(old_secret)
        .unwrap_or_else(|| new_secret([dice.bits(), dice.bits()]));
    if signing_secret.expose().len() < SIGNING_SECRET_MIN {
        let message = format!("`signing_secret`: expected {SIGNING_SECRET_MIN} characters or more");
        return Err(Refused::bad(message));
    }
    let value = Settings {
        form: input.form.unwrap_or(shown.value.form),
        thresholds: match input.thresholds {
            Change::Keep => shown.value.thresholds,
            Change::To(given) => thresholds(given)?,
        },
        sns_topic_arn: input.sns_topic_arn.over(shown.value.sns_topic_arn),
    };
    let settings = AlertSettings { shown: Stored { value, ..shown }, url, signing_secret };
    let mut edit = Edit::default();
    office.store.save_alert_settings(&mut edit, &settings).await?;
    let mut after = view(Some(&settings));
    let note = Note::updated(&TARGET, old, &after);
    after["waiting"] = office.waiting().await?;
    if is_made {
        // Returned only now, like the secret of a new key.
        after["signing_secret"] = json!(settings.signing_secret.expose());
    }
    office.enact(&visit, edit, note, Told::ok(after)).await
}

/// `POST /alerts/test`: sends a test alert on the same way as every other alert.
pub(crate) async fn test(State(office): Shared, visit: Visit) -> Answer {
    let settings = office.store.alert_settings().await?;
    let channels = settings.map(|settings| settings.channels()).unwrap_or_default();
    if channels.is_empty() {
        return Err(Refused::bad(
            "there is nowhere to send it: first set `url` or `sns_topic_arn`",
        ));
    }
    let at = office.store.clock().now();
    let id = format!("test#{:032x}", office.store.dice().bits());
    let alert = Alert { id, at, event: Event::Test };
    let mut edit = Edit::default();
    office.store.add_alert(&mut edit, &alert, &channels)?;
    let answer = json!({
        "id": alert.id, "channels": channels,
        "message": "The test alert is sent within a minute. Until it arrives, it is listed as waiting.",
    });
    let note = Note::did("test", &TARGET, (Value::Null, json!({ "id": alert.id })));
    let told = Told { status: StatusCode::ACCEPTED, ..Told::ok(answer) };
    office.enact(&visit, edit, note, told).await
}

impl Office {
    /// The undelivered alerts, with the reason of the last failure.
    async fn waiting(&self) -> Answer<Value> {
        let all = self.store.deliveries().await?;
        let view = |one: &Delivery| {
            json!({
                "id": one.alert.id, "channel": one.channel, "text": one.alert.text(),
                "tries": one.tries, "last_error": one.last_error,
            })
        };
        Ok(all.iter().map(view).collect())
    }
}

/// The settings for answers. Only the host of the webhook's address is returned, because the rest
/// often contains a key.
fn view(settings: Option<&AlertSettings>) -> Value {
    let host = |url: &Secret| url.expose().parse::<http::Uri>().ok()?.host().map(str::to_owned);
    let url = settings.and_then(|settings| settings.url.as_ref());
    let shown = settings.map(|settings| settings.shown.value.clone()).unwrap_or_default();
    json!({
        "url_host": url.and_then(host), "form": shown.form, "thresholds": shown.thresholds,
        "sns_topic_arn": shown.sns_topic_arn,
        "version": settings.map_or(0, |settings| settings.shown.version),
    })
}

fn thresholds(given: Option<Vec<u32>>) -> Answer<Vec<u32>> {
    let mut thresholds = given.unwrap_or_else(|| THRESHOLDS.to_vec());
    thresholds.sort_unstable();
    thresholds.dedup();
    let all_fit = thresholds.iter().all(|percent| (1..=100).contains(percent));
    if !all_fit || thresholds.len() > THRESHOLDS_MAX {
        return Err(Refused::bad(format!(
            "`thresholds`: expected at most {THRESHOLDS_MAX} percentages from 1 to 100"
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
            "`sns_topic_arn`: expected an ARN like arn:aws:sns:eu-central-1:123456789012:alerts",
        )),
    }
}
