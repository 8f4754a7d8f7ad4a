//! The health of accounts for operators; `/accounts/{id}/test`, `/accounts/{id}/reset` and
//! `/accounts/{id}/refresh`.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, NoContent, TypedResponse};
use crate::request_parts::ResourceId;
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::State;
use baton_api::accounts::{AccountResource, AccountStatus, AccountTest, ModelCooldown};
use baton_api::audit::AuditAction;
use baton_domain::account::Account;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountAvailability, AccountHealth, Cooldown, HealthState};
use baton_domain::id::AccountId;
use baton_domain::upstream_token::RenewalTrigger;
use baton_runtime::upstream::{
    CredentialProbe, CredentialStatus, ProbeOutcome, RequestSigner, UpstreamClient,
};
use baton_store::token_renewal::{RenewalOutcome, renew};
use baton_store::{ConfigEdit, StoreError, StoredEntity};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// An account's health as the API returns it.
pub(crate) struct HealthView {
    pub(crate) status: AccountStatus,
    pub(crate) reason: Option<String>,
    pub(crate) until: Option<Timestamp>,
    /// Models and model families in cooldown, with the reason and the end of each.
    pub(crate) models: BTreeMap<String, ModelCooldown>,
}

impl HealthView {
    pub(crate) fn new(account: &Account, health: &AccountHealth, now: Timestamp) -> Self {
        let (status, reason, until) = match health.overall(now) {
            _ if !account.enabled => (AccountStatus::Disabled, None, None),
            AccountAvailability::Ready => match limited_model(health, now) {
                Some((name, cooldown)) => (
                    AccountStatus::Ready,
                    Some(format!("{name}: {}", cooldown.reason)),
                    Some(cooldown.until),
                ),
                None => (AccountStatus::Ready, None, None),
            },
            AccountAvailability::HalfOpen => match health.refusal_in_doubt() {
                Some(reason) => {
                    let message = format!("{reason}; the next request shows whether it still does");
                    (AccountStatus::Unproven, Some(message), None)
                }
                None => (AccountStatus::Ready, Some("the next request probes it".to_owned()), None),
            },
            AccountAvailability::Cooling { until, reason, .. } => {
                (AccountStatus::Cooling, Some(reason.to_string()), Some(until))
            }
            AccountAvailability::AuthFailed { reason, detail } => {
                let message = detail.map_or_else(|| reason.to_string(), str::to_owned);
                (AccountStatus::AuthFailed, Some(message), None)
            }
        };
        let fast = health.fast.iter().map(|cooldown| ("speed: fast".to_owned(), cooldown));
        let parts = health.families.iter().chain(&health.models);
        let parts = parts.map(|(name, cooldown)| (name.clone(), cooldown)).chain(fast);
        let models = parts.filter(|(_, cooldown)| cooldown.until > now).map(|(name, cooldown)| {
            let Cooldown { until, reason, is_estimated, .. } = cooldown;
            let (until, is_guess) = (*until, *is_estimated);
            (name, ModelCooldown { until, reason: reason.to_string(), is_guess })
        });
        Self { status, reason, until, models: models.collect() }
    }
}

/// Of the models with a rate limit cooldown, the one with the latest end.
fn limited_model(health: &AccountHealth, now: Timestamp) -> Option<(&str, &Cooldown)> {
    let is_limited = |cooldown: &Cooldown| {
        cooldown.until > now && cooldown.reason == CooldownReason::RateLimited
    };
    let parts = health.families.iter().chain(&health.models);
    let parts = parts.map(|(name, cooldown)| (name.as_str(), cooldown));
    let fast = health.fast.iter().map(|cooldown| ("speed: fast", cooldown));
    parts
        .chain(fast)
        .filter(|(_, cooldown)| is_limited(cooldown))
        .max_by_key(|(_, cooldown)| cooldown.until)
}

/// `POST /accounts/{id}/reset`: clears the health of the account. The audit row is written first,
/// because health has its own conditional write.
pub(crate) async fn reset_account(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<AccountId>,
) -> ApiResult<TypedResponse<AccountResource>> {
    let stored = state.find::<Account>(&id).await?;
    let before = state.load_resource(stored.clone()).await?;
    let note = AuditNote::other_action(AuditAction::Reset, &id, &before, &Value::Null);
    state
        .commit_change(&request.without_replay(), ConfigEdit::default(), note, NoContent::new(&())?)
        .await?;
    state.reset_health(&stored.value.id).await?;
    TypedResponse::new(&state.load_resource(stored).await?)
}

