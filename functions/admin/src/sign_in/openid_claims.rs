//! From an ID token to a user: verifies the provider's signature and finds or creates the user for
//! the claims. `domain::identity` checks the claims.

use super::SignInNotice;
use super::session::SessionBasis;
use crate::AdminState;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult};
use crate::query::name;
use crate::resource::Resource as _;
use baton_domain::console_session::SessionSubject;
use baton_domain::id::UserId;
use baton_domain::identity::{ClaimError, ExpectedClaims, IdTokenClaims};
use baton_domain::key::{Limits, ProviderIdentity, Role, User};
use baton_domain::secret::Secret;
use baton_runtime::openid::{CachedProvider, CodeGrant, OpenIdClient, OpenIdError};
use baton_store::{ConfigEdit, StoredEntity};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde_json::{Value, json};

/// The most keys that are tried for a token that does not name its key.
const KEYS_MAX: usize = 16;

/// Why a sign-in with the provider failed.
pub(super) enum SignInError {
    /// A message for the person.
    Denied(SignInNotice),
    /// An error of Baton.
    Failed(ApiError),
}

impl From<SignInNotice> for SignInError {
    fn from(notice: SignInNotice) -> Self {
        Self::Denied(notice)
    }
}

impl From<ApiError> for SignInError {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<OpenIdError> for SignInError {
    fn from(error: OpenIdError) -> Self {
        tracing::warn!("a sign-in failed: {error}");
        Self::Denied(SignInNotice::Unhelpful)
    }
}

/// Why the signature of a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureError {
    /// The token is not a JWT or is not signed with RS256 or ES256.
    Form,
    /// The key in the header is not a key of the provider.
    UnknownKey,
    /// No key of the provider verifies the signature.
    Forged,
}

impl SignatureError {
    fn reason(self) -> &'static str {
        match self {
            Self::Form => "its signature is not RS256 or ES256",
            Self::UnknownKey => "its signature is by a key that the provider does not publish",
            Self::Forged => "its signature does not match any key of the provider",
        }
    }
}

/// Returns the claims of a token with a valid signature.
fn verify_claims(token: &Secret, keys: &[Value]) -> Result<IdTokenClaims, SignatureError> {
    let token = token.expose();
    let header = decode_header(token).map_err(|_| SignatureError::Form)?;
    let is_taken = matches!(header.alg, Algorithm::RS256 | Algorithm::ES256);
    // No critical header parameters are supported (RFC 7515 §4.1.11).
    if !is_taken || header.crit.is_some() {
        return Err(SignatureError::Form);
    }
    let mut candidates = keys.iter().filter(|key| is_signing_key(key, &header)).peekable();
    if candidates.peek().is_none() {
        return Err(SignatureError::UnknownKey);
    }
    // Times are checked in `domain` with Baton's own clock.
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    for key in candidates.take(KEYS_MAX) {
        let key = serde_json::from_value::<Jwk>(key.clone()).ok();
        let Some(key) = key.and_then(|key| DecodingKey::from_jwk(&key).ok()) else { continue };
        if let Ok(good) = decode(token, &key, &validation) {
            return Ok(IdTokenClaims(good.claims));
        }
    }
    Err(SignatureError::Forged)
}

/// Whether the key fits the token's algorithm, is for signatures, and has the key id in the header,
/// if there is one.
fn is_signing_key(key: &Value, header: &Header) -> bool {
    let (kty, crv, alg) = match header.alg {
        Algorithm::ES256 => ("EC", Some("P-256"), "ES256"),
        _ => ("RSA", None, "RS256"),
    };
    let is_or_absent = |name: &str, value: &str| key[name].is_null() || key[name] == value;
    key["kty"] == kty
        && crv.is_none_or(|crv| key["crv"] == crv)
        && is_or_absent("use", "sig")
        && is_or_absent("alg", alg)
        && header.kid.as_ref().is_none_or(|kid| key["kid"] == kid.as_str())
}

impl AdminState {
    /// Returns the verified claims for the code of a sign-in.
    pub(super) async fn claims(
        &self,
        openid: &OpenIdClient,
        grant: &CodeGrant<'_>,
        nonce: &str,
    ) -> Result<IdTokenClaims, SignInError> {
        let now = self.store.clock().now();
        let mut cached_provider = openid.load_provider(now).await?;
        let redeemed = openid.redeem(&cached_provider, grant).await?;
        let mut signed = verify_claims(&redeemed.id_token, &cached_provider.keys);
        if signed == Err(SignatureError::UnknownKey) {
            cached_provider = openid.reload_provider(now).await?;
            signed = verify_claims(&redeemed.id_token, &cached_provider.keys);
        }
        let mut claims = signed.map_err(|error| reject_sign_in(error.reason()))?;
        let (issuer, client_id) = (&*openid.settings.issuer, &*openid.settings.client_id);
        let expected = ExpectedClaims { issuer, client_id, nonce };
        claims
            .check(&expected, now)
            .map_err(|error: ClaimError| reject_sign_in(&error.to_string()))?;
        self.add_userinfo_claims(openid, &cached_provider, &redeemed, &mut claims).await?;
        Ok(claims)
    }

