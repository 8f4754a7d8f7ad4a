//! `docs/reference/api.md`: the admin API as `/api/v1/openapi.json` describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{cell, head};

const INTRODUCTION: &str = "\
The admin API is below `/api/v1` on the admin listener. Send the admin token, or a relay key, as
`Authorization: Bearer …`. Bodies are JSON, times are RFC 3339 UTC, money is decimal strings in USD.
`GET /api/v1/openapi.json` serves the same description for programs.

*Role* says who can use a route: `admin` only administrators, `member` also members (for their own keys and usage),
`anybody` everybody without a credential.
";

/// The text of the page.
pub(super) fn page(document: &Value) -> String {
    let mut page = head("Admin API", "the description that the admin function serves");
    page.push_str(INTRODUCTION);
    page.push_str("\n## Routes\n\n");
    page.push_str("| route | role | | parameters | body | answer |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- |\n");
    let mut refusals = BTreeMap::new();
    for (path, methods) in members(&document["paths"]) {
        for (method, operation) in members(methods) {
            page.push_str(&route(&method.to_uppercase(), path, operation));
            refusals.extend(refused(operation));
        }
    }
    page.push_str("\n## Errors\n\nAn error has the form of [`Error`](#error).\n\n");
    page.push_str("| status | |\n| --- | --- |\n");
    for (status, meaning) in refusals {
        let _ = writeln!(page, "| {status} | {meaning} |");
    }
    page.push_str("\n## Parameters\n\n| parameter | where | type | |\n| --- | --- | --- | --- |\n");
    for parameter in members(&document["components"]["parameters"]).map(|(_, value)| value) {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let (kind, meaning) = (kind(&parameter["schema"]), description(parameter));
        let _ = writeln!(page, "| `{name}` | {place} | {kind} | {meaning} |");
    }
    page.push_str("\n## Types\n");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let _ = write!(page, "\n### {name}\n\n{}", definition(schema));
    }
    page
}

/// The members of an object, sorted by name.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let sorted: BTreeMap<&String, &Value> = value.as_object().into_iter().flatten().collect();
    sorted.into_iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn description(schema: &Value) -> String {
    cell(text(&schema["description"]))
}

fn route(method: &str, path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let mut parameters: Vec<String> = parameters
        .map(|parameter| text(&parameter["$ref"]).rsplit('/').next().unwrap_or_default())
        .filter(|name| !name.starts_with("path_"))
        .map(|name| format!("`{name}`"))
        .collect();
    parameters.sort();
    let body = content(&operation["requestBody"]);
    let good = members(&operation["responses"]).find(|(status, _)| status.starts_with('2'));
    let answer = good.map(|(status, answer)| format!("{status} {}", content(answer)));
    format!(
        "| `{method} {path}` | {} | {} | {} | {body} | {} |\n",
        text(&operation["x-baton-access"]),
        cell(text(&operation["summary"])),
        parameters.join(", "),
        answer.unwrap_or_default().trim_end(),
    )
}

/// The type of a body, with its content types unless that is only JSON.
fn content(body: &Value) -> String {
    let mut forms = members(&body["content"]);
    let Some((first, content)) = forms.next() else { return String::new() };
    let others: Vec<&str> =
        std::iter::once(first).chain(forms.map(|(form, _)| form)).map(String::as_str).collect();
    let kind = kind(&content["schema"]);
    if others == ["application/json"] { kind } else { format!("{kind} as {}", others.join(", ")) }
}

fn refused(operation: &Value) -> impl Iterator<Item = (String, String)> {
    let refusals = members(&operation["responses"]).filter(|(status, _)| !status.starts_with('2'));
    refusals.map(|(status, answer)| (status.clone(), description(answer)))
}

/// A type as text for a cell of a table.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[`{name}`](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", json(value));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("`{}`", json(value)))
            .collect::<Vec<_>>()
            .join(", ");
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(kinds) = schema[choice].as_array() {
            let is_format_only =
                kinds.iter().all(|kind| kind.get("type").is_none() && kind.get("$ref").is_none());
            let with_type = |kind: &Value| {
                let mut kind = kind.clone();
                if is_format_only {
                    kind["type"] = schema["type"].clone();
                }
                self::kind(&kind)
            };
            return kinds.iter().map(with_type).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().map(kind).collect::<Vec<_>>().join(" and ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let words: Vec<String> = types.iter().map(|one| plain_kind(one, schema)).collect();
    words.join(" or ")
}

fn plain_kind(name: &str, schema: &Value) -> String {
    match name {
        "string" => text_kind(schema),
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => format!("map to {}", kind(values)),
            None => "object".to_owned(),
        },
        "" => "JSON".to_owned(),
        other => other.to_owned(),
    }
}

