//! Checks that need no request: the address, the form of the key, the variables of the shell. Pure.

use super::check_result::CheckResult;
use crate::environment::ShellEnvironment;
use baton_domain::relay_key::RelayKey;
use baton_domain::secret::Secret;
use reqwest::Url;

/// The route that clients append themselves.
const CLIENT_ROUTE: &str = "/v1/messages";

/// Checks a base URL and returns a corrected one for the other checks.
pub(super) fn check_base_url(text: &str) -> (CheckResult, Option<Url>) {
    const CHECK: &str = "base URL";
    let parsed = Url::parse(text).ok().filter(Url::has_host);
    let Some(mut url) = parsed.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        let advice = "use a URL such as https://baton.example.com or http://127.0.0.1:8080";
        return (CheckResult::fail(CHECK, format!("`{text}` is not a URL"), advice), None);
    };
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    url.set_query(None);
    url.set_fragment(None);
    let _cannot_be_without = (url.set_username(""), url.set_password(None));
    let path = url.path().trim_end_matches('/').to_owned();
    let suggested_url = path.strip_suffix(CLIENT_ROUTE).unwrap_or(&path).to_owned();
    url.set_path(&suggested_url);
    let plain = url.as_str().trim_end_matches('/').to_owned();
    let result = if suggested_url != path {
        let what = format!("it ends in {CLIENT_ROUTE}, which clients append again");
        CheckResult::fail(CHECK, what, format!("use {plain}"))
    } else if has_more {
        let what = "it contains a user name, a query or a fragment";
        CheckResult::fail(CHECK, what, format!("use {plain}; clients send the key in a header"))
    } else if text.ends_with('/') {
        let message =
            "it ends in a slash, so clients call `//v1/messages`, which some proxies redirect";
        CheckResult::warn(CHECK, message, format!("use {plain}"))
    } else if url.scheme() == "http" && !is_private_address(&url) {
        let what = "keys and prompts are sent without encryption";
        CheckResult::warn(CHECK, what, "put a TLS proxy in front of Baton and use https")
    } else {
        CheckResult::ok(CHECK, plain)
    };
    (result, Some(url))
}

