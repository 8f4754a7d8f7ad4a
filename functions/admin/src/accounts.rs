//! `/accounts`: addresses of upstreams with their credentials. Credentials can be written but are
//! never returned.

use crate::AdminState;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, NoContent};
use crate::credentials::CredentialInput;
use crate::health::HealthView;
use crate::query::{contains_ignoring_case, model_pairs, name};
use crate::resource::{NewResource, Resource, meta};
use baton_api::accounts::{AccountChange, AccountFilter, AccountResource, AccountStatus};
use baton_api::credentials::NewCredential;
use baton_api::error::CREDENTIAL_AGAIN;
use baton_api::fields::{FieldChange, ModelMap};
use baton_api::new::New;
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::id::AccountId;
use baton_domain::upstream_token::TokenStatus;
use baton_domain::url_origin::origin;
use baton_providers::rules;
use baton_runtime::upstream::{ProxyUrl, check_base_url};
use baton_store::{AccountToken, ConfigEdit, StoreError, StoredEntity, credential_binding};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An account's item is copied into each of its groups in one transaction, which DynamoDB limits to
/// 100 actions.
const GROUPS_MAX: usize = 40;

/// Why an account that has not got its first token is not tested or used yet.
const NO_TOKEN_REASON: &str = "no token yet; Baton requests one";

/// What a change of an account does besides the stored account.
pub(crate) struct AccountEdit {
    /// The new token, if the new credential has one.
    token: Option<AccountToken>,
    /// Whether there is a new credential.
    has_credential: bool,
    /// Whether the credential, the address or the proxy was given, so that the stored health
    /// belongs to another upstream.
    is_another_upstream: bool,
}

impl AccountEdit {
    /// A new credential, with its token if it has one.
    pub(crate) fn with_token(token: Option<AccountToken>) -> Self {
        Self { token, has_credential: true, is_another_upstream: true }
    }
}

impl Resource for Account {
    type Shown = AccountResource;
    type Change = AccountChange;
    type Filter = AccountFilter;
    type Extra = AccountEdit;
    type ShownOnce = ();

    /// The account with the health that this process has cached.
    fn to_resource(state: &AdminState, stored: &StoredEntity<Self>) -> AccountResource {
        state.account_resource(stored, None, None)
    }

    /// The accounts with their health read from the store.
    async fn load_resources(
        state: &AdminState,
        stored: &[StoredEntity<Self>],
    ) -> ApiResult<Vec<AccountResource>> {
        let ids: Vec<AccountId> = stored.iter().map(|one| one.value.id.clone()).collect();
        state.store.health.read_health(&ids).await?;
        let used = state.store.usage.last_used(&ids).await?;
        let tokens = state.accounts_with_token(stored).await?;
        let view = |one: &StoredEntity<Self>| {
            let id = &one.value.id;
            state.account_resource(one, used.get(id).copied(), Some(&tokens))
        };
        Ok(stored.iter().map(view).collect())
    }

    fn matches(&self, filter: &AccountFilter) -> bool {
        filter.group_id.as_ref().is_none_or(|group| self.groups.contains(group))
            && filter.enabled.is_none_or(|enabled| self.enabled == enabled)
            && contains_ignoring_case(&self.name, &filter.q.to_lowercase())
    }

    async fn build_new(
        state: &AdminState,
        mut change: AccountChange,
    ) -> ApiResult<NewResource<Self>> {
        let credential = change.credential.take().map(CredentialInput::Submitted);
        state.new_account(change, credential).await
    }

    async fn apply(
        state: &AdminState,
        stored: &mut StoredEntity<Self>,
        mut change: AccountChange,
    ) -> ApiResult<AccountEdit> {
        let credential = change.credential.take().map(CredentialInput::Submitted);
        state.apply_account_change(stored, change, credential).await
    }

