//! JSON Schema of types that are written as text. The schemas of structs and enums are derived where
//! the types are defined.

use crate::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use crate::model::ModelPattern;
use crate::model_capabilities::{EffortLevel, EffortLevels};
use crate::money::PicoUsd;
use crate::secret::Secret;
use crate::spend_limit::SpendLimitId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// Texts whose schema is written in the place where it is used.
macro_rules! inline_text {
    ($($type:ident: $schema:tt),+ $(,)?) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

inline_text! {
    AccountId: { "type": "string", "pattern": "^acc_[0-9A-Za-z]{1,64}$" },
    GroupId: { "type": "string", "pattern": "^grp_[0-9A-Za-z]{1,64}$" },
    KeyId: { "type": "string", "pattern": "^key_[0-9A-Za-z]{1,64}$" },
    RequestId: { "type": "string", "pattern": "^req_[0-9A-Za-z]{1,64}$" },
    UserId: { "type": "string", "pattern": "^usr_[0-9A-Za-z]{1,64}$" },
    SpendLimitId: { "type": "string", "pattern": "^spl_[0-9A-Za-z]{1,64}$" },
    PicoUsd: { "type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,12})?$" },
    Secret: { "type": "string" },
}

impl JsonSchema for ModelPattern {
    fn schema_name() -> Cow<'static, str> {
        "ModelPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$",
            "description": "A model id; `*` stands for any run of characters.",
        })
    }
}

impl JsonSchema for EffortLevels {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EffortLevels".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<EffortLevel>::json_schema(generator)
    }
}
