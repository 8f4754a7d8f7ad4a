//! The admin function: the API for operators, and the console.
//!
//! Each resource has its own file. A handler reads the request, checks it and writes one
//! transaction; `store` knows what is stored and how.

mod accounts;
mod actor;
mod admin_request;
mod alerts;
mod allowed_addresses;
mod api_response;
mod audit;
mod auth_failures;
mod authorize;
mod console;
mod credentials;
mod dead_letters;
mod effective_spend_limits;
mod export;
mod first_start;
mod groups;
mod health;
mod idempotency;
mod keys;
mod limits;
mod metrics;
mod oauth;
mod openapi;
mod overview;
mod prices;
mod query;
mod request_parts;
mod rerate;
mod resource;
mod route_description;
mod routes;
mod runtime_settings;
mod session_seal;
mod spend_limits;
mod summary;
mod summary_turns;
mod usage;
mod users;

pub use first_start::{FirstStart, first_start};

use actor::RouteAccess;
use allowed_addresses::AllowedAddresses;
use auth_failures::AuthFailureLimiter;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use baton_runtime::aws::AwsClients;
use baton_runtime::client_address::AddressRanges;
use baton_runtime::dead_letters::DeadLetters;
use baton_runtime::identity_token::IdentityTokens;
use baton_runtime::live_secret::LiveSecret;
use baton_runtime::settings::{RelayTimeouts, Settings};
use baton_runtime::token_endpoint::TokenEndpoint;
use baton_runtime::upstream::{UpstreamCallError, UpstreamClient};
use baton_runtime::vault::Pepper;
use baton_store::AdminStores;
use session_seal::SessionSeal;
use std::sync::Arc;
use summary_turns::SummaryTurns;

/// The state that all handlers share.
struct AdminState {
    store: AdminStores,
    pepper: Pepper,
    /// The admin token if it is set outside; otherwise the store has its hash.
    admin_token: Option<LiveSecret>,
    seal: SessionSeal,
    attempts: AuthFailureLimiter,
    summary_turns: SummaryTurns,
    trusted_proxies: AddressRanges,
    allow_private_upstreams: bool,
    timers: RelayTimeouts,
    /// The login methods of the console.
    porter: console::LoginMethods,
    /// The client for token endpoints; `None` during the first start, when there are no sign-ins.
    endpoint: Option<TokenEndpoint>,
    /// The dead-letter queue, if one is configured.
    letters: Option<DeadLetters>,
}

type SharedAdminState = axum::extract::State<Arc<AdminState>>;

impl AdminState {
    fn new(
        settings: &Settings,
        (pepper, admin_token): (LiveSecret, Option<LiveSecret>),
        store: AdminStores,
        endpoint: Option<TokenEndpoint>,
    ) -> Self {
        Self {
            store,
            pepper: Pepper::new(pepper),
            admin_token,
            seal: SessionSeal::default(),
            attempts: AuthFailureLimiter::default(),
            summary_turns: SummaryTurns::default(),
            trusted_proxies: settings.trusted_proxies.clone(),
            allow_private_upstreams: settings.allow_private_upstreams,
            timers: settings.timers,
            porter: console::LoginMethods::default(),
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
    store: AdminStores,
    aws: &AwsClients,
) -> Result<Router, UpstreamCallError> {
    let upstream = UpstreamClient::new(&settings.timers, settings.allow_private_upstreams)?;
    let porter = console::LoginMethods::new(settings, &upstream, aws);
    let admin_token = LiveSecret::from_setting(aws, settings, &settings.admin_token_setting());
    let files = IdentityTokens::in_folder(settings.identity_token_dir.clone());
    let endpoint = TokenEndpoint::new(aws, upstream, files);
    let mut office = AdminState::new(settings, (pepper.into(), admin_token), store, Some(endpoint));
    office.seal = SessionSeal::new(aws, settings);
    (office.porter, office.letters) =
        (porter, DeadLetters::from_resources(aws, &settings.resources));
    let office = Arc::new(office);
    let gauges = Arc::new(metrics::MetricsState::new(settings, aws, Arc::clone(&office)));
    let guarded = |api: Router<Arc<AdminState>>| {
        api.method_not_allowed_fallback(api_response::method_not_allowed)
            .layer(DefaultBodyLimit::max(idempotency::BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&office), idempotency::answer_repeated))
            .layer(from_fn_with_state(Arc::clone(&office), authorize::authorize_request))
    };
    let api = routes::mounted(|access| access != RouteAccess::Anybody).merge(routes::mirrored());
    let api = guarded(api.fallback(api_response::no_such_route));
    let open = routes::mounted(|access| access == RouteAccess::Anybody);
    let open = open.layer(from_fn(authorize::check_public_query));
    let api = Router::new().nest(routes::BASE, api.merge(open));
    let inside = api
        .clone()
        .layer(from_fn_with_state(Arc::clone(&office), api_response::add_request_id))
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
        .route("/health", get(api_response::get_health))
        .route("/metrics", get(metrics::get_metrics).with_state(gauges))
        .method_not_allowed_fallback(api_response::method_not_allowed)
        .fallback(api_response::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&office), session_seal::refresh_secrets_first))
        .layer(from_fn_with_state(Arc::new(allowed), allowed_addresses::require_allowed_address))
        .layer(from_fn_with_state(Arc::clone(&office), api_response::add_request_id))
        .with_state(office))
}
