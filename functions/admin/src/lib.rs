//! The control plane: the operator's API (contract §3).
//!
//! One file a resource. What may be stored and how is `cloud::store`'s business; a handler reads
//! the request, checks it, and writes one transaction.

mod accounts;
mod actor;
mod alerts;
mod answer;
mod attempts;
mod audit;
mod authorize;
mod console;
mod credentials;
mod dead_letters;
mod effective;
mod export;
mod first_start;
mod groups;
mod health;
mod keys;
mod limits;
mod metrics;
mod oauth;
mod openapi;
mod overview;
mod prices;
mod query;
mod replay;
mod rerate;
mod routes;
mod runtime;
mod spend_limits;
mod summary;
mod usage;
mod users;
mod visit;

pub use first_start::{FirstStart, first_start};

use actor::Access;
use attempts::Attempts;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
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
    attempts: Attempts,
    allow_private_upstreams: bool,
    timers: Timers,
    /// What the console lets people in by.
    porter: console::Porter,
    /// Where tokens are had; nobody signs in at first start.
    endpoint: Option<TokenEndpoint>,
    /// Where this process knows of a dead-letter queue.
    letters: Option<DeadLetters>,
}

type Shared = axum::extract::State<Arc<Office>>;

impl Office {
    fn new(
        settings: &Settings,
        pepper: &Secret,
        store: Store,
        endpoint: Option<TokenEndpoint>,
    ) -> Self {
        Self {
            store,
            pepper: Pepper::new(pepper),
            admin_token: settings.admin_token.clone(),
            attempts: Attempts::default(),
            allow_private_upstreams: settings.allow_private_upstreams,
            timers: settings.timers,
            porter: console::Porter::default(),
            endpoint,
            letters: None,
        }
    }
}

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
    let porter = console::Porter::new(settings, &upstream);
    let endpoint = TokenEndpoint::new(aws, upstream);
    let mut office = Office::new(settings, pepper, store, Some(endpoint));
    (office.porter, office.letters) = (porter, DeadLetters::of(aws, &settings.resources));
    let office = Arc::new(office);
    let gauges = Arc::new(metrics::Gauges::new(settings, aws, Arc::clone(&office)));
    let guarded = |api: Router<Arc<Office>>| {
        api.method_not_allowed_fallback(answer::wrong_method)
            .layer(DefaultBodyLimit::max(replay::BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&office), replay::once))
            .layer(from_fn_with_state(Arc::clone(&office), authorize::operator))
    };
    let api = routes::mounted(|access| access != Access::Anybody).merge(routes::mirrored());
    let api = guarded(api.fallback(answer::no_such_route));
    let open = routes::mounted(|access| access == Access::Anybody);
    let api = Router::new().nest(routes::BASE, api.merge(open));
    let inside = api
        .clone()
        .layer(from_fn_with_state(Arc::clone(&office), answer::with_request_id))
        .with_state(Arc::clone(&office));
    let relay_url = settings.relay_url.clone();
    let relay_url = relay_url.unwrap_or_else(|| format!("http://{}", settings.listen));
    Ok(api
        .route("/", get(console::home))
        // Where clients of Anthropic's Admin API look for it.
        .merge(guarded(routes::mirrored()))
        .merge(console::router(&office, inside, &relay_url))
        .route("/health", get(answer::alive))
        .route("/metrics", get(metrics::page).with_state(gauges))
        .method_not_allowed_fallback(answer::wrong_method)
        .fallback(answer::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), answer::with_request_id))
        .with_state(office))
}
