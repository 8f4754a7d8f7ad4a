//! The only module that calls token endpoints: it exchanges a grant for a short-lived token, or
//! reports what happened to the grant. `domain::upstream_token` decides what that means.

use crate::aws::AwsClients;
use crate::identity_token::{self, IdentityTokenError, IdentityTokens};
use crate::upstream::{UpstreamAddress, UpstreamCallError, UpstreamClient};
use aws_sdk_sts::error::DisplayErrorContext;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use baton_domain::secret::{Secret, without_secrets};
use baton_domain::upstream_token::{
    AssertionSource, ClientAuth, ExchangeFailure, TokenExchange, TokenGrant, TokenSecrets,
};
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// The timeout of the whole exchange, shorter than any lease under which it runs.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 1 << 18;
const ASSERTION_BYTES_MAX: usize = identity_token::BYTES_MAX;
/// The lifetime of an assertion from AWS STS.
const ASSERTION_SECONDS: i32 = 900;

/// Calls token endpoints. Clones are cheap.
#[derive(Clone)]
pub struct TokenEndpoint {
    upstream: UpstreamClient,
    files: IdentityTokens,
    sts: aws_sdk_sts::Client,
}

/// A token that an endpoint has issued.
pub struct IssuedToken {
    /// The token for the upstream.
    pub access_token: Secret,
    /// The token for the next exchange, if it has changed.
    pub refresh_token: Option<Secret>,
    /// The lifetime of the token, if the endpoint stated it.
    pub lifetime: Option<SignedDuration>,
}

/// The endpoint issued no token. The message is for the log and contains no secrets.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TokenRequestError {
    /// The state of the grant after the failure.
    pub failure: ExchangeFailure,
    message: String,
}

/// An authorization code and the proof that this client requested it (RFC 7636).
pub struct AuthorizationCode {
    /// The authorization code.
    pub code: Secret,
    /// The PKCE verifier; its hash was sent with the authorization request.
    pub verifier: Secret,
    /// The redirect URI that the code was sent to.
    pub redirect_uri: String,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Secret,
    refresh_token: Option<Secret>,
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct TokenErrorResponse {
    error: serde_json::Value,
    error_description: Option<String>,
}

impl TokenEndpoint {
    /// Creates a client that calls endpoints through `upstream`, with the same address rules.
    /// `files` reads identity tokens from files.
    pub fn new(aws: &AwsClients, upstream: UpstreamClient, files: IdentityTokens) -> Self {
        Self { upstream, files, sts: aws_sdk_sts::Client::new(&aws.config) }
    }

    /// The source of identity tokens in files.
    pub fn identity_tokens(&self) -> &IdentityTokens {
        &self.files
    }

    /// Returns a client that connects through an account's proxy.
    pub fn with_proxy(&self, proxy: Option<&Secret>) -> Result<Self, UpstreamCallError> {
        Ok(Self { upstream: self.upstream.with_proxy(proxy)?, ..self.clone() })
    }

    /// Requests a token for the exchange's grant.
    pub async fn request_token(
        &self,
        exchange: &TokenExchange,
        secrets: &TokenSecrets,
    ) -> Result<IssuedToken, TokenRequestError> {
        match &exchange.grant {
            TokenGrant::RefreshToken { client_id, scope } => {
                let Some(token) = &secrets.refresh_token else {
                    return Err(TokenRequestError::refused("there is no refresh token"));
                };
                let fields = [("refresh_token", token.expose())];
                self.request_with_form(
                    exchange,
                    "refresh_token",
                    client_id,
                    scope.as_deref(),
                    &fields,
                    secrets,
                )
                .await
            }
            TokenGrant::ClientCredentials { client_id, scope } => {
                self.request_with_form(
                    exchange,
                    "client_credentials",
                    client_id,
                    scope.as_deref(),
                    &[],
                    secrets,
                )
                .await
            }
            TokenGrant::JwtBearer { .. } => self.request_with_assertion(exchange).await,
        }
    }

    /// Requests the first token for an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5).
    pub async fn redeem(
        &self,
        exchange: &TokenExchange,
        secrets: &TokenSecrets,
        code: &AuthorizationCode,
    ) -> Result<IssuedToken, TokenRequestError> {
        let TokenGrant::RefreshToken { client_id, .. } = &exchange.grant else {
            return Err(TokenRequestError::refused("a code is redeemed for a refresh token only"));
        };
        let fields = [
            ("code", code.code.expose()),
            ("code_verifier", code.verifier.expose()),
            ("redirect_uri", code.redirect_uri.as_str()),
        ];
        self.request_with_form(exchange, "authorization_code", client_id, None, &fields, secrets)
            .await
    }