    async fn save(
        state: &AdminState,
        edit: &mut ConfigEdit,
        before: Option<&StoredEntity<Self>>,
        after: &StoredEntity<Self>,
        extra: &AccountEdit,
    ) -> ApiResult<()> {
        if let Some(before) = before
            && !extra.has_credential
        {
            check_same_upstream(&before.value, &after.value)?;
        }
        let groups = before.map(|before| before.value.groups.as_slice()).unwrap_or_default();
        state.store.editor.save_account(edit, after, groups)?;
        match &extra.token {
            Some(token) => state.store.editor.add_token(edit, token).await?,
            None if after.value.credential.is_renewed() => {}
            None => state.store.editor.remove_token(edit, &after.value.id),
        }
        Ok(())
    }

    fn audit_fields(
        mut fields: Value,
        before: &StoredEntity<Self>,
        after: &StoredEntity<Self>,
        extra: &AccountEdit,
    ) -> Value {
        fields["credential_changed"] = json!(extra.has_credential);
        fields["proxy_changed"] = json!(after.value.proxy_sealed != before.value.proxy_sealed);
        fields
    }

    async fn after_change(
        state: &AdminState,
        stored: &StoredEntity<Self>,
        extra: &AccountEdit,
    ) -> ApiResult<()> {
        if extra.is_another_upstream {
            state.reset_replaced_health(&stored.value.id).await?;
        }
        Ok(())
    }

    fn remove(state: &AdminState, edit: &mut ConfigEdit, stored: &StoredEntity<Self>) {
        state.store.editor.remove_account(edit, stored);
        state.store.editor.remove_token(edit, &stored.value.id);
    }

    async fn after_removal(&self, state: &AdminState) -> ApiResult<()> {
        Ok(state.store.cleanup.remove_health(&self.id).await?)
    }
}

impl AdminState {
    /// Of accounts whose credential is a token that Baton renews, the ones that have one. Other
    /// accounts cost no call to the store.
    pub(crate) async fn accounts_with_token(
        &self,
        stored: &[StoredEntity<Account>],
    ) -> ApiResult<BTreeSet<AccountId>> {
        let mut renewed = stored.iter().filter(|one| one.value.credential.is_renewed());
        let Some(first) = renewed.next() else { return Ok(BTreeSet::new()) };
        if renewed.next().is_none() {
            // A read of one token is current, and the list can be a moment old.
            let id = &first.value.id;
            let status = match self.store.tokens.read(id).await {
                // A token that cannot be decrypted is as good as none.
                Err(StoreError::Sealed(_)) => None,
                token => token?.map(|token| token.token_status),
            };
            return Ok(status.filter(has_token).map(|_| id.clone()).into_iter().collect());
        }
        let all = self.store.tokens.list().await?.into_iter();
        Ok(all.filter(|one| has_token(&one.token_status)).map(|one| one.account).collect())
    }

    /// The account in an answer. Without `tokens`, nothing is known about its token.
    pub(crate) fn account_resource(
        &self,
        stored: &StoredEntity<Account>,
        last_used_at: Option<Timestamp>,
        tokens: Option<&BTreeSet<AccountId>>,
    ) -> AccountResource {
        let account = stored.value.clone();
        let health = self.store.health.get(&account.id);
        let mut shown = HealthView::new(&account, &health, self.store.clock().now());
        let tokens = tokens.filter(|_| account.credential.is_renewed());
        let has_token = tokens.map(|tokens| tokens.contains(&account.id));
        if shown.status == AccountStatus::Ready && has_token == Some(false) {
            shown.reason.get_or_insert_with(|| NO_TOKEN_REASON.to_owned());
        }
        AccountResource {
            id: account.id,
            name: account.name,
            provider: account.provider,
            base_url: account.base_url,
            groups: account.groups,
            priority: account.priority,
            weight: account.weight,
            models: account.models,
            model_map: ModelMap::from(account.model_map.as_slice()),
            cache_domain: account.cache_domain,
            max_concurrency: account.max_concurrency,
            proxy_url: account.proxy_url,
            speaks_responses: account.speaks_responses,
            enabled: account.enabled,
            credential_type: account.credential,
            has_token,
            status: shown.status,
            status_reason: shown.reason,
            cooling_until: shown.until,
            cooling_models: shown.models,
            utilization: health.utilization,
            utilisation: health.utilization,
            last_used_at,
            meta: meta(stored),
        }
    }

