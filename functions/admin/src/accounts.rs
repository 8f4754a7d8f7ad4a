//! `/accounts`: addresses of upstreams with their credentials. Credentials can be written but are
//! never returned.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body, id};
use crate::credentials::NewCredential;
use crate::health::AccountStatus;
use crate::query::{FieldChange, PageQuery, contains_ignoring_case, name, page_json};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::health::AccountHealth;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::model::ModelPattern;
use baton_domain::secret::Secret;
use baton_runtime::upstream::{ProxyUrl, check_base_url, origin};
use baton_store::{AccountToken, ConfigEdit, StoredEntity, credential_binding};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An account's item is copied into each of its groups in one transaction, which DynamoDB limits to
/// 100 actions.
const GROUPS_MAX: usize = 40;

/// The fields of an account that can be set. An absent field gets its default in a POST and stays
/// unchanged in a PATCH.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AccountInput {
    pub(crate) name: Option<String>,
    provider: Option<Provider>,
    base_url: Option<String>,
    pub(crate) credential: Option<NewCredential>,
    groups: Option<Vec<GroupId>>,
    priority: Option<u32>,
    weight: Option<u32>,
    models: Option<Vec<ModelPattern>>,
    model_map: Option<BTreeMap<ModelPatternKey, String>>,
    cache_domain: FieldChange<String>,
    max_concurrency: FieldChange<u32>,
    proxy_url: FieldChange<String>,
    speaks_responses: Option<bool>,
    enabled: Option<bool>,
}

impl AccountInput {
    /// An account with an API key and defaults for everything else.
    pub(crate) fn with_static_key(name: &str, base_url: &str, key: Secret) -> Self {
        Self {
            name: Some(name.to_owned()),
            base_url: Some(base_url.to_owned()),
            credential: Some(NewCredential::key(key)),
            ..Self::default()
        }
    }
}

/// A pattern as the key of a JSON object.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
pub(crate) struct ModelPatternKey(String);

/// `?group_id=&enabled=&q=`
#[derive(Deserialize)]
pub(crate) struct AccountFilter {
    group_id: Option<GroupId>,
    enabled: Option<bool>,
    #[serde(default)]
    q: String,
}

impl AccountFilter {
    fn is_any(&self) -> bool {
        self.group_id.is_some() || self.enabled.is_some() || !self.q.is_empty()
    }

    fn matches_account(&self, account: &Account) -> bool {
        self.group_id.as_ref().is_none_or(|group| account.groups.contains(group))
            && self.enabled.is_none_or(|enabled| account.enabled == enabled)
            && contains_ignoring_case(&account.name, &self.q.to_lowercase())
    }
}

fn account_json(
    stored: &StoredEntity<Account>,
    health: &AccountHealth,
    last_used: Option<Timestamp>,
    now: Timestamp,
) -> Value {
    let account = &stored.value;
    let status = AccountStatus::new(account, health, now);
    json!({
        "id": account.id, "name": account.name, "provider": account.provider, "base_url": account.base_url,
        "groups": account.groups, "priority": account.priority, "weight": account.weight,
        "models": account.models, "model_map": model_map_json(&account.model_map), "cache_domain": account.cache_domain,
        "max_concurrency": account.max_concurrency, "proxy_url": account.proxy_url,
        "speaks_responses": account.speaks_responses,
        "enabled": account.enabled, "credential_type": account.credential,
        "status": status.name, "status_reason": status.reason, "cooling_until": status.until,
        "cooling_models": status.models, "utilisation": health.utilisation, "last_used_at": last_used,
        "created_at": stored.created_at, "updated_at": stored.updated_at, "version": stored.version,
    })
}

