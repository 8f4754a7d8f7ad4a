//! `baton audit`: who changed what.

use super::Desk;
use crate::Fail;
use crate::say::remark;
use clap::Subcommand;

/// What can be asked of the audit trail.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// List changes, the newest first
    List {
        /// How many rows at most; 0 means all
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

pub(crate) async fn run(desk: &Desk, what: AuditCommand) -> Result<(), Fail> {
    let AuditCommand::List { limit } = what;
    let max = if limit == 0 { usize::MAX } else { limit };
    let answer = desk.admin.some(&["audit"], &[], max).await?;
    desk.screen.all_columns(&answer);
    if !answer["next_cursor"].is_null() {
        remark(format!("there are more than {max}; --limit shows them"));
    }
    Ok(())
}
