//! `baton account`: upstream accounts.

use super::admin_client::read_answer;
use super::field_flags::{FieldFlags, in_flags};
use super::flag_values::{change, count, list, pairs, value};
use super::resource_names::{ACCOUNT, GROUP};
use super::{CliContext, ConfirmationArg, parse_whole_number, read_stdin, read_stdin_line};
use crate::CliError;
use crate::environment::ShellEnvironment;
use crate::output::{print_line, remark, text};
use baton_api::accounts::{AccountChange, AccountResource, AccountTest};
use baton_api::credentials::{ApiKeyCredential, AwsCredential, CredentialHeader, NewCredential};
use baton_api::error::field_message;
use baton_domain::account::Provider;
use baton_domain::printable::escape_for_terminal;
use baton_domain::secret::Secret;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::IsTerminal as _;

/// The commands of `baton account`.
#[derive(Subcommand)]
pub enum AccountCommand {
    /// Add an account
    Add {
        /// The name
        #[arg(long)]
        name: String,
        /// The upstream's API key; `-` reads it from standard input [env, only for --provider
        /// anthropic: ANTHROPIC_API_KEY]
        #[arg(long)]
        api_key: Option<String>,
        /// A credential of another kind, as JSON for the admin API; `-` reads it from standard
        /// input
        #[arg(long, value_name = "JSON")]
        credential: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: AccountFields,
    },
    /// List accounts with their status
    List,
    /// Show an account without its credential
    Show {
        /// The account, by id or name
        account: String,
    },
    /// Change an account; settings without a flag keep their values
    Set {
        /// The account, by id or name
        account: String,
        /// The new name
        #[arg(long)]
        name: Option<String>,
        /// The upstream's new API key; `-` reads it from standard input
        #[arg(long)]
        api_key: Option<String>,
        /// A credential of another kind, as JSON for the admin API; `-` reads it from standard
        /// input
        #[arg(long, value_name = "JSON", conflicts_with = "api_key")]
        credential: Option<String>,
        /// Settings
        #[command(flatten)]
        fields: AccountFields,
    },
    /// Remove an account and its credential
    Remove {
        /// The account, by id or name
        account: String,
        /// Confirmation
        #[command(flatten)]
        confirmation: ConfirmationArg,
    },
    /// Test an account's credential with free calls to the upstream
    Test {
        /// The account, by id or name
        account: String,
    },
    /// Reset an account's health: end its cooldowns and use it again
    Reset {
        /// The account, by id or name
        account: String,
    },
    /// Renew an account's token now
    Refresh {
        /// The account, by id or name
        account: String,
    },
}

