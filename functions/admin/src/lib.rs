//! The control plane: the operator's API (contract §3).
//!
//! One file a resource. What may be stored and how is `cloud::store`'s business; a handler reads
//! the request, checks it, and writes one transaction.

mod accounts;
mod alerts;
mod answer;
mod authorize;
mod export;
mod first_start;
mod groups;
mod health;
mod keys;
mod query;
mod rerate;
mod summary;
mod usage;

pub use first_start::{FirstStart, first_start};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use baton_cloud::settings::{Settings, Timers};
use baton_cloud::store::Store;
use baton_cloud::vault::Pepper;
use baton_domain::secret::Secret;
use std::sync::Arc;

/// What the handlers work with.
struct Office {
    store: Store,
    pepper: Pepper,
    /// The admin token, if it is fixed from outside; else its hash is in the store.
    admin_token: Option<Secret>,
    allow_private_upstreams: bool,
    timers: Timers,
}

type Shared = axum::extract::State<Arc<Office>>;

/// The admin API over `store`. No I/O.
pub fn router(settings: &Settings, pepper: &Secret, store: Store) -> Router {
    let office = Arc::new(Office {
        store,
        pepper: Pepper::new(pepper),
        admin_token: settings.admin_token.clone(),
        allow_private_upstreams: settings.allow_private_upstreams,
        timers: settings.timers,
    });
    let api = Router::new()
        .route("/groups", get(groups::list).post(groups::create))
        .route("/groups/{id}", get(groups::read).patch(groups::change).delete(groups::remove))
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route(
            "/accounts/{id}",
            get(accounts::read).patch(accounts::change).delete(accounts::remove),
        )
        .route("/accounts/{id}/test", post(health::test))
        .route("/accounts/{id}/reset", post(health::reset))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}", get(keys::read).patch(keys::change).delete(keys::remove))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route("/usage/summary", get(usage::summary))
        .route("/usage/events", get(usage::events))
        .route("/usage/export", get(export::export))
        .route("/prices/rerate", post(rerate::rerate))
        .route("/alerts", get(alerts::read).put(alerts::set))
        .route("/alerts/test", post(alerts::test))
        .method_not_allowed_fallback(answer::wrong_method)
        .fallback(answer::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), authorize::operator));
    Router::new()
        .nest("/api/v1", api)
        .route("/health", get(answer::alive))
        .fallback(answer::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), answer::with_request_id))
        .with_state(office)
}