    /// Creates an account for Baton itself.
    pub(crate) async fn create_first_account(
        &self,
        New(change): New<AccountChange>,
    ) -> ApiResult<()> {
        let NewResource { stored, extra, shown_once: () } =
            Account::build_new(self, change).await?;
        let edit = self.edit_for_new(&stored, &extra).await?;
        let note = AuditNote::created(&stored.value.id, &Account::to_resource(self, &stored));
        let request = AdminRequest::from_baton();
        self.commit_change(&request, edit, note, NoContent::new(&())?).await.map(drop)
    }

    /// Builds a new account with this credential.
    pub(crate) async fn new_account(
        &self,
        change: AccountChange,
        credential: Option<CredentialInput>,
    ) -> ApiResult<NewResource<Account>> {
        check_named(&change)?;
        if credential.is_none() {
            return Err(ApiError::bad(
                "`credential` is missing; for an API key send {\"type\":\"api_key\",\"value\":\"…\"}",
            ));
        }
        // Boxed, because the future holds all fields more than once.
        Box::pin(self.build_account(change, credential, CredentialKind::ApiKey)).await
    }

    /// Checks the fields of an account that will get its credential by a sign-in.
    pub(crate) async fn check_account(&self, change: AccountChange) -> ApiResult<()> {
        if change.credential.is_some() {
            return Err(ApiError::bad(
                "`account` has a `credential`; leave it out, because the sign-in provides it",
            ));
        }
        check_named(&change)?;
        self.build_account(change, None, CredentialKind::Oauth2).await.map(drop)
    }

    /// Builds a new account. `kind` is the kind of its credential if none is given.
    async fn build_account(
        &self,
        change: AccountChange,
        credential: Option<CredentialInput>,
        kind: CredentialKind,
    ) -> ApiResult<NewResource<Account>> {
        let has_own_address =
            matches!(credential, Some(CredentialInput::Submitted(NewCredential::Aws(_))));
        let provider = change.provider.unwrap_or(Provider::Anthropic);
        let provider_rules = rules(provider);
        if change.base_url.is_none()
            && provider_rules.default_base_url.is_none()
            && !has_own_address
        {
            let (label, form) = (provider_rules.label, provider_rules.base_url_form);
            return Err(ApiError::bad(format!("`base_url` is missing; for {label} it is {form}")));
        }
        let base_url = change.base_url.as_deref().or(provider_rules.default_base_url);
        let has_responses = base_url.is_some_and(provider_rules.has_responses);
        let id = AccountId::from_bits(self.store.random_source().bits());
        let base_url = provider_rules.default_base_url.unwrap_or_default();
        let blank = Account {
            groups: self.groups_or_default(change.groups.clone().unwrap_or_default()).await?,
            speaks_responses: has_responses,
            ..Account::new(id, provider, base_url, kind)
        };
        let mut stored = self.store.editor.new_stored(blank, None);
        let change = AccountChange { groups: None, ..change };
        let extra = self.apply_account_change(&mut stored, change, credential).await?;
        Ok(NewResource { stored, extra, shown_once: () })
    }

