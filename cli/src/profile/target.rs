//! Selects the deployment that a command uses: flags come first, then variables, then the file.
//! Pure.

use super::profile_file::ProfileFile;
use crate::CliError;
use baton_domain::secret::Secret;
use baton_runtime::settings::command_line::BATON_URL;

/// The address, token and profile that one place gives: the command line or the environment.
#[derive(Default)]
pub(crate) struct TargetSource {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) profile: Option<String>,
}

/// The deployment that a command uses.
pub(crate) struct AdminTarget {
    /// The address of its admin API.
    pub(crate) url: String,
    /// Its admin token; empty if none was given.
    pub(crate) token: Secret,
    /// Whether the deployment was chosen, or is the default.
    pub(crate) is_chosen: bool,
}

/// Decides the deployment. Within one place, an explicit address or token comes before the profile
/// that is named there. A profile's token is sent only to that profile's address.
///
/// # Errors
/// A named profile does not exist.
pub(crate) fn resolve_target(
    source: TargetSource,
    variables: TargetSource,
    profiles: &ProfileFile,
) -> Result<AdminTarget, CliError> {
    let file = TargetSource { profile: profiles.current.clone(), ..TargetSource::default() };
    let (mut url, mut token) = (None::<String>, None::<Secret>);
    for message in [source, variables, file] {
        let profile = match &message.profile {
            // A missing profile is not an error if nothing from it is needed.
            Some(name) if url.is_none() || token.is_none() => Some(profiles.find(name)?),
            _ => None,
        };
        url = url.or(message.url).or_else(|| profile.map(|profile| profile.url.clone()));
        let own_profile = profile
            .filter(|profile| url.as_deref().is_some_and(|url| is_same_address(url, &profile.url)));
        token = token
            .or(message.token)
            .or_else(|| own_profile.and_then(|profile| profile.token.clone()));
    }
    let is_chosen = url.is_some() || token.is_some();
    Ok(AdminTarget {
        url: url.unwrap_or_else(|| BATON_URL.default.to_owned()),
        token: token.unwrap_or_else(|| Secret::new(String::new())),
        is_chosen,
    })
}

fn is_same_address(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Checks that a command can use the address.
///
/// # Errors
/// It is not a usable URL.
pub(crate) fn check_address(url: &str) -> Result<reqwest::Url, CliError> {
    let parsed = reqwest::Url::parse(url).ok();
    let usable = |url: &reqwest::Url| url.has_host() && matches!(url.scheme(), "http" | "https");
    parsed.filter(usable).ok_or_else(|| {
        let example = BATON_URL.default;
        CliError::Usage(format!("`{url}` is not a URL; use one such as {example}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::profile_file::Profile;
    use super::*;

    fn profile_file(current: Option<&str>) -> ProfileFile {
        let profile = |url: &str, token: Option<&str>| Profile {
            url: url.into(),
            token: token.map(|token| Secret::new(token.into())),
        };
        let profiles = [
            ("a".to_owned(), profile("http://a/", Some("token-a"))),
            ("b".to_owned(), profile("http://b", Some("token-b"))),
            ("bare".to_owned(), profile("http://bare", None)),
        ];
        ProfileFile { current: current.map(str::to_owned), profiles: profiles.into() }
    }

    fn target_source(url: &str, token: &str, profile: &str) -> TargetSource {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        TargetSource {
            url: given(url),
            token: given(token).map(Secret::new),
            profile: given(profile),
        }
    }

    #[test]
    fn flags_override_variables_which_override_profiles() {
        let check = |source: TargetSource,
                     variables: TargetSource,
                     current: Option<&str>,
                     expected: (&str, &str)| {
            let target = resolve_target(source, variables, &profile_file(current)).ok().unwrap();
            assert_eq!((target.url.as_str(), target.token.expose()), expected);
        };
        let none = TargetSource::default;
        check(none(), none(), None, (BATON_URL.default, ""));
        check(none(), none(), Some("a"), ("http://a/", "token-a"));
        check(none(), target_source("", "", "b"), Some("a"), ("http://b", "token-b"));
        check(none(), target_source("http://x", "t", ""), Some("a"), ("http://x", "t"));
        check(
            target_source("", "", "a"),
            target_source("http://x", "t", "b"),
            None,
            ("http://a/", "token-a"),
        );
        check(
            target_source("http://y", "", ""),
            target_source("http://x", "t", ""),
            None,
            ("http://y", "t"),
        );
        check(target_source("", "u", ""), none(), Some("a"), ("http://a/", "u"));
        check(
            target_source("", "", "bare"),
            target_source("", "t", ""),
            None,
            ("http://bare", "t"),
        );
    }

    #[test]
    fn token_of_a_profile_is_sent_only_to_its_address() {
        let token = |source: TargetSource, variables: TargetSource| {
            resolve_target(source, variables, &profile_file(Some("a")))
                .ok()
                .unwrap()
                .token
                .expose()
                .to_owned()
        };
        assert_eq!(token(target_source("http://elsewhere", "", ""), TargetSource::default()), "");
        assert_eq!(token(target_source("http://elsewhere", "", "b"), TargetSource::default()), "");
        assert_eq!(token(TargetSource::default(), target_source("http://elsewhere", "", "")), "");
        assert_eq!(token(target_source("http://a", "", ""), TargetSource::default()), "token-a");
    }

    #[test]
    fn missing_profile_is_a_usage_error() {
        let error = resolve_target(
            target_source("", "", "x"),
            TargetSource::default(),
            &profile_file(None),
        )
        .err()
        .unwrap();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("a, b, bare"), "{error}");
    }

    #[test]
    fn invalid_address_is_a_usage_error() {
        for bad in ["", "127.0.0.1:8081", "ftp://a", "http://"] {
            assert_eq!(check_address(bad).err().map(|fail| fail.code()), Some(2), "{bad}");
        }
        assert!(check_address("https://a/office").is_ok());
    }
}
