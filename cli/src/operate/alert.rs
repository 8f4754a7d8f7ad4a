//! `baton alert`: where alerts about limits and accounts are sent, and whether they arrive.

use super::json_body::{JsonBody, NONE};
use super::{CliContext, read_stdin_line};
use crate::CliError;
use crate::output::{print_line, text};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
    match command {
        AlertCommand::Show => {
            let now = context.admin.get(&[ROUTE], &[]).await?;
            context.printer.show(&now, || show_settings(&now));
            Ok(())
        }
        AlertCommand::Set(settings) => set(context, *settings).await,
        AlertCommand::Test { no_wait } => test(context, no_wait).await,
    }
}

fn show_settings(now: &Value) {
    print_line(format!("webhook host    {} ({})", text(&now["url_host"]), text(&now["form"])));
    print_line(format!("SNS topic       {}", text(&now["sns_topic_arn"])));
    let shares: Vec<String> =
        now["thresholds"].as_array().into_iter().flatten().map(text).collect();
    print_line(format!("thresholds      {} %", shares.join(", ")));
    let waiting = now["waiting"].as_array().map_or(&[][..], Vec::as_slice);
    print_line(format!("not delivered   {}", waiting.len()));
    for one in waiting {
        let (channel, message_text, tries) =
            (text(&one["channel"]), text(&one["text"]), &one["tries"]);
        print_line(format!(
            "  {channel}, {tries} attempts ({}): {message_text}",
            text(&one["last_error"])
        ));
    }
}

async fn set(context: &CliContext, args: AlertArgs) -> Result<(), CliError> {
    let piped = |value: String| if value == "-" { read_stdin_line() } else { Ok(value) };
    if args.signing_secret && args.webhook.as_deref() == Some("-") {
        let message = "only one of `--webhook -` and --signing-secret can be read from standard \
             input";
        return Err(CliError::Usage(message.to_owned()));
    }
    let body = JsonBody::default()
        .set_or_empty("url", args.webhook.map(piped).transpose()?)
        .set(
            "form",
            args.form.map(|format| match format {
                WebhookFormatArg::Json => "json",
                WebhookFormatArg::Slack => "slack",
            }),
        )
        .set("thresholds", thresholds(&args.threshold)?)
        .set_or_empty("sns_topic_arn", args.sns_topic)
        .set("signing_secret", args.signing_secret.then(read_stdin_line).transpose()?);
    if body.is_empty() {
        return Err(CliError::Usage(
            "no setting was given; `baton alert set --help` lists the settings".into(),
        ));
    }
    let before = context.admin.get(&[ROUTE], &[]).await?;
    let after = context.admin.put_versioned(&before, &[ROUTE], &body.into_value()).await?;
    context.printer.show(&after, || {
        show_settings(&after);
        if let Some(created) = after["signing_secret"].as_str() {
            print_line(format!("\nsigning secret, shown only once: {created}"));
        }
    });
    Ok(())
}

fn thresholds(values: &[String]) -> Result<Option<Vec<u32>>, CliError> {
    let number = |message: &String| {
        let digits = message.trim_end_matches('%').trim();
        digits.parse::<u32>().map_err(|_| {
            CliError::Usage(format!(
                "--threshold must be a percentage or `{NONE}`, not `{message}`"
            ))
        })
    };
    match values {
        [] => Ok(None),
        [none] if none == NONE => Ok(Some(Vec::new())),
        some => some.iter().map(number).collect::<Result<_, _>>().map(Some),
    }
}

/// Sends an alert, and fails if a channel does not accept it.
async fn test(context: &CliContext, no_wait: bool) -> Result<(), CliError> {
    let sent = context.admin.post(&[ROUTE, "test"], &json!({})).await?;
    if no_wait {
        context.printer.show(&sent, || print_line(text(&sent["message"])));
        return Ok(());
    }
    let started = Instant::now();
    loop {
        let now = context.admin.get(&[ROUTE], &[]).await?;
        let mut ours = now["waiting"].as_array().into_iter().flatten();
        let mut ours = ours.by_ref().filter(|one| one["id"] == sent["id"]).peekable();
        if ours.peek().is_none() {
            context.printer.show(&sent, || print_line("the alert was delivered"));
            return Ok(());
        }
        if let Some(failed) = ours.find(|one| !one["last_error"].is_null()) {
            let (channel, reason) = (text(&failed["channel"]), text(&failed["last_error"]));
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
        let check = |said: &[&str], expect: Option<&[u32]>| {
            let values: Vec<String> = said.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(thresholds(&values).ok().flatten().as_deref(), expect, "{values:?}");
        };
        check(&[], None);
        check(&["none"], Some(&[]));
        check(&["50", "80%"], Some(&[50, 80]));
        assert!(thresholds(&["half".to_owned()]).is_err());
    }
}
