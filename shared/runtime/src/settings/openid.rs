//! The OpenID provider at which people sign in to the console.

use super::section::{SettingsSource, section};
use baton_domain::identity::{AdminClaim, AllowedEmails, SignInPolicy};
use baton_domain::key::Role;
use baton_domain::secret::Secret;

section! {
    /// An OpenID provider, this deployment's client there, and who can sign in.
    #[derive(Clone)]
    OpenIdSettings("Sign-in by OpenID") {
        /// People sign in to the console at this OpenID provider; write the URL exactly as the
        /// provider does.
        issuer: String = BATON_OIDC_ISSUER("URL")
            .unless_set("no sign-in by OpenID")
            .set_by_template();
        /// The provider knows the console under this client id; it is required if there is an
        /// issuer.
        client_id: String = BATON_OIDC_CLIENT_ID("text").set_by_template();
        /// The console proves its client id with this secret.
        client_secret: Option<Secret> = BATON_OIDC_CLIENT_SECRET("text")
            .unless_set("a public client");
        /// Baton reads the OpenID client secret from this secret and ignores
        /// `BATON_OIDC_CLIENT_SECRET`.
        client_secret_arn: Option<String> =
            BATON_OIDC_CLIENT_SECRET_ARN("ARN or name in AWS Secrets Manager").set_by_template();
        /// These people can sign in; `*` is everybody at the issuer.
        allowed: AllowedEmails =
            BATON_OIDC_ALLOWED(
                "e-mail addresses and domains, such as `example.com, ada@example.org`, or `*`"
            )
                .unless_set("every user that exists")
                .set_by_template();
        /// A person in `BATON_OIDC_ALLOWED` becomes a user at the first sign-in.
        creates_users: bool = BATON_OIDC_CREATE_USERS("`1` or `0`").or("0").set_by_template();
        /// A person with this claim is an administrator; all others get the default role at each
        /// sign-in.
        admin_claim: Option<AdminClaim> =
            BATON_OIDC_ADMIN_CLAIM("claim and value, such as `groups=baton-admins`")
                .unless_set("roles stay as they were set")
                .set_by_template();
        /// A new user gets this role, and so does a person without the admin claim.
        default_role: Role = BATON_OIDC_DEFAULT_ROLE("`member` or `admin`")
            .or("member")
            .set_by_template();
    }
}

impl OpenIdSettings {
    /// Reads the provider's settings. Without an issuer there is no provider, and the others are
    /// not read.
    pub(super) fn from_issuer(source: &mut SettingsSource<'_>) -> Option<Self> {
        (source.lookup)(BATON_OIDC_ISSUER.name).filter(|issuer| !issuer.is_empty())?;
        let settings = Self::from_source(source)?;
        if settings.client_id.is_empty() {
            let what = "must be set if BATON_OIDC_ISSUER is set";
            source.add_complaint(&BATON_OIDC_CLIENT_ID, what);
        }
        if settings.creates_users && settings.allowed.is_empty() {
            let what = "must be set if BATON_OIDC_CREATE_USERS is 1; `*` allows everybody at the \
                 issuer";
            source.add_complaint(&BATON_OIDC_ALLOWED, what);
        }
        Some(settings)
    }

    /// The rules for people whom the provider has authenticated.
    pub fn policy(&self) -> SignInPolicy {
        SignInPolicy {
            allowed: self.allowed.clone(),
            admin_claim: self.admin_claim.clone(),
            default_role: self.default_role,
            creates_users: self.creates_users,
        }
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
