//! `/openapi.json`: the OpenAPI 3.1 document. Everything in it comes from the table of routes and the
//! types of their handlers. `tests/clients/schemathesis.rs` compares the document with real answers.

use crate::api_route::{ApiRoute, BASE, RouteAccess, RouteMethod};
use crate::route_description::{ApiSchemas, OperationBuilder, SuccessResponse, simplified_schema};
use baton_api::error::ErrorBody;
use serde_json::{Map, Value, json};

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

/// Builds the document of these routes.
pub(crate) fn build_document(routes: &[ApiRoute]) -> Map<String, Value> {
    OpenApiDocument::new(routes).into_json()
}

/// The document while it is made.
struct OpenApiDocument {
    schemas: ApiSchemas,
    paths: Map<String, Value>,
    parameters: Map<String, Value>,
    /// Names of components that are used for different things, which a test forbids.
    ambiguous: Vec<String>,
}

impl OpenApiDocument {
    fn new(routes: &[ApiRoute]) -> Self {
        let mut document = Self {
            schemas: ApiSchemas::new(),
            paths: Map::new(),
            parameters: header_parameters(),
            ambiguous: Vec::new(),
        };
        for route in routes {
            let operation = document.operation(route);
            let path = document.paths.entry(format!("{BASE}{}", route.path));
            path.or_insert_with(|| json!({}))[route.method.as_str().to_lowercase()] = operation;
        }
        document
    }

    fn into_json(self) -> Map<String, Value> {
        let (schemas, _) = self.schemas.into_components();
        let document = simplified_schema(json!({
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
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "parameters": self.parameters,
                "securitySchemes": { "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "The admin token, or a relay key of an enabled user.",
                } },
            },
        }));
        if let Value::Object(document) = document { document } else { Map::new() }
    }

    fn operation(&mut self, route: &ApiRoute) -> Value {
        let error = self.schemas.answer::<ErrorBody>();
        let mut described = OperationBuilder::new(&mut self.schemas, route.path);
        (route.describe)(&mut described);
        let OperationBuilder { parameters, has_query, request_body, success, .. } = described;
        let has_body = request_body.is_some();
        let mut answers: Map<String, Value> =
            success.into_iter().map(|answer| success_response(&answer)).collect();
        let refusals =
            REFUSALS.iter().filter(|(status, _)| can_answer(route, *status, has_body, has_query));
        answers.extend(refusals.map(|(status, meaning)| {
            let content = json!({ "application/json": { "schema": error } });
            (status.to_string(), json!({ "description": meaning, "content": content }))
        }));
        let mut names: Vec<String> = Vec::new();
        for parameter in parameters {
            let known = self.parameters.entry(parameter.component.clone());
            if *known.or_insert_with(|| parameter.definition.clone()) != parameter.definition {
                self.ambiguous.push(parameter.component.clone());
            }
            names.push(parameter.component);
        }
        names.extend(headers_of(route).map(str::to_owned));
        let parameter =
            |name: &String| json!({ "$ref": format!("#/components/parameters/{name}") });
        let mut operation = json!({
            "summary": route.summary, "operationId": operation_id(route),
            "x-baton-access": route.access.as_str(),
            "parameters": names.iter().map(parameter).collect::<Vec<_>>(), "responses": answers,
        });
        if let Some(body) = request_body {
            operation["requestBody"] = body;
        }
        if route.access == RouteAccess::Anybody {
            operation["security"] = json!([]);
        }
        operation
    }
}

fn success_response(
    SuccessResponse { status, schema, media }: &SuccessResponse,
) -> (String, Value) {
    let answer = match schema {
        Some(schema) => {
            let forms = media.iter().map(|form| ((*form).to_owned(), json!({ "schema": schema })));
            json!({ "description": "Success.", "content": forms.collect::<Map<_, _>>() })
        }
        None => json!({ "description": "Success." }),
    };
    (status.to_string(), answer)
}

/// Whether the route can return this error status.
fn can_answer(route: &ApiRoute, status: u16, has_body: bool, has_query: bool) -> bool {
    let names_something = route.path.contains('{');
    match status {
        400 | 413 if has_body => true,
        400 => has_query || route.method == RouteMethod::Post,
        401 | 403 | 429 => route.access != RouteAccess::Anybody,
        404 => names_something,
        409 => route.method != RouteMethod::Get,
        412 => changes_version(route),
        413 | 422 => route.method == RouteMethod::Post,
        _ => true,
    }
}

/// Whether the route changes a resource that has a version.
fn changes_version(route: &ApiRoute) -> bool {
    matches!(route.method, RouteMethod::Patch | RouteMethod::Delete)
        || route.path.ends_with("/rotate")
        || (route.method, route.path) == (RouteMethod::Put, "/alerts")
}

/// The headers that a route reads, by the names of their components.
fn headers_of(route: &ApiRoute) -> impl Iterator<Item = &'static str> {
    let idempotency_key = (route.method == RouteMethod::Post).then_some("idempotency-key");
    let if_match = changes_version(route).then_some("if-match");
    idempotency_key.into_iter().chain(if_match)
}

fn header_parameters() -> Map<String, Value> {
    let parameters = [
        json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "A repeated request with the same key within 24 hours gets the first answer and changes nothing.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        }),
        json!({
            "name": "If-Match", "in": "header",
            "description": "The `etag` of the version that you read. If it is outdated, the request fails with 412.",
            "schema": { "type": "string", "pattern": "^\"[0-9]{1,9}\"$" },
        }),
    ];
    ["idempotency-key", "if-match"].map(str::to_owned).into_iter().zip(parameters).collect()
}

/// For example `post_keys_one_rotate`: `one` replaces an id in the path.
fn operation_id(route: &ApiRoute) -> String {
    let message = route.path.split('/').filter(|part| !part.is_empty());
    let message = message.map(|part| if part.starts_with('{') { "one" } else { part });
    let path: Vec<&str> = message.collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), path.join("_").replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;
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
    fn all_references_resolve_and_all_components_are_used() {
        let document = Value::Object(build_document(&ROUTES));
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
    fn component_names_are_unambiguous() {
        let OpenApiDocument { schemas, ambiguous, .. } = OpenApiDocument::new(&ROUTES);
        assert_eq!(ambiguous, Vec::<String>::new(), "parameters");
        assert_eq!(schemas.into_components().1, Vec::<String>::new(), "schemas");
    }

    #[test]
    fn path_parameters_are_described_and_requests_refuse_unknown_fields() {
        let document = Value::Object(build_document(&ROUTES));
        for route in ROUTES.iter() {
            let method = route.method.as_str().to_lowercase();
            let operation = &document["paths"][format!("{BASE}{}", route.path)][method];
            let parameters = operation["parameters"].to_string();
            assert_eq!(route.path.contains('{'), parameters.contains("path_"), "{}", route.path);
        }
        for name in ["NewKey", "KeyChange", "NewAccount", "NewPrice", "NewAlerts", "Limits"] {
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let ids: BTreeSet<String> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
