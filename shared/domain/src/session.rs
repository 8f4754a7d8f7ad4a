//! Sessions of the console: whose one is, and how long it lives. Where they are kept is the
//! store's business, what a cookie looks like the console's.

use crate::id::{KeyId, UserId};
use jiff::{SignedDuration, Timestamp};

/// How long a session lives, whatever is done in it.
pub const LIFE: SignedDuration = SignedDuration::from_hours(12);
/// How long it lives without being used.
pub const IDLE: SignedDuration = SignedDuration::from_hours(1);
/// How exactly it is known when it was used last: a write for each use would be one too many.
const USE_KNOWN_TO: SignedDuration = SignedDuration::from_mins(5);

/// Who has signed in, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Whoever has the admin token.
    Token,
    /// A user, by the identity provider.
    User(UserId),
    /// A user, by one of its keys: a member, whatever the user's role is.
    Key {
        /// The key.
        key: KeyId,
        /// Whose it was at sign-in.
        user: UserId,
    },
}

impl Who {
    /// As text without spaces and dots' ambiguity: `token`, `usr_…` or `key_….usr_…`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Token => "token".to_owned(),
            Self::User(user) => user.to_string(),
            Self::Key { key, user } => format!("{key}.{user}"),
        }
    }

    /// Reads what [`Self::to_text`] writes.
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

    /// The user, if it is one.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Token => None,
            Self::User(user) | Self::Key { user, .. } => Some(user),
        }
    }

    /// The key, if it was signed in with one.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Token | Self::User(_) => None,
        }
    }
}

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// When it began.
    pub begun_at: Timestamp,
    /// When it was used last, to five minutes.
    pub used_at: Timestamp,
    /// The user's [`crate::key::User::session_round`] when it began; 0 without a user.
    pub round: u64,
}

impl Session {
    /// A session that begins now.
    pub fn begun(now: Timestamp, round: u64) -> Self {
        Self { begun_at: now, used_at: now, round }
    }

    /// From when on it is over if nobody uses it any more.
    pub fn ends_at(&self) -> Timestamp {
        let end = |from: Timestamp, by| from.saturating_add(by).unwrap_or(Timestamp::MAX);
        end(self.begun_at, LIFE).min(end(self.used_at, IDLE))
    }

    /// Whether it is good at `now`.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.ends_at()
    }

    /// The same session used at `now`, if that is worth a write.
    pub fn used(&self, now: Timestamp) -> Option<Self> {
        let is_news = now.duration_since(self.used_at) >= USE_KNOWN_TO;
        is_news.then(|| Self { used_at: now, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_survives_being_written() {
        let (key, user) = (KeyId::from_bits(1), UserId::from_bits(2));
        for who in [Who::Token, Who::User(user.clone()), Who::Key { key, user }] {
            assert_eq!(Who::from_text(&who.to_text()), Some(who));
        }
        for odd in ["", "admin", "usr_", "key_1", "usr_1.key_1", "key_1.", "token.usr_1"] {
            assert_eq!(Who::from_text(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_session_ends_unused_or_old() {
        let at = |minute: i64| Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap();
        let session = Session::begun(at(0), 0);
        assert!(session.is_alive(at(59)) && !session.is_alive(at(60)));
        assert_eq!(session.used(at(4)), None);
        let mut used = session;
        for minute in (5..720).step_by(5) {
            assert!(used.is_alive(at(minute)), "{minute}");
            used = used.used(at(minute)).expect("news");
        }
        assert!(!used.is_alive(at(720)), "12 hours are the end");
    }
}
