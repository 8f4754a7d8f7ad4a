//! `baton usage rerate`: re-rates a period with the prices in force. Each API call re-rates a part,
//! so the call is repeated until all of it is done.

use super::CliContext;
use super::admin_client::read_answer;
use crate::CliError;
use crate::output::print_line;
use baton_api::prices::{RerateReport, RerateRequest};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

/// The arguments of `baton usage rerate`.
#[derive(Args)]
pub struct RerateArgs {
    /// First day or time
    #[arg(long)]
    from: String,
    /// Last day or time
    #[arg(long)]
    to: String,
    /// Show what would change, without changing it
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn rerate(context: &CliContext, args: RerateArgs) -> Result<(), CliError> {
    let RerateArgs { from, to, dry_run } = args;
    let body = RerateRequest { from, to, dry_run, limit: None };
    let bar = bar();
    let (response, report) = loop {
        let response = context.admin.post(&["prices", "rerate"], &body).await?;
        let report: RerateReport = read_answer(&response)?;
        if report.done {
            break (response, report);
        }
        show_progress(&bar, &report);
    };
    bar.finish_and_clear();
    context.printer.show(&response, || {
        let would = if dry_run { "would change" } else { "changed" };
        let RerateReport { examined, changed, difference_usd: difference, .. } = report;
        print_line(format!(
            "{changed} of {examined} requests {would}; the total difference is {difference} USD"
        ));
    });
    Ok(())
}

/// A progress bar over the seconds of the period, which is re-rated from its end to its beginning.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}% {msg}");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show_progress(bar: &ProgressBar, report: &RerateReport) {
    let RerateReport { from, to, examined, .. } = *report;
    if let Some(next) = report.next {
        let seconds = |span: jiff::SignedDuration| u64::try_from(span.as_secs()).unwrap_or(0);
        bar.set_length(seconds(to.duration_since(from)).max(1));
        bar.set_position(seconds(to.duration_since(next)));
    }
    bar.set_message(format!("{examined} requests"));
}
