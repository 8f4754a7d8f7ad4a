//! The scope of a limit: a key, a user, a group or the organization. `bounds` combines the limits
//! of all scopes for a request.

use crate::id::{GroupId, KeyId, MalformedId, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

const ORGANIZATION: &str = "organization";

/// The target of a limit. Its text form is the id, or `organization`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitScope {
    /// One key.
    Key(KeyId),
    /// All keys of a user.
    User(UserId),
    /// All keys that use a group.
    Group(GroupId),
    /// All keys of the deployment.
    Organization,
}

impl LimitScope {
    /// `key`, `user`, `group`, `organization`
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::User(_) => "user",
            Self::Group(_) => "group",
            Self::Organization => ORGANIZATION,
        }
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::Group(id) => id.fmt(f),
            Self::Organization => f.write_str(ORGANIZATION),
        }
    }
}

impl FromStr for LimitScope {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        if text == ORGANIZATION {
            Ok(Self::Organization)
        } else if text.starts_with(UserId::PREFIX) {
            text.parse().map(Self::User)
        } else if text.starts_with(GroupId::PREFIX) {
            text.parse().map(Self::Group)
        } else {
            text.parse().map(Self::Key)
        }
    }
}

impl Serialize for LimitScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LimitScope {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_survives_a_round_trip() {
        let all = [
            (LimitScope::Key(KeyId::from_bits(1)), "key_000000000001"),
            (LimitScope::User(UserId::from_bits(1)), "usr_0000000000000001"),
            (LimitScope::Group(GroupId::default_group()), "grp_default"),
            (LimitScope::Organization, "organization"),
        ];
        for (scope, text) in all {
            assert_eq!(scope.to_string(), text);
            assert_eq!(text.parse(), Ok(scope));
        }
        assert!("acc_1".parse::<LimitScope>().is_err());
    }
}
