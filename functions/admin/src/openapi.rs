//! `/openapi.json`: the OpenAPI 3.1 document. Routes come from the table that mounts them, schemas
//! and parameters from `openapi/components.json`. `tests/clients/schemathesis.rs` compares the
//! document with real answers.

use crate::actor::RouteAccess;
use crate::api_response::{ApiError, ApiResult};
use crate::routes::{ApiRoute, BASE, ROUTES, Verb};
use axum::Json;
use serde_json::{Map, Value, json};

const COMPONENTS: &str = include_str!("../openapi/components.json");

/// The error statuses and their descriptions.
const REFUSALS: [(u16, &str); 10] = [
    (400, "The request is invalid; the message names the field."),
    (401, "The credential is missing or invalid."),
    (403, "The caller is not allowed to do this."),
    (404, "The resource does not exist."),
    (409, "The request conflicts with the current state, or with a change made at the same time."),
    (412, "`If-Match` does not match the current version."),
    (413, "The body is too large."),
    (422, "The idempotency key was used for a different request."),
    (429, "Too many wrong credentials; retry after the time in `retry-after`."),
    (500, "Internal error; the log has the reason under the request id."),
];

pub(crate) async fn get_openapi() -> ApiResult<Json<Value>> {
    let components = serde_json::from_str(COMPONENTS).map_err(ApiError::internal_error)?;
    Ok(Json(document(&components)))
}

fn document(components: &Value) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(format!("{BASE}{}", route.path)).or_insert_with(|| json!({}));
        path[route.verb.as_str().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Baton admin API", "version": env!("CARGO_PKG_VERSION"),
            "description": "Requests and responses are JSON. Times are RFC 3339 in UTC. Amounts of money are \
                decimal strings in US dollars, except for spend limits, which are in US cents. \
                `x-baton-access` is who can use a route: `admin`, `member` (only for their own \
                keys and usage) or `anybody`.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": components,
    })
}

fn operation(route: &ApiRoute) -> Value {
    let (status, schema) = route.gives;
    let mut answers = Map::from_iter([(status.to_string(), success_response(schema, route.media))]);
    let refusals = REFUSALS.iter().filter(|(status, _)| can_answer(route, *status));
    answers.extend(refusals.map(|(status, meaning)| {
        let answer = json!({ "description": meaning, "content": content("Error") });
        (status.to_string(), answer)
    }));
    let mut operation = json!({
        "summary": route.summary, "operationId": operation_id(route),
        "x-baton-access": route.access.as_str(),
        "parameters": parameters(route), "responses": answers,
    });
    if let Some(schema) = route.takes {
        operation["requestBody"] = json!({ "required": true, "content": content(schema) });
    }
    if route.access == RouteAccess::Anybody {
        operation["security"] = json!([]);
    }
    operation
}

fn success_response(schema: Option<&str>, media: &[&str]) -> Value {
    match schema {
        Some(schema) => {
            let forms = media.iter().map(|form| ((*form).to_owned(), schema_content(schema)));
            json!({ "description": "Success.", "content": forms.collect::<Map<_, _>>() })
        }
        None => json!({ "description": "Success." }),
    }
}

fn content(schema: &str) -> Value {
    json!({ "application/json": schema_content(schema) })
}

fn schema_content(schema: &str) -> Value {
    json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } })
}

/// Whether the route can return this error status.
fn can_answer(route: &ApiRoute, status: u16) -> bool {
    let names_something = route.path.contains('{');
    match status {
        400 | 413 if route.takes.is_some() => true,
        400 => !route.query.is_empty() || route.verb == Verb::Post,
        401 | 403 | 429 => route.access != RouteAccess::Anybody,
        404 => names_something,
        409 => route.verb != Verb::Get,
        412 => changes_version(route),
        413 | 422 => route.verb == Verb::Post,
        _ => true,
    }
}

/// Whether the route changes a resource that has a version.
fn changes_version(route: &ApiRoute) -> bool {
    matches!(route.verb, Verb::Patch | Verb::Delete)
        || route.path.ends_with("/rotate")
        || (route.verb, route.path) == (Verb::Put, "/alerts")
}

fn parameters(route: &ApiRoute) -> Vec<Value> {
    let reference = |name: &str| json!({ "$ref": format!("#/components/parameters/{name}") });
    let mut parameters: Vec<Value> =
        path_names(route.path).map(|name| reference(&format!("path_{name}"))).collect();
    parameters.extend(route.query.iter().map(|name| reference(name)));
    if route.verb == Verb::Post {
        parameters.push(reference("idempotency-key"));
    }
    if changes_version(route) {
        parameters.push(reference("if-match"));
    }
    parameters
}

/// `/keys/{key_id}/rotate` → `key_id`
fn path_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// For example `post_keys_one_rotate`: `one` replaces an id in the path.
fn operation_id(route: &ApiRoute) -> String {
    let words = route.path.split('/').filter(|part| !part.is_empty());
    let words = words.map(|part| if part.starts_with('{') { "one" } else { part });
    let path: Vec<&str> = words.collect();
    format!("{}_{}", route.verb.as_str().to_lowercase(), path.join("_").replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every `$ref` inside.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                let own = map.get("$ref").and_then(Value::as_str);
                found.extend(own.map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn all_schema_references_resolve_and_all_schemas_are_used() {
        let document = document(&serde_json::from_str(COMPONENTS).unwrap());
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let place = reference.trim_start_matches('#');
            assert!(document.pointer(place).is_some(), "{reference} is nowhere");
        }
        for kind in ["schemas", "parameters"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(found.contains(&reference), "{reference} is not used");
            }
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let ids: BTreeSet<String> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
