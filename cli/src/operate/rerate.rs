//! `baton usage rerate`: re-rates a period with the prices in force. Each API call re-rates a part,
//! so the call is repeated until all of it is done.

use super::CliContext;
use crate::CliError;
use crate::output::{print_line, text};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

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
    let body = json!({ "from": args.from, "to": args.to, "dry_run": args.dry_run });
    let bar = bar();
    let response = loop {
        let response = context.admin.post(&["prices", "rerate"], &body).await?;
        if response["done"] == true {
            break response;
        }
        show_progress(&bar, &response);
    };
    bar.finish_and_clear();
    context.printer.show(&response, || {
        let would = if args.dry_run { "would change" } else { "changed" };
        let (examined, changed) = (text(&response["examined"]), text(&response["changed"]));
        let difference = text(&response["difference_usd"]);
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

fn show_progress(bar: &ProgressBar, response: &Value) {
    let time = |name: &str| response[name].as_str()?.parse::<Timestamp>().ok();
    if let (Some(from), Some(next), Some(to)) = (time("from"), time("next"), time("to")) {
        let seconds = |span: jiff::SignedDuration| u64::try_from(span.as_secs()).unwrap_or(0);
        bar.set_length(seconds(to.duration_since(from)).max(1));
        bar.set_position(seconds(to.duration_since(next)));
    }
    bar.set_message(format!("{} requests", text(&response["examined"])));
}
