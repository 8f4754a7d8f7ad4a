//! `baton group`: groups of accounts.

use super::field_flags::FieldFlags;
use super::flag_values::pairs;
use super::resource_names::GROUP;
use super::{CliContext, ConfirmationArg};
use crate::CliError;
use baton_api::groups::GroupChange;
use clap::{Args, Subcommand};

/// The commands of `baton group`.
#[derive(Subcommand)]
pub enum GroupCommand {
    /// Add a group
    Add {
        /// The name
        #[arg(long)]
        name: String,
        /// Settings
        #[command(flatten)]
        fields: GroupFields,
    },
    /// List groups
    List,
    /// Show a group
    Show {
        /// The group, by id or name
        group: String,
    },
    /// Change a group; settings without a flag keep their values
    Set {
        /// The group, by id or name
        group: String,
        /// The new name
        #[arg(long)]
        name: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: GroupFields,
    },
    /// Remove a group; its accounts and keys must be in other groups before
    Remove {
        /// The group, by id or name
        group: String,
        /// Confirmation
        #[command(flatten)]
        confirmation: ConfirmationArg,
    },
}

/// The settings of a group.
#[derive(Args)]
pub struct GroupFields {
    /// A description
    #[arg(long)]
    description: Option<String>,
    /// ASKED=SERVED: keys of the group can request the model SERVED as ASKED; can be repeated;
    /// `none` removes all
    #[arg(long, value_name = "ASKED=SERVED")]
    model_alias: Vec<String>,
    /// Whether requests of the group's keys are served: true or false
    #[arg(long)]
    enabled: Option<bool>,
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("name", "--name"),
    ("description", "--description"),
    ("model_aliases", "--model-alias"),
    ("enabled", "--enabled"),
];

const COLUMNS: [(&str, &str); 4] =
    [("id", "/id"), ("name", "/name"), ("description", "/description"), ("enabled", "/enabled")];

pub(crate) async fn run_group_command(
    context: &CliContext,
    command: GroupCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        GroupCommand::Add { name, fields } => {
            context.add(GROUP, group_change(Some(name), fields)?).await
        }
        GroupCommand::List => context.list_resources(GROUP, &COLUMNS).await,
        GroupCommand::Show { group } => context.show_resource(GROUP, &group).await,
        GroupCommand::Set { group, name, fields } => {
            context.change(GROUP, &group, group_change(name, fields)?).await
        }
        GroupCommand::Remove { group, confirmation } => {
            context.remove_resource(GROUP, &group, confirmation).await
        }
    }
}

fn group_change(name: Option<String>, fields: GroupFields) -> Result<GroupChange, CliError> {
    Ok(GroupChange {
        name,
        description: fields.description,
        model_aliases: pairs("--model-alias", &fields.model_alias)?,
        enabled: fields.enabled,
        ..GroupChange::default()
    })
}