/// `POST /accounts/{id}/refresh`: renews the account's token now.
pub(crate) async fn refresh_account(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<AccountId>,
) -> ApiResult<TypedResponse<AccountResource>> {
    let stored = state.find::<Account>(&id).await?;
    if !stored.value.credential.is_renewed() {
        return Err(ApiError::bad("the account has a static key, which is not renewed"));
    }
    let (store, endpoint) = (&state.store, state.endpoint()?);
    let before = state.load_resource(stored.clone()).await?;
    let note = AuditNote::other_action(AuditAction::Refresh, &id, &before, &Value::Null);
    state
        .commit_change(&request.without_replay(), ConfigEdit::default(), note, NoContent::new(&())?)
        .await?;
    match renew(&store.tokens, endpoint, &stored.value.id, RenewalTrigger::Operator).await? {
        RenewalOutcome::Renewed => TypedResponse::new(&state.load_resource(stored).await?),
        RenewalOutcome::Failed(error) => {
            Err(ApiError::bad(format!("the token endpoint issued no token: {error}")))
        }
        RenewalOutcome::LeaseHeld => Err(StoreError::Conflict.into()),
        RenewalOutcome::NotDue => Err(ApiError::bad(
            "the last renewal failed permanently; give the account a new credential",
        )),
    }
}

/// `POST /accounts/{id}/test`: makes free calls with the account's credential. Their outcome
/// changes the account's health, for worse or for better.
pub(crate) async fn test_account(
    State(state): SharedAdminState,
    ResourceId(id): ResourceId<AccountId>,
) -> ApiResult<Json<AccountTest>> {
    let stored = state.find::<Account>(&id).await?;
    let sign_in = state.store.clock().now();
    state.store.health.read_health(std::slice::from_ref(&id)).await?;
    let (outcome, was_asked) = match state.probe_credential(&stored).await {
        Ok(outcome) => (outcome, true),
        Err(reason) => (ProbeOutcome::not_asked(reason), false),
    };
    let now = state.store.clock().now();
    state
        .store
        .health
        .change_health(&id, |health| health_after_test(health, &outcome, now))
        .await?;
    let (is_ok, message) =
        result_of(outcome.credential_status, outcome.effect.is_some(), outcome.status);
    let mut message = message.unwrap_or(outcome.message);
    if was_asked && is_ok == Some(false) {
        let health = state.store.health.get(&id);
        message.push_str(&advice_after_failure(&HealthView::new(&stored.value, &health, now)));
    }
    let millis = now.duration_since(sign_in).as_millis();
    Ok(Json(AccountTest {
        id,
        ok: is_ok,
        upstream_status: outcome.status.map(|status| status.as_u16()),
        message,
        duration_ms: u64::try_from(millis).unwrap_or_default(),
    }))
}

/// What a failed test means for the use of the account, and what to do.
fn advice_after_failure(health: &HealthView) -> String {
    match (health.status, health.until) {
        (AccountStatus::AuthFailed, _) => {
            "; the account is not used until its credential is accepted: replace the credential, or \
             correct its rights at the upstream and reset the account"
                .to_owned()
        }
        (AccountStatus::Cooling, Some(until)) => format!(
            "; the account is in a cooldown until {}: correct the cause at the upstream, then reset \
             the account",
            until.strftime("%Y-%m-%d %H:%M:%S UTC")
        ),
        (AccountStatus::Disabled, _) => "; the account is disabled".to_owned(),
        _ => "; requests still use the account: check its address, its proxy and the upstream, then \
              test it again"
            .to_owned(),
    }
}

/// Whether a test shows that the account can be used (nothing where it shows neither), and the
/// words for it where they are not the upstream's own.
fn result_of(
    proof: CredentialStatus,
    has_effect: bool,
    status: Option<StatusCode>,
) -> (Option<bool>, Option<String>) {
    let number = status.map(|status| status.as_u16()).unwrap_or_default();
    let is_refusal = matches!(number, 401 | 403);
    match (proof, status) {
        _ if has_effect => (Some(false), None),
        (CredentialStatus::Accepted | CredentialStatus::Unproven, Some(status))
            if status.is_redirection() =>
        {
            let message = format!(
                "it answers with a redirect ({number}), which is not followed; is `base_url` right?"
            );
            (Some(false), Some(message))
        }
        (CredentialStatus::Accepted, Some(_)) if !is_refusal => {
            (Some(true), Some("the credential is accepted".to_owned()))
        }
        (CredentialStatus::Accepted | CredentialStatus::Unproven, Some(_)) => {
            let message = format!(
                "it answers {number}, but it answers a made-up credential in the same way: this does \
                 not show whether the account's own is good, and only a request will"
            );
            (None, Some(message))
        }
        (CredentialStatus::Unproven, None) => (None, None),
        (
            CredentialStatus::Accepted | CredentialStatus::Refused(_) | CredentialStatus::Unknown,
            _,
        ) => (Some(false), None),
    }
}

