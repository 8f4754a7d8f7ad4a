//! The permissions that each store handle needs: actions on the tables and on the data key, and the
//! partition keys to which they are limited. `template.yaml` grants each function the permissions
//! of its handles. A test compares the template with this module.

use crate::item_names::DATA_KEY;

/// A DynamoDB or KMS action, by its name in IAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Reads one item.
    GetItem,
    /// Reads several items.
    BatchGetItem,
    /// Reads items of a partition or of an index.
    Query,
    /// Writes an item.
    PutItem,
    /// Changes an item.
    UpdateItem,
    /// Deletes an item.
    DeleteItem,
    /// Decrypts the encrypted data key.
    Decrypt,
    /// Creates the data key.
    GenerateDataKey,
}

/// A resource of `template.yaml` to which a permission applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The table of entities, settings and tokens.
    ConfigTable,
    /// The indexes of that table.
    ConfigIndexes,
    /// The table of limits, health, sessions, and work that one function leaves for another.
    StateTable,
    /// The indexes of that table.
    StateIndexes,
    /// The table of events, rollups and the audit trail.
    UsageTable,
    /// The indexes of that table.
    UsageIndexes,
    /// The KMS key that encrypts the data key.
    DataKey,
}

/// A permission of a handle: actions on the items of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The resource that the actions apply to.
    pub resource: Resource,
    /// The permitted actions.
    pub actions: &'static [Action],
    /// Patterns of the permitted partition keys, with `*` for any characters, as in the IAM
    /// condition `dynamodb:LeadingKeys`.
    pub partitions: &'static [&'static str],
}

pub(crate) const ANY: &[&str] = &["*"];
pub(crate) const READ: &[Action] = &[Action::GetItem, Action::BatchGetItem, Action::Query];

/// Reads the config table.
pub(crate) const READ_CONFIG: Permission = Permission::on(Resource::ConfigTable, READ, ANY);
/// Lists entities of the config table by kind.
pub(crate) const LIST_CONFIG: Permission =
    Permission::on(Resource::ConfigIndexes, &[Action::Query], ANY);
/// Decrypts the data key, which the vault needs to decrypt and encrypt secrets.
pub(crate) const OPEN_VAULT: Permission =
    Permission::on(Resource::DataKey, &[Action::Decrypt], ANY);
/// Reads the encrypted data key, and stores it when it is created.
pub(crate) const KEEP_DATA_KEY: Permission =
    Permission::on(Resource::ConfigTable, &[Action::GetItem, Action::PutItem], &[DATA_KEY]);
/// Creates the data key of the vault if there is none.
pub(crate) const MAKE_VAULT: Permission =
    Permission::on(Resource::DataKey, &[Action::GenerateDataKey], ANY);

impl Permission {
    pub(crate) const fn on(
        resource: Resource,
        actions: &'static [Action],
        partitions: &'static [&'static str],
    ) -> Self {
        Self { resource, actions, partitions }
    }

    pub(crate) const fn on_state(
        actions: &'static [Action],
        partitions: &'static [&'static str],
    ) -> Self {
        Self::on(Resource::StateTable, actions, partitions)
    }

    pub(crate) const fn on_usage(
        actions: &'static [Action],
        partitions: &'static [&'static str],
    ) -> Self {
        Self::on(Resource::UsageTable, actions, partitions)
    }
}

/// Declares a handle: a structure with a connection, its constructor, and the permissions that its
/// functions need. Clones share the connection.
macro_rules! store_handle {
    ($(#[$doc:meta])* $name:ident, $($permission:expr),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            pub(crate) connection: std::sync::Arc<crate::connection::StoreConnection>,
        }

        impl $name {
            /// The permissions that the functions of this handle need.
            pub(crate) const PERMISSIONS: &[crate::permissions::Permission] = &[$($permission),+];

            pub(crate) fn new(
                connection: &std::sync::Arc<crate::connection::StoreConnection>,
            ) -> Self {
                Self { connection: std::sync::Arc::clone(connection) }
            }
        }
    };
}
pub(crate) use store_handle;
