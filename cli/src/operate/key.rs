//! `baton key`: keys for people and pipelines.

use super::{Desk, set};
use crate::Fail;
use crate::say::{say, text};
use clap::Subcommand;
use serde_json::{Value, json};

/// What can be done with keys.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key; it is shown this once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// The group whose accounts it uses, by id (default: the default group)
        #[arg(long)]
        group: Option<String>,
        /// Models it may ask for, `*` for any characters (default: all)
        #[arg(long)]
        model: Vec<String>,
        /// When it ends, as 2026-12-31T00:00:00Z (default: never)
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List keys
    List,
}

const COLUMNS: [(&str, &str); 6] = [
    ("id", "/id"),
    ("name", "/name"),
    ("group_id", "/group_id"),
    ("models", "/models"),
    ("expires_at", "/expires_at"),
    ("enabled", "/enabled"),
];

pub(crate) async fn run(desk: &Desk, what: KeyCommand) -> Result<(), Fail> {
    match what {
        KeyCommand::Create { name, group, model, expires_at } => {
            let mut body = json!({ "name": name });
            set(&mut body, "group_id", group.map(Value::from));
            set(&mut body, "models", (!model.is_empty()).then_some(json!(model)));
            set(&mut body, "expires_at", expires_at.map(Value::from));
            let made = desk.admin.post(&["keys"], &body).await?;
            desk.screen.show(&made, || {
                let (id, name) = (text(&made["id"]), text(&made["name"]));
                say(format!("key {id} ({name}); it is shown this once:\n"));
                say(text(&made["secret"]));
            });
        }
        KeyCommand::List => {
            desk.screen.rows(&desk.admin.all(&["keys"], &[]).await?, &COLUMNS);
        }
    }
    Ok(())
}
