//! `baton audit`: who changed what.

use super::field_flags::FieldFlags;
use super::{CliContext, parse_whole_number};
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
        #[arg(long, default_value_t = 100, value_parser = parse_whole_number::<usize>)]
        limit: usize,
        /// Only changes by this actor: `admin_token`, `baton` or a user's id
        #[arg(long)]
        actor: Option<String>,
        /// Only changes of the resource with this id
        #[arg(long)]
        target: Option<String>,
        /// Only this action: create, update, delete, rotate, reset, refresh, sign_in, sign_out,
        /// rerate, redrive or test
        #[arg(long)]
        action: Option<String>,
        /// First day or time, such as 2026-11-01 [default: 30 days ago]
        #[arg(long)]
        from: Option<String>,
    },
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("from", "--from"),
    ("actor", "--actor"),
    ("target", "--target"),
    ("action", "--action"),
    ("limit", "--limit"),
];

const COLUMNS: [(&str, &str); 4] =
    [("at", "/at"), ("actor", "/actor"), ("action", "/action"), ("target", "/target")];

pub(crate) async fn run_audit_command(
    context: &CliContext,
    command: AuditCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
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

#[cfg(test)]
mod tests {
    use crate::args::Args;
    use baton_api::audit::AuditAction;
    use clap::CommandFactory as _;

    #[test]
    fn help_lists_every_action() {
        let program = Args::command();
        let list = program.find_subcommand("audit").and_then(|audit| audit.find_subcommand("list"));
        let mut arguments = list.unwrap().get_arguments();
        let action = arguments.find(|argument| argument.get_id() == "action").unwrap();
        let help = action.get_help().unwrap().to_string();
        for action in AuditAction::ALL {
            let is_listed = help.split([' ', ',']).any(|word| word == action.as_str());
            assert!(is_listed, "{}: {help}", action.as_str());
        }
    }
}
