//! `baton account`: upstream accounts.

use super::{Desk, say_made, set};
use crate::Fail;
use crate::say::{say, text};
use clap::Subcommand;
use serde_json::{Value, json};

/// What can be done with accounts.
#[derive(Subcommand)]
pub enum AccountCommand {
    /// Add an account with a static key
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
        /// The upstream's address
        #[arg(long, default_value = "https://api.anthropic.com")]
        base_url: String,
        /// The upstream's key; `-` reads it from standard input
        #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true)]
        api_key: String,
        /// Groups whose keys may use it, by id (default: the default group)
        #[arg(long)]
        group: Vec<String>,
        /// Smaller is used first
        #[arg(long)]
        priority: Option<u32>,
        /// Share of sessions among accounts of the same priority
        #[arg(long)]
        weight: Option<u32>,
    },
    /// List accounts, how they are doing and until when
    List,
    /// Make one free call with an account's credential and tell the result
    Test {
        /// The account
        id: String,
    },
    /// Forget whatever is held against an account
    Reset {
        /// The account
        id: String,
    },
}

const COLUMNS: [(&str, &str); 9] = [
    ("id", "/id"),
    ("name", "/name"),
    ("base_url", "/base_url"),
    ("priority", "/priority"),
    ("weight", "/weight"),
    ("status", "/status"),
    ("status_reason", "/status_reason"),
    ("cooling_until", "/cooling_until"),
    ("utilisation", "/utilisation"),
];

pub(crate) async fn run(desk: &Desk, what: AccountCommand) -> Result<(), Fail> {
    match what {
        AccountCommand::Add { name, base_url, api_key, group, priority, weight } => {
            let value = if api_key == "-" { first_line_of_stdin()? } else { api_key };
            let mut body = json!({
                "name": name, "base_url": base_url,
                "credential": { "type": "api_key", "value": value },
            });
            set(&mut body, "groups", (!group.is_empty()).then_some(json!(group)));
            set(&mut body, "priority", priority.map(Value::from));
            set(&mut body, "weight", weight.map(Value::from));
            let made = desk.admin.post(&["accounts"], &body).await?;
            desk.screen.show(&made, || say_made("account", &made));
        }
        AccountCommand::List => {
            desk.screen.rows(&desk.admin.all(&["accounts"], &[]).await?, &COLUMNS);
        }
        AccountCommand::Test { id } => {
            let result = desk.admin.post(&["accounts", &id, "test"], &json!({})).await?;
            let message = text(&result["message"]);
            desk.screen.show(&result, || say(format!("account {id}: {message}")));
            if result["ok"] != true {
                return Err(Fail::Failed(format!("account {id} cannot be used")));
            }
        }
        AccountCommand::Reset { id } => {
            let account = desk.admin.post(&["accounts", &id, "reset"], &json!({})).await?;
            let status = text(&account["status"]);
            desk.screen.show(&account, || say(format!("account {id} is {status}")));
        }
    }
    Ok(())
}

fn first_line_of_stdin() -> Result<String, Fail> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Fail::because)?;
    Ok(line.trim().to_owned())
}