/// The health after a test. Rate limits that the upstream has announced stay until they end,
/// because a free call shows nothing about them.
fn health_after_test(
    health: &AccountHealth,
    outcome: &ProbeOutcome,
    now: Timestamp,
) -> Option<AccountHealth> {
    let after_probe = outcome.apply_to_health(health, now);
    let base = after_probe.as_ref().unwrap_or(health);
    let is_valid = outcome.credential_status == CredentialStatus::Accepted
        && outcome.effect.is_none()
        && proves_recovery(base);
    let recovered = is_valid.then(|| base.reset(now));
    recovered.or(after_probe)
}

/// Whether a successful free call shows that the current state is over.
fn proves_recovery(health: &AccountHealth) -> bool {
    match &health.state {
        HealthState::Ready => false,
        HealthState::Cooling(cooldown) => cooldown.reason != CooldownReason::RateLimited,
        HealthState::Open { .. } | HealthState::AuthFailed { .. } => true,
    }
}

impl AdminState {
    /// Clears the account's health, except for the utilization.
    pub(crate) async fn reset_health(&self, id: &AccountId) -> Result<(), StoreError> {
        self.replace_health(id, AccountHealth::reset).await
    }

    /// Clears the account's health after its credential, address or proxy was replaced.
    pub(crate) async fn reset_replaced_health(&self, id: &AccountId) -> Result<(), StoreError> {
        self.replace_health(id, AccountHealth::replaced).await
    }

    async fn replace_health(
        &self,
        id: &AccountId,
        replacement: impl Fn(&AccountHealth, Timestamp) -> AccountHealth,
    ) -> Result<(), StoreError> {
        self.store.health.read_health(std::slice::from_ref(id)).await?;
        let now = self.store.clock().now();
        let change = |health: &AccountHealth| {
            let after = replacement(health, now);
            (after != *health).then_some(after)
        };
        self.store.health.change_health(id, change).await
    }

    /// Checks with free calls whether the account's upstream accepts the credential.
    ///
    /// # Errors
    /// The reason why no call could be made, with what to do.
    async fn probe_credential(
        &self,
        stored: &StoredEntity<Account>,
    ) -> Result<ProbeOutcome, String> {
        let account = &stored.value;
        let message = |error: StoreError| error.to_string();
        let credential = match self.store.credentials.credential(stored).await {
            Err(StoreError::Sealed(_)) if account.credential.is_renewed() => {
                return Err(
                    "the account has no token yet; renew it with POST /accounts/{id}/refresh or \
                     `baton account refresh`, or sign in again"
                        .to_owned(),
                );
            }
            credential => credential.map_err(message)?,
        };
        let proxy = self.store.credentials.open_proxy(account).await.map_err(message)?;
        let upstream = UpstreamClient::new(&self.timers, self.allow_private_upstreams)
            .and_then(|upstream| upstream.with_proxy(proxy.as_ref()))
            .map_err(|error| error.to_string())?;
        let (signer, bits) =
            (RequestSigner::new(self.store.clock().clone()), self.store.random_source().bits());
        let (upstream, signer, credential) = (&upstream, &signer, &credential);
        let subject = CredentialProbe { upstream, signer, account, credential, bits };
        let health = self.store.health.get(&account.id);
        Ok(subject.probe_credential(&health, self.store.clock().now()).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_test_reports_only_what_its_calls_prove() {
        let check = |proof, status: u16, expect: Option<bool>| {
            let (is_ok, message) = result_of(proof, false, StatusCode::from_u16(status).ok());
            assert_eq!(is_ok, expect, "{proof:?} {status}: {message:?}");
        };
        let error = CredentialStatus::Refused(CooldownReason::CredentialRefused);
        check(CredentialStatus::Accepted, 200, Some(true));
        check(CredentialStatus::Accepted, 400, Some(true));
        check(CredentialStatus::Accepted, 403, None);
        check(CredentialStatus::Unproven, 200, None);
        check(CredentialStatus::Unproven, 400, None);
        check(CredentialStatus::Unproven, 403, None);
        check(CredentialStatus::Unproven, 404, None);
        check(CredentialStatus::Unproven, 307, Some(false));
        check(CredentialStatus::Accepted, 302, Some(false));
        check(error, 401, Some(false));
        check(CredentialStatus::Unknown, 500, Some(false));
        assert_eq!(result_of(CredentialStatus::Unknown, false, None), (Some(false), None));
        assert_eq!(
            result_of(CredentialStatus::Unproven, false, None),
            (None, None),
            "the message says why"
        );
        // An account without money takes the credential, and cannot be used.
        assert_eq!(
            result_of(CredentialStatus::Accepted, true, Some(StatusCode::OK)),
            (Some(false), None)
        );
    }
}