    async fn request_with_form(
        &self,
        exchange: &TokenExchange,
        grant_type: &str,
        client_id: &str,
        scope: Option<&str>,
        fields: &[(&str, &str)],
        secrets: &TokenSecrets,
    ) -> Result<IssuedToken, TokenRequestError> {
        let mut all = vec![("grant_type", grant_type)];
        let mut headers = HeaderMap::new();
        match (&secrets.client_secret, exchange.client_auth) {
            (Some(secret), ClientAuth::ClientSecretBasic) => {
                headers.insert(AUTHORIZATION, basic(client_id, secret));
            }
            (secret, _) => {
                all.push(("client_id", client_id));
                all.extend(secret.iter().map(|it| ("client_secret", it.expose())));
            }
        }
        all.extend_from_slice(fields);
        all.extend(scope.map(|scope| ("scope", scope)));
        let body = Serializer::new(String::new()).extend_pairs(all).finish();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        let own = [&secrets.client_secret, &secrets.refresh_token].into_iter().flatten();
        let plain = own.map(Secret::expose).chain(fields.iter().map(|(_, value)| *value));
        let sent: Vec<String> = plain.flat_map(sent_forms).collect();
        self.send_request(&exchange.token_url, headers, body, &sent).await
    }

    async fn request_with_assertion(
        &self,
        exchange: &TokenExchange,
    ) -> Result<IssuedToken, TokenRequestError> {
        let TokenGrant::JwtBearer {
            federation_rule_id,
            organization_id,
            service_account_id,
            workspace_id,
            assertion,
        } = &exchange.grant
        else {
            return Err(TokenRequestError::refused("the grant is not an assertion"));
        };
        let assertion = self.assertion(assertion).await?;
        let mut body = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion.expose(), "federation_rule_id": federation_rule_id,
            "organization_id": organization_id, "service_account_id": service_account_id,
        });
        if let Some(workspace) = workspace_id {
            body["workspace_id"] = json!(workspace);
        }
        let kind = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        let sent = sent_forms(assertion.expose());
        self.send_request(&exchange.token_url, headers, body.to_string(), &sent).await
    }

    /// The identity token that proves who this client is. If it cannot be read, no grant is used
    /// up.
    async fn assertion(&self, from: &AssertionSource) -> Result<Secret, TokenRequestError> {
        let text = match from {
            AssertionSource::File { path } => {
                let read = self.files.read(path).await;
                let read =
                    read.map_err(|error| TokenRequestError::not_accepted(error.to_string()))?;
                // The error says no more about a file that contains something else.
                if !is_jwt(read.expose().trim()) {
                    let error = IdentityTokenError::Unreadable;
                    return Err(TokenRequestError::not_accepted(error.to_string()));
                }
                read.expose().to_owned()
            }
            AssertionSource::AwsSts { audience } => {
                let call = self.sts.get_web_identity_token().audience(audience);
                let call = call.signing_algorithm("RS256").duration_seconds(ASSERTION_SECONDS);
                let response = call.send().await.map_err(|error| {
                    TokenRequestError::not_accepted(format!(
                        "AWS STS: {}",
                        DisplayErrorContext(&error)
                    ))
                })?;
                response.web_identity_token.unwrap_or_default()
            }
        };
        let text = text.trim();
        // Only an identity token is sent to the endpoint, regardless of the file's content.
        if text.len() > ASSERTION_BYTES_MAX || !is_jwt(text) {
            return Err(TokenRequestError::not_accepted(format!(
                "the identity token is not a signed JWT of at most {ASSERTION_BYTES_MAX} bytes"
            )));
        }
        Ok(Secret::new(text.to_owned()))
    }

    async fn send_request(
        &self,
        url: &str,
        mut headers: HeaderMap,
        body: String,
        secrets: &[String],
    ) -> Result<IssuedToken, TokenRequestError> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let call = async {
            let address = UpstreamAddress::from(url);
            let response =
                self.upstream.call(Method::POST, &address, headers, Bytes::from(body)).await;
            let (head, body) =
                response.map_err(TokenRequestError::from_transport_error)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| {
                TokenRequestError::unanswered("the connection broke during the answer")
            })?;
            parse_answer(head.status.as_u16(), &body.to_bytes(), secrets)
        };
        let timeout_error = || Err(TokenRequestError::unanswered("no answer in time"));
        tokio::time::timeout(EXCHANGE_TIMEOUT, call).await.unwrap_or_else(|_| timeout_error())
    }
}

/// The client's id and secret, each form-encoded, then both in base64 (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose()));
    // Base64 is valid in any header.
    let value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(pair)));
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// Whether the text has the form of a signed JWT (RFC 7515 §3.1): a JSON object and two more parts.
fn is_jwt(text: &str) -> bool {
    let mut parts = text.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let header = parts.next().flatten().unwrap_or_default();
    let is_object =
        serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&header).is_ok();
    let rest: Vec<_> = parts.map(|part| part.is_some_and(|part| !part.is_empty())).collect();
    is_object && rest == [true, true]
}

/// The forms in which a secret is sent to an endpoint, which can repeat any of them.
fn sent_forms(secret: &str) -> Vec<String> {
    let encoded = byte_serialize(secret.as_bytes()).collect::<String>();
    vec![secret.to_owned(), encoded]
}

