//! Which Baton a command speaks to: flags before variables before the file. Pure.

use super::book::Book;
use crate::Fail;
use baton_cloud::settings::table;
use baton_domain::secret::Secret;

/// What one place says: the command line, or the environment.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) profile: Option<String>,
}

/// The Baton that is meant.
pub(crate) struct Aim {
    /// Its admin API.
    pub(crate) url: String,
    /// Its admin token; empty when nobody said one.
    pub(crate) token: Secret,
    /// Whether anybody said which one, or it is the default.
    pub(crate) is_chosen: bool,
}

/// Decides. Within one place an address or token that is said itself comes before the profile that
/// is named there. A profile's token goes to that profile's address and to no other.
///
/// # Errors
/// A profile that is named does not exist.
pub(crate) fn aim(flags: Said, variables: Said, book: &Book) -> Result<Aim, Fail> {
    let file = Said { profile: book.current.clone(), ..Said::default() };
    let (mut url, mut token) = (None::<String>, None::<Secret>);
    for said in [flags, variables, file] {
        let profile = match &said.profile {
            // Nobody may fail over a profile that is not needed.
            Some(name) if url.is_none() || token.is_none() => Some(book.find(name)?),
            _ => None,
        };
        url = url.or(said.url).or_else(|| profile.map(|profile| profile.url.clone()));
        let own = profile
            .filter(|profile| url.as_deref().is_some_and(|url| same_place(url, &profile.url)));
        token = token.or(said.token).or_else(|| own.and_then(|profile| profile.token.clone()));
    }
    let is_chosen = url.is_some() || token.is_some();
    Ok(Aim {
        url: url.unwrap_or_else(|| table::URL.default.to_owned()),
        token: token.unwrap_or_else(|| Secret::new(String::new())),
        is_chosen,
    })
}

fn same_place(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// An address that a command could use.
///
/// # Errors
/// It is none.
pub(crate) fn checked(url: &str) -> Result<reqwest::Url, Fail> {
    let parsed = reqwest::Url::parse(url).ok();
    let usable = |url: &reqwest::Url| url.has_host() && matches!(url.scheme(), "http" | "https");
    parsed.filter(usable).ok_or_else(|| {
        let example = table::URL.default;
        Fail::Usage(format!("`{url}` is no address; one looks like {example}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::book::Profile;
    use super::*;

    fn book(current: Option<&str>) -> Book {
        let profile = |url: &str, token: Option<&str>| Profile {
            url: url.into(),
            token: token.map(|token| Secret::new(token.into())),
        };
        let profiles = [
            ("a".to_owned(), profile("http://a/", Some("token-a"))),
            ("b".to_owned(), profile("http://b", Some("token-b"))),
            ("bare".to_owned(), profile("http://bare", None)),
        ];
        Book { current: current.map(str::to_owned), profiles: profiles.into() }
    }

    fn said(url: &str, token: &str, profile: &str) -> Said {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Said { url: given(url), token: given(token).map(Secret::new), profile: given(profile) }
    }

    #[test]
    fn flags_come_before_variables_before_the_file() {
        let check =
            |flags: Said, variables: Said, current: Option<&str>, expected: (&str, &str)| {
                let aim = aim(flags, variables, &book(current)).ok().unwrap();
                assert_eq!((aim.url.as_str(), aim.token.expose()), expected);
            };
        let none = Said::default;
        check(none(), none(), None, (table::URL.default, ""));
        check(none(), none(), Some("a"), ("http://a/", "token-a"));
        check(none(), said("", "", "b"), Some("a"), ("http://b", "token-b"));
        check(none(), said("http://x", "t", ""), Some("a"), ("http://x", "t"));
        check(said("", "", "a"), said("http://x", "t", "b"), None, ("http://a/", "token-a"));
        check(said("http://y", "", ""), said("http://x", "t", ""), None, ("http://y", "t"));
        check(said("", "u", ""), none(), Some("a"), ("http://a/", "u"));
        check(said("", "", "bare"), said("", "t", ""), None, ("http://bare", "t"));
    }

    #[test]
    fn a_profiles_token_goes_to_its_own_address_only() {
        let token = |flags: Said, variables: Said| {
            aim(flags, variables, &book(Some("a"))).ok().unwrap().token.expose().to_owned()
        };
        assert_eq!(token(said("http://elsewhere", "", ""), Said::default()), "");
        assert_eq!(token(said("http://elsewhere", "", "b"), Said::default()), "");
        assert_eq!(token(Said::default(), said("http://elsewhere", "", "")), "");
        assert_eq!(token(said("http://a", "", ""), Said::default()), "token-a");
    }

    #[test]
    fn a_profile_that_is_missing_is_wrong_usage() {
        let fail = aim(said("", "", "x"), Said::default(), &book(None)).err().unwrap();
        assert_eq!(fail.code(), 2);
        assert!(fail.to_string().contains("a, b, bare"), "{fail}");
    }

    #[test]
    fn what_is_no_address_is_wrong_usage() {
        for bad in ["", "127.0.0.1:8081", "ftp://a", "http://"] {
            assert_eq!(checked(bad).err().map(|fail| fail.code()), Some(2), "{bad}");
        }
        assert!(checked("https://a/office").is_ok());
    }
}
