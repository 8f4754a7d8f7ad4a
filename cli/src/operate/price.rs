//! `baton price`: what models cost, from which moment on. Rating stored usage anew belongs to
//! `usage`.

use super::body::Body;
use super::{Desk, Sure};
use crate::Fail;
use crate::say::say;
use clap::{Args, Subcommand};

/// What can be done with prices.
#[derive(Subcommand)]
pub enum PriceCommand {
    /// List prices
    List,
    /// Show the prices of a model
    Show {
        /// The model's id
        model: String,
    },
    /// Set a model's price from a moment on, in micro-dollars per million tokens
    Add {
        /// The model's id
        model: String,
        /// From when it holds, as 2026-12-01T00:00:00Z
        #[arg(long)]
        from: String,
        /// Rates
        #[command(flatten)]
        rates: RateFields,
    },
    /// Remove a model's own prices; the built-in ones hold again
    Remove {
        /// The model's id
        model: String,
        /// Consent
        #[command(flatten)]
        sure: Sure,
    },
}

/// Micro-dollars per million tokens, by class.
#[derive(Args)]
pub struct RateFields {
    /// Prompt tokens that touched no cache
    #[arg(long)]
    input: u64,
    /// Tokens of the answer
    #[arg(long)]
    output: u64,
    /// Prompt tokens read from the cache
    #[arg(long)]
    cache_read: u64,
    /// Prompt tokens written to the cache for five minutes
    #[arg(long)]
    cache_write_5m: u64,
    /// Prompt tokens written to the cache for an hour
    #[arg(long)]
    cache_write_1h: u64,
}

pub(crate) async fn run(desk: &Desk, what: PriceCommand) -> Result<(), Fail> {
    match what {
        PriceCommand::List => desk.screen.all_columns(&desk.admin.all(&["prices"], &[]).await?),
        PriceCommand::Show { model } => {
            desk.screen.fields(&desk.admin.get(&["prices", &model], &[]).await?);
        }
        PriceCommand::Add { model, from, rates } => {
            let standard = Body::default()
                .set("input", Some(rates.input))
                .set("output", Some(rates.output))
                .set("cache_read", Some(rates.cache_read))
                .set("cache_write_5m", Some(rates.cache_write_5m))
                .set("cache_write_1h", Some(rates.cache_write_1h));
            let body = Body::default().set("model", Some(model.clone())).set("from", Some(from));
            let body = body.set("standard", Some(standard.done())).done();
            let made = desk.admin.post(&["prices"], &body).await?;
            desk.screen.show(&made, || say(format!("{model} has a new price")));
        }
        PriceCommand::Remove { model, sure } => {
            sure.or_ask(&format!("remove the prices set for {model}"))?;
            let answer = desk.admin.delete(&["prices", &model]).await?;
            desk.screen.show(&answer, || say(format!("the built-in prices of {model} hold")));
        }
    }
    Ok(())
}
