//! The operator's commands: clients of the admin API, tables for people and JSON for scripts.

use crate::Fail;
use crate::args::{AccountCommand, GroupCommand, KeyCommand, Office};
use crate::say::say;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};

pub(crate) async fn account(office: &Office, what: AccountCommand) -> Result<(), Fail> {
    match what {
        AccountCommand::Add { name, base_url, api_key, group, priority, weight } => {
            let value = if api_key == "-" { first_line_of_stdin()? } else { api_key };
            let mut body = json!({
                "name": name, "base_url": base_url,
                "credential": { "type": "api_key", "value": value },
            });
            set(&mut body, "groups", (!group.is_empty()).then_some(json!(group)));
            set(&mut body, "priority", priority.map(Value::from));
            set(&mut body, "weight", weight.map(Value::from));
            let made = office.post("/accounts", &body).await?;
            office.show(&made, || say_made("account", &made));
        }
        AccountCommand::List => {
            let about = ["id", "name", "base_url", "priority", "weight"];
            let state = ["status", "status_reason", "cooling_until", "utilisation"];
            office.list("/accounts", &[about.as_slice(), state.as_slice()].concat()).await?;
        }
        AccountCommand::Test { id } => {
            let result = office.post(&format!("/accounts/{id}/test"), &json!({})).await?;
            office.show(&result, || say(format!("account {id}: {}", text(&result["message"]))));
            if result["ok"] != true {
                return Err(Fail::Failed(format!("account {id} cannot be used")));
            }
        }
        AccountCommand::Reset { id } => {
            let account = office.post(&format!("/accounts/{id}/reset"), &json!({})).await?;
            office.show(&account, || say(format!("account {id} is {}", text(&account["status"]))));
        }
    }
    Ok(())
}

pub(crate) async fn group(office: &Office, what: GroupCommand) -> Result<(), Fail> {
    match what {
        GroupCommand::Add { name } => {
            let made = office.post("/groups", &json!({ "name": name })).await?;
            office.show(&made, || say_made("group", &made));
        }
        GroupCommand::List => {
            office.list("/groups", &["id", "name", "description", "enabled"]).await?;
        }
    }
    Ok(())
}

pub(crate) async fn key(office: &Office, what: KeyCommand) -> Result<(), Fail> {
    match what {
        KeyCommand::Create { name, group, model, expires_at } => {
            let mut body = json!({ "name": name });
            set(&mut body, "group_id", group.map(Value::from));
            set(&mut body, "models", (!model.is_empty()).then_some(json!(model)));
            set(&mut body, "expires_at", expires_at.map(Value::from));
            let made = office.post("/keys", &body).await?;
            office.show(&made, || {
                say(format!(
                    "key {} ({}); it is shown this once:\n",
                    text(&made["id"]),
                    text(&made["name"])
                ));
                say(text(&made["secret"]));
            });
        }
        KeyCommand::List => {
            let columns = ["id", "name", "group_id", "models", "expires_at", "enabled"];
            office.list("/keys", &columns).await?;
        }
    }
    Ok(())
}

pub(crate) async fn usage(
    office: &Office,
    by: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(), Fail> {
    let mut query = vec![("by", by)];
    query.extend(from.map(|from| ("from", from)));
    query.extend(to.map(|to| ("to", to)));
    let answer = office.get("/usage/summary", &query).await?;
    office.show(&answer, || usage_table(by, &answer));
    Ok(())
}

fn usage_table(by: &str, answer: &Value) {
    let groups: Vec<&str> = by.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let sums = [
        ("requests", "/requests"),
        ("errors", "/errors"),
        ("input", "/tokens/input"),
        ("output", "/tokens/output"),
        ("cache read", "/tokens/cache_read"),
        ("cache write 5m", "/tokens/cache_write_5m"),
        ("cache write 1h", "/tokens/cache_write_1h"),
        ("cost USD", "/cost_usd"),
    ];
    let heads = groups.iter().copied().chain(sums.iter().map(|(head, _)| *head));
    let mut table = table(heads);
    for row in rows(answer) {
        let groups = groups.iter().map(|name| text(&row["group"][*name]));
        let cells = sums.iter().map(|(_, path)| row.pointer(path).map(text).unwrap_or_default());
        table.add_row(groups.chain(cells));
    }
    say(table);
}

impl Office {
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Fail> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Fail> {
        self.call(Method::GET, path, query, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Fail> {
        if self.token.is_empty() {
            return Err(Fail::Usage(
                "no admin token: set BATON_ADMIN_TOKEN (first start shows it)".into(),
            ));
        }
        let url = format!("{}/api/v1{path}", self.url.trim_end_matches('/'));
        let url = reqwest::Url::parse_with_params(&url, query)
            .map_err(|error| Fail::Usage(format!("--url {}: {error}", self.url)))?;
        let mut request = Client::new().request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| {
            Fail::Failed(format!(
                "{} does not answer ({}); is `baton up` running?",
                self.url,
                error.without_url()
            ))
        })?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(Fail::because)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
            Fail::Failed(format!("{} is not Baton's admin API ({status})", self.url))
        })?;
        if status.is_success() {
            Ok(value)
        } else {
            Err(Fail::Failed(text(&value["error"]["message"])))
        }
    }

    /// All pages of a list, as a table of `columns`.
    async fn list(&self, path: &str, columns: &[&str]) -> Result<(), Fail> {
        let (mut data, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = [("cursor", cursor.as_str())];
            let page = self.get(path, if cursor.is_empty() { &[] } else { &query }).await?;
            data.extend(rows(&page).iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        let all = json!({ "data": data });
        self.show(&all, || {
            let mut table = table(columns.iter().copied());
            for row in rows(&all) {
                table.add_row(columns.iter().map(|column| text(&row[*column])));
            }
            say(table);
        });
        Ok(())
    }

    pub(crate) fn show(&self, value: &Value, for_people: impl FnOnce()) {
        if self.json { say(format!("{value:#}")) } else { for_people() }
    }
}

fn say_made(what: &str, made: &Value) {
    say(format!("{what} {} ({}) is ready", text(&made["id"]), text(&made["name"])));
}

fn table<'a>(heads: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(heads);
    table
}

fn rows(answer: &Value) -> &[Value] {
    answer["data"].as_array().map_or(&[], Vec::as_slice)
}

/// A value as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "all".to_owned(),
        Value::Object(fields) if fields.contains_key("five_hour") => utilisation(value),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// How much of an account's limits is used, as `5h 42 %, 7d 7 %`.
fn utilisation(value: &Value) -> String {
    let windows = [("5h", &value["five_hour"]["percent"]), ("7d", &value["seven_day"]["percent"])];
    let known = windows.iter().filter(|(_, percent)| !percent.is_null());
    let each: Vec<String> = known.map(|(name, percent)| format!("{name} {percent} %")).collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}

fn set(body: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (body.as_object_mut(), value) {
        let object: &mut Map<String, Value> = object;
        object.insert(name.to_owned(), value);
    }
}

fn first_line_of_stdin() -> Result<String, Fail> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Fail::because)?;
    Ok(line.trim().to_owned())
}
