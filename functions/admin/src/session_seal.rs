//! The secret that authenticates console sessions. Only the admin function has it. Other functions
//! can write to the table with the sessions, and the relay among them is open to the internet.

use crate::answer::{Answer, Refused};
use crate::{Office, Shared};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use baton_cloud::aws::Aws;
use baton_cloud::live_secret::{LiveSecret, Unreadable};
use baton_cloud::settings::Settings;
use baton_cloud::store::SeenSession;
use baton_cloud::vault::Pepper;
use baton_domain::session::Session;
use std::fmt::Write as _;
use tokio::sync::OnceCell;

/// The source of the secret: the setting, or else the store, which creates it at first use.
#[derive(Default)]
pub(crate) struct SessionSeal {
    set: Option<LiveSecret>,
    kept: OnceCell<LiveSecret>,
}

impl SessionSeal {
    /// Reads the settings. No I/O.
    pub(crate) fn new(aws: &Aws, settings: &Settings) -> Self {
        let set = LiveSecret::of(aws, settings, &settings.session_setting());
        Self { set, kept: OnceCell::new() }
    }
}

/// Derives the storage key and the proof of sessions from the secret.
pub(crate) struct SessionKey(Pepper);

impl SessionKey {
    /// The storage key of a session. Without the secret nobody can find the session of a cookie or
    /// create the cookie of a session.
    pub(crate) fn place(&self, cookie: &str) -> Vec<u8> {
        self.0.hash(&format!("session\n{cookie}"))
    }

    /// A value that is derived from a text and that only holders of the secret can compute.
    pub(crate) fn derive(&self, text: &str) -> Vec<u8> {
        self.0.hash(text)
    }

    /// The proof of a session, over all fields that decide how long it lives.
    pub(crate) fn proven(&self, place: &[u8], session: &Session, proof: &[u8]) -> Vec<u8> {
        self.0.hash(&row(place, session, proof))
    }

    /// Whether the console wrote the session in this form.
    pub(crate) fn has_written(&self, place: &[u8], seen: &SeenSession) -> bool {
        self.0.matches(&row(place, &seen.session, &seen.proof), &seen.proven)
    }
}

/// A session as text, with times rounded as they are stored.
fn row(place: &[u8], session: &Session, proof: &[u8]) -> String {
    let Session { begun_at, used_at, round } = session;
    let (begun, used) = (begun_at.as_millisecond(), used_at.as_second());
    let mut text = format!("session row\n{begun}\n{used}\n{round}\n");
    for byte in place.iter().chain(b"\n").chain(proof) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

impl Office {
    /// Returns the key that sessions are named and authenticated with.
    pub(crate) async fn session_key(&self) -> Answer<SessionKey> {
        if let Some(set) = &self.seal.set {
            return Ok(SessionKey(Pepper::new(set.clone())));
        }
        let kept = self.seal.kept.get_or_try_init(async || {
            Ok::<_, Refused>(LiveSecret::from(&self.store.session_secret().await?))
        });
        Ok(SessionKey(Pepper::new(kept.await?.clone())))
    }

    /// Reads secrets again that are due for a refresh.
    async fn refresh_secrets(&self) -> Result<(), Unreadable> {
        self.pepper.refresh().await?;
        for secret in self.admin_token.iter().chain(&self.seal.set) {
            secret.refresh().await?;
        }
        Ok(())
    }
}

/// Runs before every request, so that handlers use current secrets.
pub(crate) async fn with_secrets(State(office): Shared, request: Request, next: Next) -> Response {
    match office.refresh_secrets().await {
        Ok(()) => next.run(request).await,
        Err(error) => Refused::broken(error).into_response(),
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
    fn every_part_of_a_session_is_proven() {
        let begun_at = "2026-11-28T12:00:00.123456789Z".parse().unwrap();
        let session = Session::begun(begun_at, 3);
        let (place, proof) = (vec![1; 32], vec![2; 32]);
        let proven = key("secret").proven(&place, &session, &proof);
        // The session as the store returns it, in milliseconds and seconds.
        let read = Session {
            begun_at: "2026-11-28T12:00:00.123Z".parse().unwrap(),
            used_at: "2026-11-28T12:00:00Z".parse().unwrap(),
            ..session
        };
        assert_eq!(key("secret").proven(&place, &read, &proof), proven);
        let later = |session: &Session| Session {
            begun_at: session.begun_at + jiff::SignedDuration::from_millis(1),
            ..*session
        };
        let used =
            Session { used_at: session.used_at + jiff::SignedDuration::from_secs(1), ..session };
        for (what, other) in [
            ("another secret", key("other").proven(&place, &session, &proof)),
            ("another place", key("secret").proven(&[3; 32], &session, &proof)),
            ("another proof", key("secret").proven(&place, &session, &[3; 32])),
            ("a longer proof", key("secret").proven(&place, &session, &[2; 33])),
            ("begun later", key("secret").proven(&place, &later(&session), &proof)),
            ("used later", key("secret").proven(&place, &used, &proof)),
            (
                "another round",
                key("secret").proven(&place, &Session { round: 4, ..session }, &proof),
            ),
        ] {
            assert_ne!(other, proven, "{what}");
        }
    }
}
