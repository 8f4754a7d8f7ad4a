//! Exports of claude-relay-service: a file → a plan.
//!
//! Read on 2026-11-23 in the public repository Wei-Shaw/claude-relay-service:
//! `scripts/data-transfer.js` at cfe605b4 (file version 1.0) and `scripts/data-transfer-enhanced.js`
//! at 399a9f77 (2.0), `src/services/apiKeyService.js` at 007e829b (the fields of a key: a Redis hash,
//! so every value is text) and `src/services/claudeConsoleAccountService.js` at 1b2b8040. The scripts
//! export keys, `claude:account:*` (subscription logins) and `gemini_account:*`. Console accounts,
//! which hold a static key, are not exported; a list `claudeConsoleAccounts` that was added to the
//! file by hand, in the form of that service and with keys in the clear, is read.

use super::field::{
    ExportRow, count, dollars, find_rows, object, read_bool, read_integer, read_list, text,
};
use super::plan::{ImportPlan, PlannedAccount, PlannedKey, SUBSCRIPTION};
use baton_domain::account::Provider;
use baton_domain::key::Limits;
use baton_domain::secret::Secret;
use serde_json::Value;

/// Reads an export.
///
/// # Errors
/// Why the file is not such an export.
pub(super) fn parse_export(file: &Value) -> Result<ImportPlan, String> {
    if !file["metadata"].is_object() || !file["data"].is_object() {
        return Err(
            "it has no `metadata` and `data`; create the file with `node scripts/data-transfer.js \
             export`"
                .into(),
        );
    }
    let mut plan = ImportPlan::default();
    for row in find_rows(file, &["/data/claudeConsoleAccounts"]) {
        console(&row, &mut plan);
    }
    for row in find_rows(file, &["/data/claudeAccounts"]) {
        plan.skip_item(format!("account {}", row_name(&row)), SUBSCRIPTION);
    }
    for row in find_rows(file, &["/data/geminiAccounts"]) {
        plan.skip_item(
            format!("account {}", row_name(&row)),
            "Baton does not support Gemini accounts",
        );
    }
    for row in find_rows(file, &["/data/apiKeys"]) {
        plan_key(&row, &mut plan);
    }
    let admins = find_rows(file, &["/data/admins"]).len();
    if admins > 0 {
        plan.skip_item(
            format!("{admins} admins"),
            "Baton has one admin token, which the first start shows",
        );
    }
    Ok(plan)
}

fn row_name(row: &ExportRow) -> String {
    text(row, "name").or_else(|| text(row, "id")).unwrap_or_else(|| "unnamed".to_owned())
}

fn console(row: &ExportRow, plan: &mut ImportPlan) {
    let name = row_name(row);
    let item = format!("account {name}");
    let (Some(base_url), Some(api_key)) = (text(row, "apiUrl"), text(row, "apiKey")) else {
        return plan.skip_item(item, "the account has no address or no key");
    };
    // AES-CBC as `<iv in hex>:<text in hex>`, with a key that the export does not contain.
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if api_key.split_once(':').is_some_and(|(iv, rest)| iv.len() == 32 && hex(iv) && hex(rest)) {
        return plan.skip_item(
            item,
            "the key is encrypted; write it unencrypted into the file, or add the account by hand",
        );
    }
    let mut account = PlannedAccount {
        source: text(row, "id").unwrap_or_else(|| name.clone()),
        name,
        provider: Provider::Anthropic,
        base_url,
        api_key: Secret::new(api_key),
        groups: Vec::new(),
        // In claude-relay-service a smaller number comes first, as in Baton.
        rank: -read_integer(row, "priority").unwrap_or(50),
        weight: None,
        models: read_list(row, "supportedModels"),
        model_map: object(row, "supportedModels"),
        max_concurrency: count(row, "maxConcurrentTasks"),
        enabled: read_bool(row, "isActive") != Some(false)
            && read_bool(row, "schedulable") != Some(false),
    };
    if !account.model_map.is_empty() {
        account.models = account.model_map.keys().cloned().collect();
        account.model_map.retain(|requested, served| *served != requested.as_str());
    }
    if count(row, "dailyQuota").is_some() {
        plan.skip_item(
            format!("{item}: daily quota"),
            "Baton has limits for keys, not for accounts",
        );
    }
    if text(row, "proxy").is_some() {
        account.enabled = false;
        plan.skip_proxy(&item);
    }
    plan.accounts.push(account);
}