/// The settings of an account.
#[derive(Args)]
pub struct AccountFields {
    /// The upstream's base URL [default of a new account: the provider's own]
    #[arg(long)]
    base_url: Option<String>,
    /// The kind of upstream
    #[arg(long, value_parser = one_of::<Provider, _>(Provider::ALL.map(Provider::as_str)))]
    provider: Option<Provider>,
    /// The header in which Baton sends the API key: x-api-key or authorization
    #[arg(long, value_name = "HEADER", value_parser = one_of::<CredentialHeader, _>(["x-api-key", "authorization"]))]
    key_header: Option<CredentialHeader>,
    /// The AWS region of a Bedrock account that uses an AWS role; without --role-arn it is Baton's
    /// own role
    #[arg(long)]
    region: Option<String>,
    /// The AWS role that Baton assumes for this account
    #[arg(long, value_name = "ARN", requires = "region")]
    role_arn: Option<String>,
    /// The external id that the role's trust policy requires
    #[arg(long, value_name = "ID", requires = "role_arn")]
    external_id: Option<String>,
    /// A group whose keys can use the account, by id or name; can be repeated
    #[arg(long)]
    group: Vec<String>,
    /// The priority; accounts with smaller numbers are used first
    #[arg(long, allow_negative_numbers = true, value_parser = parse_whole_number::<u32>)]
    priority: Option<u32>,
    /// The share of sessions among accounts with the same priority
    #[arg(long, allow_negative_numbers = true, value_parser = parse_whole_number::<u32>)]
    weight: Option<u32>,
    /// A model that the account serves, `*` for any characters; can be repeated; `none` allows all
    /// models
    #[arg(long)]
    model: Vec<String>,
    /// ASKED=SERVED: requests for the model ASKED are sent as SERVED; can be repeated; `none`
    /// removes all
    #[arg(long, value_name = "ASKED=SERVED")]
    map: Vec<String>,
    /// Whether an OpenAI-compatible upstream also has /v1/responses: true or false
    #[arg(long)]
    speaks_responses: Option<bool>,
    /// The cache domain, or `none`; accounts in one domain share the upstream's prompt cache
    #[arg(long)]
    cache_domain: Option<String>,
    /// The most requests at the same time, or `none`
    #[arg(long, allow_negative_numbers = true)]
    max_concurrency: Option<String>,
    /// The URL of the proxy for calls to the upstream, or `none`
    #[arg(long)]
    proxy_url: Option<String>,
    /// Whether the account is used: true or false
    #[arg(long)]
    enabled: Option<bool>,
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("name", "--name"),
    ("provider", "--provider"),
    ("base_url", "--base-url"),
    ("credential", "--credential"),
    ("credential.value", "--api-key"),
    ("credential.header", "--key-header"),
    ("credential.region", "--region"),
    ("credential.role_arn", "--role-arn"),
    ("credential.external_id", "--external-id"),
    ("groups", "--group"),
    ("priority", "--priority"),
    ("weight", "--weight"),
    ("models", "--model"),
    ("model_map", "--map"),
    ("speaks_responses", "--speaks-responses"),
    ("cache_domain", "--cache-domain"),
    ("max_concurrency", "--max-concurrency"),
    ("proxy_url", "--proxy-url"),
    ("enabled", "--enabled"),
];

const COLUMNS: [(&str, &str); 9] = [
    ("id", "/id"),
    ("name", "/name"),
    ("base_url", "/base_url"),
    ("priority", "/priority"),
    ("weight", "/weight"),
    ("status", "/status"),
    ("status_reason", "/status_reason"),
    ("cooling_until", "/cooling_until"),
    ("utilization", "/utilization"),
];

pub(crate) async fn run_account_command(
    context: &CliContext,
    command: AccountCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        AccountCommand::Add { name, api_key, credential, fields } => {
            let is_other = credential.is_some() || fields.region.is_some();
            let environment = || anthropic_key(fields.provider, &ShellEnvironment::from_process());
            let api_key = api_key.filter(|_| !is_other);
            let api_key = api_key.or_else(|| environment().filter(|_| !is_other));
            let credential_args = CredentialArgs { api_key, credential };
            if credential_args.api_key.is_none() && !is_other {
                return Err(CliError::Usage(
                    "the account needs a credential; use --api-key, --region (an AWS role, for \
                     Bedrock) or --credential"
                        .into(),
                ));
            }
            let new = account_change(context, Some(name), credential_args, fields).await?;
            context.add(ACCOUNT, new).await
        }
        AccountCommand::List => context.list_resources(ACCOUNT, &COLUMNS).await,
        AccountCommand::Show { account } => context.show_resource(ACCOUNT, &account).await,
        AccountCommand::Set { account, name, api_key, credential, fields } => {
            let credential_args = CredentialArgs { api_key, credential };
            let change = account_change(context, name, credential_args, fields).await?;
            context.change(ACCOUNT, &account, change).await
        }
        AccountCommand::Remove { account, confirmation } => {
            context.remove_resource(ACCOUNT, &account, confirmation).await
        }
        AccountCommand::Test { account } => test(context, &account).await,
        AccountCommand::Reset { account } => run_account_action(context, &account, "reset").await,
        AccountCommand::Refresh { account } => {
            run_account_action(context, &account, "refresh").await
        }
    }
}

