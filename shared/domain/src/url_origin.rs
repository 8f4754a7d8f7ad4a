//! The origin of a URL, to which stored credentials are bound.

use url::Url;

/// Scheme, host and port of a URL; empty if the text is not a URL. Two URLs with the same origin
/// reach the same server.
pub fn origin(url: &str) -> String {
    let Ok(url) = Url::parse(url.trim()) else { return String::new() };
    let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}")
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn equal_servers_have_equal_origins() {
        let known = "https://api.example.com:443";
        for url in ["https://api.example.com", " https://API.example.com:443/v1?x#y", known] {
            assert_eq!(origin(url), known, "{url}");
        }
        assert_eq!(origin("http://u:p@[::1]:8080/"), "http://[::1]:8080");
        for text in ["", "no address", "//host"] {
            assert_eq!(origin(text), "", "{text}");
        }
    }
}
