//! Translates JSON schemas between what OpenAI and Anthropic accept for structured outputs.
//!
//! Anthropic refuses keywords that bound values and requires closed objects (platform.claude.com,
//! "Structured outputs", JSON Schema limitations). Its own SDKs say such bounds in the description
//! (anthropic-sdk-python, `lib/_parse/_transform.py`, 2026-11), and so does this module. OpenAI
//! accepts the bounds, and in strict mode no optional properties (developers.openai.com, "Structured
//! model outputs", supported schemas, 2026-11).

use crate::json::{JsonDocument, JsonValue};
use crate::translate::json_reader::{parse_document, to_items};
use crate::translate::json_writer::{ArrayWriter, ObjectWriter, object_to_string};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The highest number of definitions in which a cycle is looked for. Real schemas have a few.
const DEFINITIONS_MAX: usize = 200;

/// The formats of texts that Anthropic accepts.
const TEXT_FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];

/// Keywords of a schema that say nothing about the value.
const REMARKS: [&str; 4] = ["$comment", "$id", "$schema", "examples"];

type Fields<'a> = Vec<(Cow<'a, str>, JsonValue<'a>)>;

/// The schema as Anthropic accepts it, or `None` if it cannot be expressed: it is recursive, refers
/// to another document, or is not an object.
pub(in crate::translate) fn to_anthropic(schema: &str) -> Option<String> {
    let document = parse_document(schema.as_bytes()).ok()?;
    let fields = fields_of(document.root())?;
    is_finite(&document).then(|| object_to_string(|out| write_schema(out, &fields)))
}

fn fields_of(value: JsonValue<'_>) -> Option<Fields<'_>> {
    value.fields().map(Iterator::collect)
}

fn find<'a>(fields: &Fields<'a>, name: &str) -> Option<JsonValue<'a>> {
    fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
}

/// Whether the schema allows objects.
fn is_of_objects(fields: &Fields<'_>) -> bool {
    find(fields, "properties").is_some()
        || find(fields, "type").is_some_and(|kind| {
            let is_object = |value: JsonValue<'_>| value.text().as_deref() == Some("object");
            is_object(kind) || to_items(kind).into_iter().flatten().any(is_object)
        })
}

/// How a keyword is written for Anthropic.
enum KeywordForm {
    Kept,
    /// Its meaning is said in the description.
    Told,
    Dropped,
    Schema,
    SchemaList(&'static str),
    SchemaMap,
}

fn keyword_form(name: &str, value: JsonValue<'_>, fields: &Fields<'_>) -> KeywordForm {
    use KeywordForm::{Dropped, Kept, Schema, SchemaList, SchemaMap, Told};
    let kept_if = |is_kept| if is_kept { Kept } else { Told };
    let is_schema = value.fields().is_some();
    match name {
        "type" | "title" | "const" | "default" | "required" | "$ref" => Kept,
        "enum" => {
            let mut values = to_items(value).into_iter().flatten();
            kept_if(values.all(|one| one.fields().is_none() && one.items().is_none()))
        }
        "properties" | "$defs" | "definitions" => SchemaMap,
        "items" if is_schema => Schema,
        "anyOf" => SchemaList("anyOf"),
        "allOf" => SchemaList("allOf"),
        "oneOf" if find(fields, "anyOf").is_none() => SchemaList("anyOf"),
        "additionalProperties" if is_schema => Told,
        "additionalProperties" => Dropped,
        "format" => kept_if(value.text().is_some_and(|it| TEXT_FORMATS.contains(&it.as_ref()))),
        "pattern" => kept_if(value.text().is_some_and(|it| is_plain_pattern(&it))),
        "minItems" => kept_if(matches!(value.raw(), "0" | "1")),
        _ if REMARKS.contains(&name) => Dropped,
        _ => Told,
    }
}

/// Whether a regular expression has no look-around, back reference or word boundary.
fn is_plain_pattern(pattern: &str) -> bool {
    let has_reference = pattern
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && matches!(pair[1], b'1'..=b'9' | b'b' | b'B' | b'k'));
    !pattern.contains("(?") && !has_reference
}