pub(crate) async fn list_accounts(
    State(office): SharedAdminState,
    Query(paging): Query<PageQuery>,
    Query(filter): Query<AccountFilter>,
) -> ApiResult<Json<Value>> {
    let page = office
        .list_page::<Account>(&paging, filter.is_any(), &|one| filter.matches_account(one))
        .await?;
    let ids: Vec<AccountId> = page.data.iter().map(|stored| stored.value.id.clone()).collect();
    office.store.read_health(&ids).await?;
    let used = office.store.last_used(&ids).await?;
    Ok(page_json(&page, |stored| office.view(stored, used.get(&stored.value.id).copied())))
}

pub(crate) async fn create_account(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    office.create_account(&visit, body(&bytes)?).await
}

pub(crate) async fn get_account(
    State(office): SharedAdminState,
    Path(path): Path<String>,
) -> ApiResult {
    office
        .current_account_view(&office.find::<Account>(&id(&path)?).await?)
        .await
        .map(ApiResponse::ok)
}

pub(crate) async fn update_account(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
    bytes: Bytes,
) -> ApiResult {
    let input: AccountInput = body(&bytes)?;
    let before = office.find::<Account>(&id(&path)?).await?;
    visit.check_version(&before)?;
    let mut stored = office.store.next_version(&before);
    let has_credential = input.credential.is_some();
    let has_proxy = matches!(input.proxy_url, FieldChange::To(_));
    let is_another = has_credential || input.base_url.is_some() || has_proxy;
    let token = office.apply_account_input(&mut stored, input).await?;
    if !has_credential {
        check_same_upstream(&before.value, &stored.value)?;
    }
    let mut edit = ConfigEdit::default();
    office.claim_name(&mut edit, Some(&before.value), &stored.value).await?;
    office.put_account(&mut edit, &stored, &before.value.groups, token.as_ref()).await?;
    let mut after = office.view(&stored, None);
    after["credential_changed"] = json!(has_credential);
    after["proxy_changed"] = json!(stored.value.proxy_sealed != before.value.proxy_sealed);
    let note = AuditNote::updated(&stored.value.id, office.view(&before, None), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(Value::Null)).await?;
    if is_another {
        // The stored health belongs to the previous credential, address or proxy.
        office.reset_health(&stored.value.id).await?;
    }
    office.current_account_view(&stored).await.map(ApiResponse::ok)
}

pub(crate) async fn delete_account(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    let stored = office.find::<Account>(&id(&path)?).await?;
    visit.check_version(&stored)?;
    let mut edit = ConfigEdit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_account(&mut edit, &stored);
    office.store.remove_token(&mut edit, &stored.value.id);
    let note = AuditNote::deleted(&stored.value.id, office.view(&stored, None));
    let told = office.commit_change(&visit, edit, note, ApiResponse::no_content()).await?;
    office.store.remove_health(&stored.value.id).await?;
    Ok(told)
}

impl AdminState {
    /// Returns the account with the health that this process has cached.
    pub(crate) fn view(
        &self,
        stored: &StoredEntity<Account>,
        last_used: Option<Timestamp>,
    ) -> Value {
        let health = self.store.health(&stored.value.id);
        account_json(stored, &health, last_used, self.store.clock().now())
    }

    /// Returns the account with its health read from the store.
    pub(crate) async fn current_account_view(
        &self,
        stored: &StoredEntity<Account>,
    ) -> ApiResult<Value> {
        let id = std::slice::from_ref(&stored.value.id);
        self.store.read_health(id).await?;
        let used = self.store.last_used(id).await?;
        Ok(self.view(stored, used.get(&stored.value.id).copied()))
    }

    pub(crate) async fn create_account(
        &self,
        visit: &AdminRequest,
        input: AccountInput,
    ) -> ApiResult {
        let (stored, edit) = self.new_account(input).await?;
        let view = self.view(&stored, None);
        let note = AuditNote::created(&stored.value.id, &view);
        self.commit_change(visit, edit, note, ApiResponse::created(view)).await
    }

