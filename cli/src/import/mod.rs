//! `baton import`: imports keys, limits, groups and accounts from other relays. A pure function for
//! each format reads the export into a [`plan`], and [`apply`] creates what the plan contains. New
//! keys are issued: the other relays store hashes of theirs, and Baton's keys have another form.

mod apply;
mod crs;
mod field;
mod litellm;
mod new_api;
mod plan;

use crate::CliError;
use crate::operate::{AdminTargetArgs, CliContext};
use crate::output::{OutputPrinter, print_line, remark, rows};
use apply::{CreatedItem, ImportOutcome, KeyOutput};
use baton_runtime::clock::Clock;
use clap::{Args, ValueEnum};
use plan::{ImportPlan, SkippedItem};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The arguments of `baton import`.
#[derive(Args)]
pub struct ImportArgs {
    /// The admin API
    #[command(flatten)]
    admin_target: AdminTargetArgs,
    /// The relay that the file comes from
    source: ImportSource,
    /// The exported file, JSON or YAML
    #[arg(long)]
    file: PathBuf,
    /// Show what would be created, without creating it
    #[arg(long)]
    dry_run: bool,
    /// Append the new keys to this file (mode 0600) instead of printing them
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A relay whose exports are known.
#[derive(ValueEnum, Clone, Copy)]
pub enum ImportSource {
    /// `scripts/data-transfer.js export` of claude-relay-service
    ClaudeRelayService,
    /// config.yaml and `/key/list?return_full_object=true` of LiteLLM
    Litellm,
    /// The tables channels, tokens and options of new-api
    NewApi,
}

impl ImportSource {
    fn name(self) -> &'static str {
        match self {
            Self::ClaudeRelayService => "claude-relay-service",
            Self::Litellm => "litellm",
            Self::NewApi => "new-api",
        }
    }

    fn parse_plan(self, file: &Value) -> Result<ImportPlan, String> {
        let plan = match self {
            Self::ClaudeRelayService => crs::parse_export(file),
            Self::Litellm => litellm::parse_export(file),
            Self::NewApi => new_api::parse_export(file),
        };
        plan.map(ImportPlan::with_distinct_names)
    }
}

/// Reads the file, plans the import, applies it and reports the result.
pub(crate) async fn run_import(args: ImportArgs) -> Result<(), CliError> {
    let shown = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| CliError::Failed(format!("{shown}: {error}")))?;
    let plan = args.source.parse_plan(
        &parse_json_or_yaml(&text)
            .ok_or_else(|| CliError::Failed(format!("{shown} is neither JSON nor YAML")))?,
    );
    let plan = plan.map_err(|why| {
        CliError::Failed(format!("{shown} is not an export of {}: {why}", args.source.name()))
    })?;
    let plan = plan.without_expired_keys(Clock::system().now());
    let printer = args.admin_target.screen();
    if args.dry_run {
        report(printer, &planned(&plan), &plan.skipped);
        return Ok(());
    }
    let context: CliContext = args.admin_target.into_context()?;
    let mut keys = match &args.out {
        Some(path) => KeyOutput::open_file(path)?,
        None if printer.json => KeyOutput::Collected,
        None => KeyOutput::Shown,
    };
    let mut outcome = ImportOutcome::default();
    let result = apply::apply(&context, args.source.name(), &plan, &mut keys, &mut outcome).await;
    let rejected_bytes = outcome.refused.len();
    let mut skipped = std::mem::take(&mut outcome.refused);
    skipped.extend(plan.skipped);
    report(printer, &imported_rows(&outcome), &skipped);
    if let Some(path) = &args.out {
        remark(format!("the new keys were written to {}", path.display()));
    }
    result?;
    if rejected_bytes > 0 {
        let what = "correct the file as the report says and run the same command again";
        return Err(CliError::Failed(format!(
            "{rejected_bytes} of them could not be created; {what}"
        )));
    }
    Ok(())
}

fn parse_json_or_yaml(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| yaml_serde::from_str(text).ok())
}

fn planned(plan: &ImportPlan) -> Vec<Value> {
    let row = |kind: &str, name: &str, detail: Value| {
        json!({ "kind": kind, "name": name, "result": "would \
         be created", "detail": detail })
    };
    let groups =
        plan.groups.iter().map(|group| row("group", &group.name, json!(group.description)));
    let accounts = plan.accounts.iter().map(|account| {
        let detail = json!({
            "base_url": account.base_url, "priority": plan.priority(account),
            "models": account.models, "enabled": account.enabled,
        });
        row("account", &account.name, detail)
    });
    let keys = plan.keys.iter().map(|key| {
        let detail = json!({
            "group": key.group, "limits": key.limits, "models": key.models,
            "expires_at": key.expires_at, "enabled": key.enabled,
        });
        row("key", &key.name, detail)
    });
    groups.chain(accounts).chain(keys).collect()
}

fn imported_rows(outcome: &ImportOutcome) -> Vec<Value> {
    let created = outcome.created.iter().map(|CreatedItem { kind, name, id }| {
        let secret = outcome.secrets.iter().find(|(of, _)| *kind == "key" && of == name);
        let mut row = json!({ "kind": kind, "name": name, "result": "created", "detail": id });
        if let Some((_, secret)) = secret {
            row["secret"] = json!(secret);
        }
        row
    });
    let kept = outcome.existing.iter().map(|(kind, name)| {
        json!({ "kind": kind, "name": name, "result": "already exists", "detail": null })
    });
    created.chain(kept).collect()
}

fn report(printer: OutputPrinter, imported: &[Value], skipped: &[SkippedItem]) {
    let skipped_rows: Vec<Value> = skipped
        .iter()
        .map(|skipped| json!({ "what": skipped.item, "why": skipped.reason }))
        .collect();
    let report = json!({ "data": imported, "left_behind": skipped_rows });
    let columns =
        [("kind", "/kind"), ("name", "/name"), ("result", "/result"), ("detail", "/detail")];
    printer.rows(&report, &columns);
    if !printer.json && !skipped_rows.is_empty() {
        print_line("\nNot imported, or imported with changes:");
        printer.rows(&json!({ "data": skipped_rows }), &[("what", "/what"), ("why", "/why")]);
    }
    if !printer.json && rows(&report).is_empty() {
        print_line("the file contains nothing that can be imported");
    }
}

#[cfg(test)]
mod tests;
