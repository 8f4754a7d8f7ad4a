//! The table of all API routes: who can use them, and their handlers. The router, the access check
//! and `openapi` are built from it. Parameters and schemas come from the types of the handlers.

use crate::api_response::{ApiError, ApiResult};
use crate::api_route::{ApiRoute, BASE, RouteAccess, RouteMethod};
use crate::body_bounds::REDRIVE_BODY_BYTES_MAX;
use crate::{
    AdminState, alerts, audit, dead_letters, effective_spend_limits, export, health, keys, limits,
    oauth, openapi, overview, prices, rerate, resource, runtime_settings, spend_limits, usage,
};
use RouteMethod::{Delete, Get, Patch, Post, Put};
use axum::{Json, Router};
use baton_domain::account::Account;
use baton_domain::key::{Group, Key, User};
use baton_domain::printable::escape_text;
use http::Method;
use serde_json::{Map, Value};
use std::sync::{Arc, LazyLock};

/// Routes that mirror Anthropic's Admin API are also served below this prefix, with and without
/// [`BASE`].
const MIRROR: &str = "/v1";
const MIRRORED: &str = "/organizations/";

/// All routes.
pub(crate) static ROUTES: LazyLock<Vec<ApiRoute>> = LazyLock::new(|| {
    [account_routes(), key_routes(), limit_routes(), setting_routes(), usage_routes()].concat()
});

/// Groups and accounts.
fn account_routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(Get, "/groups", "List groups", resource::list::<Group>),
        ApiRoute::new(Post, "/groups", "Create a group", resource::create::<Group>),
        ApiRoute::new(Get, "/groups/{group_id}", "Read a group", resource::read::<Group>),
        ApiRoute::new(Patch, "/groups/{group_id}", "Change a group", resource::update::<Group>),
        ApiRoute::new(
            Delete,
            "/groups/{group_id}",
            "Delete a group without accounts",
            resource::delete::<Group>,
        ),
        ApiRoute::new(Get, "/accounts", "List accounts", resource::list::<Account>),
        ApiRoute::new(Post, "/accounts", "Create an account", resource::create::<Account>),
        ApiRoute::new(Get, "/accounts/{account_id}", "Read an account", resource::read::<Account>),
        ApiRoute::new(
            Patch,
            "/accounts/{account_id}",
            "Change an account",
            resource::update::<Account>,
        ),
        ApiRoute::new(
            Delete,
            "/accounts/{account_id}",
            "Delete an account",
            resource::delete::<Account>,
        ),
        ApiRoute::new(
            Post,
            "/accounts/{account_id}/test",
            "Test an account with free calls",
            health::test_account,
        ),
        ApiRoute::new(
            Post,
            "/accounts/{account_id}/reset",
            "Reset the health of an account",
            health::reset_account,
        ),
        ApiRoute::new(
            Post,
            "/accounts/{account_id}/refresh",
            "Renew the token of an account now",
            health::refresh_account,
        ),
        ApiRoute::new(
            Post,
            "/oauth/start",
            "Start a browser sign-in for an account",
            oauth::start_sign_in,
        ),
        ApiRoute::new(Post, "/oauth/finish", "Finish a browser sign-in", oauth::finish_sign_in),
    ]
}

/// Users and keys.
fn key_routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(Get, "/users", "List users", resource::list::<User>),
        ApiRoute::new(Post, "/users", "Create a user", resource::create::<User>),
        ApiRoute::new(Get, "/users/{user_id}", "Read a user", resource::read::<User>),
        ApiRoute::new(Patch, "/users/{user_id}", "Change a user", resource::update::<User>),
        ApiRoute::new(
            Delete,
            "/users/{user_id}",
            "Delete a user without keys",
            resource::delete::<User>,
        ),
        ApiRoute::new(Get, "/keys", "List keys", resource::list::<Key>).for_members(),
        ApiRoute::new(Post, "/keys", "Create a key", keys::create_key),
        ApiRoute::new(Get, "/keys/{key_id}", "Read a key", resource::read::<Key>).for_members(),
        ApiRoute::new(Patch, "/keys/{key_id}", "Change a key", resource::update::<Key>)
            .for_members(),
        ApiRoute::new(Delete, "/keys/{key_id}", "Delete a key", resource::delete::<Key>),
        ApiRoute::new(
            Post,
            "/keys/{key_id}/rotate",
            "Rotate a key: replace its secret",
            keys::rotate_key,
        )
        .for_members(),
    ]
}

/// Limits.
fn limit_routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(
            Get,
            "/limits/organization",
            "Read the limits of the organization",
            limits::get_organization_limits,
        ),
        ApiRoute::new(
            Put,
            "/limits/organization",
            "Set the limits of the organization",
            limits::set_organization_limits,
        ),
        ApiRoute::new(
            Get,
            "/limits/message",
            "Read the text added to spend limit errors",
            limits::get_limit_message,
        ),
        ApiRoute::new(
            Put,
            "/limits/message",
            "Set the text added to spend limit errors",
            limits::set_limit_message,
        ),
        ApiRoute::new(
            Get,
            "/organizations/spend_limits",
            "List spend limits",
            spend_limits::list_spend_limits,
        ),
        ApiRoute::new(
            Post,
            "/organizations/spend_limits",
            "Set a spend limit",
            spend_limits::set_spend_limit,
        ),
        ApiRoute::new(
            Get,
            "/organizations/spend_limits/effective",
            "List each person's effective spend limit and spend",
            effective_spend_limits::list_effective_limits,
        ),
        ApiRoute::new(
            Get,
            "/organizations/spend_limits/audit",
            "List changes to spend limits, newest first",
            spend_limits::list_changes,
        ),
        ApiRoute::new(
            Get,
            "/organizations/spend_limits/{spend_limit_id}",
            "Read a spend limit",
            spend_limits::get_spend_limit,
        ),
        ApiRoute::new(
            Delete,
            "/organizations/spend_limits/{spend_limit_id}",
            "Delete a spend limit",
            spend_limits::delete_spend_limit,
        ),
    ]
}

