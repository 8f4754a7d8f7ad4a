//! Who may operate: whoever has the admin token.

use crate::answer::Refused;
use crate::{Office, Shared};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_cloud::store::StoreError;
use baton_cloud::vault::same;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Lets a request through that carries the admin token.
pub(crate) async fn operator(office: Shared, request: Request, next: Next) -> Response {
    let State(office) = office;
    match office.knows(presented(request.headers())).await {
        Ok(true) => next.run(request).await,
        Ok(false) => Refused::unauthenticated().into_response(),
        Err(error) => Refused::from(error).into_response(),
    }
}

/// The token that a request carries, as a bearer's or where clients of Anthropic's Admin API send
/// it.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .or_else(|| text("x-api-key"))
}

impl Office {
    /// Whether it is the admin token.
    pub(crate) async fn knows(&self, token: Option<&str>) -> Result<bool, StoreError> {
        let Some(token) = token else { return Ok(false) };
        if let Some(fixed) = &self.admin_token {
            return Ok(same(token, fixed.expose()));
        }
        let hash = self.store.admin_token_hash().await?;
        Ok(hash.is_some_and(|hash| self.pepper.matches(token, &hash)))
    }
}
