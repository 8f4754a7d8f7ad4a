//! The admin API as types: resources, requests, lists, filters and errors.
//!
//! Each type reads and writes the JSON of the API and has a JSON Schema, from which the admin
//! function makes its OpenAPI description. A comment on a field is its description there.
//!
//! Names: `KeyResource` is a key as the API returns it (`Key` in the OpenAPI description), `KeyChange`
//! the fields that a PATCH can set, `New<KeyChange>` the body of a POST, `ResourceList<KeyResource>` a
//! page of a list, and `KeyFilter` the query parameters of that list. Requests refuse unknown fields.

pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod credentials;
pub mod error;
pub mod fields;
pub mod groups;
pub mod keys;
pub mod limits;
pub mod list;
pub mod new;
pub mod oauth;
pub mod overview;
pub mod prices;
pub mod settings;
pub mod spend_limits;
pub mod usage;
pub mod users;

/// Writes a secret into JSON. A field names it explicitly, because [`Secret`] itself cannot be
/// written.
///
/// [`Secret`]: baton_domain::secret::Secret
mod exposed {
    use baton_domain::secret::Secret;
    use serde::{Serialize, Serializer};

    pub(crate) fn secret<S: Serializer>(secret: &Secret, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(secret.expose())
    }

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(crate) fn optional<S: Serializer>(
        secret: &Option<Secret>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(out)
    }
}
