//! The table of all API routes: who can use them, their handlers and their descriptions. The
//! router, the access check and `openapi` are built from it.

use crate::actor::RouteAccess;
use crate::api_response::{ApiError, ApiResult};
use crate::{
    AdminState, alerts, audit, dead_letters, effective_spend_limits, export, health, keys, limits,
    oauth, openapi, overview, prices, rerate, resource, runtime_settings, spend_limits, usage,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use baton_domain::account::Account;
use baton_domain::key::{Group, Key, User};
use baton_domain::printable::escape_text;
use http::Method;
use std::sync::Arc;

/// The prefix of all paths.
pub(crate) const BASE: &str = "/api/v1";
/// Routes that mirror Anthropic's Admin API are also served below this prefix, with and without
/// [`BASE`].
const MIRROR: &str = "/v1";
const MIRRORED: &str = "/organizations/";

/// The HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One method of one path.
#[derive(Clone, Copy)]
pub(crate) struct ApiRoute {
    pub(crate) verb: Verb,
    /// The path below [`BASE`], in the form that axum and OpenAPI share.
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: RouteAccess,
    /// The query parameters, by their names in `openapi/components.json`.
    pub(crate) query: &'static [&'static str],
    /// The schema of the request body.
    pub(crate) takes: Option<&'static str>,
    /// The media types of a successful answer.
    pub(crate) media: &'static [&'static str],
    /// The status and the schema of a successful answer.
    pub(crate) gives: (u16, Option<&'static str>),
    handler: RouteHandler,
}

type RouteHandler = fn() -> MethodRouter<Arc<AdminState>>;

impl ApiRoute {
    const fn new(
        verb: Verb,
        path: &'static str,
        summary: &'static str,
        gives: (u16, Option<&'static str>),
        handler: RouteHandler,
    ) -> Self {
        let (access, query, takes) = (RouteAccess::Admin, [].as_slice(), None);
        let media = ["application/json"].as_slice();
        Self { verb, path, summary, access, query, takes, media, gives, handler }
    }

    const fn get(
        path: &'static str,
        summary: &'static str,
        gives: &'static str,
        handler: RouteHandler,
    ) -> Self {
        Self::new(Verb::Get, path, summary, (200, Some(gives)), handler)
    }

    /// A POST that creates a resource and returns it.
    const fn create(
        path: &'static str,
        summary: &'static str,
        gives: &'static str,
        handler: RouteHandler,
    ) -> Self {
        Self::new(Verb::Post, path, summary, (201, Some(gives)), handler)
    }

    /// A POST that does something else.
    const fn act(
        path: &'static str,
        summary: &'static str,
        gives: &'static str,
        handler: RouteHandler,
    ) -> Self {
        Self::new(Verb::Post, path, summary, (200, Some(gives)), handler)
    }

    /// A PUT that replaces a value.
    const fn set(
        path: &'static str,
        summary: &'static str,
        schema: &'static str,
        handler: RouteHandler,
    ) -> Self {
        Self::new(Verb::Put, path, summary, (200, Some(schema)), handler).takes(schema)
    }

    const fn change(
        path: &'static str,
        summary: &'static str,
        gives: &'static str,
        handler: RouteHandler,
    ) -> Self {
        Self::new(Verb::Patch, path, summary, (200, Some(gives)), handler)
    }

    const fn remove(path: &'static str, summary: &'static str, handler: RouteHandler) -> Self {
        Self::new(Verb::Delete, path, summary, (204, None), handler)
    }

    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn takes(self, schema: &'static str) -> Self {
        Self { takes: Some(schema), ..self }
    }

    /// Returns a file with one of these media types.
    const fn file(self, media: &'static [&'static str]) -> Self {
        Self { media, ..self }
    }

    /// Accessible to everybody, without a credential.
    const fn for_anybody(self) -> Self {
        Self { access: RouteAccess::Anybody, ..self }
    }

    /// Accessible to members for their own keys and usage, which the handler checks.
    const fn for_members(self) -> Self {
        Self { access: RouteAccess::Member, ..self }
    }
}