/// Whether the address is this machine or in a private network.
fn is_private_address(url: &Url) -> bool {
    match url.host_str().unwrap_or_default().trim_matches(['[', ']']).parse() {
        Ok(std::net::IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(std::net::IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => url.host_str() == Some("localhost"),
    }
}

/// Checks the form of a key, but not whether the key exists.
pub(super) fn key_form(key: Option<&Secret>) -> CheckResult {
    const CHECK: &str = "key form";
    match key {
        None => CheckResult::skipped(
            CHECK,
            "no key was given; use --key KEY, or `--key -` to read it from standard input",
        ),
        Some(key) if RelayKey::parse(key.expose()).is_ok() => {
            CheckResult::ok(CHECK, "length and checksum are correct")
        }
        Some(key) if key.expose().starts_with("sk-ant-") => {
            let advice = "clients need a Baton key (`baton key create`); the provider's key \
                 belongs to an account";
            CheckResult::fail(CHECK, "it is a key of the provider, not a Baton key", advice)
        }
        Some(key) if key.expose().trim() != key.expose() => CheckResult::fail(
            CHECK,
            "it begins or ends with a space or a line break",
            "copy it again without them",
        ),
        Some(_) => {
            let advice = "copy it again; a key is `bt_`, 12 characters, `_` and 38 more characters";
            CheckResult::fail(CHECK, "it is incomplete or mistyped (the checksum is wrong)", advice)
        }
    }
}

/// Checks the variables that clients started from this shell read.
pub(super) fn variables(environment: &ShellEnvironment, relay: Option<&Url>) -> Vec<CheckResult> {
    const CHECK: &str = "client variables";
    let mut results = Vec::new();
    if let (Some(bearer), Some(key)) = (&environment.client_bearer, &environment.client_api_key)
        && bearer.expose() != key.expose()
    {
        let what = "ANTHROPIC_AUTH_TOKEN and ANTHROPIC_API_KEY have different values, and clients \
             send both";
        let advice = "unset ANTHROPIC_API_KEY in the shell that starts clients of Baton";
        results.push(CheckResult::warn(CHECK, what, advice));
    }
    let points_here = |base_url: &str| {
        check_base_url(base_url)
            .1
            .is_some_and(|base_url| relay.is_some_and(|relay| same_relay(&base_url, relay)))
    };
    match environment.client_base.as_deref() {
        Some(base_url) if !points_here(base_url) => {
            let what = format!(
                "ANTHROPIC_BASE_URL is {base_url}; clients in this shell call that address instead"
            );
            let advice = relay.map_or_else(String::new, |relay| {
                format!("export ANTHROPIC_BASE_URL={}", relay.as_str().trim_end_matches('/'))
            });
            results.push(CheckResult::warn(CHECK, what, advice));
        }
        Some(_) if results.is_empty() => {
            results.push(CheckResult::ok(CHECK, "ANTHROPIC_BASE_URL points to this relay"));
        }
        None if results.is_empty() => {
            results
                .push(CheckResult::skipped(CHECK, "ANTHROPIC_BASE_URL is not set in this shell"));
        }
        _ => {}
    }
    if !environment.proxies.is_empty() {
        let message =
            format!("{} is set, so requests go through that proxy", environment.proxies.join(", "));
        let advice = "if streams arrive in bursts or bodies are refused, add the relay's host to \
             NO_PROXY";
        results.push(CheckResult::warn("HTTP proxy", message, advice));
    }
    results
}

/// Whether two base URLs mean the same relay; the relay's aliases count as one.
fn same_relay(relay_url: &Url, other: &Url) -> bool {
    let plain = |url: &Url| {
        let path = url.path().trim_end_matches('/').trim_end_matches("/v1");
        let path = path.trim_end_matches("/anthropic").trim_end_matches("/claude-code").to_owned();
        (url.origin(), path)
    };
    plain(relay_url) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::super::check_result::CheckStatus;
    use super::*;

    #[test]
    fn base_url_is_checked_and_corrected() {
        let check = |text: &str, state: CheckStatus, meant: Option<&str>| {
            let (result, url) = check_base_url(text);
            let plain = url.as_ref().map(|url| url.as_str().trim_end_matches('/'));
            assert_eq!((result.state, plain), (state, meant), "{text}: {result:?}");
            assert!(state == CheckStatus::Ok || !result.advice.is_empty(), "{text}: advice");
        };
        check("https://a.example", CheckStatus::Ok, Some("https://a.example"));
        check("https://a.example/v1", CheckStatus::Ok, Some("https://a.example/v1"));
        check("http://127.0.0.1:8080", CheckStatus::Ok, Some("http://127.0.0.1:8080"));
        check("http://[::1]:8080", CheckStatus::Ok, Some("http://[::1]:8080"));
        check("http://10.0.0.7", CheckStatus::Ok, Some("http://10.0.0.7"));
        check("http://a.example", CheckStatus::Warn, Some("http://a.example"));
        check("https://a.example/", CheckStatus::Warn, Some("https://a.example"));
        check("https://a.example/v1/messages", CheckStatus::Fail, Some("https://a.example"));
        check("https://a.example/x/v1/messages/", CheckStatus::Fail, Some("https://a.example/x"));
        check("https://a.example?key=1", CheckStatus::Fail, Some("https://a.example"));
        check("https://me:pw@a.example", CheckStatus::Fail, Some("https://a.example"));
        check("a.example", CheckStatus::Fail, None);
    }

    #[test]
    fn key_format_is_checked_without_showing_the_key() {
        let check = |key: &str, state: CheckStatus| {
            let result = key_form(Some(&Secret::new(key.to_owned())));
            assert_eq!(result.state, state, "{result:?}");
            assert!(!format!("{result:?}").contains(key), "{result:?}");
        };
        let bits = [7, 9];
        let good = baton_domain::relay_key::compose(
            &baton_domain::id::KeyId::from_bits(3),
            &baton_domain::relay_key::new_secret(bits),
        );
        check(good.expose(), CheckStatus::Ok);
        check(&good.expose()[..40], CheckStatus::Fail);
        check(&format!("{} ", good.expose()), CheckStatus::Fail);
        check("sk-ant-api03-x", CheckStatus::Fail);
        assert_eq!(key_form(None).state, CheckStatus::Skipped);
    }

    #[test]
    fn shell_variables_are_checked() {
        let relay = Url::parse("https://a.example").ok();
        let check = |variables: &[(&str, &str)], expected: &[CheckStatus]| {
            let environment = ShellEnvironment::from(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            });
            let states: Vec<CheckStatus> =
                super::variables(&environment, relay.as_ref()).iter().map(|f| f.state).collect();
            assert_eq!(states, expected, "{variables:?}");
        };
        let base_url = ("ANTHROPIC_BASE_URL", "https://a.example/v1");
        check(&[], &[CheckStatus::Skipped]);
        check(&[base_url], &[CheckStatus::Ok]);
        check(&[("ANTHROPIC_BASE_URL", "https://b.example")], &[CheckStatus::Warn]);
        let both = [("ANTHROPIC_AUTH_TOKEN", "x"), ("ANTHROPIC_API_KEY", "y"), base_url];
        check(&both, &[CheckStatus::Warn]);
        check(
            &[("ANTHROPIC_AUTH_TOKEN", "x"), ("ANTHROPIC_API_KEY", "x"), base_url],
            &[CheckStatus::Ok],
        );
        check(&[base_url, ("https_proxy", "http://p:1")], &[CheckStatus::Ok, CheckStatus::Warn]);
    }
}
