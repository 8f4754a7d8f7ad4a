//! Checks of an id token's claims (OpenID Connect Core 1.0, §3.1.3.7, except for the signature),
//! and the decision who can sign in with which role.

use crate::key::Role;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::str::FromStr;

/// How much the provider's clock can differ from this machine's, in seconds.
const LEEWAY_SECONDS: i64 = 60;
/// The longest email address (RFC 5321, 4.5.3.1.3, without the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// The claims of an id token whose signature has been verified.
#[derive(Debug, Clone, PartialEq)]
pub struct IdTokenClaims(pub Map<String, Value>);

/// The expected values of the claims.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedClaims<'a> {
    /// The issuer, compared character by character.
    pub issuer: &'a str,
    /// Baton's client id, which the token must be issued for.
    pub client_id: &'a str,
    /// The nonce of this sign-in, which the provider must repeat.
    pub nonce: &'a str,
}

/// Why an id token is rejected. This is for the log; clients get fewer details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Another issuer.
    #[error("`iss` is not the configured issuer")]
    Issuer,
    /// Another audience.
    #[error("`aud` or `azp` is not the configured client")]
    Audience,
    /// The nonce of another sign-in.
    #[error("`nonce` is not the one of this sign-in")]
    Nonce,
    /// Expired, not yet valid, or without times.
    #[error("`exp`, `iat` or `nbf` is missing or does not agree with this machine's clock")]
    Time,
    /// No subject.
    #[error("`sub` is missing")]
    Subject,
}

impl IdTokenClaims {
    /// Checks the claims against the expected values at `now`.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(&self, expected: &ExpectedClaims<'_>, now: Timestamp) -> Result<(), ClaimError> {
        if self.text("iss") != Some(expected.issuer) {
            return Err(ClaimError::Issuer);
        }
        let client = Some(expected.client_id);
        let is_audience = match self.0.get("aud") {
            Some(Value::Array(all)) => {
                // A token for several audiences must have been requested by this client.
                let is_authorized_party = all.len() == 1 || self.text("azp") == client;
                is_authorized_party && all.iter().any(|one| one.as_str() == client)
            }
            one => one.and_then(Value::as_str) == client,
        };
        if !is_audience || self.text("azp").is_some_and(|azp| Some(azp) != client) {
            return Err(ClaimError::Audience);
        }
        if self.text("nonce") != Some(expected.nonce) {
            return Err(ClaimError::Nonce);
        }
        let now = now.as_second();
        let is_past = |timestamp: i64| timestamp <= now + LEEWAY_SECONDS;
        let is_over = self.second("exp").is_none_or(|timestamp| timestamp <= now - LEEWAY_SECONDS);
        let nbf = !self.0.contains_key("nbf") || self.second("nbf").is_some_and(is_past);
        if is_over || !nbf || !self.second("iat").is_some_and(is_past) {
            return Err(ClaimError::Time);
        }
        if self.text("sub").is_none_or(str::is_empty) { Err(ClaimError::Subject) } else { Ok(()) }
    }

    /// The email address that the provider has verified, in lower case. Some providers write the
    /// boolean as text. An address with letters beyond ASCII is rejected: some of them look like
    /// other letters or become others in lower case (U+212A is `k`).
    pub fn verified_email(&self) -> Option<String> {
        let verified = self.0.get("email_verified")?;
        let is_verified = *verified == Value::Bool(true) || verified.as_str() == Some("true");
        let email = self.text("email").filter(|_| is_verified)?;
        let is_invalid_char = |c: char| !c.is_ascii_graphic();
        let (local, domain) = email.rsplit_once('@')?;
        let is_whole = !local.is_empty() && !domain.is_empty();
        let fits = is_whole && email.len() <= EMAIL_BYTES_MAX && !email.contains(is_invalid_char);
        fits.then(|| email.to_ascii_lowercase())
    }

    /// The person's name, if the claims contain one.
    pub fn name(&self) -> Option<&str> {
        self.text("name").map(str::trim).filter(|name| !name.is_empty())
    }

    /// The value of a text claim.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A time in seconds; RFC 7519 permits fractions.
    fn second(&self, name: &str) -> Option<i64> {
        let text = self.0.get(name)?.as_number()?.to_string();
        let integer_part =
            text.split_once('.').map_or(text.as_str(), |(integer_part, _)| integer_part);
        integer_part.parse::<i64>().ok().filter(|timestamp| (0..1 << 40).contains(timestamp))
    }
}