    /// Reads the e-mail address from the provider if the token does not contain it.
    async fn add_userinfo_claims(
        &self,
        openid: &OpenIdClient,
        cached_provider: &CachedProvider,
        redeemed: &baton_runtime::openid::RedeemedCode,
        claims: &mut IdTokenClaims,
    ) -> Result<(), SignInError> {
        if claims.text("email").is_some() {
            return Ok(());
        }
        let more = openid.fetch_userinfo(cached_provider, redeemed).await?;
        // The answer must be about the same person (OpenID Connect Core 1.0, §5.3.2).
        if more.get("sub").and_then(Value::as_str) == claims.text("sub") {
            for (name, value) in more {
                claims.0.entry(name).or_insert(value);
            }
        }
        Ok(())
    }

    /// Returns the user for the claims, with the changes to store.
    pub(super) async fn admit(
        &self,
        openid: &OpenIdClient,
        claims: &IdTokenClaims,
    ) -> Result<(ConfigEdit, SessionBasis), SignInError> {
        let policy = openid.settings.policy();
        let email = claims.verified_email().ok_or(SignInNotice::Unverified)?;
        if !policy.allowed.is_empty() && !policy.allowed.admits_email(&email) {
            return Err(SignInNotice::Nobody.into());
        }
        let issuer = openid.settings.issuer.clone();
        let subject = claims.text("sub").unwrap_or_default().to_owned();
        let identity = ProviderIdentity { issuer, subject };
        let mut edit = ConfigEdit::default();
        let user = match self.find_user(&email).await? {
            UserMatch::One(before) => {
                let user = &before.value;
                if user.identity.as_ref().is_some_and(|bound| *bound != identity) {
                    tracing::warn!(
                        user_id = %user.id,
                        "a sign-in was refused: it has the user's e-mail address, but another \
                         account at the provider than before; to permit it, set the user's email \
                         again"
                    );
                    return Err(SignInNotice::Nobody.into());
                }
                let role = policy.role(claims, Some(user.role));
                if user.enabled && (user.role != role || user.identity.is_none()) {
                    let mut after = self.store.editor.next_version(&before);
                    after.value.session_round += u64::from(user.role != role);
                    (after.value.role, after.value.identity) = (role, Some(identity));
                    self.put_user(&mut edit, Some(&before), &after)?;
                    after.value
                } else {
                    before.value
                }
            }
            UserMatch::None if policy.creates_users => {
                let mut user = self.new_user(&email, policy.role(claims, None), claims);
                user.identity = Some(identity);
                // Names are unique here, but people can have the same name. E-mail addresses are
                // unique.
                if self
                    .store
                    .names
                    .holder_of_name::<User>(&user.name)
                    .await
                    .map_err(ApiError::from)?
                    .is_some()
                {
                    user.name.clone_from(&email);
                }
                let user = self.store.editor.new_stored(user, None);
                self.claim_name(&mut edit, None, &user.value).await?;
                self.put_user(&mut edit, None, &user)?;
                user.value
            }
            UserMatch::None => return Err(SignInNotice::Nobody.into()),
            UserMatch::Several => {
                tracing::warn!("a sign-in was refused: several users have the same e-mail address");
                return Err(SignInNotice::Nobody.into());
            }
        };
        if !user.enabled {
            return Err(SignInNotice::Nobody.into());
        }
        if user.role == Role::Member && !self.load_settings().await?.value.member_access {
            return Err(SignInNotice::LockedOut.into());
        }
        let (issuer, subject) = (&openid.settings.issuer, claims.text("sub"));
        let message = json!({ "by": "openid", "issuer": issuer, "subject": subject });
        let (round, proof) = (user.session_round, Vec::new());
        Ok((edit, SessionBasis { subject: SessionSubject::User(user.id), round, proof, message }))
    }

    /// Finds the user with this address. Several users can have it, because Baton 0.1.0 did not
    /// refuse that, and two users can be created at the same time.
    async fn find_user(&self, email: &str) -> ApiResult<UserMatch> {
        let mut found = self.users_with_email(email).await?;
        Ok(match (found.pop(), found.is_empty()) {
            (Some(user), true) => UserMatch::One(Box::new(user)),
            (Some(_), false) => UserMatch::Several,
            (None, _) => UserMatch::None,
        })
    }

    /// The id is derived from the address, so that two sign-ins at the same time cannot create two
    /// users.
    fn new_user(&self, email: &str, role: Role, claims: &IdTokenClaims) -> User {
        let hash = self.pepper.hash(&format!("user\n{email}"));
        let bits = hash.iter().take(16).fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
        let called = claims.name().and_then(|text| name(text).ok());
        User {
            id: UserId::from_bits(bits),
            name: called.unwrap_or_else(|| email.to_owned()),
            email: Some(email.to_owned()),
            role,
            enabled: true,
            limits: Limits::default(),
            session_round: 0,
            identity: None,
        }
    }

    fn put_user(
        &self,
        edit: &mut ConfigEdit,
        before: Option<&StoredEntity<User>>,
        after: &StoredEntity<User>,
    ) -> ApiResult<()> {
        self.store.editor.save_user(edit, after)?;
        let (id, new_value) = (&after.value.id, User::to_resource(self, after));
        let note = match before {
            Some(before) => AuditNote::updated(id, &User::to_resource(self, before), &new_value),
            None => AuditNote::created(id, &new_value),
        };
        self.add_audit_row(&AdminRequest::from_baton(), edit, note)
    }
}

enum UserMatch {
    None,
    One(Box<StoredEntity<User>>),
    Several,
}

/// Logs the reason, which the person does not get.
fn reject_sign_in(what: &str) -> SignInError {
    tracing::warn!("a sign-in was refused because its ID token is not valid: {what}");
    SignInError::Denied(SignInNotice::Unbelievable)
}
