//! A group with the accounts that its keys can use, as the relay holds it in memory.

use baton_domain::account::Account;
use baton_domain::account_selection::{AccountCandidates, HashedAccount};
use baton_domain::key::Group;
use baton_domain::secret::Secret;
use baton_domain::upstream_token::TokenStatus;
use std::sync::Arc;

/// A group with the accounts that its keys can use.
pub struct AccountPool {
    /// The group itself.
    pub group: Group,
    /// The accounts of the group, enabled or not, by id.
    pub members: Vec<PoolMember>,
    /// The same accounts, hashed for account selection.
    candidates: Vec<HashedAccount>,
    /// Indexes into `members` of the accounts whose credential is a token that expires.
    pub renewed: Vec<usize>,
}

impl AccountPool {
    pub(crate) fn new(group: Group, members: Vec<PoolMember>) -> Self {
        let candidates =
            members.iter().map(|member| HashedAccount::from_account(&member.account)).collect();
        let is_renewed = |index: &usize| members[*index].account.credential.is_renewed();
        let renewed = (0..members.len()).filter(is_renewed).collect();
        Self { group, members, candidates, renewed }
    }

    /// The accounts, as candidates for account selection.
    pub fn candidates(&self) -> AccountCandidates<'_, PoolMember> {
        AccountCandidates { accounts: &self.members, candidates: &self.candidates }
    }
}

/// An account with its decrypted credential.
pub struct PoolMember {
    /// The settings of the account.
    pub account: Account,
    /// The credential. For a short-lived token this is the access token that was received last, or
    /// an empty text if there is none.
    pub credential: Secret,
    /// The status of the token, if the credential is a token.
    pub token: Option<Arc<TokenState>>,
    /// The URL of the account's proxy, with its password.
    pub proxy: Option<Secret>,
}

impl AsRef<Account> for PoolMember {
    fn as_ref(&self) -> &Account {
        &self.account
    }
}

/// The status of a short-lived token.
pub struct TokenState {
    /// When the token expires and is due for renewal, and whether renewals have failed.
    pub token_status: TokenStatus,
    /// The version of the token.
    pub version: u64,
}
