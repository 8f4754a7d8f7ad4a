//! `baton doctor`: checks a deployment from the outside, as its clients see it, and says how to
//! repair what is wrong. This file has the order of the checks; other files have the checks.
#![expect(clippy::doc_markdown, reason = "comments on flags are help texts")]

mod check_result;
mod local_checks;
mod remote_checks;
mod transfer_checks;

use crate::CliError;
use crate::environment::ShellEnvironment;
use crate::operate::{AdminTargetArgs, read_stdin_line};
use baton_domain::secret::Secret;
use baton_runtime::clock::Clock;
use baton_runtime::settings::command_line::ANTHROPIC_BASE_URL;
use check_result::{CheckResult, failures, show_results};
use clap::Args;
use reqwest::{Client, Url};

/// The arguments of `baton doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// The admin API
    #[command(flatten)]
    admin_target: AdminTargetArgs,
    #[arg(
        long,
        help = ANTHROPIC_BASE_URL.flag_help("The relay's base URL, as clients use it")
    )]
    relay: Option<String>,
    /// A relay key; `-` reads it from standard input [env: ANTHROPIC_AUTH_TOKEN, ANTHROPIC_API_KEY]
    #[arg(long)]
    key: Option<String>,
    /// Also check streaming, with one message of at most 16 tokens
    #[arg(long)]
    paid: bool,
    /// The model for the streaming check [default: a small model that the key can use]
    #[arg(long, requires = "paid")]
    model: Option<String>,
}

/// Runs all checks.
///
/// # Errors
/// At least one check fails.
pub(crate) async fn run_doctor(args: DoctorArgs) -> Result<(), CliError> {
    let environment = ShellEnvironment::from_process();
    let base_url = args.relay.clone().or_else(|| environment.client_base.clone());
    let base_url = base_url.unwrap_or_else(|| ANTHROPIC_BASE_URL.default.to_owned());
    let key = match args.key.as_deref() {
        Some("-") => Some(Secret::new(read_stdin_line()?)),
        Some(key) => Some(Secret::new(key.to_owned())),
        None => key_from_environment(&environment),
    };
    let (address, base_url) = local_checks::check_base_url(&base_url);
    let form_check = local_checks::key_form(key.as_ref());
    let key = key.filter(|_| failures(std::slice::from_ref(&form_check)) == 0);
    let mut results = vec![address, form_check];
    results.extend(local_checks::variables(&environment, base_url.as_ref()));
    let printer = args.admin_target.screen();
    let http = remote_checks::client()?;
    if let Some(base_url) = &base_url {
        let paid_checks = PaidChecks { paid: args.paid, model: args.model };
        results.extend(relay(&http, base_url, key.as_ref(), paid_checks).await);
    }
    results
        .extend(remote_checks::admin(&http, args.admin_target.resolve_target(environment)?).await);
    show_results(printer, &results);
    match failures(&results) {
        0 => Ok(()),
        1 => Err(CliError::Failed("one check failed".to_owned())),
        count => Err(CliError::Failed(format!("{count} checks failed"))),
    }
}

/// The relay key that clients of this shell would send. A credential of another service does not
/// count.
fn key_from_environment(environment: &ShellEnvironment) -> Option<Secret> {
    let both = [&environment.client_bearer, &environment.client_api_key];
    both.into_iter().flatten().find(|key| key.expose().starts_with("bt_")).cloned()
}

/// The requested checks that cost something.
struct PaidChecks {
    paid: bool,
    model: Option<String>,
}

async fn relay(
    http: &Client,
    base_url: &Url,
    key: Option<&Secret>,
    paid_checks: PaidChecks,
) -> Vec<CheckResult> {
    let clock = Clock::system();
    let (is_reachable, mut results) =
        remote_checks::check_address(http, base_url, || clock.now()).await;
    let (Some(key), true) = (key, is_reachable) else {
        let why =
            if is_reachable { "needs a key of the right form" } else { "needs a reachable relay" };
        let checks = ["key", "models", "body size", "streaming"];
        results.extend(checks.map(|check| CheckResult::skipped(check, why)));
        return results;
    };
    results.push(remote_checks::check_key(http, base_url, key).await);
    if failures(&results) > 0 {
        let checks = ["models", "body size", "streaming"];
        results.extend(
            checks.map(|check| CheckResult::skipped(check, "needs a key that the relay accepts")),
        );
        return results;
    }
    let (models, ids) = remote_checks::models(http, base_url, key).await;
    results.push(models);
    results.push(transfer_checks::check_body_size(http, base_url, key).await);
    let small = || ids.iter().find(|id| id.contains("haiku")).or(ids.first()).cloned();
    results.push(match paid_checks.model.or_else(small) {
        _ if !paid_checks.paid => {
            CheckResult::skipped("streaming", "costs a few tokens; use --paid to check it")
        }
        None => CheckResult::skipped("streaming", "needs a model; use --model"),
        Some(model) => transfer_checks::check_streaming(http, base_url, key, &model).await,
    });
    results
}
