//! `baton price`: the prices of models and when they start. `baton usage rerate` applies prices to
//! stored usage.

use super::admin_client::read_answer;
use super::field_flags::FieldFlags;
use super::flag_values::{optional, value};
use super::{CliContext, ConfirmationArg};
use crate::CliError;
use crate::output::print_line;
use baton_api::list::ResourceList;
use baton_api::prices::{NewPrice, NewRates, PriceResource, PriceSource};
use clap::{Args, Subcommand};
use serde_json::Value;

/// The commands of `baton price`.
#[derive(Subcommand)]
pub enum PriceCommand {
    /// List prices
    List,
    /// Show the prices of a model
    Show {
        /// The model's id
        model: String,
    },
    /// Set a model's price from a date on, in US dollars per million tokens
    #[command(visible_alias = "set")]
    Add {
        /// The model's id; `openai/gpt-5.2` means this vendor only, and `all` with --multiplier every
        /// model
        model: String,
        /// Only this account pays the price
        #[arg(long)]
        account: Option<String>,
        /// What the account pays of the list price, such as 0.85, instead of rates
        #[arg(long, requires = "account", conflicts_with_all = ["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"])]
        multiplier: Option<String>,
        /// When the price starts, such as 2026-12-01 or 2026-12-01T12:00:00Z [default: now]
        #[arg(long)]
        from: Option<String>,
        /// Rates
        #[command(flatten)]
        rates: RateFields,
    },
    /// Remove the prices that were set for a model; the built-in prices apply again
    Remove {
        /// The model's id
        model: String,
        /// Remove only the price that starts at this time
        #[arg(long)]
        from: Option<String>,
        /// Confirmation
        #[command(flatten)]
        confirmation: ConfirmationArg,
    },
}

/// US dollars per million tokens, by class.
#[derive(Args)]
pub struct RateFields {
    /// Price of prompt tokens without cache, such as 2.50
    #[arg(long, allow_negative_numbers = true, required_unless_present = "multiplier")]
    input: Option<String>,
    /// Price of output tokens
    #[arg(long, allow_negative_numbers = true, required_unless_present = "multiplier")]
    output: Option<String>,
    /// Price of prompt tokens read from the cache [default: as --input]
    #[arg(long, allow_negative_numbers = true)]
    cache_read: Option<String>,
    /// Price of prompt tokens written to the cache for five minutes, or for the vendor's shortest
    /// time [default: as --input]
    #[arg(long, allow_negative_numbers = true)]
    cache_write_5m: Option<String>,
    /// Price of prompt tokens written to the cache for an hour, or for the vendor's longest time
    /// [default: as --cache-write-5m]
    #[arg(long, allow_negative_numbers = true)]
    cache_write_1h: Option<String>,
}

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags = &[
    ("account_id", "--account"),
    ("multiplier", "--multiplier"),
    ("effective_from", "--from"),
    ("standard.input", "--input"),
    ("standard.output", "--output"),
    ("standard.cache_read", "--cache-read"),
    ("standard.cache_write_5m", "--cache-write-5m"),
    ("standard.cache_write_1h", "--cache-write-1h"),
];

pub(super) const COLUMNS: [(&str, &str); 9] = [
    ("model", "/model"),
    ("from", "/effective_from"),
    ("source", "/source"),
    ("input", "/standard/input"),
    ("output", "/standard/output"),
    ("cache_read", "/standard/cache_read"),
    ("cache_write_5m", "/standard/cache_write_5m"),
    ("cache_write_1h", "/standard/cache_write_1h"),
    ("multiplier", "/multiplier"),
];

pub(crate) async fn run_price_command(
    context: &CliContext,
    command: PriceCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        PriceCommand::List => {
            context.printer.rows(&context.admin.all(&["prices"], &[]).await?, &COLUMNS);
        }
        PriceCommand::Show { model } => {
            context.printer.rows(&context.admin.get(&["prices", &model], &[]).await?, &COLUMNS);
        }
        PriceCommand::Add { model, account, multiplier, from, rates } => {
            let new = NewPrice {
                model: model.clone(),
                effective_from: from,
                account_id: optional(account, value("--account"))?,
                standard: if multiplier.is_none() { Some(rates.into_rates()?) } else { None },
                multiplier: optional(multiplier, value("--multiplier"))?,
                ..NewPrice::default()
            };
            let created = context.admin.post(&["prices"], &new).await?;
            context.printer.show(&created, || print_line(format!("{model} has a new price")));
        }
        PriceCommand::Remove { model, from, confirmation } => {
            confirmation.or_ask(&format!("remove the prices that were set for {model}"))?;
            remove_prices(context, &model, from).await?;
            context.printer.show(&Value::Null, || {
                print_line(format!("the prices that were set for {model} are removed"));
            });
        }
    }
    Ok(())
}

impl RateFields {
    fn into_rates(self) -> Result<NewRates, CliError> {
        Ok(NewRates {
            input: value("--input")(&self.input.unwrap_or_default())?,
            output: value("--output")(&self.output.unwrap_or_default())?,
            cache_read: optional(self.cache_read, value("--cache-read"))?,
            cache_write_5m: optional(self.cache_write_5m, value("--cache-write-5m"))?,
            cache_write_1h: optional(self.cache_write_1h, value("--cache-write-1h"))?,
        })
    }
}

async fn remove_prices(
    context: &CliContext,
    model: &str,
    from: Option<String>,
) -> Result<(), CliError> {
    let own: Vec<String> = if let Some(from) = from {
        vec![from]
    } else {
        let all: ResourceList<PriceResource> =
            read_answer(&context.admin.get(&["prices", model], &[]).await?)?;
        let own = all.data.iter().filter(|price| price.source == PriceSource::Own);
        own.map(|price| price.effective_from.to_string()).collect()
    };
    if own.is_empty() {
        return Err(CliError::Failed(format!(
            "no price is set for {model}; the built-in prices apply"
        )));
    }
    for from in own {
        context.admin.delete_where(&["prices", model], &[("effective_from", &from)]).await?;
    }
    Ok(())
}
