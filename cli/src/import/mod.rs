//! `baton import`: takes keys, limits, groups and accounts over from other relays. Each export is
//! read into a [`plan`] by a pure function of its own file; [`apply`] makes it. Keys are issued anew:
//! the others keep hashes of theirs, and Baton's have a form of their own.

mod apply;
mod crs;
mod field;
mod litellm;
mod new_api;
mod plan;

use crate::Fail;
use crate::operate::{Desk, Office};
use crate::say::{Screen, remark, rows, say};
use apply::{Keys, Outcome};
use clap::{Args, ValueEnum};
use plan::{Left, Plan};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What is to be taken over.
#[derive(Args)]
pub struct Import {
    /// The admin API
    #[command(flatten)]
    office: Office,
    /// The relay that the file comes from
    source: Source,
    /// Its export, JSON or YAML
    #[arg(long)]
    file: PathBuf,
    /// Show what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Append the new keys to this file, mode 0600, instead of printing them
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A relay whose exports are known.
#[derive(ValueEnum, Clone, Copy)]
pub enum Source {
    /// `scripts/data-transfer.js export` of claude-relay-service
    ClaudeRelayService,
    /// config.yaml and `/key/list?return_full_object=true` of LiteLLM
    Litellm,
    /// The tables channels, tokens and options of new-api
    NewApi,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::ClaudeRelayService => "claude-relay-service",
            Self::Litellm => "litellm",
            Self::NewApi => "new-api",
        }
    }

    fn plan(self, file: &Value) -> Result<Plan, String> {
        let plan = match self {
            Self::ClaudeRelayService => crs::plan(file),
            Self::Litellm => litellm::plan(file),
            Self::NewApi => new_api::plan(file),
        };
        plan.map(Plan::settled)
    }
}

/// Reads, plans, makes and reports.
pub(crate) async fn run(asked: Import) -> Result<(), Fail> {
    let shown = asked.file.display();
    let text = std::fs::read_to_string(&asked.file)
        .map_err(|error| Fail::Failed(format!("{shown}: {error}")))?;
    let plan = asked.source.plan(
        &parsed(&text).ok_or_else(|| Fail::Failed(format!("{shown} is neither JSON nor YAML")))?,
    );
    let plan = plan.map_err(|why| {
        Fail::Failed(format!("{shown} is no export of {}: {why}", asked.source.name()))
    })?;
    let screen = asked.office.screen();
    if asked.dry_run {
        report(screen, &planned(&plan), &plan.left);
        return Ok(());
    }
    let desk: Desk = asked.office.enter()?;
    let mut keys = match &asked.out {
        Some(path) => Keys::into_file(path)?,
        None if screen.json => Keys::Collected,
        None => Keys::Shown,
    };
    let mut outcome = Outcome::default();
    let ended = apply::apply(&desk, asked.source.name(), &plan, (&mut keys, &mut outcome)).await;
    let refused = outcome.refused.len();
    let mut left = std::mem::take(&mut outcome.refused);
    left.extend(plan.left);
    report(screen, &done(&outcome), &left);
    if let Some(path) = &asked.out {
        remark(format!("the new keys are in {}", path.display()));
    }
    ended?;
    if refused > 0 {
        let what = "the report says why; correct the file and give the same command again";
        return Err(Fail::Failed(format!("{refused} of them could not be made; {what}")));
    }
    Ok(())
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| yaml_serde::from_str(text).ok())
}

fn planned(plan: &Plan) -> Vec<Value> {
    let row = |kind: &str, name: &str, detail: Value| json!({ "kind": kind, "name": name, "result": "would be made", "detail": detail });
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
            "group": key.group, "limits": key.limits.json(), "models": key.models,
            "expires_at": key.expires_at, "enabled": key.enabled,
        });
        row("key", &key.name, detail)
    });
    groups.chain(accounts).chain(keys).collect()
}

fn done(outcome: &Outcome) -> Vec<Value> {
    let made = outcome.made.iter().map(|(kind, name, id)| {
        let secret = outcome.secrets.iter().find(|(of, _)| *kind == "key" && of == name);
        let mut row = json!({ "kind": kind, "name": name, "result": "made", "detail": id });
        if let Some((_, secret)) = secret {
            row["secret"] = json!(secret);
        }
        row
    });
    let kept = outcome.kept.iter().map(|(kind, name)| {
        json!({ "kind": kind, "name": name, "result": "was there already", "detail": null })
    });
    made.chain(kept).collect()
}

fn report(screen: Screen, things: &[Value], left: &[Left]) {
    let left: Vec<Value> =
        left.iter().map(|left| json!({ "what": left.what, "why": left.why })).collect();
    let whole = json!({ "data": things, "left_behind": left });
    let columns =
        [("kind", "/kind"), ("name", "/name"), ("result", "/result"), ("detail", "/detail")];
    screen.rows(&whole, &columns);
    if !screen.json && !left.is_empty() {
        say("\nNot carried over, or not as it was:");
        screen.rows(&json!({ "data": left }), &[("what", "/what"), ("why", "/why")]);
    }
    if !screen.json && rows(&whole).is_empty() {
        say("the file holds nothing that can be taken over");
    }
}

#[cfg(test)]
mod tests;
