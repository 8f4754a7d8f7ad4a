//! `baton alert`: where alerts about limits and accounts are sent, and whether they arrive.

use super::admin_client::read_answer;
use super::field_flags::FieldFlags;
use super::flag_values::{NONE, change, list, value};
use super::{CliContext, change_body, read_stdin_line};
use crate::CliError;
use crate::output::{print_line, text};
use baton_api::alerts::{
    AlertSettingsChange, AlertSettingsResource, AlertTest, ChangedAlertSettings,
};
use baton_api::fields::FieldChange;
use baton_domain::alert::WebhookFormat;
use baton_domain::printable::escape_for_terminal;
use baton_domain::secret::Secret;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::time::{Duration, Instant};

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("url", "--webhook"),
    ("form", "--form"),
    ("thresholds", "--threshold"),
    ("sns_topic_arn", "--sns-topic"),
    ("signing_secret", "--signing-secret"),
];

const ROUTE: &str = "alerts";

/// Longer than the time in which refresh runs twice.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(150);
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The commands of `baton alert`.
#[derive(Subcommand)]
pub enum AlertCommand {
    /// Show where alerts are sent and which ones are not delivered
    Show,
    /// Set where alerts are sent; settings without a flag keep their values
    Set(Box<AlertArgs>),
    /// Send a test alert and wait until it is delivered
    Test {
        /// Do not wait for the delivery
        #[arg(long)]
        no_wait: bool,
    },
}

/// The settings of alerts.
#[derive(Args)]
pub struct AlertArgs {
    /// The URL of the webhook; `-` reads it from standard input, `none` removes it
    #[arg(long)]
    webhook: Option<String>,
    /// The format of the webhook's messages
    #[arg(long, value_enum)]
    form: Option<WebhookFormatArg>,
    /// Send an alert when this percentage of a money limit is spent; can be repeated; `none`
    /// removes all
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    threshold: Vec<String>,
    /// The ARN of an Amazon SNS topic, or `none`
    #[arg(long, value_name = "ARN")]
    sns_topic: Option<String>,
    /// Read the signing secret of webhook calls from standard input [default: generated and shown
    /// once]
    #[arg(long)]
    signing_secret: bool,
}

/// The format of a webhook's messages.
#[derive(Clone, Copy, ValueEnum)]
enum WebhookFormatArg {
    /// The alert as JSON
    Json,
    /// A message for an incoming webhook of Slack
    Slack,
}

pub(crate) async fn run_alert_command(
    context: &CliContext,
    command: AlertCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        AlertCommand::Show => {
            let now = context.admin.get(&[ROUTE], &[]).await?;
            let settings = read_answer(&now)?;
            context.printer.show(&now, || show_settings(&settings));
            Ok(())
        }
        AlertCommand::Set(settings) => set(context, *settings).await,
        AlertCommand::Test { no_wait } => test(context, no_wait).await,
    }
}

fn show_settings(AlertSettingsResource { shown, waiting }: &AlertSettingsResource) {
    let (host, form) = (text(&json!(shown.url_host)), text(&json!(shown.form)));
    print_line(format!("webhook host    {host} ({form})"));
    print_line(format!("SNS topic       {}", text(&json!(shown.sns_topic_arn))));
    let shares: Vec<String> = shown.thresholds.iter().map(u32::to_string).collect();
    print_line(format!("thresholds      {} %", shares.join(", ")));
    print_line(format!("not delivered   {}", waiting.len()));
    for alert in waiting {
        let (channel, tries) = (text(&json!(alert.channel)), alert.tries);
        let (error, message) = (text(&json!(alert.last_error)), escape_for_terminal(&alert.text));
        print_line(format!("  {channel}, {tries} attempts ({error}): {message}"));
    }
}

async fn set(context: &CliContext, args: AlertArgs) -> Result<(), CliError> {
    let piped = |value: String| if value == "-" { read_stdin_line() } else { Ok(value) };
    if args.signing_secret && args.webhook.as_deref() == Some("-") {
        let message = "only one of `--webhook -` and --signing-secret can be read from standard \
             input";
        return Err(CliError::Usage(message.to_owned()));
    }
    let settings = AlertSettingsChange {
        url: change(args.webhook.map(piped).transpose()?, value("--webhook"))?,
        form: args.form.map(|format| match format {
            WebhookFormatArg::Json => WebhookFormat::Json,
            WebhookFormatArg::Slack => WebhookFormat::Slack,
        }),
        thresholds: FieldChange::set_if_some(list(&args.threshold, percent)?),
        sns_topic_arn: change(args.sns_topic, value("--sns-topic"))?,
        signing_secret: args.signing_secret.then(read_stdin_line).transpose()?.map(Secret::new),
    };
    let body = change_body("alert", settings)?;
    let before: AlertSettingsResource = read_answer(&context.admin.get(&[ROUTE], &[]).await?)?;
    let version = before.shown.version;
    let after = context.admin.put_versioned(version, &[ROUTE], &body).await?;
    let ChangedAlertSettings { settings, signing_secret } = read_answer(&after)?;
    context.printer.show(&after, || {
        show_settings(&settings);
        if let Some(created) = signing_secret {
            let created = escape_for_terminal(created.expose());
            print_line(format!("\nsigning secret, shown only once: {created}"));
        }
    });
    Ok(())
}

fn percent(text: &str) -> Result<u32, CliError> {
    text.trim_end_matches('%').trim().parse().map_err(|_| {
        CliError::Usage(format!("--threshold must be a percentage or `{NONE}`, not `{text}`"))
    })
}

/// Sends an alert, and fails if a channel does not accept it.
async fn test(context: &CliContext, no_wait: bool) -> Result<(), CliError> {
    let answer = context.admin.post(&[ROUTE, "test"], &json!({})).await?;
    let sent: AlertTest = read_answer(&answer)?;
    if no_wait {
        context.printer.show(&answer, || print_line(escape_for_terminal(&sent.message)));
        return Ok(());
    }
    let started = Instant::now();
    loop {
        let now: AlertSettingsResource = read_answer(&context.admin.get(&[ROUTE], &[]).await?)?;
        let mut waiting = now.waiting.iter().filter(|alert| alert.id == sent.id).peekable();
        if waiting.peek().is_none() {
            context.printer.show(&answer, || print_line("the alert was delivered"));
            return Ok(());
        }
        let mut errors =
            waiting.filter_map(|alert| Some((alert.channel, alert.last_error.as_deref()?)));
        if let Some((channel, error)) = errors.next() {
            let (channel, reason) = (text(&json!(channel)), escape_for_terminal(error));
            return Err(CliError::Failed(format!(
                "{channel}: {reason}; Baton tries again for a day"
            )));
        }
        if started.elapsed() > DELIVERY_TIMEOUT {
            let message = "the alert was not sent, because refresh does not run; its log has the \
                 reason";
            return Err(CliError::Failed(message.to_owned()));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_percent() {
        assert_eq!((percent("50").ok(), percent("80%").ok()), (Some(50), Some(80)));
        assert!(percent("half").is_err());
    }
}