/// Parses one of these names of the API.
fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static, const N: usize>(
    names: [&'static str; N],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name| serde_json::from_value::<T>(name.into()))
}

/// The environment's key for Anthropic's API. It is not sent to any other vendor.
fn anthropic_key(provider: Option<Provider>, environment: &ShellEnvironment) -> Option<String> {
    let is_anthropic = provider.is_none_or(|provider| provider == Provider::Anthropic);
    let key = environment.client_api_key.as_ref().filter(|_| is_anthropic);
    key.map(|key| key.expose().to_owned())
}

/// A credential as given on the command line.
struct CredentialArgs {
    api_key: Option<String>,
    credential: Option<String>,
}

async fn account_change(
    context: &CliContext,
    name: Option<String>,
    credential_args: CredentialArgs,
    fields: AccountFields,
) -> Result<AccountChange, CliError> {
    let CredentialArgs { api_key, credential } = credential_args;
    if fields.key_header.is_some() && api_key.is_none() {
        return Err(CliError::Usage(
            "--key-header names the header of --api-key; use both flags together".into(),
        ));
    }
    let credential = match (credential, fields.region, api_key) {
        (Some(text), ..) => Some(read_credential(text)?),
        (None, Some(region), _) => Some(NewCredential::Aws(AwsCredential {
            region,
            role_arn: fields.role_arn,
            external_id: fields.external_id,
        })),
        (None, None, Some(key)) => {
            let key = if key == "-" { read_stdin_line()? } else { key };
            let (value, header) = (Secret::new(key), fields.key_header);
            Some(NewCredential::ApiKey(ApiKeyCredential { value, header }))
        }
        (None, None, None) => None,
    };
    let mut groups = Vec::new();
    for group in &fields.group {
        groups.push(context.flag_id(GROUP, "--group", group).await?);
    }
    Ok(AccountChange {
        name,
        provider: fields.provider,
        base_url: fields.base_url,
        credential,
        groups: (!groups.is_empty()).then_some(groups),
        priority: fields.priority,
        weight: fields.weight,
        models: list(&fields.model, value("--model"))?,
        model_map: pairs("--map", &fields.map)?,
        speaks_responses: fields.speaks_responses,
        cache_domain: change(fields.cache_domain, value("--cache-domain"))?,
        max_concurrency: change(fields.max_concurrency, count("--max-concurrency"))?,
        proxy_url: change(fields.proxy_url, value("--proxy-url"))?,
        enabled: fields.enabled,
    })
}

fn read_credential(message: String) -> Result<NewCredential, CliError> {
    if message == "-" && std::io::stdin().is_terminal() {
        remark("paste the JSON, then press Enter and Ctrl-D");
    }
    let text = if message == "-" { read_stdin()? } else { message };
    // The text can contain a secret, so the errors do not repeat it.
    let json: Value = serde_json::from_str(&text).map_err(|_| {
        CliError::Usage(
            "the value of --credential is not valid JSON; see \"Credential\" in the API reference"
                .to_owned(),
        )
    })?;
    serde_json::from_value(json).map_err(|error| {
        let message = field_message("credential", &error.to_string());
        CliError::Refused(in_flags(&message, FIELD_FLAGS))
    })
}

async fn test(context: &CliContext, account: &str) -> Result<(), CliError> {
    let id = context.id(ACCOUNT, account).await?;
    let result = context.admin.post(&[ACCOUNT.route, &id, "test"], &json!({})).await?;
    let AccountTest { ok, message, duration_ms, .. } = read_answer(&result)?;
    let message = escape_for_terminal(&message);
    let time = if ok == Some(true) { format!(" ({duration_ms} ms)") } else { String::new() };
    context.printer.show(&result, || print_line(format!("account {account}: {message}{time}")));
    match ok {
        Some(true) => Ok(()),
        // The line above gives the reason.
        Some(false) => Err(CliError::Failed(format!(
            "the test of account {account} failed; `baton account set {account} --api-key -` \
             replaces its credential, and `baton account reset {account}` ends its cooldown"
        ))),
        None => Err(CliError::Failed(format!(
            "the test could not show whether the credential of account {account} is valid"
        ))),
    }
}

async fn run_account_action(
    context: &CliContext,
    account: &str,
    action: &str,
) -> Result<(), CliError> {
    let id = context.id(ACCOUNT, account).await?;
    let after = context.admin.post(&[ACCOUNT.route, &id, action], &json!({})).await?;
    let status = text(&json!(read_answer::<AccountResource>(&after)?.status));
    context.printer.show(&after, || print_line(format!("account {account} is {status}")));
    Ok(())
}
