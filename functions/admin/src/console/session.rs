//! Who visits. For the time being: whoever sends the admin token, or an enabled user's relay key, as
//! the API takes it.

use crate::Office;
use crate::actor::Actor;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_SECURITY_POLICY;
use std::sync::Arc;

/// Who visits, as each request to the console carries it.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) actor: Actor,
    /// What each form carries, so that only this console's forms are obeyed.
    pub(crate) csrf: String,
    /// What the visitor is called.
    pub(crate) name: String,
}

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Lets those through whom the API would let through.
pub(crate) async fn visitor(
    State(office): State<Arc<Office>>,
    mut request: Request,
    next: Next,
) -> Response {
    let actor = match office.actor(request.headers()).await {
        Ok(actor) => actor,
        Err(refused) => return refused.into_response(),
    };
    let name = actor.name();
    request.extensions_mut().insert(Visitor { actor, csrf: String::new(), name });
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}