fn write_schema(out: &mut ObjectWriter<'_>, fields: &Fields<'_>) {
    if let Some(reference) = find(fields, "$ref") {
        return out.json("$ref", reference.raw());
    }
    let is_told = |(name, value): &&(Cow<'_, str>, JsonValue<'_>)| {
        name != "description" && matches!(keyword_form(name, *value, fields), KeywordForm::Told)
    };
    let told: Vec<String> = fields
        .iter()
        .filter(is_told)
        .map(|(name, value)| format!("{name}: {}", value.raw()))
        .collect();
    let mut description =
        find(fields, "description").and_then(JsonValue::text).unwrap_or_default().into_owned();
    if !told.is_empty() {
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push('{');
        description.push_str(&told.join(", "));
        description.push('}');
    }
    let mut is_described = description.is_empty();
    for (name, value) in fields {
        if name == "description" {
            if !std::mem::replace(&mut is_described, true) {
                out.text("description", &description);
            }
            continue;
        }
        match keyword_form(name, *value, fields) {
            KeywordForm::Kept => out.json(name, value.raw()),
            KeywordForm::Told | KeywordForm::Dropped => {}
            KeywordForm::Schema => out.object(name, |inner| write_value(inner, *value)),
            KeywordForm::SchemaList(name) => out.list(name, |list| write_list(list, *value)),
            KeywordForm::SchemaMap => out.object(name, |inner| write_map(inner, *value)),
        }
    }
    if !is_described {
        out.text("description", &description);
    }
    if is_of_objects(fields) {
        out.flag("additionalProperties", false);
    }
}

fn write_value(out: &mut ObjectWriter<'_>, value: JsonValue<'_>) {
    if let Some(fields) = fields_of(value) {
        write_schema(out, &fields);
    }
}

fn write_list(list: &mut ArrayWriter<'_>, value: JsonValue<'_>) {
    for item in to_items(value).into_iter().flatten() {
        list.object(|inner| write_value(inner, item));
    }
}

fn write_map(out: &mut ObjectWriter<'_>, value: JsonValue<'_>) {
    for (name, value) in value.fields().into_iter().flatten() {
        out.object(&name, |inner| write_value(inner, value));
    }
}

/// Whether no definition refers to itself, and no reference leaves the document.
fn is_finite(document: &JsonDocument<'_>) -> bool {
    let root = document.root();
    let mut definitions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for holder in ["$defs", "definitions"] {
        let held = fields_of(root).and_then(|fields| find(&fields, holder));
        for (name, value) in held.and_then(fields_of).unwrap_or_default() {
            let mut references = BTreeSet::new();
            collect_references(value, &mut references);
            definitions.insert(format!("#/{holder}/{name}"), references);
        }
    }
    let mut all = BTreeSet::new();
    collect_references(root, &mut all);
    if definitions.len() > DEFINITIONS_MAX || !all.iter().all(|it| definitions.contains_key(it)) {
        return false;
    }
    // Definitions whose references are all finite are finite; what is left is a cycle.
    while !definitions.is_empty() {
        let before = definitions.len();
        let names: BTreeSet<String> = definitions.keys().cloned().collect();
        definitions.retain(|_, references| !references.is_disjoint(&names));
        if definitions.len() == before {
            return false;
        }
    }
    true
}

fn collect_references(value: JsonValue<'_>, found: &mut BTreeSet<String>) {
    for (name, value) in value.fields().into_iter().flatten() {
        match value.text() {
            Some(text) if name == "$ref" => drop(found.insert(text.into_owned())),
            _ => collect_references(value, found),
        }
    }
    for item in to_items(value).into_iter().flatten() {
        collect_references(item, found);
    }
}

/// Whether OpenAI accepts the schema in strict mode: every object is closed, and every property is
/// required.
pub(in crate::translate) fn is_strict_at_openai(schema: &str) -> bool {
    let Ok(document) = parse_document(schema.as_bytes()) else { return false };
    let Some(fields) = fields_of(document.root()) else { return false };
    let is_object = find(&fields, "type").and_then(JsonValue::text).as_deref() == Some("object");
    is_object && find(&fields, "anyOf").is_none() && is_strict(&fields)
}

fn is_strict(fields: &Fields<'_>) -> bool {
    let is_closed = || {
        let required: BTreeSet<_> = find(fields, "required")
            .and_then(to_items)
            .into_iter()
            .flatten()
            .filter_map(JsonValue::text)
            .collect();
        let names = find(fields, "properties").and_then(fields_of).unwrap_or_default();
        let closed = find(fields, "additionalProperties");
        closed.is_some_and(|value| value.raw() == "false")
            && names.iter().all(|(name, _)| required.contains(name))
    };
    (!is_of_objects(fields) || is_closed())
        && fields.iter().all(|(name, value)| is_strict_keyword(name, *value))
}

