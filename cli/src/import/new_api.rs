//! Exports of new-api: a file → a plan.
//!
//! Read on 2026-11-23 in files stored under the public name QuantumNous/new-api: `model/token.go`
//! at 0067bd93, `model/channel.go` at 0102ffab, `constant/channel.go` at 016c88c3 (types of
//! channels and their addresses), and `common/constants.go` (`QuotaPerUnit`, 500,000 a dollar
//! unless the table `options` says otherwise). new-api has no export function and its API hides
//! keys, so the file is made from the database: `{"channels": […], "tokens": […], "options": […]}`,
//! rows of those tables as `sqlite3 -json` or `json_agg` write them. The API's form `{"data":
//! {"items": […]}}` is also accepted inside.

use super::field::{ExportRow, count, find_rows, object, read_bool, read_integer, read_list, text};
use super::plan::{DEFAULT, ImportPlan, PlannedAccount, PlannedKey, SUBSCRIPTION};
use baton_domain::account::Provider;
use baton_domain::key::Limits;
use baton_domain::money::PicoUsd;
use baton_domain::secret::Secret;
use serde_json::Value;

/// `common.QuotaPerUnit`: units per dollar.
const UNITS_PER_DOLLAR: i64 = 500_000;
/// `common.TokenStatusEnabled`, and the same value for a channel.
const STATUS_ENABLED: i64 = 1;

/// Reads an export.
///
/// # Errors
/// Why the file is not such an export.
pub(super) fn parse_export(file: &Value) -> Result<ImportPlan, String> {
    if file["channels"].is_null() && file["tokens"].is_null() {
        return Err("it has neither `channels` nor `tokens`; export the rows of these tables as \
             JSON"
            .into());
    }
    let units = units(file)?;
    let mut plan = ImportPlan::default();
    for row in find_rows(file, &["/channels", "/channels/data/items", "/channels/data"]) {
        channel(&row, &mut plan);
    }
    for row in find_rows(file, &["/tokens", "/tokens/data/items", "/tokens/data"]) {
        token(&row, units, &mut plan);
    }
    Ok(plan)
}

fn units(file: &Value) -> Result<i64, String> {
    let options = find_rows(file, &["/options"]);
    let option = options.iter().find(|row| text(row, "key").as_deref() == Some("QuotaPerUnit"));
    let Some(message) = option.and_then(|row| text(row, "value")) else {
        return Ok(UNITS_PER_DOLLAR);
    };
    let integer_part = message.split_once('.').map_or(message.as_str(), |(integer_part, zeros)| {
        if zeros.bytes().all(|digit| digit == b'0') { integer_part } else { "" }
    });
    integer_part
        .parse()
        .ok()
        .filter(|units| *units > 0)
        .ok_or(format!("QuotaPerUnit must be a whole number, not `{message}`"))
}

/// The value of units in US dollars. Fractions of a pico-dollar are cut off, so the result is never
/// too high.
fn quota_to_usd(quota: i64, units_per_dollar: i64) -> PicoUsd {
    const DOLLAR: i128 = 1_000_000_000_000;
    PicoUsd::new(i128::from(quota.max(0)) * DOLLAR / i128::from(units_per_dollar))
}

fn channel(row: &ExportRow, plan: &mut ImportPlan) {
    let id = text(row, "id").unwrap_or_default();
    let name = text(row, "name").unwrap_or_else(|| format!("channel {id}"));
    let item = format!("account {name}");
    let (provider, default) = match read_integer(row, "type") {
        Some(14) => (Provider::Anthropic, "https://api.anthropic.com"),
        Some(1) => (Provider::OpenaiCompatible, "https://api.openai.com"),
        Some(20) => (Provider::OpenaiCompatible, "https://openrouter.ai/api"),
        Some(43) => (Provider::OpenaiCompatible, "https://api.deepseek.com"),
        Some(57) => {
            return plan.skip_item(
                item,
                "a ChatGPT subscription login (Codex) cannot be imported; use an API key",
            );
        }
        Some(33 | 41) => {
            return plan.skip_item(
                item,
                "a cloud provider's credential cannot be imported; add the account by hand",
            );
        }
        Some(other) => {
            return plan.skip_item(
                item,
                format!("Baton has no account type for channels of type {other}"),
            );
        }
        None => return plan.skip_item(item, "the channel has no type"),
    };
    let keys = text(row, "key").unwrap_or_default();
    let keys: Vec<&str> = keys.lines().map(str::trim).filter(|key| !key.is_empty()).collect();
    if keys.is_empty() || keys.iter().any(|key| key.contains("**")) {
        let why = "the key is not in the file, because the API hides keys; export the table \
             `channels`";
        return plan.skip_item(item, why);
    }
    let groups: Vec<String> = match read_list(row, "group") {
        none if none.is_empty() => vec![DEFAULT.to_owned()],
        groups => groups,
    };
    for group in &groups {
        plan.group(group, "A group of new-api");
    }
    report_lost_settings(row, &item, plan);
    let proxied = text(&object(row, "setting"), "proxy").is_some();
    if proxied {
        plan.skip_proxy(&item);
    }
    for (index, key) in keys.iter().enumerate() {
        if key.starts_with("sk-ant-oat") {
            plan.skip_item(item.clone(), SUBSCRIPTION);
            continue;
        }
        let numbered = if keys.len() > 1 { format!("{name} {}", index + 1) } else { name.clone() };
        plan.accounts.push(PlannedAccount {
            source: format!("channel {id} key {index}"),
            name: numbered,
            provider,
            base_url: text(row, "base_url").unwrap_or_else(|| default.to_owned()),
            api_key: Secret::new((*key).to_owned()),
            groups: groups.clone(),
            rank: read_integer(row, "priority").unwrap_or(0),
            // In new-api, accounts with weight 0 get equal shares; in Baton they get nothing.
            weight: count(row, "weight"),
            models: read_list(row, "models"),
            model_map: object(row, "model_mapping"),
            max_concurrency: None,
            enabled: read_integer(row, "status") == Some(STATUS_ENABLED) && !proxied,
        });
    }
}

