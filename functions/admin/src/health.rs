//! How accounts are doing, as operators see it; `/accounts/{id}/test` and `/accounts/{id}/reset`.

use crate::answer::{Answer, Told, id};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::extract::{Path, State};
use baton_cloud::store::{Edit, StoreError, Stored};
use baton_cloud::upstream::{Upstream, credential_header, trimmed};
use baton_domain::account::Account;
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// For the one call of a test.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 1 << 20;
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// An account's health in the words of the API.
pub(crate) struct Status {
    pub(crate) name: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) until: Option<Timestamp>,
    /// Model families that cool down by themselves: until when, and why.
    pub(crate) models: Map<String, Value>,
}

impl Status {
    pub(crate) fn of(account: &Account, health: &Health, now: Timestamp) -> Self {
        let (name, reason, until) = match health.overall(now) {
            _ if !account.enabled => ("disabled", None, None),
            Standing::Ready => ("ready", None, None),
            Standing::HalfOpen => ("ready", Some("the next request probes it"), None),
            Standing::Cooling { until, reason, .. } => ("cooling", Some(reason), Some(until)),
            Standing::AuthFailed { reason } => ("auth_failed", Some(reason), None),
        };
        let resting = health.families.iter().filter(|(_, rest)| rest.until > now);
        let models = resting.map(|(family, rest)| (family.clone(), json!(rest))).collect();
        Self { name, reason: reason.map(str::to_owned), until, models }
    }
}

/// `POST /accounts/{id}/reset`: whatever is held against the account is forgotten. The row of the
/// audit trail comes first, since health is written by a condition of its own.
pub(crate) async fn reset(State(office): Shared, visit: Visit, Path(path): Path<String>) -> Answer {
    let stored = office.find::<Account>(&id(&path)?).await?;
    let before = office.view_now(&stored).await?;
    let note = Note::did("reset", &stored.value.id, (before, Value::Null));
    office.enact(&visit.unrepeatable(), Edit::default(), note, Told::gone()).await?;
    office.reset_health(&stored.value.id).await?;
    office.view_now(&stored).await.map(Told::ok)
}

/// `POST /accounts/{id}/test`: one free call with the account's credential. It changes nothing.
pub(crate) async fn test(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    let stored = office.find::<Account>(&id(&path)?).await?;
    let begun = office.store.clock().now();
    let result = tokio::time::timeout(PATIENCE, office.ask_upstream(&stored)).await;
    let (status, message) = match result {
        Ok(Ok((status, _))) if status.is_success() => (Some(status), "it answers".to_owned()),
        Ok(Ok((status, said))) => (Some(status), said),
        Ok(Err(why)) => (None, why),
        Err(_) => (None, format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let millis = office.store.clock().now().duration_since(begun).as_millis();
    Ok(Json(json!({
        "id": stored.value.id, "ok": status.is_some_and(|status| status.is_success()),
        "upstream_status": status.map(|status| status.as_u16()), "message": message,
        "duration_ms": u64::try_from(millis).unwrap_or_default(),
    })))
}

impl Office {
    /// Forgets what is held against the account; how much is used stays known.
    pub(crate) async fn reset_health(&self, id: &AccountId) -> Result<(), StoreError> {
        self.store.read_health(std::slice::from_ref(id)).await?;
        let now = self.store.clock().now();
        let blank = |health: &Health| {
            let after = health.forgiven(now);
            (after != *health).then_some(after)
        };
        self.store.change_health(id, blank).await
    }

    /// Asks the account's upstream for a model: its status, and what it says of an error.
    async fn ask_upstream(&self, stored: &Stored<Account>) -> Result<(StatusCode, String), String> {
        let account = &stored.value;
        let sealed = stored.secret.as_deref().unwrap_or_default();
        let credential = self.store.open_credential(&account.id, sealed).await;
        let credential = credential.map_err(|error| error.to_string())?;
        let (name, value) = credential_header(account.credential, &credential)
            .map_err(|_| "its credential is no header value".to_owned())?;
        let headers = HeaderMap::from_iter([
            (name, value),
            (VERSION, HeaderValue::from_static("2023-06-01")),
        ]);
        let proxy = self.store.open_proxy(account).await.map_err(|error| error.to_string())?;
        let url = format!("{}/v1/models?limit=1", trimmed(&account.base_url));
        let upstream = Upstream::new(&self.timers, self.allow_private_upstreams)
            .and_then(|upstream| upstream.through(proxy.as_ref()))
            .map_err(|error| error.to_string())?;
        let answer = upstream.call(Method::GET, &url, headers, Bytes::new()).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok((head.status, said(&body)))
    }
}

/// The message of an upstream's error, else the beginning of whatever it is.
fn said(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    json["error"]["message"].as_str().unwrap_or(&text).chars().take(500).collect()
}
