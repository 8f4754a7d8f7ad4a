//! `baton model`: the catalog of models, and the import of prices from a file.

use super::CliContext;
use crate::CliError;
use crate::output::print_line;
use baton_api::prices::NewPrice;
use baton_domain::litellm_prices::{self, LitellmModel};
use baton_domain::model::ModelPattern;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The commands of `baton model`.
#[derive(Subcommand)]
pub enum ModelCommand {
    /// List the catalog: vendors, models and their list prices
    List {
        /// Only names that contain this text, such as `openai/`
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// Show a model at every vendor, or at one (`openai/gpt-5.2`)
    Show {
        /// The model's id
        model: String,
    },
    /// Set prices from a file: a list of prices as the API takes them, or LiteLLM's
    /// `model_prices_and_context_window.json`
    Import {
        /// The file
        #[arg(long)]
        file: PathBuf,
        /// Only these models, such as `openai/gpt-5*`
        #[arg(long)]
        model: Option<ModelPattern>,
        /// Show what would be set, and set nothing
        #[arg(long)]
        dry_run: bool,
    },
}

const LIST_COLUMNS: [(&str, &str); 8] = [
    ("model", "/model"),
    ("source", "/source"),
    ("input", "/standard/input"),
    ("output", "/standard/output"),
    ("cache_read", "/standard/cache_read"),
    ("cache_write_5m", "/standard/cache_write_5m"),
    ("context", "/context_tokens"),
    ("longest answer", "/output_tokens"),
];

const SHOW_COLUMNS: [(&str, &str); 11] = [
    ("model", "/model"),
    ("from", "/effective_from"),
    ("source", "/source"),
    ("input", "/standard/input"),
    ("output", "/standard/output"),
    ("cache_read", "/standard/cache_read"),
    ("cache_write_5m", "/standard/cache_write_5m"),
    ("multiplier", "/multiplier"),
    ("context", "/context_tokens"),
    ("longest answer", "/output_tokens"),
    ("accepts", "/capabilities"),
];

pub(crate) async fn run_model_command(
    context: &CliContext,
    command: ModelCommand,
) -> Result<(), CliError> {
    match command {
        ModelCommand::List { filter } => {
            let all = context.admin.all(&["models"], &[("q", &filter)]).await?;
            context.printer.rows(&all, &LIST_COLUMNS);
        }
        ModelCommand::Show { model } => {
            let entries = context.admin.get(&["models", &model], &[]).await?;
            context.printer.rows(&entries, &SHOW_COLUMNS);
        }
        ModelCommand::Import { file, model, dry_run } => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| CliError::Usage(format!("--file {}: {error}", file.display())))?;
            let mut prices = read_prices(&text)
                .map_err(|error| CliError::Usage(format!("--file {}: {error}", file.display())))?;
            let is_wanted = |price: &NewPrice| {
                model.as_ref().is_none_or(|pattern| pattern.covers(&price.model))
            };
            prices.retain(is_wanted);
            for price in prices.iter().filter(|_| !dry_run) {
                context.admin.post(&["prices"], price).await?;
            }
            let verb = if dry_run { "would get" } else { "have" };
            let count = prices.len();
            context.printer.show(&json!({ "data": prices }), || {
                print_line(format!("{count} models {verb} a new price"));
            });
        }
    }
    Ok(())
}

/// Reads either format. LiteLLM's is an object with a key for each model.
fn read_prices(text: &str) -> Result<Vec<NewPrice>, serde_json::Error> {
    let value: Value = serde_json::from_str(text)?;
    let list = if value.is_array() { value } else { value["data"].clone() };
    if list.is_array() {
        return Vec::<NewPrice>::deserialize(list);
    }
    let models = litellm_prices::read(text)?;
    let new = |LitellmModel { vendor, id, price }| {
        NewPrice::from_price(format!("{}/{id}", vendor.as_str()), &price)
    };
    Ok(models.into_iter().map(new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let own = r#"[{"model": "m", "standard": {"input": "2", "output": "10"}}]"#;
        let litellm = r#"{"gpt-x": {"litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05}}"#;
        let names = |text: &str| -> Vec<String> {
            read_prices(text).unwrap().into_iter().map(|price| price.model).collect()
        };
        assert_eq!(names(own), ["m"]);
        assert_eq!(names(&format!("{{\"data\": {own}}}")), ["m"]);
        assert_eq!(names(litellm), ["openai/gpt-x"]);
        let price = read_prices(litellm)
            .unwrap()
            .remove(0)
            .price("2026-01-01T00:00:00Z".parse().unwrap(), String::new());
        assert_eq!(price.unwrap().standard.cache_read, 2_000_000);
        let stated = litellm.replace(
            "\"mode\"",
            "\"supports_vision\": true, \"input_cost_per_request\": 0.005, \"mode\"",
        );
        // A price passes through the API's JSON.
        let json = serde_json::to_value(read_prices(&stated).unwrap().remove(0)).unwrap();
        let new: NewPrice = serde_json::from_value(json).unwrap();
        let price = new.price("2026-01-01T00:00:00Z".parse().unwrap(), String::new()).unwrap();
        assert_eq!((price.capabilities.images, price.per_request), (Some(true), Some(5_000)));
        assert!(read_prices("[1]").is_err());
    }
}
