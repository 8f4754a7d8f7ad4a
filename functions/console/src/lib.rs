//! The pages of the web console. They call the admin API inside the same process and read its answers
//! as the types of `baton-api`, so the API's roles, checks, versions and audit trail apply. They have no
//! other access to the store, which this crate does not know. The admin function mounts the pages behind
//! its sign-in and passes the visitor as an extension of the request.

mod account_form;
mod account_sign_in;
mod accounts;
mod alerts;
mod api_call;
mod assets;
mod audit;
mod chart;
mod connect;
mod daily_usage;
mod formatting;
mod groups;
mod html_form;
mod keys;
mod limits;
mod list_filter;
mod my_keys;
mod name_lookup;
mod overview;
mod page_blocks;
mod page_request;
mod prices;
mod requests;
mod resource_pages;
mod settings;
mod severity;
mod table_cells;
mod users;

use api_call::ConsoleApiError;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use baton_domain::actor::Actor;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use http::header::SET_COOKIE;
use std::sync::Arc;

/// The prefix of all addresses.
pub const CONSOLE_PATH: &str = "/console";
/// The sign-in page, which the admin function serves.
pub const SIGN_IN_PATH: &str = "/console/sign-in";
/// The longest address to return to.
const NEXT_BYTES_MAX: usize = 2000;

/// The visitor of a page.
#[derive(Clone)]
pub struct ConsoleUser {
    /// The caller with its current role.
    pub actor: Actor,
    /// The token that forms send in the hidden field `csrf`, and scripts in `x-csrf-token`.
    pub csrf: String,
    /// The name to display.
    pub name: String,
}

/// What pages need.
#[derive(Clone)]
pub struct ConsoleState {
    /// The admin API. It takes the caller, an [`Actor`], from a request extension.
    pub api: Router,
    /// For idempotency keys.
    pub random: RandomSource,
    /// For periods that end today.
    pub clock: Clock,
    /// The address of the relay for clients.
    pub relay_url: Arc<str>,
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

static NAVIGATION: [NavigationItem; 15] = [
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
    entry("/console/models", "Models"),
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

/// The pages below [`CONSOLE_PATH`]. Their requests have a [`ConsoleUser`] as an extension.
pub fn router<S: Clone + Send + Sync + 'static>(console: ConsoleState) -> Router<S> {
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

/// `POST /console/theme`: sets light mode, dark mode or the system's choice.
async fn theme(page_request: page_request::PageRequest, body: axum::body::Bytes) -> Response {
    let values = html_form::FormValues::parse(&body);
    let theme = match values.get("theme") {
        theme @ ("light" | "dark") => theme,
        _ => "auto",
    };
    // Only pages of the console are accepted, so that nobody is redirected to another site.
    let back = to_console_path(values.get("back"));
    let _known = page_request;
    let cookie = format!(
        "{}={theme}; Path=/console; Max-Age=31536000; SameSite=Lax; HttpOnly",
        page_request::THEME
    );
    ([(SET_COOKIE, cookie)], Redirect::to(back)).into_response()
}

/// The address to go to after sign-in: `next` if it is a page of the console, else the first page.
pub fn to_console_path(next: &str) -> &str {
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_page = is_at(next, CONSOLE_PATH) && !is_at(next, SIGN_IN_PATH);
    if is_page && is_plain && next.len() <= NEXT_BYTES_MAX { next } else { CONSOLE_PATH }
}

/// Whether the address is `place` or below it.
fn is_at(address: &str, place: &str) -> bool {
    let rest = address.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_redirects_only_to_console_pages() {
        for page in ["/console", "/console/keys", "/console?tab=1", "/console/keys?q=a%2Fb&x=//y"] {
            assert_eq!(to_console_path(page), page);
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "/console\\..\\evil",
            "https://evil.example/console",
            "/consoles",
            "/console@evil.example",
            "/console/a b",
            "/console/\r\nset-cookie: a=b",
            "/console/é",
            "javascript:alert(1)",
            "/console/sign-in?next=/console",
            "/console/sign-in/openid",
            "console",
        ] {
            assert_eq!(to_console_path(other), CONSOLE_PATH, "{other}");
        }
        assert_eq!(
            to_console_path(&format!("/console/{}", "a".repeat(NEXT_BYTES_MAX))),
            CONSOLE_PATH
        );
    }
}
