//! `baton group`: groups of accounts.

use super::body::Body;
use super::names::GROUP;
use super::{Desk, Sure};
use crate::Fail;
use clap::{Args, Subcommand};
use serde_json::Value;

/// What can be done with groups.
#[derive(Subcommand)]
pub enum GroupCommand {
    /// Add a group
    Add {
        /// What people call it
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
    /// Change a group; what is not named stays as it is
    Set {
        /// The group, by id or name
        group: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: GroupFields,
    },
    /// Remove a group that has no accounts
    Remove {
        /// The group, by id or name
        group: String,
        /// Consent
        #[command(flatten)]
        sure: Sure,
    },
}

/// What can be set of a group.
#[derive(Args)]
pub struct GroupFields {
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// ASKED=SERVED: a model that its keys may ask for by another name; may be repeated; `none`
    /// forgets all
    #[arg(long, value_name = "ASKED=SERVED")]
    model_alias: Vec<String>,
    /// Whether its keys are served: true or false
    #[arg(long)]
    enabled: Option<bool>,
}

const COLUMNS: [(&str, &str); 4] =
    [("id", "/id"), ("name", "/name"), ("description", "/description"), ("enabled", "/enabled")];

pub(crate) async fn run(desk: &Desk, what: GroupCommand) -> Result<(), Fail> {
    match what {
        GroupCommand::Add { name, fields } => desk.add(GROUP, &body(Some(name), &fields)?).await,
        GroupCommand::List => desk.list(GROUP, &COLUMNS).await,
        GroupCommand::Show { group } => desk.show(GROUP, &group).await,
        GroupCommand::Set { group, name, fields } => {
            desk.change(GROUP, &group, &body(name, &fields)?).await
        }
        GroupCommand::Remove { group, sure } => desk.remove(GROUP, &group, sure).await,
    }
}

fn body(name: Option<String>, fields: &GroupFields) -> Result<Value, Fail> {
    let body = Body::default()
        .set("name", name)
        .set("description", fields.description.clone())
        .set_pairs(("model_aliases", "--model-alias"), &fields.model_alias)?
        .set("enabled", fields.enabled);
    Ok(body.done())
}
