//! The admin function: the API for operators, the sign-in, and the pages of `baton-console` behind it.
//!
//! Each resource has its own file. A handler reads the request, checks it and writes one
//! transaction; `store` knows what is stored and how.

mod accounts;
mod admin_request;
mod alerts;
mod allowed_addresses;
mod api_response;
mod api_route;
mod audit;
mod auth_failures;
mod authorize;
mod body_bounds;
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
mod sign_in;
mod spend_limits;
mod summary;
mod usage;
mod users;

pub use first_start::{FirstStart, first_start};

use allowed_addresses::AllowedAddresses;
use api_route::RouteAccess;
use auth_failures::AuthFailureLimiter;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use baton_console::ConsoleState;
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
use sign_in::session_seal::SessionSeal;
use std::sync::Arc;
use summary::SummarySlots;

/// The state that all handlers share.
struct AdminState {
    store: AdminStores,
    pepper: Pepper,
    /// The admin token if it is set outside; otherwise the store has its hash.
    admin_token: Option<LiveSecret>,
    seal: SessionSeal,
    attempts: AuthFailureLimiter,
    summary_slots: SummarySlots,
    trusted_proxies: AddressRanges,
    allow_private_upstreams: bool,
    timers: RelayTimeouts,
    /// The login methods of the console.
    login_methods: sign_in::LoginMethods,
    /// The client for token endpoints; `None` during the first start, when there are no sign-ins.
    endpoint: Option<TokenEndpoint>,
    /// The dead-letter queue, if one is configured.
    dead_letters: Option<DeadLetters>,
}

type SharedAdminState = axum::extract::State<Arc<AdminState>>;

impl AdminState {
    fn new(
        settings: &Settings,
        pepper: LiveSecret,
        admin_token: Option<LiveSecret>,
        store: AdminStores,
        endpoint: Option<TokenEndpoint>,
    ) -> Self {
        Self {
            store,
            pepper: Pepper::new(pepper),
            admin_token,
            seal: SessionSeal::default(),
            attempts: AuthFailureLimiter::default(),
            summary_slots: SummarySlots::default(),
            trusted_proxies: settings.addresses.trusted_proxies.clone(),
            allow_private_upstreams: settings.upstreams.allow_private,
            timers: settings.timers,
            login_methods: sign_in::LoginMethods::default(),
            endpoint,
            dead_letters: None,
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
    let upstream = UpstreamClient::new(&settings.timers, settings.upstreams.allow_private)?;
    let login_methods = sign_in::LoginMethods::new(settings, &upstream, aws);
    let admin_token = LiveSecret::from_setting(aws, settings, &settings.admin_token_setting());
    let files = IdentityTokens::in_folder(settings.secrets.identity_token_dir.clone());
    let endpoint = TokenEndpoint::new(aws, upstream, files);
    let mut state = AdminState::new(settings, pepper.into(), admin_token, store, Some(endpoint));
    state.seal = SessionSeal::new(aws, settings);
    (state.login_methods, state.dead_letters) =
        (login_methods, DeadLetters::from_resources(aws, &settings.resources));
    let state = Arc::new(state);
    let gauges = Arc::new(metrics::MetricsState::new(settings, aws, Arc::clone(&state)));
    let guarded = |api: Router<Arc<AdminState>>| {
        api.method_not_allowed_fallback(api_response::method_not_allowed)
            .layer(DefaultBodyLimit::max(body_bounds::BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::clone(&state), idempotency::answer_repeated))
            .layer(from_fn_with_state(Arc::clone(&state), authorize::authorize_request))
    };
    let api = routes::mounted(|access| access != RouteAccess::Anybody).merge(routes::mirrored());
    let api = guarded(api.fallback(api_response::no_such_route));
    let open = routes::mounted(|access| access == RouteAccess::Anybody);
    let open = open.layer(from_fn(authorize::check_public_query));
    let api = Router::new().nest(api_route::BASE, api.merge(open));
    let inside = api
        .clone()
        .layer(from_fn_with_state(Arc::clone(&state), api_response::add_call_id))
        .with_state(Arc::clone(&state));
    let allowed = AllowedAddresses {
        ranges: settings.addresses.admin_allowed.clone(),
        proxies: settings.addresses.trusted_proxies.clone(),
    };
    let relay_url = settings.addresses.relay_url.clone();
    let pages = baton_console::router(ConsoleState {
        api: inside,
        random: state.store.random_source().clone(),
        clock: state.store.clock().clone(),
        relay_url: relay_url
            .unwrap_or_else(|| format!("http://{}", settings.addresses.listen))
            .into(),
    });
    Ok(api
        .route("/", get(sign_in::redirect_to_console))
        // Clients of Anthropic's Admin API call these paths.
        .merge(guarded(routes::mirrored()))
        .merge(sign_in::console_router(&state, pages))
        .route("/health", get(api_response::get_health))
        .route("/metrics", get(metrics::get_metrics).with_state(gauges))
        .method_not_allowed_fallback(api_response::method_not_allowed)
        .fallback(api_response::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&state), sign_in::session_seal::refresh_secrets_first))
        .layer(from_fn_with_state(Arc::new(allowed), allowed_addresses::require_allowed_address))
        .layer(from_fn_with_state(Arc::clone(&state), api_response::add_request_id))
        .with_state(state))
}