/// Parses an endpoint's answer (RFC 6749 §5). The `secrets` that were sent are masked in the
/// message.
fn parse_answer(
    status: u16,
    body: &[u8],
    secrets: &[String],
) -> Result<IssuedToken, TokenRequestError> {
    if (200..300).contains(&status) {
        // The grant can be used up even without a usable answer.
        let response: TokenResponse = serde_json::from_slice(body)
            .map_err(|_| TokenRequestError::unanswered("its answer has no `access_token`"))?;
        let lifetime = response.expires_in.map(SignedDuration::from_secs);
        let TokenResponse { access_token, refresh_token, .. } = response;
        return Ok(IssuedToken { access_token, refresh_token, lifetime });
    }
    let error = serde_json::from_slice::<TokenErrorResponse>(body).ok();
    let text = |value: &serde_json::Value| {
        let nested = value.get("type").unwrap_or(value);
        nested.as_str().unwrap_or_default().chars().take(100).collect::<String>()
    };
    let code = error.as_ref().map(|error| text(&error.error)).unwrap_or_default();
    let more = error.and_then(|error| error.error_description).unwrap_or_default();
    let more: String = more.chars().take(600).collect();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let message = without_secrets(format!("{status} {code} {more}").trim(), &secrets);
    let message: String = message.chars().take(300).collect();
    match code.as_str() {
        "invalid_grant" | "invalid_client" | "unauthorized_client" => {
            Err(TokenRequestError::refused(format!(
                "the token endpoint refuses the grant ({message}); sign in again"
            )))
        }
        _ => Err(TokenRequestError::not_accepted(format!("the token endpoint answered {message}"))),
    }
}

impl TokenRequestError {
    fn refused(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { message: reason.clone(), failure: ExchangeFailure::Refused { reason } }
    }

    fn not_accepted(message: impl Into<String>) -> Self {
        Self { failure: ExchangeFailure::NotAccepted, message: message.into() }
    }

    /// The error if the endpoint cannot be called at all.
    pub fn from_call_error(error: &UpstreamCallError) -> Self {
        Self::not_accepted(format!("the token endpoint: {error}"))
    }

    fn unanswered(message: &str) -> Self {
        Self {
            failure: ExchangeFailure::Unanswered,
            message: format!("the token endpoint: {message}"),
        }
    }

    /// Without a connection nothing was sent; after that, the state of the grant is unknown.
    fn from_transport_error(error: UpstreamCallError) -> Self {
        match error {
            UpstreamCallError::Unreachable(reason) => Self::unanswered(&reason),
            error => Self::from_call_error(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_jwt_is_sent() {
        assert!(is_jwt("eyJhbGciOiJSUzI1NiJ9.e30.c2ln"));
        for other in
            ["", "root:x:0:0", "a.b.c", "eyJhbGciOiJSUzI1NiJ9.e30.", "eyJhbGciOiJSUzI1NiJ9.e30"]
        {
            assert!(!is_jwt(other), "{other}");
        }
    }

    #[test]
    fn client_id_and_secret_are_encoded_for_basic_auth() {
        // printf 'id%3A1:p%2Bs+s%C3%A9' | base64
        let value = basic("id:1", &Secret::new("p+s sé".into()));
        assert_eq!(value, "Basic aWQlM0ExOnAlMkJzK3MlQzMlQTk=");
        assert!(value.is_sensitive());
    }

    #[test]
    fn error_text_does_not_contain_sent_secrets() {
        let secrets: Vec<String> = ["refresh/token+0123456789", "client-secret-0123"]
            .into_iter()
            .flat_map(sent_forms)
            .collect();
        for description in [
            "no such refresh_token: refresh/token+0123456789",
            "body was refresh_token=refresh%2Ftoken%2B0123456789&client_secret=client-secret-0123",
        ] {
            for error in ["invalid_grant", "invalid_request", "client-secret-0123"] {
                let body = json!({ "error": error, "error_description": description });
                let receiver =
                    parse_answer(400, body.to_string().as_bytes(), &secrets).err().unwrap();
                let reason = match &receiver.failure {
                    ExchangeFailure::Refused { reason } => reason.clone(),
                    _ => String::new(),
                };
                for text in [receiver.to_string(), reason] {
                    assert!(!text.contains("0123"), "{text}");
                }
            }
        }
    }

    #[test]
    fn token_answers_are_classified() {
        let check = |status, body: &str, expect: Option<&str>| {
            let miss =
                parse_answer(status, body.as_bytes(), &[]).err().map(|error| match error.failure {
                    ExchangeFailure::Refused { .. } => "refused",
                    ExchangeFailure::NotAccepted => "not taken",
                    ExchangeFailure::Unanswered => "unanswered",
                });
            assert_eq!(miss, expect, "{status} {body}");
        };
        check(200, r#"{"access_token":"a","expires_in":60}"#, None);
        check(200, r#"{"ok":true}"#, Some("unanswered"));
        check(400, r#"{"error":"invalid_grant"}"#, Some("refused"));
        check(401, r#"{"error":"invalid_client","error_description":"x"}"#, Some("refused"));
        check(400, r#"{"error":{"type":"invalid_grant"}}"#, Some("refused"));
        check(400, r#"{"error":"slow_down"}"#, Some("not taken"));
        check(429, "", Some("not taken"));
        check(503, "<html>", Some("not taken"));
    }
}
