//! Exports of LiteLLM's proxy: a file → a plan.
//!
//! Read on 2026-11-23: `schema.prisma` at 029f645f in the public repository BerriAI/litellm (keys
//! are `LiteLLM_VerificationToken`, teams `LiteLLM_TeamTable`), docs.litellm.ai
//! `/docs/proxy/configs` of 2026-10-13 (`config.yaml`), and its duration parser, which resets `1d`
//! and `24h` at midnight, `7d` on Monday, `30d` and `1mo` on the 1st, by default in UTC. These are
//! Baton's periods too. The file is YAML or JSON with any of `model_list` (config.yaml), `keys`
//! (the answer of `/key/list?return_full_object=true`) and `teams` (rows of `/team/list`).

use super::field::{ExportRow, count, dollars, find_rows, object, read_bool, read_list, text};
use super::plan::{DEFAULT, ImportPlan, PlannedAccount, PlannedKey};
use baton_domain::account::Provider;
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use baton_domain::secret::Secret;
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads an export.
///
/// # Errors
/// Why the file is not such an export.
pub(super) fn parse_export(file: &Value) -> Result<ImportPlan, String> {
    let known = ["model_list", "keys", "teams"];
    if !file.is_array() && !known.iter().any(|name| file[*name].is_array()) {
        return Err(format!("it contains none of {}", known.join(", ")));
    }
    let mut plan = ImportPlan::default();
    let mut teams = BTreeMap::new();
    for row in find_rows(file, &["/teams"]) {
        let id = text(&row, "team_id").unwrap_or_default();
        let name = text(&row, "team_alias").unwrap_or_else(|| id.clone());
        plan.group(&name, &format!("LiteLLM team {id}"));
        if ["max_budget", "rpm_limit", "tpm_limit", "max_parallel_requests"]
            .iter()
            .any(|limit| text(&row, limit).is_some())
        {
            let why = "limits of a team are not imported; use `baton limit` or limits of its keys";
            plan.skip_item(format!("team {name}: limits"), why);
        }
        teams.insert(id, name);
    }
    deployments(file, teams.values().cloned().collect(), &mut plan);
    let mut keys = find_rows(file, &["/keys"]);
    if file.is_array() {
        keys = find_rows(file, &[""]);
    }
    for row in keys {
        plan_key(&row, &teams, &mut plan);
    }
    let others =
        file["keys"].as_array().into_iter().flatten().filter(|key| key.is_string()).count();
    if others > 0 {
        let why = "the list contains only hashes; export it with \
             `/key/list?return_full_object=true`";
        plan.skip_item(format!("{others} keys"), why);
    }
    Ok(plan)
}

/// Plans one account for each pair of upstream and key. Each deployment becomes a model of it.
fn deployments(file: &Value, teams: Vec<String>, plan: &mut ImportPlan) {
    let mut groups = vec![DEFAULT.to_owned()];
    groups.extend(teams);
    for row in find_rows(file, &["/model_list"]) {
        let requested = text(&row, "model_name").unwrap_or_default();
        let item = format!("model {requested}");
        let params = object(&row, "litellm_params");
        let model = text(&params, "model").unwrap_or_default();
        let (provider, served) = model.split_once('/').unwrap_or(("", &model));
        let (provider, default) = match provider {
            "anthropic" => (Provider::Anthropic, "https://api.anthropic.com"),
            "" if served.starts_with("claude") => {
                (Provider::Anthropic, "https://api.anthropic.com")
            }
            "openai" => (Provider::OpenaiCompatible, "https://api.openai.com/v1"),
            other => {
                plan.skip_item(item, format!("Baton cannot import its upstream `{other}`"));
                continue;
            }
        };
        let Some(api_key) = text(&params, "api_key").filter(|key| !key.starts_with("os.environ/"))
        else {
            let why = "the key is not in the file (`os.environ/…`); write it into the file, or add \
                 the account by hand";
            plan.skip_item(item, why);
            continue;
        };
        if api_key.starts_with("sk-ant-oat") {
            plan.skip_item(item, super::plan::SUBSCRIPTION);
            continue;
        }
        let base_url = text(&params, "api_base").unwrap_or_else(|| default.to_owned());
        for limit in ["rpm", "tpm"].iter().filter(|limit| text(&params, limit).is_some()) {
            plan.skip_item(
                format!("{item}: {limit}"),
                "Baton has limits for keys, not for accounts",
            );
        }
        let same = |account: &&mut PlannedAccount| {
            account.base_url == base_url && account.api_key.expose() == api_key
        };
        if let Some(account) = plan.accounts.iter_mut().find(same) {
            add_model(account, &requested, served);
            continue;
        }
        let mut account = PlannedAccount {
            source: format!("{base_url} {requested}"),
            name: format!("{} {requested}", provider.as_str()),
            provider,
            base_url,
            api_key: Secret::new(api_key),
            groups: groups.clone(),
            rank: 0,
            weight: count(&params, "weight"),
            models: Vec::new(),
            model_map: ExportRow::new(),
            max_concurrency: count(&params, "max_parallel_requests"),
            enabled: true,
        };
        add_model(&mut account, &requested, served);
        plan.accounts.push(account);
    }
}