    /// Builds a new account and the edit that stores it.
    pub(crate) async fn new_account(
        &self,
        input: AccountInput,
    ) -> ApiResult<(StoredEntity<Account>, ConfigEdit)> {
        check_named(&input)?;
        if input.credential.is_none() {
            return Err(ApiError::bad(
                "`credential` is missing; for an API key send {\"type\":\"api_key\",\"value\":\"…\"}",
            ));
        }
        // Boxed, because the future holds all fields more than once.
        let draft = Box::pin(self.draft_account(input, CredentialKind::ApiKey));
        let (stored, token) = draft.await?;
        let mut edit = ConfigEdit::default();
        self.claim_name(&mut edit, None, &stored.value).await?;
        self.put_account(&mut edit, &stored, &[], token.as_ref()).await?;
        Ok((stored, edit))
    }

    /// Checks the fields of an account that will get its credential by a sign-in.
    pub(crate) async fn check_account(&self, input: AccountInput) -> ApiResult<()> {
        if input.credential.is_some() {
            return Err(ApiError::bad(
                "`account` has a `credential`; leave it out, because the sign-in provides it",
            ));
        }
        check_named(&input)?;
        self.draft_account(input, CredentialKind::Oauth2).await.map(drop)
    }

    /// Builds a new account with its token from `input`. `credential` is the kind of its credential
    /// if `input` has none.
    async fn draft_account(
        &self,
        input: AccountInput,
        credential: CredentialKind,
    ) -> ApiResult<(StoredEntity<Account>, Option<AccountToken>)> {
        let is_placed = input.base_url.is_some()
            || input.provider != Some(Provider::Bedrock)
            || matches!(input.credential, Some(NewCredential::Aws(_)));
        if !is_placed {
            return Err(ApiError::bad(
                "`base_url` is missing; for Bedrock it is https://bedrock-runtime.REGION.amazonaws.com",
            ));
        }
        let blank = Account {
            id: AccountId::from_bits(self.store.random_source().bits()),
            name: String::new(),
            provider: Provider::Anthropic,
            base_url: default_base(input.provider).to_owned(),
            credential,
            groups: self.groups_or_default(input.groups.clone().unwrap_or_default()).await?,
            priority: 100,
            weight: 100,
            models: Vec::new(),
            model_map: Vec::new(),
            cache_domain: None,
            max_concurrency: None,
            proxy_url: None,
            proxy_sealed: None,
            speaks_responses: false,
            enabled: true,
        };
        let mut stored = self.store.new_stored(blank, None);
        let token =
            self.apply_account_input(&mut stored, AccountInput { groups: None, ..input }).await?;
        Ok((stored, token))
    }

    /// Checks `input` and applies it to `stored`. Returns the new token if the credential has one.
    pub(crate) async fn apply_account_input(
        &self,
        stored: &mut StoredEntity<Account>,
        input: AccountInput,
    ) -> ApiResult<Option<AccountToken>> {
        let account = &mut stored.value;
        if let Some(text) = input.name {
            account.name = name(&text)?;
        }
        account.provider = input.provider.unwrap_or(account.provider);
        let url = match (&input.credential, input.base_url) {
            (Some(NewCredential::Aws(access)), None) => Some(access.bedrock_url()),
            (_, url) => url,
        };
        if let Some(url) = url {
            check_base_url(&url, self.allow_private_upstreams)
                .map_err(|why| ApiError::bad(format!("`base_url`: {why}")))?;
            account.base_url = url;
        }
        if let Some(groups) = input.groups {
            if groups.is_empty() || groups.len() > GROUPS_MAX {
                return Err(ApiError::bad(format!("`groups`: expected 1 to {GROUPS_MAX} groups")));
            }
            account.groups = self.groups_or_default(groups).await?;
        }
        if let Some(map) = input.model_map {
            account.model_map = parse_model_map(map)?;
        }
        account.priority = input.priority.unwrap_or(account.priority);
        account.weight = input.weight.unwrap_or(account.weight);
        account.models = input.models.unwrap_or(std::mem::take(&mut account.models));
        account.cache_domain = input.cache_domain.apply_to(account.cache_domain.take());
        if let FieldChange::To(Some(0)) = input.max_concurrency {
            return Err(ApiError::bad(
                "`max_concurrency`: expected 1 or more; to switch the account off, use `enabled`",
            ));
        }
        account.max_concurrency = input.max_concurrency.apply_to(account.max_concurrency);
        account.speaks_responses = input.speaks_responses.unwrap_or(account.speaks_responses);
        account.enabled = input.enabled.unwrap_or(account.enabled);
        match input.proxy_url {
            FieldChange::Keep => {}
            FieldChange::To(url) => self.set_proxy(account, url.as_deref()).await?,
        }
        let token = match input.credential {
            Some(credential) => self.seal(stored, credential).await?,
            None => None,
        };
        match (stored.value.provider, stored.value.credential) {
            (Provider::Bedrock, CredentialKind::ApiKey) => Err(ApiError::bad(
                "`credential.header`: Bedrock takes API keys only in the header `authorization`",
            )),
            (Provider::Anthropic | Provider::OpenaiCompatible, CredentialKind::Aws) => {
                Err(ApiError::bad("`credential.type`: `aws` needs the provider `bedrock`"))
            }
            _ => Ok(token),
        }
    }

