//! `baton user`: the people and pipelines that keys belong to.

use super::field_flags::FieldFlags;
use super::flag_values::{change, optional, value};
use super::resource_names::USER;
use super::{CliContext, ConfirmationArg};
use crate::CliError;
use baton_api::users::UserChange;
use clap::{Args, Subcommand};

/// The commands of `baton user`.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Add a user
    Add {
        /// The name
        #[arg(long)]
        name: String,
        /// Settings
        #[command(flatten)]
        fields: UserFields,
    },
    /// List users
    List,
    /// Show a user
    Show {
        /// The user, by id or name
        user: String,
    },
    /// Change a user; settings without a flag keep their values
    Set {
        /// The user, by id or name
        user: String,
        /// The new name
        #[arg(long)]
        name: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: UserFields,
    },
    /// Remove a user
    Remove {
        /// The user, by id or name
        user: String,
        /// Confirmation
        #[command(flatten)]
        confirmation: ConfirmationArg,
    },
}

/// The settings of a user.
#[derive(Args)]
pub struct UserFields {
    /// The e-mail address, or `none`
    #[arg(long)]
    email: Option<String>,
    /// The role: admin or member
    #[arg(long)]
    role: Option<String>,
    /// Whether the user is enabled: true or false; keys of a disabled user are refused
    #[arg(long)]
    enabled: Option<bool>,
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags =
    &[("name", "--name"), ("email", "--email"), ("role", "--role"), ("enabled", "--enabled")];

const COLUMNS: [(&str, &str); 5] = [
    ("id", "/id"),
    ("name", "/name"),
    ("email", "/email"),
    ("role", "/role"),
    ("enabled", "/enabled"),
];

pub(crate) async fn run_user_command(
    context: &CliContext,
    command: UserCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        UserCommand::Add { name, fields } => {
            context.add(USER, user_change(Some(name), fields)?).await
        }
        UserCommand::List => context.list_resources(USER, &COLUMNS).await,
        UserCommand::Show { user } => context.show_resource(USER, &user).await,
        UserCommand::Set { user, name, fields } => {
            context.change(USER, &user, user_change(name, fields)?).await
        }
        UserCommand::Remove { user, confirmation } => {
            context.remove_resource(USER, &user, confirmation).await
        }
    }
}

fn user_change(name: Option<String>, fields: UserFields) -> Result<UserChange, CliError> {
    Ok(UserChange {
        name,
        email: change(fields.email, value("--email"))?,
        role: optional(fields.role, value("--role"))?,
        enabled: fields.enabled,
        ..UserChange::default()
    })
}
