//! The admin function: the API for operators, and the console.
//!
//! Each resource has its own file. A handler reads the request, checks it and writes one
//! transaction; `cloud::store` knows what is stored and how.

mod accounts;
mod actor;
mod alerts;
mod allowed_addresses;
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
mod session_seal;
mod spend_limits;
mod summary;
mod summary_turns;
mod usage;
mod users;
mod visit;

pub use first_start::{FirstStart, first_start};

use actor::Access;
use allowed_addresses::AllowedAddresses;
use attempts::Attempts;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use baton_cloud::aws::Aws;
use baton_cloud::client_address::AddressRanges;
use baton_cloud::dead_letters::DeadLetters;
use baton_cloud::identity_token::IdentityTokens;
use baton_cloud::live_secret::LiveSecret;
use baton_cloud::settings::{Settings, Timers};
use baton_cloud::store::Store;
use baton_cloud::token_endpoint::TokenEndpoint;
use baton_cloud::upstream::{NoAnswer, Upstream};
use baton_cloud::vault::Pepper;
use session_seal::SessionSeal;
use std::sync::Arc;
use summary_turns::SummaryTurns;

/// The state that all handlers share.
struct Office {
    store: Store,
    pepper: Pepper,
    /// The admin token if it is set outside; otherwise the store has its hash.
    admin_token: Option<LiveSecret>,
    seal: SessionSeal,
    attempts: Attempts,
    summary_turns: SummaryTurns,
    trusted_proxies: AddressRanges,
    allow_private_upstreams: bool,
    timers: Timers,
    /// The login methods of the console.
    porter: console::Porter,
    /// The client for token endpoints; `None` during the first start, when there are no sign-ins.
    endpoint: Option<TokenEndpoint>,
    /// The dead-letter queue, if one is configured.
    letters: Option<DeadLetters>,
}

type Shared = axum::extract::State<Arc<Office>>;

impl Office {
    fn new(
        settings: &Settings,
        (pepper, admin_token): (LiveSecret, Option<LiveSecret>),
        store: Store,
        endpoint: Option<TokenEndpoint>,
    ) -> Self {
        Self {
            store,
            pepper: Pepper::new(pepper),
            admin_token,
            seal: SessionSeal::default(),
            attempts: Attempts::default(),
            summary_turns: SummaryTurns::default(),
            trusted_proxies: settings.trusted_proxies.clone(),
            allow_private_upstreams: settings.allow_private_upstreams,
            timers: settings.timers,
            porter: console::Porter::default(),
            endpoint,
            letters: None,
        }
    }
}

/// Builds the router of the admin API and the console over `store`. No I/O.
///
/// # Errors
/// If the TLS library cannot be set up.
pub fn router(
    settings: &Settings,
    pepper: impl Into<LiveSecret>,
    store: Store,
    aws: &Aws,
) -> Result<Router, NoAnswer> {
    let upstream = Upstream::new(&settings.timers, settings.allow_private_upstreams)?;
    let porter = console::Porter::new(settings, &upstream, aws);
    let admin_token = LiveSecret::of(aws, settings, &settings.admin_token_setting());
    let files = IdentityTokens::within(settings.identity_token_dir.clone());
    let endpoint = TokenEndpoint::new(aws, upstream, files);
    let mut office = Office::new(settings, (pepper.into(), admin_token), store, Some(endpoint));
    office.seal = SessionSeal::new(aws, settings);
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
    let open = open.layer(from_fn(authorize::anybody));
    let api = Router::new().nest(routes::BASE, api.merge(open));
    let inside = api
        .clone()
        .layer(from_fn_with_state(Arc::clone(&office), answer::with_request_id))
        .with_state(Arc::clone(&office));
    let allowed = AllowedAddresses {
        ranges: settings.admin_allowed.clone(),
        proxies: settings.trusted_proxies.clone(),
    };
    let relay_url = settings.relay_url.clone();
    let relay_url = relay_url.unwrap_or_else(|| format!("http://{}", settings.listen));
    Ok(api
        .route("/", get(console::home))
        // Clients of Anthropic's Admin API call these paths.
        .merge(guarded(routes::mirrored()))
        .merge(console::router(&office, inside, &relay_url))
        .route("/health", get(answer::alive))
        .route("/metrics", get(metrics::page).with_state(gauges))
        .method_not_allowed_fallback(answer::wrong_method)
        .fallback(answer::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), session_seal::with_secrets))
        .layer(from_fn_with_state(Arc::new(allowed), allowed_addresses::only))
        .layer(from_fn_with_state(Arc::clone(&office), answer::with_request_id))
        .with_state(office))
}
