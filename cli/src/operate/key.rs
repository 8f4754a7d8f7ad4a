//! `baton key`: keys for people and pipelines.

use super::admin_client::read_answer;
use super::field_flags::FieldFlags;
use super::flag_values::{NONE, change, count, list, value};
use super::resource_names::{GROUP, KEY, USER};
use super::{CliContext, ConfirmationArg};
use crate::CliError;
use crate::output::print_line;
use baton_api::fields::{FieldChange, LimitsChange, NamedLimits};
use baton_api::keys::{KeyChange, KeyWithSecret};
use baton_api::new::New;
use baton_domain::printable::escape_for_terminal;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// The commands of `baton key`.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key and show its secret, which is shown only once
    #[command(visible_alias = "add")]
    Create {
        /// The name
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
    /// Show a key without its secret
    Show {
        /// The key, by id or name
        key: String,
    },
    /// Change a key; settings without a flag keep their values
    Set {
        /// The key, by id or name
        key: String,
        /// The new name
        #[arg(long)]
        name: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: KeyFields,
        /// Limits
        #[command(flatten)]
        limits: LimitFields,
    },
    /// Replace a key's secret and show the new one, which is shown only once; the old secret is
    /// refused from now on
    Rotate {
        /// The key, by id or name
        key: String,
    },
    /// Remove a key; its usage stays recorded
    Remove {
        /// The key, by id or name
        key: String,
        /// Confirmation
        #[command(flatten)]
        confirmation: ConfirmationArg,
    },
}

/// The settings of a key.
#[derive(Args)]
pub struct KeyFields {
    /// The group whose accounts the key uses, by id or name [default of a new key: the default
    /// group]
    #[arg(long)]
    group: Option<String>,
    /// The user that the key belongs to, by id or name, or `none`
    #[arg(long)]
    user: Option<String>,
    /// A model that the key can use, `*` for any characters; can be repeated; `none` allows all
    /// models
    #[arg(long)]
    model: Vec<String>,
    /// When the key expires, such as 2026-12-31T00:00:00Z, or `none`
    #[arg(long)]
    expires_at: Option<String>,
    /// Whether the key is accepted: true or false
    #[arg(long)]
    enabled: Option<bool>,
}

/// The limits of a key; `none` removes a limit.
#[derive(Args)]
pub struct LimitFields {
    /// Daily budget in US dollars (UTC day), such as 12.50; 0 refuses every request, `none` removes
    /// the budget
    #[arg(long, allow_negative_numbers = true)]
    usd_daily: Option<String>,
    /// Weekly budget in US dollars (UTC week from Monday); `none` removes it
    #[arg(long, allow_negative_numbers = true)]
    usd_weekly: Option<String>,
    /// Monthly budget in US dollars (UTC month); `none` removes it
    #[arg(long, allow_negative_numbers = true)]
    usd_monthly: Option<String>,
    /// Total budget in US dollars, for all time; `none` removes it
    #[arg(long, allow_negative_numbers = true)]
    usd_total: Option<String>,
    /// The most requests per minute; 0 refuses every request, `none` removes the limit
    #[arg(long, allow_negative_numbers = true)]
    requests_per_minute: Option<String>,
    /// The most requests at the same time; 0 refuses every request, `none` removes the limit
    #[arg(long, allow_negative_numbers = true)]
    concurrency: Option<String>,
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("name", "--name"),
    ("group_id", "--group"),
    ("user_id", "--user"),
    ("models", "--model"),
    ("expires_at", "--expires-at"),
    ("enabled", "--enabled"),
    ("limits.usd_daily", "--usd-daily"),
    ("limits.usd_weekly", "--usd-weekly"),
    ("limits.usd_monthly", "--usd-monthly"),
    ("limits.usd_total", "--usd-total"),
    ("limits.requests_per_minute", "--requests-per-minute"),
    ("limits.concurrency", "--concurrency"),
];

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

pub(crate) async fn run_key_command(
    context: &CliContext,
    command: KeyCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        KeyCommand::Create { name, fields, limits } => {
            let new = New(key_change(context, Some(name), fields, limits).await?);
            let created = context.admin.post(&[KEY.route], &new).await?;
            show_secret(context, &created)
        }
        KeyCommand::List => context.list_resources(KEY, &COLUMNS).await,
        KeyCommand::Show { key } => context.show_resource(KEY, &key).await,
        KeyCommand::Set { key, name, fields, limits } => {
            let change = key_change(context, name, fields, limits).await?;
            context.change(KEY, &key, change).await
        }
        KeyCommand::Rotate { key } => {
            let id = context.id(KEY, &key).await?;
            let created = context.admin.post(&[KEY.route, &id, "rotate"], &json!({})).await?;
            show_secret(context, &created)
        }
        KeyCommand::Remove { key, confirmation } => {
            context.remove_resource(KEY, &key, confirmation).await
        }
    }
}

async fn key_change(
    context: &CliContext,
    name: Option<String>,
    fields: KeyFields,
    limits: LimitFields,
) -> Result<KeyChange, CliError> {
    let group_id = match &fields.group {
        Some(group) => Some(context.flag_id(GROUP, "--group", group).await?),
        None => None,
    };
    let user_id = match fields.user.as_deref() {
        None => FieldChange::Keep,
        Some(NONE) => FieldChange::To(None),
        Some(user) => FieldChange::To(Some(context.flag_id(USER, "--user", user).await?)),
    };
    Ok(KeyChange {
        name,
        group_id,
        user_id,
        models: list(&fields.model, value("--model"))?,
        expires_at: change(fields.expires_at, value("--expires-at"))?,
        enabled: fields.enabled,
        limits: limits.into_change()?,
        ..KeyChange::default()
    })
}

fn show_secret(context: &CliContext, created: &Value) -> Result<(), CliError> {
    let KeyWithSecret { key, secret } = read_answer(created)?;
    context.printer.show(created, || {
        let name = escape_for_terminal(&key.name);
        print_line(format!("key {} ({name}); the secret is shown only once:\n", key.id));
        print_line(escape_for_terminal(secret.expose()));
    });
    Ok(())
}

impl LimitFields {
    fn into_change(self) -> Result<LimitsChange, CliError> {
        let limits = NamedLimits {
            usd_daily: change(self.usd_daily, value("--usd-daily"))?,
            usd_weekly: change(self.usd_weekly, value("--usd-weekly"))?,
            usd_monthly: change(self.usd_monthly, value("--usd-monthly"))?,
            usd_total: change(self.usd_total, value("--usd-total"))?,
            requests_per_minute: change(self.requests_per_minute, count("--requests-per-minute"))?,
            concurrency: change(self.concurrency, count("--concurrency"))?,
        };
        Ok(limits.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_limits_are_not_sent() {
        let said = LimitFields {
            usd_daily: Some("5".into()),
            usd_weekly: Some("none".into()),
            usd_monthly: None,
            usd_total: None,
            requests_per_minute: Some("60".into()),
            concurrency: None,
        };
        let sent =
            json!({"usd_daily": "5.000000000000", "usd_weekly": null, "requests_per_minute": 60});
        assert_eq!(json!(said.into_change().ok()), sent);
    }
}
