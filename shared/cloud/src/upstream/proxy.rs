//! Proxies that accounts are reached through: which URLs name one, and how they are shown.
//!
//! An operator pastes `http://user:password@host:port`. The password is shown to nobody: answers
//! and lists have [`ProxyUrl::masked_url`], and the whole is sealed.

use super::address;
use baton_domain::secret::Secret;
use reqwest::Url;

/// What stands for a password where a proxy is shown.
const MASK: &str = "***";

/// A proxy's URL that has been looked at.
#[derive(Clone)]
pub struct ProxyUrl {
    url: Url,
}

impl ProxyUrl {
    /// Reads `http`, `https`, `socks5` or `socks5h`, a host, and whatever else a proxy needs. Its
    /// address must be public as an upstream's must; its scheme may be `http`, since what goes
    /// through it is encrypted to the upstream.
    ///
    /// # Errors
    /// A sentence for the operator, without the URL: it may hold a password.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|error| format!("it is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
            return Err("it must begin with http, https, socks5 or socks5h".to_owned());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("it must end after the port".to_owned());
        }
        address::check_host(host, allow_private)?;
        Ok(Self { url })
    }

    /// The URL with its password, if it has one, masked.
    pub fn masked_url(&self) -> String {
        let mut url = self.url.clone();
        if url.password().is_some() {
            // Cannot fail: a URL with a password may have another one.
            let _either_way = url.set_password(Some(MASK));
        }
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether it is one that was shown, not one that can be used.
    pub fn is_masked(&self) -> bool {
        self.url.password() == Some(MASK)
    }

    /// The whole.
    pub fn secret(&self) -> Secret {
        Secret::new(self.url.to_string())
    }

    /// What the client is built with.
    pub(super) fn to_reqwest_proxy(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        reqwest::Proxy::all(self.url.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("http://me:s3cret@1.1.1.1:3128/", "http://me:***@1.1.1.1:3128"),
            ("socks5h://me:s3cret@proxy.example", "socks5h://me:***@proxy.example"),
            ("https://me@proxy.example", "https://me@proxy.example"),
        ] {
            let proxy = ProxyUrl::parse(text, false).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(proxy.masked_url(), shown);
            assert!(ProxyUrl::parse(shown, false).is_ok(), "{shown}");
        }
    }

    #[test]
    fn invalid_proxy_is_refused_without_echoing_it() {
        for text in [
            "",
            "proxy.example:3128",
            "ftp://me:s3cret@proxy.example",
            "http://me:s3cret@",
            "http://me:s3cret@proxy.example/path",
            "http://me:s3cret@proxy.example?x=1",
            "http://me:s3cret@127.0.0.1:3128",
            "socks5://me:s3cret@[::1]:1080",
            "socks5h://me:s3cret@169.254.169.254",
            "http://me:s3cret@2130706433",
            "socks5://me:s3cret@2130706433:1080",
        ] {
            let why = ProxyUrl::parse(text, false).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!why.contains("s3cret"), "{why}");
        }
        assert!(ProxyUrl::parse("socks5://127.0.0.1:1080", true).is_ok());
    }
}
