//! The two dialects of JSON Schema in which Anthropic and OpenAI follow a schema exactly.

use serde_json::Value;

/// What Anthropic's structured outputs and strict tools refuse (platform.claude.com, "Structured
/// outputs", "JSON Schema limitations", 2026-11; the same list is what `transform_schema` of
/// anthropic-sdk-python 009b0353, 2026-08-07, takes out). The error is for `path`.
pub(crate) fn check_anthropic(schema: &Value, path: &str) -> Result<(), String> {
    let Some(object) = schema.as_object() else {
        return Err(format!("{path}: Input should be a valid dictionary"));
    };
    let kind = object.get("type").and_then(Value::as_str);
    if kind == Some("object") && object.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(format!(
            "{path}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        ));
    }
    let refused: &[&str] = &[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "contains",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "if",
        "not",
        "oneOf",
        "prefixItems",
        "dependentRequired",
    ];
    let of = kind.unwrap_or("schema");
    if let Some(name) = refused.iter().find(|name| object.contains_key(**name)) {
        return Err(format!("{path}: For '{of}' type, property '{name}' is not supported"));
    }
    if object.get("minItems").and_then(Value::as_u64).is_some_and(|count| count > 1) {
        return Err(format!(
            "{path}: For 'array' type, 'minItems' values other than 0 or 1 are not supported"
        ));
    }
    if object.get("$ref").and_then(Value::as_str).is_some_and(|name| !name.starts_with("#/")) {
        return Err(format!("{path}: External $ref is not supported"));
    }
    children(schema).into_iter().try_for_each(|child| check_anthropic(child, path))
}

/// The schemas directly inside a schema.
fn children(schema: &Value) -> Vec<&Value> {
    let of_map = |name: &str| schema[name].as_object().into_iter().flat_map(|map| map.values());
    let of_list = |name: &str| schema[name].as_array().into_iter().flatten();
    let mut all: Vec<&Value> =
        ["properties", "$defs", "definitions"].into_iter().flat_map(of_map).collect();
    all.extend(["anyOf", "allOf", "oneOf"].into_iter().flat_map(of_list));
    all.extend(schema.get("items").filter(|items| items.is_object()));
    all
}

/// What OpenAI's strict mode refuses (platform.openai.com, "Structured outputs", "Supported
/// schemas", 2026-11): each object names `additionalProperties: false` and requires all of its
/// properties; the root is an object and no `anyOf`; some words of JSON Schema are not known. The
/// words are those of the API (`cases` of users of `LangChain` and the AI SDK, 2026-11).
pub(crate) fn check_openai_strict(schema: &Value) -> Result<(), String> {
    if schema.get("anyOf").is_some() || schema["type"] != "object" {
        let kind = schema["type"].as_str().unwrap_or("None");
        return Err(format!(
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        ));
    }
    check_strict_part(schema, "()")
}

fn check_strict_part(schema: &Value, context: &str) -> Result<(), String> {
    const REFUSED: [&str; 10] = [
        "allOf",
        "oneOf",
        "not",
        "if",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "uniqueItems",
        "default",
    ];
    let Some(object) = schema.as_object() else { return Ok(()) };
    if let Some(name) = REFUSED.iter().find(|name| object.contains_key(**name)) {
        return Err(format!("In context={context}, '{name}' is not permitted."));
    }
    let is_typed =
        ["type", "anyOf", "$ref", "enum", "const"].iter().any(|name| object.contains_key(*name));
    if !is_typed {
        return Err(format!("In context={context}, schema must have a 'type' key."));
    }
    let is_object = object.get("type").is_some_and(|kind| match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    });
    if is_object {
        if object.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(format!(
                "In context={context}, 'additionalProperties' is required to be supplied and to be \
                 false."
            ));
        }
        let required = object.get("required").and_then(Value::as_array);
        let properties = object.get("properties").and_then(Value::as_object);
        for name in properties.into_iter().flat_map(|map| map.keys()) {
            if !required.is_some_and(|names| names.iter().any(|known| known == name)) {
                return Err(format!(
                    "In context={context}, 'required' is required to be supplied and to be an array \
                     including every key in properties. Missing '{name}'."
                ));
            }
        }
    }
    let is_array = object.get("type").is_some_and(|kind| kind == "array");
    if is_array && !object.contains_key("items") {
        return Err(format!("In context={context}, array schema missing items."));
    }
    for (name, child) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        check_strict_part(child, &format!("('properties', '{name}')"))?;
    }
    children(schema)
        .into_iter()
        .filter(|child| !object.get("properties").is_some_and(|map| holds(map, child)))
        .try_for_each(|child| check_strict_part(child, "('$defs', …)"))
}

fn holds(map: &Value, child: &Value) -> bool {
    map.as_object().is_some_and(|map| map.values().any(|value| std::ptr::eq(value, child)))
}

/// What OpenAI refuses in the parameters of any function, strict or not (its error texts in
/// openai/openai-python #1768 and vercel/ai #4662, 2024-10 to 2025-02).
pub(crate) fn check_openai_parameters(parameters: &Value) -> Result<(), String> {
    if !parameters.is_object() {
        return Err("schema must be a JSON Schema object.".to_owned());
    }
    if parameters.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(());
    }
    if parameters["type"] != "object" {
        let kind = parameters["type"].as_str().unwrap_or("None");
        return Err(format!(
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        ));
    }
    let at_root = ["oneOf", "anyOf", "allOf", "enum", "not"];
    if at_root.iter().any(|name| parameters.get(name).is_some()) {
        return Err("schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/\
                    'not' at the top level."
            .to_owned());
    }
    check_arrays(parameters, "()")
}

fn check_arrays(schema: &Value, context: &str) -> Result<(), String> {
    if schema["type"] == "array" && schema.get("items").is_none() {
        return Err(format!("In context={context}, array schema missing items."));
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        check_arrays(child, &format!("('properties', '{name}')"))?;
    }
    schema.get("items").map_or(Ok(()), |items| check_arrays(items, "('items')"))
}

/// The smallest value that follows a schema. Texts are `text`.
pub(crate) fn sample(schema: &Value, text: &str) -> Value {
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    if let Some(variant) = schema["anyOf"].get(0) {
        return sample(variant, text);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0)?.as_str());
    match kind {
        Some("string") => text.into(),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => true.into(),
        Some("null") => Value::Null,
        Some("array") => Value::Array(
            schema
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| sample(items, text))
                .into_iter()
                .collect(),
        ),
        _ => {
            let required: Vec<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let properties = schema["properties"].as_object();
            let entries = properties.into_iter().flatten();
            let entries = entries.filter(|(name, _)| required.contains(&name.as_str()));
            Value::Object(entries.map(|(name, part)| (name.clone(), sample(part, text))).collect())
        }
    }
}
