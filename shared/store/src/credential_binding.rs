//! The binding of stored credentials to the provider, the upstream's address and the proxy. A
//! credential that was given for one destination is not sent to another, even if somebody changes
//! the account's item.

use crate::tokens::AccountToken;
use baton_domain::account::Account;
use baton_domain::url_origin::origin;

/// The binding of the account's static credential.
pub fn credential_binding(account: &Account) -> String {
    let Account { provider, base_url, proxy_url, .. } = account;
    let proxy = proxy_url.as_deref().map(origin).unwrap_or_default();
    format!("{} {} by way of {proxy}", provider.as_str(), origin(base_url))
}

/// The binding of the account's token, which also includes the endpoint that renews it.
pub fn token_binding(account: &Account, token_url: &str) -> String {
    format!("{} from {}", credential_binding(account), origin(token_url))
}

impl AccountToken {
    /// Whether the token can be used and renewed for this account. Tokens stored by Baton 0.1.0
    /// have no binding until their next renewal.
    pub(crate) fn is_for(&self, account: &Account) -> bool {
        let now = token_binding(account, &self.exchange.token_url);
        self.secrets.bound_to.as_ref().is_none_or(|bound| *bound == now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::account::{CredentialKind, Provider};
    use baton_domain::id::AccountId;

    fn account(provider: Provider, base_url: &str, proxy_url: Option<&str>) -> Account {
        let id = AccountId::from_bits(1);
        Account {
            proxy_url: proxy_url.map(str::to_owned),
            ..Account::new(id, provider, base_url, CredentialKind::ApiKey)
        }
    }

    #[test]
    fn another_place_is_another_binding() {
        let of = |base, proxy| credential_binding(&account(Provider::Anthropic, base, proxy));
        let first = of("https://api.example.com", None);
        for same in [
            "https://api.example.com/",
            "https://API.example.com:443/v1",
            "https://api.example.com/other/path",
        ] {
            assert_eq!(of(same, None), first, "{same}");
        }
        for other in [
            "http://api.example.com",
            "https://api.example.com:8443",
            "https://api.example.com.evil.example",
            "https://evil.example/api.example.com",
            "https://example.com",
            "no address",
        ] {
            assert_ne!(of(other, None), first, "{other}");
        }
        let other = account(Provider::OpenaiCompatible, "https://api.example.com", None);
        assert_ne!(credential_binding(&other), first);
        let through = |proxy| of("https://api.example.com", Some(proxy));
        assert_ne!(through("http://proxy.example:3128"), first);
        assert_ne!(through("http://proxy.example:3128"), through("socks5://proxy.example:3128"));
        assert_ne!(through("http://proxy.example:3128"), through("http://proxy.example:3129"));
        assert_eq!(
            through("http://a:***@proxy.example:3128"),
            through("http://b@proxy.example:3128")
        );
    }
}
