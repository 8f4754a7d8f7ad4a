//! `baton user`: the people and pipelines that keys belong to.

use super::body::Body;
use super::names::USER;
use super::{Desk, Sure};
use crate::Fail;
use clap::{Args, Subcommand};

/// What can be done with users.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Add a user
    Add {
        /// What people call them
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
    /// Change a user; what is not named stays as it is
    Set {
        /// The user, by id or name
        user: String,
        /// Another name
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
        /// Consent
        #[command(flatten)]
        sure: Sure,
    },
}

/// What can be set of a user.
#[derive(Args)]
pub struct UserFields {
    /// Where to reach them, or `none`
    #[arg(long)]
    email: Option<String>,
    /// admin or member
    #[arg(long)]
    role: Option<String>,
    /// Whether they may do anything: true or false
    #[arg(long)]
    enabled: Option<bool>,
}

const COLUMNS: [(&str, &str); 5] = [
    ("id", "/id"),
    ("name", "/name"),
    ("email", "/email"),
    ("role", "/role"),
    ("enabled", "/enabled"),
];

pub(crate) async fn run(desk: &Desk, what: UserCommand) -> Result<(), Fail> {
    let body = |name: Option<String>, fields: UserFields| {
        let body = Body::default().set("name", name).set_or_empty("email", fields.email);
        body.set("role", fields.role).set("enabled", fields.enabled).done()
    };
    match what {
        UserCommand::Add { name, fields } => desk.add(USER, &body(Some(name), fields)).await,
        UserCommand::List => desk.list(USER, &COLUMNS).await,
        UserCommand::Show { user } => desk.show(USER, &user).await,
        UserCommand::Set { user, name, fields } => {
            desk.change(USER, &user, &body(name, fields)).await
        }
        UserCommand::Remove { user, sure } => desk.remove(USER, &user, sure).await,
    }
}
