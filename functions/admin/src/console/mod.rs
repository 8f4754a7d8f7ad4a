//! The console: what people see in a browser. Every page is behind `session::guard`.

mod session;
mod session_cookie;
mod session_csrf;
mod session_headers;
mod sign_in;
mod sign_in_claims;
mod sign_in_openid;

pub(crate) use sign_in::Porter;

use crate::Office;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use std::sync::Arc;

/// What all of its addresses begin with.
const BASE: &str = "/console";

/// The console's pages. One that is not there is behind the guard, too.
pub(crate) fn router(office: &Arc<Office>) -> Router<Arc<Office>> {
    sign_in::routes()
        .route(BASE, get(session::look))
        .merge(session::routes())
        .layer(from_fn_with_state(Arc::clone(office), session::guard))
        .layer(from_fn_with_state(Arc::clone(office), session_headers::strict))
}
