//! Who may operate: whoever has the admin token.

use crate::Shared;
use crate::answer::Refused;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_cloud::vault::same;
use http::header::AUTHORIZATION;

/// Lets a request through that carries the admin token.
pub(crate) async fn operator(office: Shared, request: Request, next: Next) -> Response {
    let State(office) = office;
    let headers = request.headers();
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    // Clients of Anthropic's Admin API send it there.
    let api_key = || headers.get("x-api-key").and_then(|value| value.to_str().ok());
    let token = bearer.or_else(api_key);
    let Some(token) = token else { return Refused::unauthenticated().into_response() };
    let known = match &office.admin_token {
        Some(fixed) => Ok(same(token, fixed.expose())),
        None => office
            .store
            .admin_token_hash()
            .await
            .map(|hash| hash.is_some_and(|hash| office.pepper.matches(token, &hash))),
    };
    match known {
        Ok(true) => next.run(request).await,
        Ok(false) => Refused::unauthenticated().into_response(),
        Err(error) => Refused::from(error).into_response(),
    }
}