    /// Stores the proxy's URL twice: masked for answers and sealed for use. A masked URL that
    /// equals the stored one leaves it unchanged.
    async fn set_proxy(&self, account: &mut Account, url: Option<&str>) -> ApiResult<()> {
        let Some(url) = url else {
            (account.proxy_url, account.proxy_sealed) = (None, None);
            return Ok(());
        };
        let proxy = ProxyUrl::parse(url, self.allow_private_upstreams)
            .map_err(|why| ApiError::bad(format!("`proxy_url`: {why}")))?;
        let shown = Some(proxy.masked_url());
        if proxy.is_masked() {
            if account.proxy_url == shown {
                return Ok(());
            }
            return Err(ApiError::bad(
                "`proxy_url`: `***` hides the stored password; send the real one",
            ));
        }
        account.proxy_sealed = Some(self.store.seal_proxy(&account.id, &proxy.secret()).await?);
        account.proxy_url = shown;
        Ok(())
    }

    /// Adds the account to `edit`, together with its token if that is new. A static key removes the
    /// token.
    pub(crate) async fn put_account(
        &self,
        edit: &mut ConfigEdit,
        stored: &StoredEntity<Account>,
        before: &[GroupId],
        token: Option<&AccountToken>,
    ) -> ApiResult<()> {
        self.store.save_account(edit, stored, before)?;
        match token {
            Some(token) => self.store.add_token(edit, token).await?,
            None if stored.value.credential.is_renewed() => {}
            None => self.store.remove_token(edit, &stored.value.id),
        }
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
        "`{field}` decides where the account's credential is sent; to change it, send `credential` \
         again in the same request"
    )))
}

fn check_named(input: &AccountInput) -> ApiResult<()> {
    let missing = || ApiError::bad("`name` is missing");
    input.name.as_ref().map(drop).ok_or_else(missing)
}

/// The default base URL of a provider.
fn default_base(provider: Option<Provider>) -> &'static str {
    match provider {
        Some(Provider::OpenaiCompatible) => "https://api.openai.com",
        None | Some(Provider::Anthropic | Provider::Bedrock) => "https://api.anthropic.com",
    }
}

/// Converts a model map to JSON for answers.
pub(crate) fn model_map_json(map: &[(ModelPattern, String)]) -> Map<String, Value> {
    let entry =
        |(pattern, target): &(ModelPattern, String)| (pattern.as_str().to_owned(), json!(target));
    map.iter().map(entry).collect()
}

/// Reads a model map from a request.
pub(crate) fn parse_model_map(
    map: BTreeMap<ModelPatternKey, String>,
) -> ApiResult<Vec<(ModelPattern, String)>> {
    map.into_iter()
        .map(|(ModelPatternKey(text), target)| {
            let pattern = ModelPattern::new(text).map_err(ApiError::bad)?;
            Ok((pattern, target))
        })
        .collect()
}