pub(crate) static ROUTES: &[ApiRoute] = &[
    ApiRoute::get("/groups", "List groups", "GroupList", || get(resource::list::<Group>))
        .query(&["limit", "cursor", "enabled", "q"]),
    ApiRoute::create("/groups", "Create a group", "Group", || post(resource::create::<Group>))
        .takes("NewGroup"),
    ApiRoute::get("/groups/{group_id}", "Read a group", "Group", || get(resource::read::<Group>)),
    ApiRoute::change("/groups/{group_id}", "Change a group", "Group", || {
        patch(resource::update::<Group>)
    })
    .takes("GroupChange"),
    ApiRoute::remove("/groups/{group_id}", "Delete a group without accounts", || {
        delete(resource::delete::<Group>)
    }),
    ApiRoute::get("/accounts", "List accounts", "AccountList", || get(resource::list::<Account>))
        .query(&["limit", "cursor", "group_id", "enabled", "q"]),
    ApiRoute::create("/accounts", "Create an account", "Account", || {
        post(resource::create::<Account>)
    })
    .takes("NewAccount"),
    ApiRoute::get("/accounts/{account_id}", "Read an account", "Account", || {
        get(resource::read::<Account>)
    }),
    ApiRoute::change("/accounts/{account_id}", "Change an account", "Account", || {
        patch(resource::update::<Account>)
    })
    .takes("AccountChange"),
    ApiRoute::remove("/accounts/{account_id}", "Delete an account", || {
        delete(resource::delete::<Account>)
    }),
    ApiRoute::act(
        "/accounts/{account_id}/test",
        "Test an account with one free request",
        "AccountTest",
        || post(health::test_account),
    ),
    ApiRoute::act(
        "/accounts/{account_id}/reset",
        "Reset the health of an account",
        "Account",
        || post(health::reset_account),
    ),
    ApiRoute::act(
        "/accounts/{account_id}/refresh",
        "Renew the token of an account now",
        "Account",
        || post(health::refresh_account),
    ),
    ApiRoute::create("/oauth/start", "Start a browser sign-in for an account", "SignIn", || {
        post(oauth::start_sign_in)
    })
    .takes("NewSignIn"),
    ApiRoute::act("/oauth/finish", "Finish a browser sign-in", "Account", || {
        post(oauth::finish_sign_in)
    })
    .takes("SignInCode"),
    ApiRoute::get("/users", "List users", "UserList", || get(resource::list::<User>))
        .query(&["limit", "cursor", "role", "enabled", "q"]),
    ApiRoute::create("/users", "Create a user", "User", || post(resource::create::<User>))
        .takes("NewUser"),
    ApiRoute::get("/users/{user_id}", "Read a user", "User", || get(resource::read::<User>)),
    ApiRoute::change("/users/{user_id}", "Change a user", "User", || {
        patch(resource::update::<User>)
    })
    .takes("UserChange"),
    ApiRoute::remove("/users/{user_id}", "Delete a user without keys", || {
        delete(resource::delete::<User>)
    }),
    ApiRoute::get("/keys", "List keys", "KeyList", || get(resource::list::<Key>))
        .query(&["limit", "cursor", "group_id", "user_id", "enabled", "q"])
        .for_members(),
    ApiRoute::create("/keys", "Create a key", "KeyWithSecret", || post(resource::create::<Key>))
        .takes("NewKey"),
    ApiRoute::get("/keys/{key_id}", "Read a key", "Key", || get(resource::read::<Key>))
        .for_members(),
    ApiRoute::change("/keys/{key_id}", "Change a key", "Key", || patch(resource::update::<Key>))
        .takes("KeyChange")
        .for_members(),
    ApiRoute::remove("/keys/{key_id}", "Delete a key", || delete(resource::delete::<Key>)),
    ApiRoute::act(
        "/keys/{key_id}/rotate",
        "Rotate a key: replace its secret",
        "KeyWithSecret",
        || post(keys::rotate_key),
    )
    .for_members(),
    ApiRoute::get("/limits/organization", "Read the limits of the organization", "Limits", || {
        get(limits::get_organization_limits)
    }),
    ApiRoute::set("/limits/organization", "Set the limits of the organization", "Limits", || {
        put(limits::set_organization_limits)
    }),
    ApiRoute::get(
        "/limits/message",
        "Read the text added to spend limit errors",
        "Message",
        || get(limits::get_limit_message),
    ),
    ApiRoute::set("/limits/message", "Set the text added to spend limit errors", "Message", || {
        put(limits::set_limit_message)
    }),
    ApiRoute::get("/organizations/spend_limits", "List spend limits", "SpendLimitList", || {
        get(spend_limits::list_spend_limits)
    })
    .query(&["limit", "after_id", "before_id", "scope_type"]),
    ApiRoute::act("/organizations/spend_limits", "Set a spend limit", "SpendLimit", || {
        post(spend_limits::set_spend_limit)
    })
    .takes("NewSpendLimit"),
    ApiRoute::get(
        "/organizations/spend_limits/effective",
        "List each person's effective spend limit and spend",
        "SpendSummaryList",
        || get(effective_spend_limits::list_effective_limits),
    )
    .query(&["limit", "page", "period", "sort", "user_ids", "q"]),
    ApiRoute::get(
        "/organizations/spend_limits/audit",
        "List changes to spend limits, newest first",
        "SpendLimitAuditList",
        || get(spend_limits::list_changes),
    )
    .query(&["limit"]),
    ApiRoute::get(
        "/organizations/spend_limits/{spend_limit_id}",
        "Read a spend limit",
        "SpendLimit",
        || get(spend_limits::get_spend_limit),
    ),
    ApiRoute::new(
        Verb::Delete,
        "/organizations/spend_limits/{spend_limit_id}",
        "Delete a spend limit",
        (200, Some("SpendLimitDeleted")),
        || delete(spend_limits::delete_spend_limit),
    ),
    ApiRoute::get("/prices", "List built-in and own prices", "PriceList", || {
        get(prices::list_prices)
    })
    .query(&["limit", "cursor", "q"]),
    ApiRoute::create("/prices", "Set a price from a date", "Price", || post(prices::create_price))
        .takes("NewPrice"),
    ApiRoute::get("/prices/{model}", "List the prices of a model", "PriceList", || {
        get(prices::get_price)
    }),
    ApiRoute::remove("/prices/{model}", "Delete an own price", || delete(prices::delete_price))
        .query(&["effective_from"]),
    ApiRoute::act("/prices/rerate", "Recalculate the cost of past requests", "Rerated", || {
        post(rerate::rerate_period)
    })
    .takes("Rerate"),
    ApiRoute::get("/alerts", "Read the alert settings", "Alerts", || {
        get(alerts::get_alert_settings)
    }),
    ApiRoute::new(
        Verb::Put,
        "/alerts",
        "Set the alert settings",
        (200, Some("AlertsWithSecret")),
        || put(alerts::set_alert_settings),
    )
    .takes("NewAlerts"),
    ApiRoute::new(
        Verb::Post,
        "/alerts/test",
        "Send a test alert",
        (202, Some("AlertTest")),
        || post(alerts::send_test_alert),
    ),
    ApiRoute::get("/settings", "Read the settings", "Settings", || {
        get(runtime_settings::get_settings)
    }),
    ApiRoute::change("/settings", "Change settings", "Settings", || {
        patch(runtime_settings::update_settings)
    })
    .takes("SettingsChange"),
    ApiRoute::get(
        "/overview",
        "Read the sums of today and the last 30 days, and account health",
        "Overview",
        || get(overview::get_overview),
    ),
    ApiRoute::get("/usage/summary", "Sum up usage by columns", "Summary", || {
        get(usage::get_summary)
    })
    .query(&["from", "to", "by", "key", "user", "group", "account", "model"])
    .for_members(),
    ApiRoute::get("/usage/events", "List requests, newest first", "EventList", || {
        get(usage::list_events)
    })
    .query(&[
        "from",
        "to",
        "limit",
        "cursor",
        "key_id",
        "user_id",
        "account_id",
        "model",
        "outcome",
    ])
    .for_members(),
    ApiRoute::get("/usage/export", "Export requests to a file, newest first", "Export", || {
        get(export::export)
    })
    .query(&["format", "from", "to", "key_id", "user_id", "account_id", "model", "outcome"])
    .file(&["text/csv", "application/jsonl", "application/vnd.apache.parquet"])
    .for_members(),
    ApiRoute::get(
        "/usage/dead-letters",
        "List usage records that could not be stored",
        "DeadLetters",
        || get(dead_letters::list_dead_letters),
    ),
    ApiRoute::act(
        "/usage/redrive",
        "Send dead letters to the usage queue again",
        "Redriven",
        || post(dead_letters::redrive).layer(DefaultBodyLimit::max(dead_letters::BODY_BYTES_MAX)),
    )
    .takes("Redrive"),
    ApiRoute::get("/audit", "List the audit trail, newest first", "AuditList", || {
        get(audit::list_audit_rows)
    })
    .query(&["from", "to", "limit", "cursor", "actor", "target", "action"]),
    ApiRoute::get("/openapi.json", "Read this description", "Description", || {
        get(openapi::get_openapi)
    })
    .for_anybody(),
];

/// Builds a router with the routes whose access is wanted.
pub(crate) fn mounted(wants: impl Fn(RouteAccess) -> bool) -> Router<Arc<AdminState>> {
    let wanted = ROUTES.iter().filter(|route| wants(route.access));
    wanted.fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
}

/// The routes that mirror Anthropic's Admin API, at the paths that its clients use.
pub(crate) fn mirrored() -> Router<Arc<AdminState>> {
    let wanted = ROUTES.iter().filter(|route| route.path.starts_with(MIRRORED));
    wanted.fold(Router::new(), |router, route| {
        router.route(&format!("{MIRROR}{}", route.path), (route.handler)())
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
    let Some(route) = find_route(method, path) else { return Ok(()) };
    // Repeated parameters can also be written as `name[]`.
    let is_known = |name: &str| route.query.contains(&name.strip_suffix("[]").unwrap_or(name));
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let Some(unknown) = names.find(|name| !is_known(name)) else { return Ok(()) };
    let unknown = escape_text(&unknown, 80);
    let known = route.query.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
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
    ROUTES.iter().find(|route| route.path == path && route.verb.as_str() == method.as_str())
}
