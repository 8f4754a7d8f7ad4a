//! The variables of a person's shell that the operator's commands read, once and here. Baton's own
//! settings are `cloud::settings`' business.

use baton_domain::secret::Secret;

/// What the shell says about Baton, about clients of it, and about proxies.
#[derive(Default)]
pub(crate) struct Environment {
    /// `BATON_URL`: the admin API.
    pub(crate) url: Option<String>,
    /// `BATON_ADMIN_TOKEN`.
    pub(crate) admin_token: Option<Secret>,
    /// `BATON_PROFILE`.
    pub(crate) profile: Option<String>,
    /// `ANTHROPIC_BASE_URL`: where clients started from this shell go.
    pub(crate) client_base: Option<String>,
    /// `ANTHROPIC_AUTH_TOKEN`: what they send as a bearer.
    pub(crate) client_bearer: Option<Secret>,
    /// `ANTHROPIC_API_KEY`: what they send in `x-api-key`.
    pub(crate) client_api_key: Option<Secret>,
    /// `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, in either case: those that are set.
    pub(crate) proxies: Vec<&'static str>,
}

/// `TOKIO_WORKER_THREADS`, which has to be known before anything runs.
pub(crate) fn threads_asked() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the door of the operator's variables")]
    std::env::var("TOKIO_WORKER_THREADS").ok()
}

impl Environment {
    /// Reads the process's environment; an empty variable counts as absent.
    pub(crate) fn read() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the door of the operator's variables")]
        Self::from(|name| std::env::var(name).ok())
    }

    /// The same by `lookup`.
    pub(crate) fn from(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let proxies =
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        Self {
            url: text("BATON_URL"),
            admin_token: text("BATON_ADMIN_TOKEN").map(Secret::new),
            profile: text("BATON_PROFILE"),
            client_base: text("ANTHROPIC_BASE_URL"),
            client_bearer: text("ANTHROPIC_AUTH_TOKEN").map(Secret::new),
            client_api_key: text("ANTHROPIC_API_KEY").map(Secret::new),
            proxies: proxies.into_iter().filter(|name| text(name).is_some()).collect(),
        }
    }
}
