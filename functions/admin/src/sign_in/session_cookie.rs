//! The cookies of the console, and the origin under which browsers see it, which decides the kind
//! of cookie that can be set.

use crate::AdminState;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use jiff::SignedDuration;
use std::net::IpAddr;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The purpose of a cookie.
#[derive(Clone, Copy)]
pub(super) enum CookieKind {
    /// Holds a session.
    Session,
    /// Ties a form or an unfinished sign-in to the browser that started it.
    SignIn,
}

/// The console's origin as the browser sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConsoleOrigin {
    /// `https://admin.example.com`
    pub(super) origin: String,
}

impl ConsoleOrigin {
    /// The origin of the settings, or else of the request. `None` if neither is valid.
    pub(super) fn from_request(state: &AdminState, headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        if let Some(origin) = &state.login_methods.origin {
            return Some(Self { origin: origin.clone() });
        }
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        let scheme = if is_https(headers, uri) { "https" } else { "http" };
        let origin = format!("{scheme}://{}", host.to_ascii_lowercase());
        (!host.is_empty() && host.bytes().all(plain)).then_some(Self { origin })
    }

    /// Whether the browser uses https.
    pub(super) fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// Whether it is safe to enter a secret: the connection is encrypted or stays on one machine.
    pub(super) fn is_private(&self) -> bool {
        let host = self.origin.strip_prefix("http://").unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        self.is_https() || is_loopback || name == "localhost" || name.ends_with(".localhost")
    }

    /// With https the `__Host-` prefix prevents other hosts and unencrypted pages from setting the
    /// cookie.
    fn name(&self, cookie: CookieKind) -> &'static str {
        match (cookie, self.is_https()) {
            (CookieKind::Session, true) => "__Host-baton",
            (CookieKind::Session, false) => "baton",
            (CookieKind::SignIn, true) => "__Host-baton-door",
            (CookieKind::SignIn, false) => "baton-door",
        }
    }

    /// Returns the value that the browser sent.
    pub(super) fn cookie<'a>(&self, cookie: CookieKind, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(cookie);
        let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|it| it.split_once('='));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    }

    /// Returns the header that sets the cookie. Without a `lifetime` the browser deletes it when it
    /// closes. It is `Lax` and not `Strict`, because redirects from the identity provider and links
    /// in messages start on another site.
    pub(super) fn set(
        &self,
        cookie: CookieKind,
        value: &str,
        lifetime: Option<SignedDuration>,
    ) -> Option<HeaderValue> {
        let secure = if self.is_https() { "; Secure" } else { "" };
        let age = lifetime
            .map(|lifetime| format!("; Max-Age={}", lifetime.as_secs()))
            .unwrap_or_default();
        let name = self.name(cookie);
        HeaderValue::from_str(&format!(
            "{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}"
        ))
        .ok()
    }

    /// Returns the header that removes the cookie.
    pub(super) fn remove_cookie(&self, cookie: CookieKind) -> Option<HeaderValue> {
        self.set(cookie, "", Some(SignedDuration::ZERO))
    }
}

/// Whether the browser used https. Function URLs and proxies report that in a header.
fn is_https(headers: &HeaderMap, uri: &Uri) -> bool {
    let forwarded = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    match forwarded.and_then(|all| all.split(',').next()) {
        Some(first) => first.trim().eq_ignore_ascii_case("https"),
        None => uri.scheme_str() == Some("https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_is_offered_only_on_private_connections() {
        let is_private = |origin: &str| ConsoleOrigin { origin: origin.into() }.is_private();
        for origin in [
            "https://admin.example.com",
            "http://127.0.0.1:8081",
            "http://127.9.9.9",
            "http://[::1]:8081",
            "http://[::1]",
            "http://localhost:8081",
            "http://a.localhost",
        ] {
            assert!(is_private(origin), "{origin}");
        }
        for origin in [
            "http://admin.example.com",
            "http://10.0.0.1:8081",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com:80",
            "http://notlocalhost",
            "http://0.0.0.0:8081",
        ] {
            assert!(!is_private(origin), "{origin}");
        }
    }

    #[test]
    fn https_accepts_only_the_host_prefixed_cookie() {
        let header = "baton=a; __Host-baton=b; __Host-baton-door=c".parse().unwrap();
        let headers = HeaderMap::from_iter([(COOKIE, header)]);
        let value = |origin: &str| {
            let console_origin = ConsoleOrigin { origin: origin.into() };
            console_origin.cookie(CookieKind::Session, &headers).map(str::to_owned)
        };
        assert_eq!(value("https://x").as_deref(), Some("b"));
        assert_eq!(value("http://127.0.0.1").as_deref(), Some("a"));
    }
}
