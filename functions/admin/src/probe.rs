//! The free call of a test to Bedrock, which lists no models by the account's own door: a count of
//! tokens, by a model that the account maps to or by one that every region has.

use crate::Office;
use baton_cloud::store::Stored;
use baton_cloud::upstream::{AwsAccess, Signer, Upstream, credential_header, trimmed};
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::model::foundation_id;
use baton_wire::bedrock::{Action, BadBody, path, to_count, told};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

const ANSWER_BYTES_MAX: usize = 1 << 20;
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

impl Office {
    /// Asks the account's upstream for a model: its status, and what it says of an error.
    pub(crate) async fn ask_bedrock(
        &self,
        stored: &Stored<Account>,
    ) -> Result<(StatusCode, String), String> {
        let account = &stored.value;
        let sealed = stored.secret.as_deref().unwrap_or_default();
        let credential = self.store.open_credential(account, sealed).await;
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