/// Prices, alerts and settings.
fn setting_routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(Get, "/models", "List the catalog of models", prices::list_models),
        ApiRoute::new(Get, "/models/{model}", "List the entries of a model", prices::get_model),
        ApiRoute::new(Get, "/prices", "List built-in and own prices", prices::list_prices),
        ApiRoute::new(Post, "/prices", "Set a price from a date", prices::create_price),
        ApiRoute::new(Get, "/prices/{model}", "List the prices of a model", prices::get_price),
        ApiRoute::new(Delete, "/prices/{model}", "Delete an own price", prices::delete_price),
        ApiRoute::new(
            Post,
            "/prices/rerate",
            "Recalculate the cost of past requests",
            rerate::rerate_period,
        ),
        ApiRoute::new(Get, "/alerts", "Read the alert settings", alerts::get_alert_settings),
        ApiRoute::new(Put, "/alerts", "Set the alert settings", alerts::set_alert_settings),
        ApiRoute::new(Post, "/alerts/test", "Send a test alert", alerts::send_test_alert),
        ApiRoute::new(Get, "/settings", "Read the settings", runtime_settings::get_settings),
        ApiRoute::new(Patch, "/settings", "Change settings", runtime_settings::update_settings),
    ]
}

/// Usage, the audit trail, and this API.
fn usage_routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new(
            Get,
            "/overview",
            "Read the sums of today and the last 30 days, and account health",
            overview::get_overview,
        ),
        ApiRoute::new(Get, "/usage/summary", "Sum up usage by columns", usage::get_summary)
            .for_members(),
        ApiRoute::new(Get, "/usage/events", "List requests, newest first", usage::list_events)
            .for_members(),
        ApiRoute::new(
            Get,
            "/usage/export",
            "Export requests to a file, newest first",
            export::export,
        )
        .for_members(),
        ApiRoute::new(
            Get,
            "/usage/dead-letters",
            "List usage records that could not be stored",
            dead_letters::list_dead_letters,
        ),
        ApiRoute::new(
            Post,
            "/usage/redrive",
            "Send dead letters to the usage queue again",
            dead_letters::redrive,
        )
        .body_bytes_max(REDRIVE_BODY_BYTES_MAX),
        ApiRoute::new(Get, "/audit", "List the audit trail, newest first", audit::list_audit_rows),
        ApiRoute::new(Get, "/openapi.json", "Read this description", get_openapi).for_anybody(),
    ]
}

async fn get_openapi() -> ApiResult<Json<Map<String, Value>>> {
    Ok(Json(openapi::build_document(&ROUTES)))
}

/// Builds a router with the routes whose access is wanted.
pub(crate) fn mounted(wants: impl Fn(RouteAccess) -> bool) -> Router<Arc<AdminState>> {
    let wanted = ROUTES.iter().filter(|route| wants(route.access));
    wanted.fold(Router::new(), |router, route| router.route(route.path, route.handler.clone()))
}

/// The routes that mirror Anthropic's Admin API, at the paths that its clients use.
pub(crate) fn mirrored() -> Router<Arc<AdminState>> {
    let wanted = ROUTES.iter().filter(|route| route.path.starts_with(MIRRORED));
    wanted.fold(Router::new(), |router, route| {
        router.route(&format!("{MIRROR}{}", route.path), route.handler.clone())
    })
}

/// The access of the route at this path, which is the pattern that the router has matched. Unknown
/// routes are for administrators.
pub(crate) fn access(method: &Method, path: &str) -> RouteAccess {
    find_route(method, path).map_or(RouteAccess::Admin, |route| route.access)
}

/// Refuses unknown query parameters, because a list with a mistyped filter would return everybody's
/// rows.
pub(crate) fn check_query(method: &Method, path: &str, query: &str) -> ApiResult<()> {
    let Some(route) = find_route(method, path).filter(|_| !query.is_empty()) else {
        return Ok(());
    };
    // Repeated parameters can also be written as `name[]`.
    let known = (route.query_names)();
    let is_known = |name: &str| {
        let name = name.strip_suffix("[]").unwrap_or(name);
        known.iter().any(|known| known == name)
    };
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let Some(unknown) = names.find(|name| !is_known(name)) else { return Ok(()) };
    let unknown = escape_text(&unknown, 80);
    let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Err(ApiError::bad(if known.is_empty() {
        format!("`{unknown}`: unknown query parameter; this route has none")
    } else {
        format!("`{unknown}`: unknown query parameter; this route has {known}")
    }))
}

fn find_route(method: &Method, path: &str) -> Option<&'static ApiRoute> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let path = path.strip_prefix(BASE).unwrap_or(path);
    let mirror = path.strip_prefix(MIRROR).filter(|rest| rest.starts_with(MIRRORED));
    let path = mirror.unwrap_or(path);
    ROUTES.iter().find(|route| route.path == path && route.method.as_str() == method.as_str())
}