/// The email addresses and domains that can sign in to the console through the provider. `*` means
/// everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedEmails(Vec<String>);

impl AllowedEmails {
    /// Whether nobody can sign in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address (in lower case) can sign in. A domain does not include its subdomains.
    pub fn admits_email(&self, email: &str) -> bool {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.0.iter().any(|one| one == "*" || one == email || one == domain)
    }
}

impl FromStr for AllowedEmails {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let each = text.split(',').map(|one| one.trim().to_ascii_lowercase());
        let all: Vec<String> = each.filter(|one| !one.is_empty()).collect();
        let is_invalid_part = |one: &String| {
            let is_plain = one.chars().all(|c| c.is_ascii_graphic());
            !is_plain || one.starts_with('@') || one.ends_with('@')
        };
        if all.iter().any(is_invalid_part) {
            return Err("expected addresses and domains, such as example.com, ada@example.org");
        }
        Ok(Self(all))
    }
}

/// A claim that makes a user an administrator: `groups=baton-admins`, where the claim is that text,
/// a list that contains it, or (`=true`) that boolean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminClaim {
    name: String,
    value: String,
}

impl AdminClaim {
    /// Whether the claims contain it. Claim names can contain dots, and a colon if they are URLs.
    pub(crate) fn is_in(&self, claims: &IdTokenClaims) -> bool {
        let is_it = |value: &Value| match value {
            Value::String(text) => *text == self.value,
            Value::Bool(claim_value) => claim_value.to_string() == self.value,
            _ => false,
        };
        match claims.0.get(&self.name) {
            Some(Value::Array(all)) => all.iter().any(is_it),
            Some(one) => is_it(one),
            None => false,
        }
    }
}

impl FromStr for AdminClaim {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("must be a claim and its value, such as groups=baton-admins"),
        }
    }
}

/// The rules for people whom the provider has authenticated.
#[derive(Debug, Clone)]
pub struct SignInPolicy {
    /// The people who can sign in.
    pub allowed: AllowedEmails,
    /// The claim that makes administrators. If it is set, it decides the role at each sign-in.
    pub admin_claim: Option<AdminClaim>,
    /// The role of all others.
    pub default_role: Role,
    /// Whether a new person becomes a user at the first sign-in.
    pub creates_users: bool,
}

