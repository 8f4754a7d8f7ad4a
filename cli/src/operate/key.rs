//! `baton key`: keys for people and pipelines.

use super::json_body::JsonBody;
use super::resource_names::{GROUP, KEY, USER};
use super::{CliContext, ConfirmationArg};
use crate::CliError;
use crate::output::{print_line, text};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// What can be done with keys.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key; it is shown this once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// Settings
        #[command(flatten)]
        fields: KeyFields,
        /// Limits
        #[command(flatten)]
        limits: LimitFields,
    },
    /// List keys
    List,
    /// Show everything about a key but its secret
    Show {
        /// The key, by id or name
        key: String,
    },
    /// Change a key; what is not named stays as it is
    Set {
        /// The key, by id or name
        key: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: KeyFields,
        /// Limits
        #[command(flatten)]
        limits: LimitFields,
    },
    /// Give a key another secret, shown this once; the old one is refused from now on
    Rotate {
        /// The key, by id or name
        key: String,
    },
    /// Remove a key; what it used stays counted
    Remove {
        /// The key, by id or name
        key: String,
        /// Consent
        #[command(flatten)]
        sure: ConfirmationArg,
    },
}

/// What can be set of a key.
#[derive(Args)]
pub struct KeyFields {
    /// The group whose accounts it uses, by id or name [default of a new key: the default group]
    #[arg(long)]
    group: Option<String>,
    /// Whose it is, by id or name, or `none`
    #[arg(long)]
    user: Option<String>,
    /// Models it may ask for, `*` for any characters; may be repeated; `none` allows all
    #[arg(long)]
    model: Vec<String>,
    /// When it ends, as 2026-12-31T00:00:00Z, or `none`
    #[arg(long)]
    expires_at: Option<String>,
    /// Whether it is accepted: true or false
    #[arg(long)]
    enabled: Option<bool>,
}

/// What a key may spend and how fast; `none` lifts a limit.
#[derive(Args)]
pub struct LimitFields {
    /// US dollars per UTC day, as 12.50
    #[arg(long, allow_negative_numbers = true)]
    usd_daily: Option<String>,
    /// US dollars per UTC week, from Monday
    #[arg(long, allow_negative_numbers = true)]
    usd_weekly: Option<String>,
    /// US dollars per UTC month
    #[arg(long, allow_negative_numbers = true)]
    usd_monthly: Option<String>,
    /// US dollars, ever
    #[arg(long, allow_negative_numbers = true)]
    usd_total: Option<String>,
    /// Requests in a minute
    #[arg(long, allow_negative_numbers = true)]
    requests_per_minute: Option<String>,
    /// Requests at the same time
    #[arg(long, allow_negative_numbers = true)]
    concurrency: Option<String>,
}

const COLUMNS: [(&str, &str); 8] = [
    ("id", "/id"),
    ("name", "/name"),
    ("group_id", "/group_id"),
    ("user_id", "/user_id"),
    ("models", "/models"),
    ("limits", "/limits"),
    ("expires_at", "/expires_at"),
    ("enabled", "/enabled"),
];

pub(crate) async fn run_key_command(desk: &CliContext, what: KeyCommand) -> Result<(), CliError> {
    match what {
        KeyCommand::Create { name, fields, limits } => {
            let limits = limits.to_json()?;
            let body = key_body(desk, Some(name), fields).await?.set("limits", limits).into_value();
            let made = desk.admin.post(&[KEY.route], &body).await?;
            show_secret(desk, &made);
            Ok(())
        }
        KeyCommand::List => desk.list_resources(KEY, &COLUMNS).await,
        KeyCommand::Show { key } => desk.show_resource(KEY, &key).await,
        KeyCommand::Set { key, name, fields, limits } => {
            let id = desk.id(KEY, &key).await?;
            let mut body = key_body(desk, name, fields).await?;
            if !limits.is_any_given() {
                return desk.change(KEY, &id, &body.into_value()).await;
            }
            body = body.set("limits", limits.to_json()?);
            desk.change(KEY, &id, &body.into_value()).await
        }
        KeyCommand::Rotate { key } => {
            let id = desk.id(KEY, &key).await?;
            let made = desk.admin.post(&[KEY.route, &id, "rotate"], &json!({})).await?;
            show_secret(desk, &made);
            Ok(())
        }
        KeyCommand::Remove { key, sure } => desk.remove_resource(KEY, &key, sure).await,
    }
}

async fn key_body(
    desk: &CliContext,
    name: Option<String>,
    fields: KeyFields,
) -> Result<JsonBody, CliError> {
    let group = match &fields.group {
        Some(group) => Some(desk.id(GROUP, group).await?),
        None => None,
    };
    Ok(JsonBody::default()
        .set("name", name)
        .set("group_id", group)
        .set("user_id", desk.id_or_null(USER, fields.user.as_deref()).await?)
        .set_list("models", fields.model)
        .set_or_empty("expires_at", fields.expires_at)
        .set("enabled", fields.enabled))
}

fn show_secret(desk: &CliContext, made: &Value) {
    desk.screen.show(made, || {
        let (id, name) = (text(&made["id"]), text(&made["name"]));
        print_line(format!("key {id} ({name}); it is shown this once:\n"));
        print_line(text(&made["secret"]));
    });
}

impl LimitFields {
    fn money_fields(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("usd_daily", &self.usd_daily),
            ("usd_weekly", &self.usd_weekly),
            ("usd_monthly", &self.usd_monthly),
            ("usd_total", &self.usd_total),
        ]
    }

    fn count_fields(&self) -> [(&'static str, &Option<String>); 2] {
        [("requests_per_minute", &self.requests_per_minute), ("concurrency", &self.concurrency)]
    }

    fn is_any_given(&self) -> bool {
        self.money_fields().iter().chain(&self.count_fields()).any(|(_, said)| said.is_some())
    }

    /// The limits that were given, with `null` for one that is removed; `None` if none was given.
    /// The API keeps the limits that the body does not name.
    fn to_json(&self) -> Result<Option<Value>, CliError> {
        let mut said = JsonBody::default();
        for (name, value) in self.money_fields() {
            said = said.set_or_empty(name, value.clone());
        }
        for (name, value) in self.count_fields() {
            said = said.set_number(name, value.clone())?;
        }
        Ok((!said.is_empty()).then(|| said.into_value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_named_are_not_sent() {
        let said = LimitFields {
            usd_daily: Some("5".into()),
            usd_weekly: Some("none".into()),
            usd_monthly: None,
            usd_total: None,
            requests_per_minute: Some("60".into()),
            concurrency: None,
        };
        let sent = json!({"usd_daily": "5", "usd_weekly": null, "requests_per_minute": 60});
        assert_eq!(said.to_json().ok().unwrap(), Some(sent));
    }
}