fn text_kind(schema: &Value) -> String {
    let prefix = text(&schema["pattern"]).strip_prefix('^').and_then(|rest| rest.split_once('_'));
    match (text(&schema["format"]), prefix) {
        ("date-time", _) => "time".to_owned(),
        ("date", _) => "day".to_owned(),
        ("uri", _) => "URL".to_owned(),
        (_, Some((prefix, _))) if prefix.chars().all(|c| c.is_ascii_lowercase()) => {
            format!("`{prefix}_…`")
        }
        _ => "string".to_owned(),
    }
}

fn json(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The text below the heading of a type.
fn definition(schema: &Value) -> String {
    let mut text_below = String::new();
    let meaning = description(schema);
    if !meaning.is_empty() {
        let _ = write!(text_below, "{meaning}\n\n");
    }
    let fields = fields_of(schema);
    if !fields.is_empty() {
        text_below.push_str(&table(&fields));
        return text_below;
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let choices: Vec<&Value> = choices.filter(|choice| choice["properties"].is_object()).collect();
    if choices.is_empty() {
        let _ = writeln!(text_below, "{}{}", kind(schema), bounds(schema));
        return text_below;
    }
    for (at, choice) in choices.into_iter().enumerate() {
        let meaning = description(choice);
        let gap = if at == 0 { "" } else { "\n" };
        let mark = json(&choice["properties"]["type"]["const"]);
        let meaning = if meaning.is_empty() { meaning } else { format!(" {meaning}") };
        let _ = write!(
            text_below,
            "{gap}With the `type` `{mark}`:{meaning}\n\n{}",
            table(&fields_of(choice))
        );
    }
    text_below
}

struct Field {
    name: String,
    kind: String,
    is_required: bool,
    meaning: String,
}

/// The fields of an object. Fields of an inner object are named `outer.inner`.
fn fields_of(schema: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if let Some(name) = part["$ref"].as_str() {
            let kind = kind(part);
            let name = name.rsplit('/').next().unwrap_or_default();
            let meaning = format!("All fields of `{name}`.");
            fields.push(Field { name: "…".to_owned(), kind, is_required: true, meaning });
        }
        fields.extend(fields_of(part));
    }
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().map(text).collect();
    for (name, property) in properties {
        let is_required = required.contains(name.as_str());
        let meaning = [description(property), bounds(property).trim_start_matches("; ").to_owned()];
        let meaning: Vec<String> = meaning.into_iter().filter(|part| !part.is_empty()).collect();
        let kind = kind(property);
        fields.push(Field { name: name.clone(), kind, is_required, meaning: meaning.join(" ") });
        let (inside, mark) =
            if property["type"] == "array" { (&property["items"], "[]") } else { (property, "") };
        let inner = fields_of(inside);
        let inner = inner.into_iter();
        fields.extend(
            inner.map(|field| Field { name: format!("{name}{mark}.{}", field.name), ..field }),
        );
    }
    fields
}

/// The bounds of a value that a caller can exceed.
fn bounds(schema: &Value) -> String {
    let mut bounds_text = String::new();
    for (name, words, unit) in [
        ("minLength", "at least", "character"),
        ("maxLength", "at most", "character"),
        ("minItems", "at least", "item"),
        ("maxItems", "at most", "item"),
        ("minimum", "at least", ""),
        ("maximum", "at most", ""),
    ] {
        // The bounds of every integer type are left out.
        let bound = schema.get(name).filter(|bound| **bound != 0 && **bound != u32::MAX);
        if let Some(bound) = bound {
            let words = match unit {
                "" => format!("{words} {bound}"),
                unit if *bound == 1 => format!("{words} 1 {unit}"),
                unit => format!("{words} {bound} {unit}s"),
            };
            let _ = write!(bounds_text, "; {words}");
        }
    }
    if schema["writeOnly"] == true {
        bounds_text.push_str("; never returned");
    }
    bounds_text
}

fn table(fields: &[Field]) -> String {
    let mut table = "| field | type | required | |\n| --- | --- | --- | --- |\n".to_owned();
    for Field { name, kind, is_required, meaning } in fields {
        let required = if *is_required { "yes" } else { "" };
        let _ = writeln!(table, "| `{name}` | {kind} | {required} | {meaning} |");
    }
    table
}