fn add_model(account: &mut PlannedAccount, requested: &str, served_name: &str) {
    if !account.models.iter().any(|model| model == requested) {
        account.models.push(requested.to_owned());
    }
    if requested != served_name && !served_name.contains('*') {
        account.model_map.insert(requested.to_owned(), served_name.into());
    }
}

fn plan_key(row: &ExportRow, teams: &BTreeMap<String, String>, plan: &mut ImportPlan) {
    let token = text(row, "token").unwrap_or_default();
    let name = text(row, "key_alias").or_else(|| text(row, "key_name"));
    let name = name.unwrap_or_else(|| token.chars().take(12).collect());
    let item = format!("key {name}");
    let limits = match limits(row, &item, plan) {
        Ok(limits) => limits,
        Err(amount) => {
            return plan.skip_item(item, format!("`{amount}` is not an amount of money"));
        }
    };
    report_lost_settings(row, &item, plan);
    let mut models = read_list(row, "models");
    if models.iter().any(|model| model.starts_with("all-")) {
        if models.iter().any(|model| model == "all-team-models") {
            plan.skip_item(format!("{item}: models"), "`all-team-models` became all models");
        }
        models.clear();
    }
    let team = text(row, "team_id").map(|id| teams.get(&id).cloned().unwrap_or(id));
    if let Some(team) = &team {
        plan.group(team, "A LiteLLM team");
    }
    plan.keys.push(PlannedKey {
        source: if token.is_empty() { name.clone() } else { token },
        name,
        group: team,
        models,
        expires_at: text(row, "expires").map(with_utc_zone),
        enabled: read_bool(row, "blocked") != Some(true),
        limits,
    });
}

/// LiteLLM reads times without a zone as UTC.
fn with_utc_zone(time: String) -> String {
    if time.parse::<jiff::Timestamp>().is_ok() {
        time
    } else {
        format!("{time}Z").replace(' ', "T")
    }
}

fn limits(row: &ExportRow, item: &str, plan: &mut ImportPlan) -> Result<Limits, String> {
    let mut limits = Limits {
        requests_per_minute: count(row, "rpm_limit"),
        concurrency: count(row, "max_parallel_requests"),
        ..Limits::default()
    };
    let Some(budget) = dollars(row, "max_budget")? else {
        if text(row, "max_budget").is_some() {
            // LiteLLM reads a budget of zero as no money at all. Baton's limit of zero admits
            // nothing either.
            limits.usd_total = Some(PicoUsd::ZERO);
        }
        return Ok(limits);
    };
    let spent = dollars(row, "spend")?.unwrap_or(PicoUsd::ZERO);
    let period = text(row, "budget_duration");
    match period.as_deref() {
        Some("1d" | "24h") => limits.usd_daily = Some(budget),
        Some("7d" | "1w") => limits.usd_weekly = Some(budget),
        Some("30d" | "1mo") => limits.usd_monthly = Some(budget),
        Some(other) => {
            let reason = format!(
                "Baton has no period for {budget} USD per {other}; set a limit such as `baton key \
                 set --usd-daily`"
            );
            plan.skip_item(format!("{item}: budget"), reason);
        }
        // The remaining amount, since the new key starts without any spend.
        None => limits.usd_total = Some((budget - spent).max(PicoUsd::ZERO)),
    }
    if period.is_some() && spent > PicoUsd::ZERO {
        plan.skip_item(format!("{item}: spend so far"), "the current period starts from zero");
    }
    Ok(limits)
}

/// Reports the settings of a key that Baton does not have.
fn report_lost_settings(row: &ExportRow, item: &str, plan: &mut ImportPlan) {
    if count(row, "tpm_limit").is_some() {
        plan.skip_item(
            format!("{item}: tpm_limit"),
            "Baton has limits for money and requests, not for tokens",
        );
    }
    for (name, reason) in [
        ("model_max_budget", "Baton's limits count all models together"),
        (
            "aliases",
            "model aliases belong to groups; set them with `baton group set --model-alias`",
        ),
    ] {
        if !object(row, name).is_empty() {
            plan.skip_item(format!("{item}: {name}"), reason);
        }
    }
    if text(row, "budget_id").is_some() {
        plan.skip_item(
            format!("{item}: shared budget"),
            "the list does not contain it; set it with `baton key set --usd-…`",
        );
    }
    if text(row, "user_id").is_some_and(|user| user != "default_user_id") {
        plan.skip_item(
            format!("{item}: owner"),
            "users are not imported; assign the key with `baton key set --user`",
        );
    }
}
