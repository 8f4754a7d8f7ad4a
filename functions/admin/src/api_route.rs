//! A route of the API: its method and path, who can use it, and its handler. `routes` has the table of
//! all routes.

use crate::AdminState;
use crate::route_description::{OperationBuilder, RouteFunction};
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use baton_domain::actor::Actor;
use std::sync::Arc;

/// The prefix of all paths.
pub(crate) const BASE: &str = "/api/v1";

/// The HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl RouteMethod {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who can use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteAccess {
    /// Everybody, without a credential.
    Anybody,
    /// Administrators, and members for their own keys and usage, which the handler checks.
    Member,
    /// Administrators.
    Admin,
}

impl RouteAccess {
    /// The name in the OpenAPI document.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anybody => "anybody",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    /// Whether the actor can use routes with this access.
    pub(crate) fn allows(self, actor: &Actor) -> bool {
        actor.member().is_none() || self != Self::Admin
    }
}

/// One method of one path.
#[derive(Clone)]
pub(crate) struct ApiRoute {
    pub(crate) method: RouteMethod,
    /// The path below [`BASE`], in the form that axum and OpenAPI share.
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: RouteAccess,
    /// The names of the query parameters, from the handler's types.
    pub(crate) query_names: fn() -> Vec<String>,
    /// Adds the handler's types to a description.
    pub(crate) describe: fn(&mut OperationBuilder<'_>),
    pub(crate) handler: MethodRouter<Arc<AdminState>>,
}

impl ApiRoute {
    pub(crate) fn new<T, I, H>(
        method: RouteMethod,
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        T: 'static,
        H: Handler<T, Arc<AdminState>> + RouteFunction<I>,
    {
        Self {
            method,
            path,
            summary,
            access: RouteAccess::Admin,
            query_names: H::query_names,
            describe: H::describe,
            handler: on(method.filter(), handler),
        }
    }

    /// Accessible to everybody, without a credential.
    pub(crate) fn for_anybody(self) -> Self {
        Self { access: RouteAccess::Anybody, ..self }
    }

    /// Accessible to members for their own keys and usage, which the handler checks.
    pub(crate) fn for_members(self) -> Self {
        Self { access: RouteAccess::Member, ..self }
    }

    /// Takes bodies of another size than other routes.
    pub(crate) fn body_bytes_max(self, bytes: usize) -> Self {
        Self { handler: self.handler.layer(DefaultBodyLimit::max(bytes)), ..self }
    }
}