impl SignInPolicy {
    /// The role of a person with these claims; `now` is the current role if the person is a user
    /// already.
    pub fn role(&self, claims: &IdTokenClaims, now: Option<Role>) -> Role {
        match &self.admin_claim {
            Some(claim) if claim.is_in(claims) => Role::Admin,
            Some(_) => self.default_role,
            None => now.unwrap_or(self.default_role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn claims(change: &Value) -> IdTokenClaims {
        let mut all = json!({
            "iss": "https://id.example", "aud": "baton", "nonce": "n", "sub": "1",
            "exp": NOW + 300, "iat": NOW,
        });
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                all.as_object_mut().unwrap().remove(name);
            } else {
                all[name] = value.clone();
            }
        }
        IdTokenClaims(all.as_object().unwrap().clone())
    }

    #[test]
    fn invalid_claims_are_refused() {
        let check = |change: Value, expect: Result<(), ClaimError>| {
            let expected =
                ExpectedClaims { issuer: "https://id.example", client_id: "baton", nonce: "n" };
            let now = Timestamp::from_second(NOW).unwrap();
            assert_eq!(claims(&change).check(&expected, now), expect, "{change}");
        };
        check(json!({}), Ok(()));
        check(json!({"aud": ["baton"]}), Ok(()));
        check(json!({"aud": ["baton", "other"], "azp": "baton"}), Ok(()));
        check(json!({"exp": NOW - 59, "iat": NOW + 60, "nbf": NOW + 60}), Ok(()));
        check(json!({"exp": 1_800_000_300.5}), Ok(()));
        for iss in [json!("https://id.example/"), json!(null), json!(["https://id.example"])] {
            check(json!({"iss": iss}), Err(ClaimError::Issuer));
        }
        for aud in [json!("other"), json!(null), json!([]), json!(["baton", "other"]), json!(1)] {
            check(json!({"aud": aud}), Err(ClaimError::Audience));
        }
        check(json!({"azp": "other"}), Err(ClaimError::Audience));
        check(json!({"nonce": "m"}), Err(ClaimError::Nonce));
        check(json!({"nonce": null}), Err(ClaimError::Nonce));
        for time in [
            json!({"exp": NOW - 60}),
            json!({"exp": null}),
            json!({"exp": "never"}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({"iat": null}),
            json!({"iat": NOW + 61}),
            json!({"nbf": NOW + 61}),
            json!({"nbf": "soon"}),
        ] {
            check(time, Err(ClaimError::Time));
        }
        check(json!({"sub": ""}), Err(ClaimError::Subject));
        check(json!({"sub": null}), Err(ClaimError::Subject));
    }

    #[test]
    fn only_verified_email_counts() {
        let email = |change: Value| claims(&change).verified_email();
        let ada = Some("ada@example.com".to_owned());
        assert_eq!(email(json!({"email": "Ada@Example.com", "email_verified": true})), ada);
        assert_eq!(email(json!({"email": "ada@example.com", "email_verified": "true"})), ada);
        for odd in [
            json!({"email": "ada@example.com"}),
            json!({"email": "ada@example.com", "email_verified": false}),
            json!({"email": "ada@example.com", "email_verified": 1}),
            json!({"email_verified": true}),
            json!({"email": "ada", "email_verified": true}),
            json!({"email": "a da@example.com", "email_verified": true}),
            json!({"email": "jac\u{212a}@example.com", "email_verified": true}),
            json!({"email": "ad\u{430}@example.com", "email_verified": true}),
            json!({"email": "ada@ex\u{e4}mple.com", "email_verified": true}),
            json!({"email": "ada\u{200b}@example.com", "email_verified": true}),
            json!({"email": "\u{ff41}da@example.com", "email_verified": true}),
            json!({"email": "ada@example.com\u{0}", "email_verified": true}),
            json!({"email": "\u{130}da@example.com", "email_verified": true}),
        ] {
            assert_eq!(email(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn allowed_domain_admits_only_its_addresses() {
        let allowed: AllowedEmails = "Example.com, bob@other.org".parse().unwrap();
        for email in ["ada@example.com", "bob@other.org"] {
            assert!(allowed.admits_email(email), "{email}");
        }
        for email in ["ada@sub.example.com", "ada@badexample.com", "eve@other.org"] {
            assert!(!allowed.admits_email(email), "{email}");
        }
        assert!(!AllowedEmails::default().admits_email("ada@example.com"));
        assert!("*".parse::<AllowedEmails>().unwrap().admits_email("ada@example.com"));
        assert!("@example.com".parse::<AllowedEmails>().is_err());
    }

    #[test]
    fn configured_claim_decides_the_role() {
        let policy = |claim: Option<&str>| SignInPolicy {
            allowed: AllowedEmails::default(),
            admin_claim: claim.map(|claim| claim.parse().unwrap()),
            default_role: Role::Member,
            creates_users: false,
        };
        let admin = claims(&json!({"groups": ["x", "admins"], "is_admin": true, "role": "admins"}));
        for claim in ["groups=admins", "is_admin=true", "role=admins"] {
            assert_eq!(policy(Some(claim)).role(&admin, None), Role::Admin, "{claim}");
            let other = claims(&json!({"groups": ["adm", "admins2"], "is_admin": "no"}));
            assert_eq!(policy(Some(claim)).role(&other, Some(Role::Admin)), Role::Member);
        }
        assert_eq!(policy(None).role(&admin, None), Role::Member);
        assert_eq!(policy(None).role(&admin, Some(Role::Admin)), Role::Admin);
        for odd in ["groups", "=admins", "groups="] {
            assert!(odd.parse::<AdminClaim>().is_err(), "{odd}");
        }
    }
}
