//! How accounts are doing, as operators see it; `/accounts/{id}/test` and `/accounts/{id}/reset`.

use crate::answer::{Answer, id};
use crate::{Office, Shared};
use axum::Json;
use axum::extract::{Path, State};
use baton_cloud::store::{StoreError, Stored};
use baton_cloud::upstream::{AwsAccess, Signer, Upstream, credential_header, trimmed};
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use baton_domain::model::foundation_id;
use baton_wire::bedrock::{Action, BadBody, path, to_count, told};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
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

/// `POST /accounts/{id}/reset`: whatever is held against the account is forgotten.
pub(crate) async fn reset(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    let stored = office.find::<Account>(&id(&path)?).await?;
    office.reset_health(&stored.value.id).await?;
    office.view_now(&stored).await.map(Json)
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
        let mut headers = HeaderMap::from_iter([(VERSION, HeaderValue::from_static("2023-06-01"))]);
        headers.extend(
            credential_header(account.credential, &credential)
                .map_err(|_| "its credential is no header value".to_owned())?,
        );
        let proxy = self.store.open_proxy(account).await.map_err(|error| error.to_string())?;
        let base = trimmed(&account.base_url);
        let question = question(account);
        let Question { method, path, body } = question.map_err(|error| error.to_string())?;
        let url = format!("{base}{path}");
        if account.credential == CredentialKind::Aws {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let access = AwsAccess::of_secret(&credential).map_err(|error| error.to_string())?;
            let role = Signer::new(self.store.clock().clone());
            let signed = role.sign(&access, &url, &mut headers, &body).await;
            signed.map_err(|error| error.to_string())?;
        }
        let upstream = Upstream::new(&self.timers, self.allow_private_upstreams)
            .and_then(|upstream| upstream.through(proxy.as_ref()))
            .map_err(|error| error.to_string())?;
        let answer = upstream.call(method, &url, headers, body).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let exception = head.headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
        if account.takes_invoke_model()
            && !head.status.is_success()
            && let Some(told) = told(head.status.as_u16(), exception, &body)
        {
            let status = StatusCode::from_u16(told.status).unwrap_or(head.status);
            return Ok((status, told.message));
        }
        Ok((head.status, said(&body)))
    }
}

/// The free call of a test.
struct Question {
    method: Method,
    path: String,
    body: Bytes,
}

/// A list of models; where Bedrock speaks for itself, a count of tokens by a model that the account
/// maps to, or by one that every region has.
fn question(account: &Account) -> Result<Question, BadBody> {
    const HELLO: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    const MODEL: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
    if account.provider != Provider::Bedrock {
        let path = "/v1/models?limit=1".to_owned();
        return Ok(Question { method: Method::GET, path, body: Bytes::new() });
    }
    let mut mapped = account.model_map.iter().map(|(_, id)| foundation_id(id));
    let model = mapped.find(|id| id.starts_with("anthropic.")).unwrap_or(MODEL);
    let (path, body) = if account.takes_invoke_model() {
        (path(model, Action::CountTokens), to_count(HELLO.as_bytes(), [].into_iter())?)
    } else {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        ("/v1/messages/count_tokens".to_owned(), body.to_string().into())
    };
    Ok(Question { method: Method::POST, path, body })
}

/// The message of an upstream's error, else the beginning of whatever it is.
fn said(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    json["error"]["message"].as_str().unwrap_or(&text).chars().take(500).collect()
}