/// Reports the settings of a channel that Baton does not have.
fn report_lost_settings(row: &ExportRow, item: &str, plan: &mut ImportPlan) {
    for name in ["param_override", "header_override", "status_code_mapping"] {
        if !object(row, name).is_empty() {
            plan.skip_item(
                format!("{item}: {name}"),
                "Baton does not change requests and answers in this way",
            );
        }
    }
}

fn token(row: &ExportRow, units: i64, plan: &mut ImportPlan) {
    let id = text(row, "id").unwrap_or_default();
    let name = text(row, "name").unwrap_or_else(|| format!("token {id}"));
    let item = format!("key {name}");
    let deleted = ["deleted_at", "DeletedAt"].iter().any(|name| text(row, name).is_some());
    if deleted {
        return plan.skip_item(item, "it is deleted there");
    }
    let total = if read_bool(row, "unlimited_quota") == Some(true) {
        None
    } else {
        let Some(quota) = read_integer(row, "remain_quota") else {
            return plan
                .skip_item(item, "it has neither a quota nor the mark that it is unlimited");
        };
        Some(quota_to_usd(quota, units))
    };
    let allowed = read_bool(row, "model_limits_enabled") == Some(true);
    if !text(row, "allow_ips").unwrap_or_default().is_empty() {
        plan.skip_item(
            format!("{item}: allowed addresses"),
            "Baton has no allow list of addresses for a key",
        );
    }
    if text(row, "user_id").is_some() {
        plan.skip_item(
            format!("{item}: owner"),
            "users and their quotas are not imported; assign the key with `baton key set --user`",
        );
    }
    let group = text(row, "group").filter(|group| group != DEFAULT);
    let group = group.filter(|group| {
        let is_known = group != "auto";
        if !is_known {
            plan.skip_item(
                format!("{item}: group"),
                "`auto` chooses a group for each request, which Baton does not support; the key is \
                 now in the default group",
            );
        }
        is_known
    });
    if let Some(group) = &group {
        plan.group(group, "A group of new-api");
    }
    // 2 is disabled, 3 expired, 4 exhausted. The last two follow from the end time and the quota.
    let enabled = matches!(read_integer(row, "status"), Some(STATUS_ENABLED | 3 | 4));
    let end = read_integer(row, "expired_time").filter(|end| *end > 0);
    let end = end.and_then(|end| jiff::Timestamp::from_second(end).ok());
    plan.keys.push(PlannedKey {
        source: format!("token {id}"),
        name,
        group,
        models: if allowed { read_list(row, "model_limits") } else { Vec::new() },
        expires_at: end.map(|end| end.to_string()),
        enabled,
        limits: Limits { usd_total: total, ..Limits::default() },
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_converts_to_money_exactly() {
        let check = |quota, units, expected: &str| {
            assert_eq!(quota_to_usd(quota, units).to_string(), expected, "{quota} of {units}");
        };
        check(500_000, UNITS_PER_DOLLAR, "1.000000000000");
        check(1, UNITS_PER_DOLLAR, "0.000002000000");
        check(123_456_789, UNITS_PER_DOLLAR, "246.913578000000");
        check(i64::MAX, UNITS_PER_DOLLAR, "18446744073709.551614000000");
        check(1, 3, "0.333333333333");
        check(-5, UNITS_PER_DOLLAR, "0.000000000000");
    }
}
