//! Proxies of accounts: which URLs are valid, and how they are shown.
//!
//! An operator enters `http://user:password@host:port`. The password is never shown: answers and
//! lists contain [`ProxyUrl::masked_url`], and the complete URL is stored encrypted.

use super::address;
use baton_domain::secret::Secret;
use reqwest::Url;

/// The text in place of a password where a proxy is shown.
const MASK: &str = "***";

/// A proxy's URL that has been checked.
#[derive(Clone)]
pub struct ProxyUrl {
    url: Url,
}

impl ProxyUrl {
    /// Parses a URL with scheme `http`, `https`, `socks5` or `socks5h`, a host, and optionally a
    /// port, a user and a password. The address must be public, like that of an upstream. The
    /// scheme can be `http`, because the traffic through it is encrypted up to the upstream.
    ///
    /// # Errors
    /// The reason, as a sentence for the operator. It does not contain the URL, which can hold a
    /// password.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|error| {
            format!("expected a URL such as http://proxy.example.com:3128 ({error})")
        })?;
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

    /// The URL with its password masked, if it has one.
    pub fn masked_url(&self) -> String {
        let mut url = self.url.clone();
        if url.password().is_some() {
            // This cannot fail: a URL that has a password accepts another one.
            let _either_way = url.set_password(Some(MASK));
        }
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether the password is the mask, so that the URL is one that was shown and cannot be used.
    pub fn is_masked(&self) -> bool {
        self.url.password() == Some(MASK)
    }

    /// The complete URL.
    pub fn secret(&self) -> Secret {
        Secret::new(self.url.to_string())
    }

    /// The proxy in the form that the HTTP client takes.
    pub(super) fn to_reqwest_proxy(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        reqwest::Proxy::all(self.url.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_is_shown_without_its_password() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("http://me:s3cret@1.1.1.1:3128/", "http://me:***@1.1.1.1:3128"),
            ("socks5h://me:s3cret@proxy.example", "socks5h://me:***@proxy.example"),
            ("https://me@proxy.example", "https://me@proxy.example"),
        ] {
            let proxy =
                ProxyUrl::parse(text, false).unwrap_or_else(|error| panic!("{text}: {error}"));
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
            let reason = ProxyUrl::parse(text, false).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!reason.contains("s3cret"), "{reason}");
        }
        assert!(ProxyUrl::parse("socks5://127.0.0.1:1080", true).is_ok());
    }
}