    /// Checks the fields and applies them to `stored`, with the credential if one is given.
    async fn apply_account_change(
        &self,
        stored: &mut StoredEntity<Account>,
        change: AccountChange,
        credential: Option<CredentialInput>,
    ) -> ApiResult<AccountEdit> {
        let account = &mut stored.value;
        let has_credential = credential.is_some();
        let is_another_upstream =
            has_credential || change.base_url.is_some() || !change.proxy_url.is_keep();
        if let Some(text) = change.name {
            account.name = name(&text)?;
        }
        account.provider = change.provider.unwrap_or(account.provider);
        let url = match (&credential, change.base_url) {
            (Some(credential), None) => credential.own_address(),
            (_, url) => url,
        };
        if let Some(url) = url {
            check_base_url(&url, self.allow_private_upstreams)
                .map_err(|error| ApiError::bad(format!("`base_url`: {error}")))?;
            account.base_url = url;
        }
        if let Some(groups) = change.groups {
            if groups.is_empty() || groups.len() > GROUPS_MAX {
                return Err(ApiError::bad(format!("`groups`: expected 1 to {GROUPS_MAX} groups")));
            }
            account.groups = self.groups_or_default(groups).await?;
        }
        if let Some(map) = change.model_map {
            account.model_map = model_pairs("model_map", map)?;
        }
        account.priority = change.priority.unwrap_or(account.priority);
        account.weight = change.weight.unwrap_or(account.weight);
        account.models = change.models.unwrap_or(std::mem::take(&mut account.models));
        account.cache_domain = change.cache_domain.apply_to(account.cache_domain.take());
        if change.max_concurrency == FieldChange::To(Some(0)) {
            return Err(ApiError::bad(
                "`max_concurrency`: expected 1 or more; to disable the account, set `enabled` to false",
            ));
        }
        account.max_concurrency = change.max_concurrency.apply_to(account.max_concurrency);
        account.speaks_responses = change.speaks_responses.unwrap_or(account.speaks_responses);
        account.enabled = change.enabled.unwrap_or(account.enabled);
        if let FieldChange::To(url) = change.proxy_url {
            self.set_proxy(account, url.as_deref()).await?;
        }
        let token = match credential {
            Some(credential) => self.seal(stored, credential).await?,
            None => None,
        };
        let Account { provider, credential, .. } = stored.value;
        (rules(provider).check_credential)(credential).map_err(ApiError::bad)?;
        Ok(AccountEdit { token, has_credential, is_another_upstream })
    }

    /// Stores the proxy's URL twice: masked for answers and sealed for use. A masked URL that
    /// equals the stored one leaves it unchanged.
    async fn set_proxy(&self, account: &mut Account, url: Option<&str>) -> ApiResult<()> {
        let Some(url) = url else {
            (account.proxy_url, account.proxy_sealed) = (None, None);
            return Ok(());
        };
        let proxy = ProxyUrl::parse(url, self.allow_private_upstreams)
            .map_err(|error| ApiError::bad(format!("`proxy_url`: {error}")))?;
        let shown = Some(proxy.masked_url());
        if proxy.is_masked() {
            if account.proxy_url == shown {
                return Ok(());
            }
            return Err(ApiError::bad(
                "`proxy_url`: `***` hides the stored password; send the real one",
            ));
        }
        account.proxy_sealed =
            Some(self.store.editor.seal_proxy(&account.id, &proxy.secret()).await?);
        account.proxy_url = shown;
        Ok(())
    }
}

/// Refuses a change that would send the stored credential to another place, because a person who
/// can change an account must not be able to read its credential that way.
fn check_same_upstream(before: &Account, after: &Account) -> ApiResult<()> {
    if credential_binding(before) == credential_binding(after) {
        return Ok(());
    }
    let field = if before.provider != after.provider {
        "provider"
    } else if origin(&before.base_url) != origin(&after.base_url) {
        "base_url"
    } else {
        "proxy_url"
    };
    Err(ApiError::bad(format!(
        "`{field}` decides where the account's credential is sent; to change it, {CREDENTIAL_AGAIN}"
    )))
}

/// Whether a token was issued, even if it has expired since.
fn has_token(status: &TokenStatus) -> bool {
    status.expires_at.is_some()
}

fn check_named(change: &AccountChange) -> ApiResult<()> {
    let missing = || ApiError::bad("`name` is missing");
    change.name.as_ref().map(drop).ok_or_else(missing)
}
