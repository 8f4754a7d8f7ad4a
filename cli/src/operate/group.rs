//! `baton group`: groups of accounts.

use super::{Desk, say_made};
use crate::Fail;
use clap::Subcommand;
use serde_json::json;

/// What can be done with groups.
#[derive(Subcommand)]
pub enum GroupCommand {
    /// Add a group
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
    },
    /// List groups
    List,
}

const COLUMNS: [(&str, &str); 4] =
    [("id", "/id"), ("name", "/name"), ("description", "/description"), ("enabled", "/enabled")];

pub(crate) async fn run(desk: &Desk, what: GroupCommand) -> Result<(), Fail> {
    match what {
        GroupCommand::Add { name } => {
            let made = desk.admin.post(&["groups"], &json!({ "name": name })).await?;
            desk.screen.show(&made, || say_made("group", &made));
        }
        GroupCommand::List => {
            desk.screen.rows(&desk.admin.all(&["groups"], &[]).await?, &COLUMNS);
        }
    }
    Ok(())
}
