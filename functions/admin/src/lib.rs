//! The control plane: the operator's API (contract §3).
//!
//! One file a resource. What may be stored and how is `cloud::store`'s business; a handler reads
//! the request, checks it, and writes one transaction.

mod accounts;
mod answer;
mod authorize;
mod credentials;
mod dead_letters;
mod effective;
mod first_start;
mod groups;
mod health;
mod keys;
mod limits;
mod metrics;
mod oauth;
mod probe;
mod query;
mod spend_limits;
mod summary;
mod usage;

pub use first_start::{FirstStart, first_start};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use baton_cloud::aws::Aws;
use baton_cloud::dead_letters::DeadLetters;
use baton_cloud::settings::{Settings, Timers};
use baton_cloud::store::Store;
use baton_cloud::token_endpoint::TokenEndpoint;
use baton_cloud::upstream::{NoAnswer, Upstream};
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
    /// Where tokens are had; nobody signs in at first start.
    endpoint: Option<TokenEndpoint>,
    /// Where this process knows of a dead-letter queue.
    letters: Option<DeadLetters>,
}

type Shared = axum::extract::State<Arc<Office>>;

/// The admin API over `store`. No I/O.
///
/// # Errors
/// When the TLS library cannot be set up.
pub fn router(
    settings: &Settings,
    pepper: &Secret,
    store: Store,
    aws: &Aws,
) -> Result<Router, NoAnswer> {
    let upstream = Upstream::new(&settings.timers, settings.allow_private_upstreams)?;
    let office = Arc::new(Office {
        store,
        pepper: Pepper::new(pepper),
        admin_token: settings.admin_token.clone(),
        allow_private_upstreams: settings.allow_private_upstreams,
        timers: settings.timers,
        endpoint: Some(TokenEndpoint::new(aws, upstream)),
        letters: DeadLetters::of(aws, &settings.resources),
    });
    let gauges = Arc::new(metrics::Gauges::new(settings, aws, Arc::clone(&office)));
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
        .route("/accounts/{id}/refresh", post(health::refresh))
        .route("/oauth/start", post(oauth::start))
        .route("/oauth/finish", post(oauth::finish))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}", get(keys::read).patch(keys::change).delete(keys::remove))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route("/limits/organization", get(limits::organization).put(limits::set_organization))
        .route("/limits/message", get(limits::message).put(limits::set_message))
        .nest("/organizations/spend_limits", spend_limits())
        .nest("/v1/organizations/spend_limits", spend_limits())
        .route("/usage/summary", get(usage::summary))
        .route("/usage/events", get(usage::events))
        .route("/usage/dead-letters", get(dead_letters::peek))
        .route("/usage/redrive", post(dead_letters::redrive))
        .method_not_allowed_fallback(answer::wrong_method)
        .fallback(answer::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), authorize::operator));
    Ok(Router::new()
        .nest("/api/v1", api)
        // Where clients of Anthropic's Admin API look for it.
        .nest(
            "/v1/organizations/spend_limits",
            spend_limits().layer(from_fn_with_state(Arc::clone(&office), authorize::operator)),
        )
        .route("/health", get(answer::alive))
        .route("/metrics", get(metrics::page).with_state(gauges))
        .fallback(answer::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), answer::with_request_id))
        .with_state(office))
}

fn spend_limits() -> Router<Arc<Office>> {
    Router::new()
        .route("/", get(spend_limits::list).post(spend_limits::set))
        .route("/effective", get(effective::list))
        .route("/audit", get(spend_limits::audit))
        .route("/{id}", get(spend_limits::read).delete(spend_limits::remove))
        .method_not_allowed_fallback(answer::wrong_method)
}
