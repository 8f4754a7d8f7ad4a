//! The secret that authenticates console sessions. Only the admin function has it. Other functions
//! can write to the table with the sessions, and the relay among them is open to the internet.

use crate::api_response::{ApiError, ApiResult};
use crate::{AdminState, SharedAdminState};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use baton_domain::console_session::ConsoleSession;
use baton_runtime::aws::AwsClients;
use baton_runtime::live_secret::{LiveSecret, UnreadableSecret};
use baton_runtime::settings::Settings;
use baton_runtime::vault::Pepper;
use baton_store::SessionContext;
use std::fmt::Write as _;
use tokio::sync::OnceCell;

/// The source of the session secret: the setting if it is set, otherwise the store. The store
/// creates the secret when it is first needed.
#[derive(Default)]
pub(crate) struct SessionSeal {
    /// The secret of the setting.
    set: Option<LiveSecret>,
    /// The secret of the store, after it was read.
    stored_secret: OnceCell<LiveSecret>,
}

impl SessionSeal {
    /// Reads the settings. No I/O.
    pub(crate) fn new(aws: &AwsClients, settings: &Settings) -> Self {
        let set = LiveSecret::from_setting(aws, settings, &settings.session_setting());
        Self { set, stored_secret: OnceCell::new() }
    }
}

/// Derives the storage key and the proof of sessions from the secret.
pub(crate) struct SessionKey(Pepper);

impl SessionKey {
    /// The storage key of a session. Without the secret nobody can find the session of a cookie or
    /// create the cookie of a session.
    pub(crate) fn storage_key(&self, cookie: &str) -> Vec<u8> {
        self.0.hash(&format!("session\n{cookie}"))
    }

    /// A value that is derived from a text and that only holders of the secret can compute.
    pub(crate) fn derive(&self, text: &str) -> Vec<u8> {
        self.0.hash(text)
    }

    /// The proof of a session, over all fields that decide how long it lives.
    pub(crate) fn session_proof(
        &self,
        storage_key: &[u8],
        session: &ConsoleSession,
        proof: &[u8],
    ) -> Vec<u8> {
        self.0.hash(&session_text(storage_key, session, proof))
    }

    /// Whether the console wrote the session in this form.
    pub(crate) fn is_session_proven(
        &self,
        storage_key: &[u8],
        session_context: &SessionContext,
    ) -> bool {
        self.0.verify_secret(
            &session_text(storage_key, &session_context.session, &session_context.proof),
            &session_context.proven,
        )
    }
}

/// A session as text, with times rounded as they are stored.
fn session_text(storage_key: &[u8], session: &ConsoleSession, proof: &[u8]) -> String {
    let ConsoleSession { started_at, used_at, session_generation: round } = session;
    let (started, used) = (started_at.as_millisecond(), used_at.as_second());
    let mut text = format!("session row\n{started}\n{used}\n{round}\n");
    for byte in storage_key.iter().chain(b"\n").chain(proof) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

impl AdminState {
    /// Returns the key that sessions are named and authenticated with.
    pub(crate) async fn session_key(&self) -> ApiResult<SessionKey> {
        if let Some(set) = &self.seal.set {
            return Ok(SessionKey(Pepper::new(set.clone())));
        }
        let stored_secret = self.seal.stored_secret.get_or_try_init(async || {
            Ok::<_, ApiError>(LiveSecret::from(&self.store.secrets.session_secret().await?))
        });
        Ok(SessionKey(Pepper::new(stored_secret.await?.clone())))
    }

    /// Reads secrets again that are due for a refresh.
    async fn refresh_secrets(&self) -> Result<(), UnreadableSecret> {
        self.pepper.refresh().await?;
        for secret in self.admin_token.iter().chain(&self.seal.set) {
            secret.refresh().await?;
        }
        Ok(())
    }
}

/// Runs before every request, so that handlers use current secrets.
pub(crate) async fn refresh_secrets_first(
    State(state): SharedAdminState,
    request: Request,
    next: Next,
) -> Response {
    match state.refresh_secrets().await {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::internal_error(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::secret::Secret;

    fn key(secret: &str) -> SessionKey {
        SessionKey(Pepper::new(&Secret::new(secret.to_owned())))
    }

    /// A writer of the table can change each part of a row, but cannot compute its proof.
    #[test]
    fn session_proof_covers_every_field() {
        let started_at = "2026-11-28T12:00:00.123456789Z".parse().unwrap();
        let session = ConsoleSession::new(started_at, 3);
        let (storage_key, proof) = (vec![1; 32], vec![2; 32]);
        let proven = key("secret").session_proof(&storage_key, &session, &proof);
        // The session as the store returns it, in milliseconds and seconds.
        let read = ConsoleSession {
            started_at: "2026-11-28T12:00:00.123Z".parse().unwrap(),
            used_at: "2026-11-28T12:00:00Z".parse().unwrap(),
            ..session
        };
        assert_eq!(key("secret").session_proof(&storage_key, &read, &proof), proven);
        let later = |session: &ConsoleSession| ConsoleSession {
            started_at: session.started_at + jiff::SignedDuration::from_millis(1),
            ..*session
        };
        let used = ConsoleSession {
            used_at: session.used_at + jiff::SignedDuration::from_secs(1),
            ..session
        };
        for (what, other) in [
            ("another secret", key("other").session_proof(&storage_key, &session, &proof)),
            ("another storage key", key("secret").session_proof(&[3; 32], &session, &proof)),
            ("another proof", key("secret").session_proof(&storage_key, &session, &[3; 32])),
            ("a longer proof", key("secret").session_proof(&storage_key, &session, &[2; 33])),
            ("begun later", key("secret").session_proof(&storage_key, &later(&session), &proof)),
            ("used later", key("secret").session_proof(&storage_key, &used, &proof)),
            (
                "another round",
                key("secret").session_proof(
                    &storage_key,
                    &ConsoleSession { session_generation: 4, ..session },
                    &proof,
                ),
            ),
        ] {
            assert_ne!(other, proven, "{what}");
        }
    }
}
