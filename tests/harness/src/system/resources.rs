//! Resources of tests: an account for the admin API, and resources as they are stored, for tests that
//! write them without the admin API.

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::id::{AccountId, GroupId, KeyId, UserId};
use baton_domain::key::{Group, Key, Limits, ReservationEstimate, Role, User};
use serde_json::{Value, json};

/// The body of a new account with a static key, for the admin API.
pub fn account_body(name: &str, base_url: &str) -> Value {
    json!({
        "name": name, "provider": "anthropic", "base_url": base_url,
        "credential": {"type": "api_key", "value": format!("sk-upstream-{name}")},
    })
}

/// An enabled group without limits.
pub fn stored_group(id: GroupId) -> Group {
    Group {
        id,
        name: "some".to_owned(),
        description: String::new(),
        enabled: true,
        limits: Limits::default(),
        model_aliases: Vec::new(),
    }
}

/// An enabled member without limits.
pub fn stored_user(id: UserId) -> User {
    User {
        id,
        name: "somebody".to_owned(),
        email: None,
        role: Role::Member,
        enabled: true,
        limits: Limits::default(),
        session_round: 0,
        identity: None,
    }
}

/// An enabled Anthropic account with a static key, in this group.
pub fn stored_account(id: AccountId, base_url: &str, group: GroupId) -> Account {
    Account {
        name: "one".to_owned(),
        groups: vec![group],
        priority: 0,
        weight: 1,
        ..Account::new(id, Provider::Anthropic, base_url, CredentialKind::ApiKey)
    }
}

/// An enabled key of this group without an owner, for all models.
pub fn stored_key(id: KeyId, group_id: GroupId, limits: Limits) -> Key {
    Key {
        id,
        name: "ci".to_owned(),
        user_id: None,
        group_id,
        models: Vec::new(),
        expires_at: None,
        enabled: true,
        limits,
        estimate: ReservationEstimate::Most,
    }
}
