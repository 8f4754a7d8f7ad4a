//! Variables of the console and of its identity provider.

use super::{HasPlaceholder, SettingsSource, table};
use baton_domain::identity::{AdminClaim, AllowedEmails, SignInPolicy};
use baton_domain::key::Role;
use baton_domain::secret::Secret;
use std::str::FromStr;

/// An OpenID provider, this deployment's client there, and the sign-in policy.
#[derive(Clone)]
pub struct OpenIdSettings {
    /// The provider's address, exactly as its tokens contain it.
    pub issuer: String,
    /// The client id at the provider.
    pub client_id: String,
    /// The client secret; a public client has none.
    pub client_secret: Option<Secret>,
    /// The rules for people whom the provider has authenticated.
    pub policy: SignInPolicy,
}

/// Reads the provider's variables. Without an issuer, OpenID sign-in is off.
pub(super) fn read(source: &mut SettingsSource<'_>) -> Option<OpenIdSettings> {
    let issuer = source.some_text(&table::OIDC_ISSUER)?;
    let client_id = source.text(&table::OIDC_CLIENT_ID);
    if client_id.is_empty() {
        let _unused: bool =
            source.add_complaint(&table::OIDC_CLIENT_ID, "must be set if BATON_OIDC_ISSUER is set");
    }
    let allowed: AllowedEmails = source.parse_or_default(&table::OIDC_ALLOWED);
    let creates_users = source.flag(&table::OIDC_CREATE_USERS);
    if creates_users && allowed.is_empty() {
        let what = "must be set if BATON_OIDC_CREATE_USERS is 1; `*` allows everybody at the \
             issuer";
        let _unused: bool = source.add_complaint(&table::OIDC_ALLOWED, what);
    }
    let admin_claim = source.some_text(&table::OIDC_ADMIN_CLAIM);
    let admin_claim = admin_claim.and_then(|text| match text.parse::<AdminClaim>() {
        Ok(claim) => Some(claim),
        Err(error) => {
            let _unused: bool = source.add_complaint(&table::OIDC_ADMIN_CLAIM, error);
            None
        }
    });
    let DefaultRole(default_role) = source.parse_or_default(&table::OIDC_DEFAULT_ROLE);
    let client_secret = source.secret(&table::OIDC_CLIENT_SECRET);
    let policy = SignInPolicy { allowed, admin_claim, default_role, creates_users };
    Some(OpenIdSettings { issuer, client_id, client_secret, policy })
}

/// The address of the console, like `https://admin.example.com`, without a path.
pub(super) fn console_origin(source: &mut SettingsSource<'_>) -> Option<String> {
    let text = source.some_text(&table::CONSOLE_ORIGIN)?;
    let origin = text.trim_end_matches('/').to_ascii_lowercase();
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', ' '])) {
        let what = "must be an origin such as https://admin.example.com";
        let _unused: bool = source.add_complaint(&table::CONSOLE_ORIGIN, what);
    }
    Some(origin)
}

/// A role as the environment names it.
struct DefaultRole(Role);

impl FromStr for DefaultRole {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "member" => Ok(Self(Role::Member)),
            "admin" => Ok(Self(Role::Admin)),
            _ => Err("must be `member` or `admin`"),
        }
    }
}

impl HasPlaceholder for DefaultRole {
    fn placeholder() -> Self {
        Self(Role::Member)
    }
}

impl HasPlaceholder for AllowedEmails {
    fn placeholder() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let found = |name: &str| {
            let name = name.strip_prefix("BATON_")?;
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::from_lookup(found).map_err(|bad| bad.to_string())
    }

    #[test]
    fn openid_provider_requires_client_and_allowed_addresses() {
        assert!(read(&[("OIDC_CLIENT_ID", "baton")]).is_ok_and(|it| it.openid.is_none()));
        let issuer = ("OIDC_ISSUER", "https://id.example");
        let client = ("OIDC_CLIENT_ID", "baton");
        assert!(read(&[issuer, client]).is_ok_and(|it| it.openid.is_some()));
        for (rest, complaint) in [
            (vec![], "OIDC_CLIENT_ID"),
            (vec![client, ("OIDC_CREATE_USERS", "1")], "OIDC_ALLOWED"),
            (vec![client, ("OIDC_ALLOWED", "@x")], "OIDC_ALLOWED"),
            (vec![client, ("OIDC_ADMIN_CLAIM", "groups")], "OIDC_ADMIN_CLAIM"),
            (vec![client, ("OIDC_DEFAULT_ROLE", "root")], "OIDC_DEFAULT_ROLE"),
            (vec![client, ("CONSOLE_ORIGIN", "admin.example.com")], "CONSOLE_ORIGIN"),
            (vec![client, ("CONSOLE_ORIGIN", "https://a/console")], "CONSOLE_ORIGIN"),
        ] {
            let bad = read(&[vec![issuer], rest].concat()).err().unwrap_or_default();
            assert!(bad.contains(&format!("BATON_{complaint} ")), "{complaint}: {bad}");
        }
    }
}