fn is_strict_keyword(name: &str, value: JsonValue<'_>) -> bool {
    let is_schema = |value: JsonValue<'_>| fields_of(value).is_some_and(|it| is_strict(&it));
    match name {
        "properties" | "$defs" | "definitions" => {
            value.fields().into_iter().flatten().all(|(_, value)| is_schema(value))
        }
        "items" => is_schema(value),
        "anyOf" => to_items(value).is_some_and(|mut items| items.all(is_schema)),
        "format" => value.text().is_some_and(|it| it != "uri" && TEXT_FORMATS.contains(&&*it)),
        "type"
        | "title"
        | "description"
        | "const"
        | "enum"
        | "required"
        | "$ref"
        | "pattern"
        | "additionalProperties"
        | "minimum"
        | "maximum"
        | "exclusiveMinimum"
        | "exclusiveMaximum"
        | "multipleOf"
        | "minItems"
        | "maxItems" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(schema: &Value, expect: &Value) {
        let made = to_anthropic(&schema.to_string());
        let made = made.map_or(Value::Null, |made| serde_json::from_str(&made).unwrap());
        assert_eq!(made, *expect, "{schema}");
    }

    #[test]
    fn bounds_move_to_the_description() {
        let name = json!({"type":"string","description":"A name.","maxLength":5,"minLength":1});
        let told = "A name.\n\n{maxLength: 5, minLength: 1}";
        check(
            &json!({"type":"object","properties":{"name":name,"age":{"type":"integer","minimum":0}}}),
            &json!({"type":"object","additionalProperties":false,"properties":{
                "name":{"type":"string","description":told},
                "age":{"type":"integer","description":"{minimum: 0}"},
            }}),
        );
        check(
            &json!({"type":"array","items":{"type":"number","multipleOf":2},"minItems":1,"maxItems":3}),
            &json!({"type":"array","description":"{maxItems: 3}","minItems":1,
                "items":{"type":"number","description":"{multipleOf: 2}"}}),
        );
        check(
            &json!({"type":"object","additionalProperties":{"type":"string"}}),
            &json!({"type":"object","additionalProperties":false,
                "description":"{additionalProperties: {\"type\":\"string\"}}"}),
        );
        let pattern = json!({"type":"string","pattern":"^(?=a)b$","format":"regex"});
        let told = "{format: \"regex\", pattern: \"^(?=a)b$\"}";
        check(&pattern, &json!({"type":"string","description":told}));
    }

    #[test]
    fn alternatives_and_definitions_are_transformed() {
        check(
            &json!({"oneOf":[{"type":"string","minLength":1},{"$ref":"#/$defs/a"}],
                "$defs":{"a":{"type":"object","properties":{}}},"$schema":"x"}),
            &json!({"anyOf":[{"type":"string","description":"{minLength: 1}"},{"$ref":"#/$defs/a"}],
                "$defs":{"a":{"type":"object","properties":{},"additionalProperties":false}}}),
        );
        let optional = json!({"type":"object","properties":{"a":{"type":["string","null"]}},
            "required":["a"],"additionalProperties":false});
        check(&optional, &optional);
    }

    #[test]
    fn endless_schemas_are_not_expressed() {
        let list = json!({"type":"object","properties":{"next":{"$ref":"#/$defs/list"}}});
        check(&json!({"$ref":"#/$defs/list","$defs":{"list":list}}), &Value::Null);
        check(&json!({"type":"array","items":{"$ref":"#"}}), &Value::Null);
        check(&json!({"$ref":"https://example.com/a.json"}), &Value::Null);
        check(&json!(true), &Value::Null);
    }

    #[test]
    fn keywords_keep_their_order() {
        let schema = r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}},"required":["z"]}"#;
        let expect = r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}},"required":["z"],"additionalProperties":false}"#;
        assert_eq!(to_anthropic(schema).as_deref(), Some(expect));
    }

    #[test]
    fn strict_mode_needs_closed_objects_and_required_properties() {
        let check = |schema: Value, expect| {
            assert_eq!(is_strict_at_openai(&schema.to_string()), expect, "{schema}");
        };
        let of = |inner: Value, required: Value| {
            json!({"type":"object","properties":{"a":inner},"required":required,
                "additionalProperties":false})
        };
        check(of(json!({"type":"string","minLength":1}), json!(["a"])), false);
        check(of(json!({"type":"integer","minimum":1}), json!(["a"])), true);
        check(of(json!({"type":"string"}), json!([])), false);
        check(of(json!({"type":"object"}), json!(["a"])), false);
        check(of(of(json!({"enum":[1]}), json!(["a"])), json!(["a"])), true);
        check(of(json!({"anyOf":[{"type":"null"},{"allOf":[]}]}), json!(["a"])), false);
        check(json!({"type":"object","properties":{}}), false);
        check(json!({"type":"array","items":{"type":"string"}}), false);
    }
}