fn plan_key(row: &ExportRow, plan: &mut ImportPlan) {
    let name = row_name(row);
    let item = format!("key {name}");
    if read_bool(row, "isDeleted") == Some(true) {
        return plan.skip_item(item, "it is deleted there");
    }
    let services = read_list(row, "permissions");
    if !services.is_empty()
        && !services.iter().any(|service| service == "claude" || service == "all")
    {
        return plan.skip_item(item, format!("it can use only {}", services.join(", ")));
    }
    let limits = match limits(row, &item, plan) {
        Ok(limits) => limits,
        Err(amount) => {
            return plan.skip_item(item, format!("`{amount}` is not an amount of money"));
        }
    };
    report_lost_settings(row, &item, plan);
    plan.keys.push(PlannedKey {
        source: text(row, "id").unwrap_or_else(|| name.clone()),
        name,
        group: None,
        models: Vec::new(),
        expires_at: text(row, "expiresAt"),
        enabled: read_bool(row, "isActive") != Some(false),
        limits,
    });
}

fn limits(row: &ExportRow, item: &str, plan: &mut ImportPlan) -> Result<Limits, String> {
    let weekly = dollars(row, "weeklyOpusCostLimit")?;
    if weekly.is_some() {
        let why = "the old limit counts only Claude models and can begin on another day; Baton's \
             limit counts every model and begins on Monday 00:00 UTC";
        plan.skip_item(format!("{item}: kind of weekly limit"), why);
    }
    let total = dollars(row, "totalCostLimit")?;
    if total.is_some() {
        let why = "the export does not contain what was spent, so the whole limit is available \
             again; lower it with `baton key set --usd-total`";
        plan.skip_item(format!("{item}: spend so far"), why);
    }
    let (window, requests) = (count(row, "rateLimitWindow"), count(row, "rateLimitRequests"));
    if requests.is_some() && window != Some(1) {
        let minutes = window.unwrap_or(0);
        let why = format!("the old window is {minutes} minutes; Baton counts requests per minute");
        plan.skip_item(format!("{item}: rate limit"), why);
    }
    if dollars(row, "rateLimitCost")?.is_some() {
        plan.skip_item(
            format!("{item}: money per window"),
            "Baton counts money per day, week, month and in total",
        );
    }
    Ok(Limits {
        usd_daily: dollars(row, "dailyCostLimit")?,
        usd_weekly: weekly,
        usd_monthly: None,
        usd_total: total,
        requests_per_minute: requests.filter(|_| window == Some(1)),
        concurrency: count(row, "concurrencyLimit"),
    })
}

/// Reports the settings of a key that Baton does not have.
fn report_lost_settings(row: &ExportRow, item: &str, plan: &mut ImportPlan) {
    if read_bool(row, "enableModelRestriction") == Some(true)
        && !read_list(row, "restrictedModels").is_empty()
    {
        let models = read_list(row, "restrictedModels").join(", ");
        let reason = format!(
            "the old relay forbids {models}; Baton has a list of allowed models, which `baton key \
             set --model` sets"
        );
        plan.skip_item(format!("{item}: forbidden models"), reason);
    }
    if read_bool(row, "enableClientRestriction") == Some(true) {
        plan.skip_item(format!("{item}: allowed clients"), "Baton does not distinguish clients");
    }
    if count(row, "tokenLimit").is_some() {
        plan.skip_item(
            format!("{item}: token limit"),
            "Baton has limits for money and requests, not for tokens",
        );
    }
    if text(row, "expirationMode").as_deref() == Some("activation")
        && text(row, "expiresAt").is_none()
    {
        let why = "it expires some time after its first use, which Baton does not support; set a \
             time with `baton key set --expires-at`";
        plan.skip_item(format!("{item}: end"), why);
    }
    let bound = ["claudeAccountId", "claudeConsoleAccountId", "bedrockAccountId"];
    if bound.iter().any(|name| text(row, name).is_some()) {
        let why = "it was bound to an account and is now in the default group; change it with \
                   `baton key set --group`";
        plan.skip_item(format!("{item}: account"), why);
    }
    if text(row, "userId").is_some() {
        plan.skip_item(
            format!("{item}: owner"),
            "users are not imported; assign the key with `baton key set --user`",
        );
    }
}
