//! The web console. Its pages call the admin API inside this process, so the API's roles, checks,
//! versions and audit trail apply; pages have no other access to the store.

mod account_form;
mod account_sign_in;
mod accounts;
mod alerts;
mod api_call;
mod assets;
mod audit;
mod chart;
mod connect;
mod formatting;
mod groups;
mod html_form;
mod keys;
mod limits;
mod my_keys;
mod name_lookup;
mod overview;
mod page_blocks;
mod page_request;
mod prices;
mod requests;
mod resource_pages;
mod session;
mod session_cookie;
mod session_csrf;
mod session_headers;
mod settings;
mod sign_in;
mod sign_in_claims;
mod sign_in_openid;
mod users;

pub(crate) use sign_in::LoginMethods;

use crate::AdminState;
use api_call::ConsoleApiError;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use http::header::SET_COOKIE;
use std::sync::Arc;

/// The prefix of all addresses.
const BASE: &str = "/console";

/// The state that pages share.
#[derive(Clone)]
struct ConsoleState {
    /// The API. It takes the caller from a request extension.
    api: Router,
    random: RandomSource,
    clock: Clock,
    /// The address of the relay for clients.
    relay_url: Arc<str>,
}

/// An entry of the navigation.
struct NavigationItem {
    href: &'static str,
    text: &'static str,
    /// The text for members, if it differs.
    member_text: &'static str,
    for_members: bool,
    /// Whether a new section of the navigation starts here.
    starts_section: bool,
}

const fn entry(href: &'static str, text: &'static str) -> NavigationItem {
    NavigationItem { href, text, member_text: "", for_members: false, starts_section: false }
}

static NAVIGATION: [NavigationItem; 14] = [
    entry("/console", "Overview"),
    NavigationItem {
        member_text: "My requests",
        for_members: true,
        ..entry("/console/requests", "Requests")
    },
    NavigationItem { starts_section: true, ..entry("/console/accounts", "Accounts") },
    entry("/console/groups", "Groups"),
    entry("/console/keys", "Keys"),
    entry("/console/users", "Users"),
    NavigationItem { starts_section: true, ..entry("/console/limits", "Spend limits") },
    entry("/console/prices", "Prices"),
    entry("/console/alerts", "Alerts"),
    NavigationItem { starts_section: true, ..entry("/console/audit", "Audit") },
    entry("/console/settings", "Settings"),
    NavigationItem {
        for_members: true,
        starts_section: true,
        ..entry("/console/connect", "Connect")
    },
    NavigationItem { for_members: true, ..entry("/console/mine", "My keys") },
    NavigationItem { for_members: true, ..entry("/console/mine/usage", "My usage") },
];

/// The console: sign-in pages for everybody, and the other pages for signed-in visitors.
pub(crate) fn router(
    state: &Arc<AdminState>,
    api: Router,
    relay_url: &str,
) -> Router<Arc<AdminState>> {
    sign_in::routes()
        .merge(session::routes())
        .nest(BASE, console_router(state, api, relay_url))
        // Layers around the nested router see the whole path.
        .layer(from_fn_with_state(Arc::clone(state), session::require_session))
        .layer(from_fn_with_state(Arc::clone(state), session_headers::add_security_headers))
}

fn console_router(
    state: &Arc<AdminState>,
    api: Router,
    relay_url: &str,
) -> Router<Arc<AdminState>> {
    let (random, clock) = (state.store.random_source().clone(), state.store.clock().clone());
    let console = ConsoleState { api, random, clock, relay_url: relay_url.into() };
    let pages = Router::new()
        .route("/", get(overview::show_overview))
        .route("/theme", post(theme))
        .merge(accounts::routes())
        .merge(account_sign_in::routes())
        .merge(groups::routes())
        .merge(keys::routes())
        .merge(users::routes())
        .merge(requests::routes())
        .merge(limits::routes())
        .merge(prices::routes())
        .merge(alerts::routes())
        .merge(settings::routes())
        .merge(audit::routes())
        .merge(connect::routes())
        .merge(my_keys::routes())
        .fallback(|| async { ConsoleApiError::page_not_found() })
        .layer(from_fn_with_state(console.clone(), page_request::render_failures))
        .with_state(console);
    Router::new().route("/assets/{name}", get(assets::serve_asset)).merge(pages)
}

/// `GET /`: redirects every client to the console.
pub(crate) async fn home() -> Redirect {
    Redirect::to(BASE)
}

/// `POST /console/theme`: sets light mode, dark mode or the system's choice.
async fn theme(page_request: page_request::PageRequest, body: axum::body::Bytes) -> Response {
    let values = html_form::FormValues::parse(&body);
    let theme = match values.get("theme") {
        theme @ ("light" | "dark") => theme,
        _ => "auto",
    };
    // Only pages of the console are accepted, so that nobody is redirected to another site.
    let back = sign_in::to_console_path(values.get("back"));
    let _known = page_request;
    let cookie = format!(
        "{}={theme}; Path=/console; Max-Age=31536000; SameSite=Lax; HttpOnly",
        page_request::THEME
    );
    ([(SET_COOKIE, cookie)], Redirect::to(back)).into_response()
}
