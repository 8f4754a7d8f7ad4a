//! Refusals of requests without a usable key: which credential came, and which one is expected.

use super::RelayError;
use http::StatusCode;

impl RelayError {
    fn authentication_error(message: &str) -> Self {
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message);
        Self { is_final: true, ..refusal }
    }

    pub(crate) fn no_key() -> Self {
        Self::authentication_error(
            "The request has no key. Send your Baton key in the header `x-api-key`, or in \
             `Authorization` as a Bearer token.",
        )
    }

    /// The header `Authorization` has another scheme than `Bearer`, or none.
    pub(crate) fn no_bearer_token() -> Self {
        Self::authentication_error(
            "The header `Authorization` has no Bearer token. Write the word `Bearer` and a space \
             before your Baton key, or send the key alone in the header `x-api-key`.",
        )
    }

    /// The credential is not a Baton key. The message says what it is, but does not repeat it.
    pub(crate) fn malformed_key(credential: &str) -> Self {
        Self::authentication_error(&format!(
            "This is not a valid Baton key{}",
            describe_wrong_credential(credential)
        ))
    }

    pub(crate) fn unknown_key() -> Self {
        Self::authentication_error(
            "This key is unknown. It could have been rotated or deleted. Ask your operator for a \
             new key.",
        )
    }

    pub(crate) fn disabled_key() -> Self {
        Self::authentication_error("This key is disabled. Ask your operator to enable it.")
    }

    pub(crate) fn disabled_user() -> Self {
        Self::authentication_error(
            "The user that this key belongs to is disabled. Ask your operator to enable the user.",
        )
    }

    pub(crate) fn expired_key() -> Self {
        Self::authentication_error("This key has expired. Ask your operator for a new one.")
    }
}

/// Says what a credential that is not a Baton key is, by its beginning, and which one is expected.
fn describe_wrong_credential(credential: &str) -> &'static str {
    const KINDS: &[(&str, &str)] = &[
        (
            "bta_",
            ": it is an admin token (bta_…), which only the admin API and the console accept. Send \
             a key that begins with bt_, or ask your operator for one.",
        ),
        (
            "bt_",
            ": it is cut short or mistyped. A key has 54 characters. Copy the whole key, or ask \
             your operator for a new one.",
        ),
        (
            "sk-ant-",
            ": it is a credential of Anthropic (sk-ant-…). Send a key that begins with bt_. Ask \
             your operator for one; Baton itself has the credential for Anthropic.",
        ),
        (
            "sk-",
            ": it is an API key of another vendor (sk-…). Send a key that begins with bt_. Ask \
             your operator for one; Baton itself has the keys for the vendors.",
        ),
        (
            "bearer ",
            ": the word `Bearer` belongs only into the header `Authorization`. Send the key alone \
             in this header.",
        ),
    ];
    let begins_with = |prefix: &str| {
        credential.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let kind = KINDS.iter().find(|&&(prefix, _)| begins_with(prefix));
    kind.map_or(
        ". A key begins with bt_ and has 54 characters. Copy the whole key, or ask your operator \
         for a new one.",
        |&(_, description)| description,
    )
}
