//! Sessions of the console: who has signed in, and how long a session lasts. The store keeps them,
//! and the console writes the cookie.

use crate::id::{KeyId, UserId};
use jiff::{SignedDuration, Timestamp};

/// The longest life of a session, however much it is used.
pub const SESSION_LIFETIME: SignedDuration = SignedDuration::from_hours(12);
/// How long a session lasts without being used.
pub(crate) const IDLE_TIMEOUT: SignedDuration = SignedDuration::from_hours(1);
/// The precision of the last use, so that not every use causes a write.
const LAST_USE_PRECISION: SignedDuration = SignedDuration::from_mins(5);

/// The person who has signed in, and the way of signing in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionSubject {
    /// Somebody with the admin token.
    Token,
    /// A user, through the identity provider.
    User(UserId),
    /// A user, with one of the user's keys. The session has the role `member`, whatever the user's
    /// role is.
    Key {
        /// The key.
        key: KeyId,
        /// The user that the key belonged to at sign-in.
        user: UserId,
    },
}

impl SessionSubject {
    /// As text that [`Self::from_text`] reads: `token`, `usr_…` or `key_….usr_…`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Token => "token".to_owned(),
            Self::User(user) => user.to_string(),
            Self::Key { key, user } => format!("{key}.{user}"),
        }
    }

    /// Parses the text that [`Self::to_text`] writes.
    pub fn from_text(text: &str) -> Option<Self> {
        if text == "token" {
            return Some(Self::Token);
        }
        match text.split_once('.') {
            Some((key, user)) => {
                Some(Self::Key { key: key.parse().ok()?, user: user.parse().ok()? })
            }
            None => text.parse().ok().map(Self::User),
        }
    }

    /// The user, if it is the session of a user.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Token => None,
            Self::User(user) | Self::Key { user, .. } => Some(user),
        }
    }

    /// The key, if the user signed in with one.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Token | Self::User(_) => None,
        }
    }
}

/// The stored state of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSession {
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last used, with a precision of five minutes.
    pub used_at: Timestamp,
    /// The user's [`crate::key::User::session_round`] when it began; 0 without a user.
    pub session_generation: u64,
}

impl ConsoleSession {
    /// A session that begins at `now`.
    pub fn new(now: Timestamp, session_generation: u64) -> Self {
        Self { started_at: now, used_at: now, session_generation }
    }

    /// When it ends if it is not used any more.
    pub fn ends_at(&self) -> Timestamp {
        let end = |from: Timestamp, by| from.saturating_add(by).unwrap_or(Timestamp::MAX);
        end(self.started_at, SESSION_LIFETIME).min(end(self.used_at, IDLE_TIMEOUT))
    }

    /// Whether it is valid at `now`.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.ends_at()
    }

    /// The session after a use at `now`; `None` if the last write is recent enough.
    pub fn after_use(&self, now: Timestamp) -> Option<Self> {
        let is_significant = now.duration_since(self.used_at) >= LAST_USE_PRECISION;
        is_significant.then(|| Self { used_at: now, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_subject_survives_a_round_trip() {
        let (key, user) = (KeyId::from_bits(1), UserId::from_bits(2));
        for who in [
            SessionSubject::Token,
            SessionSubject::User(user.clone()),
            SessionSubject::Key { key, user },
        ] {
            assert_eq!(SessionSubject::from_text(&who.to_text()), Some(who));
        }
        for odd in ["", "admin", "usr_", "key_1", "usr_1.key_1", "key_1.", "token.usr_1"] {
            assert_eq!(SessionSubject::from_text(odd), None, "{odd}");
        }
    }

    #[test]
    fn session_ends_when_idle_or_too_old() {
        let at = |minute: i64| Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap();
        let session = ConsoleSession::new(at(0), 0);
        assert!(session.is_alive(at(59)) && !session.is_alive(at(60)));
        assert_eq!(session.after_use(at(4)), None);
        let mut used = session;
        for minute in (5..720).step_by(5) {
            assert!(used.is_alive(at(minute)), "{minute}");
            used = used.after_use(at(minute)).expect("news");
        }
        assert!(!used.is_alive(at(720)), "12 hours are the end");
    }
}
