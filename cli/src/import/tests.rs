//! Imports of the exports under `tests/fixtures/import`: everything in them is either carried over
//! or reported with a reason.

use super::plan::{ImportPlan, PlannedAccount, PlannedKey, SUBSCRIPTION};
use super::{ImportSource, parse_json_or_yaml};
use baton_domain::account::Provider;
use serde_json::{Value, json};

fn plan(source: ImportSource, text: &str) -> ImportPlan {
    source.parse_plan(&parse_json_or_yaml(text).unwrap()).unwrap()
}

fn key<'a>(plan: &'a ImportPlan, name: &str) -> &'a PlannedKey {
    plan.keys.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("no key {name}"))
}

fn account<'a>(plan: &'a ImportPlan, name: &str) -> &'a PlannedAccount {
    let mut accounts = plan.accounts.iter();
    accounts.find(|account| account.name == name).unwrap_or_else(|| panic!("no account {name}"))
}

/// The limits of a key, without trailing zeros of amounts.
fn limits(plan: &ImportPlan, name: &str) -> Value {
    let text = json!(key(plan, name).limits).to_string().replace("0000000000\"", "\"");
    serde_json::from_str(&text).expect("JSON")
}

#[track_caller]
fn left(plan: &ImportPlan, expected: &[&str]) {
    let what: Vec<&str> = plan.skipped.iter().map(|skipped| skipped.item.as_str()).collect();
    assert_eq!(what, expected);
    assert!(plan.skipped.iter().all(|left| left.reason.len() > 10), "{:?}", plan.skipped);
}

#[test]
fn claude_relay_service_export_is_imported() {
    let text = include_str!("../../../tests/fixtures/import/claude-relay-service.json");
    let plan = plan(ImportSource::ClaudeRelayService, text);
    let expected = json!({
        "concurrency": 4,
        "requests_per_minute": 30,
        "usd_daily": "12.50",
        "usd_total": "100.01"
    });
    assert_eq!(limits(&plan, "ci"), expected);
    assert_eq!(key(&plan, "ci").expires_at.as_deref(), Some("2099-06-30T00:00:00.000Z"));
    assert_eq!(limits(&plan, "ci (2)"), json!({"usd_weekly":"7.00"}));
    assert_eq!((key(&plan, "ci").enabled, key(&plan, "ci (2)").enabled), (true, false));
    assert_eq!(plan.keys.len(), 2);
    let console = account(&plan, "console");
    assert_eq!(
        (console.models.as_slice(), console.max_concurrency),
        (["claude-a".into(), "claude-b".into()].as_slice(), Some(3))
    );
    assert_eq!(json!(console.model_map), json!({"claude-b": "claude-c"}));
    assert_eq!(plan.accounts.len(), 1);
    left(
        &plan,
        &[
            "account console: daily quota",
            "account encrypted",
            "account max plan",
            "account gem",
            "key ci: spend so far",
            "key ci: kind of weekly limit",
            "key ci: rate limit",
            "key ci: money per window",
            "key ci: forbidden models",
            "key ci: allowed clients",
            "key ci: token limit",
            "key ci: end",
            "key ci: account",
            "key ci: owner",
            "key gemini",
            "key gone",
            "1 admins",
        ],
    );
    let login = plan.skipped.iter().find(|skipped| skipped.item == "account max plan");
    assert_eq!(login.map(|left| left.reason.as_str()), Some(SUBSCRIPTION));
}

