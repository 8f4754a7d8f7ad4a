//! A request to the console: the visitor, the query, and the layout of pages.

use crate::ConsoleUser;
use crate::api_call::{ApiCall, ConsoleApiError, ConsoleResult};
use crate::assets::{self, StaticAsset};
use crate::html_form::{FieldControl, FormValues};
use crate::page_blocks::PageBlock;
use crate::table_cells::{CellPart, PageLink};
use crate::{ConsoleState, NAVIGATION};
use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use baton_api::list::ResourceList;
use http::header::{CACHE_CONTROL, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;

/// The name of the cookie for light or dark mode.
pub(crate) const THEME: &str = "baton_theme";

/// A request of a signed-in visitor.
pub(crate) struct PageRequest {
    pub(crate) console: ConsoleState,
    pub(crate) visitor: ConsoleUser,
    /// The query of the address.
    pub(crate) query: FormValues,
    path: String,
    theme: &'static str,
}

impl FromRequestParts<ConsoleState> for PageRequest {
    type Rejection = ConsoleApiError;

    async fn from_request_parts(parts: &mut Parts, console: &ConsoleState) -> ConsoleResult<Self> {
        Self::from_parts(&parts.extensions, &parts.uri, &parts.headers, console)
    }
}

impl PageRequest {
    fn from_parts(
        extensions: &http::Extensions,
        uri: &http::Uri,
        headers: &HeaderMap,
        console: &ConsoleState,
    ) -> ConsoleResult<Self> {
        let visitor =
            extensions.get::<ConsoleUser>().cloned().ok_or_else(ConsoleApiError::forbidden)?;
        // In a nested router `uri` is only the rest of the path.
        let whole =
            extensions.get::<axum::extract::OriginalUri>().map_or(uri, |original| &original.0);
        Ok(Self {
            console: console.clone(),
            visitor,
            query: FormValues::parse(uri.query().unwrap_or_default().as_bytes()),
            path: whole.path().to_owned(),
            theme: theme(headers),
        })
    }

    /// Whether the visitor has access only to its own keys and usage.
    pub(crate) fn is_member(&self) -> bool {
        self.visitor.actor.member().is_some()
    }

    /// Refuses members on pages for administrators before the API is called.
    pub(crate) fn require_admin(&self) -> ConsoleResult<()> {
        if self.is_member() { Err(ConsoleApiError::forbidden()) } else { Ok(()) }
    }

    pub(crate) fn call(&self, method: Method, path: impl Into<String>) -> ApiCall<'_> {
        ApiCall::new(&self.console, &self.visitor, method, path)
    }

    /// Reads from the API.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: impl Into<String>,
    ) -> ConsoleResult<T> {
        self.call(Method::GET, path).send().await
    }

    /// Reads the rows of a list of the API.
    pub(crate) async fn get_list<T: DeserializeOwned>(
        &self,
        path: impl Into<String>,
    ) -> ConsoleResult<Vec<T>> {
        Ok(self.get::<ResourceList<T>>(path).await?.data)
    }

    /// A random idempotency key, so that a form that is sent twice is handled once.
    pub(crate) fn new_idempotency_key(&self) -> String {
        format!("console-{:032x}", self.console.random.bits())
    }

    /// The UTC day `days` days ago, in the form that the API takes.
    pub(crate) fn day_before(&self, days: i64) -> String {
        let now = self.console.clock.now();
        let then = now.saturating_sub(jiff::SignedDuration::from_hours(24 * days)).unwrap_or(now);
        then.strftime("%Y-%m-%d").to_string()
    }

    /// The current address with one query parameter replaced.
    pub(crate) fn query_with(&self, name: &str, value: &str) -> String {
        let stored_response =
            self.query.0.iter().filter(|(key, value)| key != name && !value.is_empty());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(stored_response);
        if !value.is_empty() {
            query.append_pair(name, value);
        }
        format!("{}?{}", self.path, query.finish())
    }

    /// A page.
    pub(crate) fn render_page(&self, title: &str, blocks: Vec<PageBlock>) -> Response {
        self.render_with_status(title, blocks, StatusCode::OK, false)
    }

    /// A page that the script refreshes.
    pub(crate) fn render_live_page(&self, title: &str, blocks: Vec<PageBlock>) -> Response {
        self.render_with_status(title, blocks, StatusCode::OK, true)
    }

    /// A page with a refused form.
    pub(crate) fn render_rejected_page(
        &self,
        title: &str,
        blocks: Vec<PageBlock>,
        error: &ConsoleApiError,
    ) -> Response {
        self.render_with_status(title, blocks, error.status, false)
    }

    fn render_with_status(
        &self,
        title: &str,
        blocks: Vec<PageBlock>,
        status: StatusCode,
        is_live: bool,
    ) -> Response {
        let is_member = self.is_member();
        let entries = NAVIGATION.iter().filter(|entry| entry.for_members || !is_member);
        let entry = |entry: &crate::NavigationItem| NavEntry {
            href: entry.href,
            text: if is_member && !entry.member_text.is_empty() {
                entry.member_text
            } else {
                entry.text
            },
            is_here: is_below(&self.path, entry.href),
            starts_section: entry.starts_section && !is_member,
        };
        let page = PageTemplate {
            title,
            blocks,
            navigation: entries.map(entry).collect(),
            visitor: &self.visitor,
            theme: self.theme,
            path: &self.path,
            is_live,
            css: &assets::CSS,
            js: &assets::JS,
        };
        match page.render() {
            Ok(text) => {
                let mut response = (status, Html(text)).into_response();
                let never = HeaderValue::from_static("no-store");
                response.headers_mut().insert(CACHE_CONTROL, never);
                response
            }
            Err(error) => {
                tracing::error!("a page could not be rendered: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    fn render_error(&self, error: &ConsoleApiError) -> Response {
        let (title, next) = match error.status {
            StatusCode::FORBIDDEN => {
                ("Access denied", PageLink::new("/console/mine", "Go to your own keys"))
            }
            StatusCode::NOT_FOUND => {
                ("Not found", PageLink::new("/console", "Go to the start page"))
            }
            _ => ("Request failed", PageLink::new("/console", "Go to the start page")),
        };
        let mut blocks = vec![PageBlock::Empty(error.sentence(), Some(next))];
        if !error.request_id.is_empty() {
            blocks.push(PageBlock::Text(format!(
                "The request id for the log is {}.",
                error.request_id
            )));
        }
        self.render_with_status(title, blocks, error.status, false)
    }
}

fn is_below(path: &str, href: &str) -> bool {
    let rest = path.strip_prefix(href);
    match rest {
        // These two have other entries of the navigation below them.
        Some(rest) if ["/console", "/console/mine"].contains(&href) => {
            rest.is_empty() || rest == "/"
        }
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn theme(headers: &HeaderMap) -> &'static str {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
    match pairs.find(|(name, _)| *name == THEME) {
        Some((_, "light")) => "light",
        Some((_, "dark")) => "dark",
        _ => "auto",
    }
}

/// Renders errors of pages in the layout of the console.
pub(crate) async fn render_failures(
    State(console): State<ConsoleState>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let page_request =
        PageRequest::from_parts(&parts.extensions, &parts.uri, &parts.headers, &console);
    let response = next.run(Request::from_parts(parts, body)).await;
    match (response.extensions().get::<ConsoleApiError>(), page_request) {
        (Some(error), Ok(page_request)) => page_request.render_error(error),
        _ => response,
    }
}

/// An entry of the navigation on a page.
struct NavEntry {
    href: &'static str,
    text: &'static str,
    is_here: bool,
    starts_section: bool,
}

#[derive(Template)]
#[template(path = "page.html")]
struct PageTemplate<'a> {
    title: &'a str,
    blocks: Vec<PageBlock>,
    navigation: Vec<NavEntry>,
    visitor: &'a ConsoleUser,
    theme: &'a str,
    path: &'a str,
    is_live: bool,
    css: &'a StaticAsset,
    js: &'a StaticAsset,
}

/// Redirects to another page.
#[expect(clippy::unnecessary_wraps, reason = "it is the end of handlers that may fail")]
pub(crate) fn redirect_to(path: &str) -> ConsoleResult {
    Ok(axum::response::Redirect::to(path).into_response())
}

/// The id in the path of a page. If it is malformed, the page does not exist.
pub(crate) struct PathId(pub(crate) String);

impl FromRequestParts<ConsoleState> for PathId {
    type Rejection = ConsoleApiError;

    async fn from_request_parts(parts: &mut Parts, console: &ConsoleState) -> ConsoleResult<Self> {
        let read = axum::extract::Path::<String>::from_request_parts(parts, console).await;
        let fits = |id: &String| {
            id.len() <= 200 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let id = read.ok().map(|axum::extract::Path(id)| id).filter(fits);
        id.filter(|id| !id.starts_with('.')).map(Self).ok_or_else(ConsoleApiError::page_not_found)
    }
}
