//! `baton audit`: who changed what.

use super::CliContext;
use crate::CliError;
use crate::output::remark;
use clap::Subcommand;
use serde_json::json;

/// The commands of `baton audit`.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// List changes, newest first
    List {
        /// The most rows to list; 0 means all
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only changes by this actor: `admin_token`, `baton` or a user's id
        #[arg(long)]
        actor: Option<String>,
        /// Only changes of the resource with this id
        #[arg(long)]
        target: Option<String>,
        /// Only this action: create, update, delete, rotate or reset
        #[arg(long)]
        action: Option<String>,
        /// First day or time, such as 2026-11-01 [default: 30 days ago]
        #[arg(long)]
        from: Option<String>,
    },
}

const COLUMNS: [(&str, &str); 4] =
    [("at", "/at"), ("actor", "/actor"), ("action", "/action"), ("target", "/target")];

pub(crate) async fn run_audit_command(
    context: &CliContext,
    command: AuditCommand,
) -> Result<(), CliError> {
    let AuditCommand::List { limit, actor, target, action, from } = command;
    let message = [("actor", actor), ("target", target), ("action", action), ("from", from)];
    let query: Vec<(&str, &str)> =
        message.iter().filter_map(|(name, message)| Some((*name, message.as_deref()?))).collect();
    let max = if limit == 0 { usize::MAX } else { limit };
    let response = context.admin.get_pages(&["audit"], &query, max).await?;
    context.printer.rows(&json!(response), &COLUMNS);
    if response.next_cursor.is_some() {
        remark(format!("there are more rows than the {max} that --limit allows"));
    }
    Ok(())
}