#[test]
fn litellm_export_is_imported() {
    let plan =
        plan(ImportSource::Litellm, include_str!("../../../tests/fixtures/import/litellm.yaml"));
    let groups: Vec<&str> = plan.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["platform"]);
    let check = |name: &str, expected: Value| assert_eq!(limits(&plan, name), expected, "{name}");
    check("daily", json!({"concurrency":5,"requests_per_minute":60,"usd_daily":"0.10"}));
    check("weekly", json!({"usd_weekly":"25.00"}));
    check("monthly", json!({"usd_monthly":"33.333333000000"}));
    check("lifetime", json!({"usd_total":"7.25"}));
    check("fortnight", json!({}));
    check("nothing", json!({"usd_total":"0.00"}));
    let daily = key(&plan, "daily");
    assert_eq!(
        (daily.group.as_deref(), daily.models.as_slice()),
        (Some("platform"), ["claude-opus-5-5".to_owned()].as_slice())
    );
    assert_eq!(daily.expires_at.as_deref(), Some("2099-01-01T00:00:00Z"));
    assert!(key(&plan, "monthly").models.is_empty() && !key(&plan, "lifetime").enabled);
    let upstream = account(&plan, "anthropic claude-opus-5-5");
    assert_eq!(upstream.models, ["claude-opus-5-5", "cheap"]);
    assert_eq!(json!(upstream.model_map), json!({"cheap": "claude-haiku-5-5"}));
    assert_eq!(
        (upstream.groups.as_slice(), plan.accounts.len()),
        (["default".to_owned(), "platform".to_owned()].as_slice(), 1)
    );
    left(
        &plan,
        &[
            "team platform: limits",
            "model claude-opus-5-5: rpm",
            "model from-the-environment",
            "model gemini",
            "model a-login",
            "key daily: spend so far",
            "key monthly: tpm_limit",
            "key fortnight: budget",
            "key fortnight: owner",
            "1 keys",
        ],
    );
}

#[test]
fn new_api_export_is_imported() {
    let plan =
        plan(ImportSource::NewApi, include_str!("../../../tests/fixtures/import/new-api.json"));
    let groups: Vec<&str> = plan.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["vip"]);
    // 1,234,567 units of 1/500,000 dollar.
    assert_eq!(
        json!(key(&plan, "limited").limits).to_string(),
        r#"{"usd_total":"2.469134000000"}"#
    );
    assert_eq!(key(&plan, "limited").models, ["claude-opus-5-5", "claude-haiku-5-5"]);
    assert_eq!(key(&plan, "limited").group.as_deref(), Some("vip"));
    assert_eq!((limits(&plan, "off"), key(&plan, "off").enabled), (json!({}), false));
    assert_eq!(key(&plan, "off").expires_at.as_deref(), Some("2099-01-01T00:00:00Z"));
    assert!(key(&plan, "off").models.is_empty(), "the list is not in force");
    assert_eq!(limits(&plan, "used up"), json!({"usd_total":"0.00"}));
    assert!(key(&plan, "used up").enabled && plan.keys.len() == 3);
    let first = account(&plan, "anthropic 1");
    assert_eq!(
        (first.api_key.expose(), first.base_url.as_str()),
        ("sk-made-up-one", "https://api.anthropic.com")
    );
    assert_eq!((first.weight, first.enabled), (None, false), "its proxy is to be decided on");
    let openai = account(&plan, "openai");
    assert_eq!(
        (openai.enabled, openai.weight, openai.provider),
        (false, Some(3), Provider::OpenaiCompatible)
    );
    let priorities =
        ["anthropic 1", "anthropic 2", "openai"].map(|name| plan.priority(account(&plan, name)));
    assert_eq!(priorities, [0, 0, 1], "the largest there is the first here");
    left(
        &plan,
        &[
            "account anthropic: param_override",
            "account anthropic: proxy",
            "account codex",
            "account hidden",
            "account pictures",
            "account a login",
            "key limited: allowed addresses",
            "key limited: owner",
            "key off: owner",
            "key used up: owner",
            "key used up: group",
            "key gone",
        ],
    );
}

#[test]
fn unknown_export_format_is_refused() {
    for source in [ImportSource::ClaudeRelayService, ImportSource::Litellm, ImportSource::NewApi] {
        for text in ["{}", "a: b", "null", "\"text\""] {
            assert!(
                source.parse_plan(&parse_json_or_yaml(text).unwrap()).is_err(),
                "{} {text}",
                source.name()
            );
        }
    }
}

#[test]
fn quota_units_use_the_rate_of_the_export() {
    let text = r#"{"options": [{"key": "QuotaPerUnit", "value": "1000"}], "tokens":
        {"data": {"items": [{"id": 1, "name": "a", "status": 1, "remain_quota": 1500}]}}}"#;
    assert_eq!(limits(&plan(ImportSource::NewApi, text), "a"), json!({"usd_total":"1.50"}));
    let odd = text.replace("\"1000\"", "\"0.5\"");
    assert!(ImportSource::NewApi.parse_plan(&parse_json_or_yaml(&odd).unwrap()).is_err());
}
