//! Translates JSON schemas between what OpenAI and Anthropic accept for structured outputs.
//!
//! Anthropic refuses keywords that bound values and requires closed objects (platform.claude.com,
//! "Structured outputs", JSON Schema limitations). Its own SDKs say such bounds in the description
//! (anthropic-sdk-python, `lib/_parse/_transform.py`, 2026-11), and so does this module. OpenAI
//! accepts the bounds, and in strict mode no optional properties (developers.openai.com, "Structured
//! model outputs", supported schemas, 2026-11).

use crate::json::{FIELDS_MAX, JsonDocument, JsonValue};
use crate::translate::json_reader::{parse_document, to_items};
use crate::translate::json_writer::{ArrayWriter, ObjectWriter, object_to_string};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The highest number of definitions in which a cycle is looked for. Real schemas have a few.
const DEFINITIONS_MAX: usize = 200;

/// The formats of texts that Anthropic accepts.
const TEXT_FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];

/// Keywords of a schema that say nothing about the value.
const REMARKS: [&str; 4] = ["$comment", "$id", "$schema", "examples"];

/// Where definitions stand, at the root of a schema.
const HOLDERS: [&str; 2] = ["$defs", "definitions"];

/// The fields of an object in their order. If a name occurs twice, the last value counts, as in
/// every common parser.
#[derive(Debug, Default)]
struct SchemaFields<'a> {
    fields: Vec<(Cow<'a, str>, JsonValue<'a>)>,
    positions: HashMap<Cow<'a, str>, usize>,
}

impl<'a> SchemaFields<'a> {
    /// An object's fields, or `None` if the value is not an object or has more than [`FIELDS_MAX`]
    /// fields.
    fn from_value(value: JsonValue<'a>) -> Option<Self> {
        let mut read = Self::default();
        for (count, (name, value)) in value.fields()?.enumerate() {
            if count == FIELDS_MAX {
                return None;
            }
            read.insert(name, value);
        }
        Some(read)
    }

    fn insert(&mut self, name: Cow<'a, str>, value: JsonValue<'a>) {
        let known = self.positions.get(&name).and_then(|index| self.fields.get_mut(*index));
        if let Some((_, known)) = known {
            *known = value;
        } else {
            self.positions.insert(name.clone(), self.fields.len());
            self.fields.push((name, value));
        }
    }

    fn find(&self, name: &str) -> Option<JsonValue<'a>> {
        let index = self.positions.get(name)?;
        self.fields.get(*index).map(|(_, value)| *value)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, JsonValue<'a>)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

/// The schema as Anthropic accepts it, or `None` if it cannot be expressed: it is recursive, refers
/// to another document, is not an object, or has an object with more than [`FIELDS_MAX`] fields.
pub(in crate::translate) fn to_anthropic(schema: &str) -> Option<String> {
    let document = parse_document(schema.as_bytes()).ok()?;
    let root = SchemaFields::from_value(document.root())?;
    if !is_finite(&document, &root) {
        return None;
    }
    let fields = resolve_root(root)?;
    Some(object_to_string(|out| write_schema(out, &fields)))
}

/// Puts the definition to which a root refers in the root's place and keeps the definitions.
/// `zod-to-json-schema` writes such roots. Anthropic requires `type` at the root of a tool's schema
/// (Messages API reference, `tools[].input_schema.type`, 2026-11).
fn resolve_root(root: SchemaFields<'_>) -> Option<SchemaFields<'_>> {
    if root.find("$ref").is_none() {
        return Some(root);
    }
    let read = |holder| root.find(holder).and_then(SchemaFields::from_value).unwrap_or_default();
    let definitions = HOLDERS.map(|holder| (holder, read(holder)));
    let mut resolved = SchemaFields::default();
    let mut reference = root.find("$ref");
    // The references are finite, and each step leads to another definition.
    while let Some(value) = reference {
        let text = value.text()?;
        let (holder, name) = text.strip_prefix("#/")?.split_once('/')?;
        let (_, held) = definitions.iter().find(|(known, _)| *known == holder)?;
        resolved = SchemaFields::from_value(held.find(name)?)?;
        reference = resolved.find("$ref");
    }
    for holder in HOLDERS {
        if let Some(definitions) = root.find(holder) {
            resolved.insert(holder.into(), definitions);
        }
    }
    Some(resolved)
}

/// Whether the schema allows objects.
fn is_of_objects(fields: &SchemaFields<'_>) -> bool {
    fields.find("properties").is_some()
        || fields.find("type").is_some_and(|kind| {
            let is_object = |value: JsonValue<'_>| value.text().as_deref() == Some("object");
            is_object(kind) || to_items(kind).into_iter().flatten().any(is_object)
        })
}

/// How a keyword is written for Anthropic.
enum KeywordForm {
    Kept,
    /// Its meaning is written into the description.
    MovedToDescription,
    Dropped,
    Schema,
    SchemaList(&'static str),
    SchemaMap,
}

fn keyword_form(name: &str, value: JsonValue<'_>, fields: &SchemaFields<'_>) -> KeywordForm {
    use KeywordForm::{Dropped, Kept, MovedToDescription, Schema, SchemaList, SchemaMap};
    let kept_if = |is_kept| if is_kept { Kept } else { MovedToDescription };
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
        "oneOf" if fields.find("anyOf").is_none() => SchemaList("anyOf"),
        "additionalProperties" if is_schema => MovedToDescription,
        "additionalProperties" => Dropped,
        "format" => kept_if(value.text().is_some_and(|it| TEXT_FORMATS.contains(&it.as_ref()))),
        "pattern" => kept_if(value.text().is_some_and(|it| is_plain_pattern(&it))),
        "minItems" => kept_if(matches!(value.raw(), "0" | "1")),
        _ if REMARKS.contains(&name) => Dropped,
        _ => MovedToDescription,
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

fn write_schema(out: &mut ObjectWriter<'_>, fields: &SchemaFields<'_>) {
    if let Some(reference) = fields.find("$ref") {
        return out.json("$ref", reference.raw());
    }
    let is_moved = |(name, value): &(&str, JsonValue<'_>)| {
        *name != "description"
            && matches!(keyword_form(name, *value, fields), KeywordForm::MovedToDescription)
    };
    let moved: Vec<String> = fields
        .iter()
        .filter(is_moved)
        .map(|(name, value)| format!("{name}: {}", value.raw()))
        .collect();
    let mut description =
        fields.find("description").and_then(JsonValue::text).unwrap_or_default().into_owned();
    if !moved.is_empty() {
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push('{');
        description.push_str(&moved.join(", "));
        description.push('}');
    }
    let mut is_described = description.is_empty();
    for (name, value) in fields.iter() {
        if name == "description" {
            if !std::mem::replace(&mut is_described, true) {
                out.text("description", &description);
            }
            continue;
        }
        match keyword_form(name, value, fields) {
            KeywordForm::Kept => out.json(name, value.raw()),
            KeywordForm::MovedToDescription | KeywordForm::Dropped => {}
            KeywordForm::Schema => out.object(name, |inner| write_value(inner, value)),
            KeywordForm::SchemaList(name) => out.list(name, |list| write_list(list, value)),
            KeywordForm::SchemaMap => out.object(name, |inner| write_map(inner, value)),
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
    if let Some(fields) = SchemaFields::from_value(value) {
        write_schema(out, &fields);
    }
}

fn write_list(list: &mut ArrayWriter<'_>, value: JsonValue<'_>) {
    for item in to_items(value).into_iter().flatten() {
        list.object(|inner| write_value(inner, item));
    }
}

fn write_map(out: &mut ObjectWriter<'_>, value: JsonValue<'_>) {
    let schemas = SchemaFields::from_value(value).unwrap_or_default();
    for (name, value) in schemas.iter() {
        out.object(name, |inner| write_value(inner, value));
    }
}

/// Whether no definition refers to itself, no reference leaves the document, and no object has more
/// than [`FIELDS_MAX`] fields.
fn is_finite(document: &JsonDocument<'_>, root: &SchemaFields<'_>) -> bool {
    let mut definitions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for holder in HOLDERS {
        let held = root.find(holder).and_then(SchemaFields::from_value).unwrap_or_default();
        if definitions.len() + held.fields.len() > DEFINITIONS_MAX {
            return false;
        }
        for (name, value) in held.iter() {
            let mut references = BTreeSet::new();
            collect_references(value, &mut references);
            definitions.insert(format!("#/{holder}/{name}"), references);
        }
    }
    let mut all = BTreeSet::new();
    collect_references(document.root(), &mut all)
        && all.iter().all(|reference| definitions.contains_key(reference))
        && !has_cycle(&definitions)
}

/// Whether a definition leads back to itself. Definitions whose references are all finite are
/// finite; what is left is a cycle.
fn has_cycle(definitions: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut finite = Vec::new();
    for (name, references) in definitions {
        open.insert(name, references.len());
        if references.is_empty() {
            finite.push(name.as_str());
        }
        for reference in references {
            users.entry(reference).or_default().push(name);
        }
    }
    let mut finite_count = 0;
    while let Some(name) = finite.pop() {
        finite_count += 1;
        for user in users.get(name).into_iter().flatten() {
            if let Some(count) = open.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    finite.push(user);
                }
            }
        }
    }
    finite_count < definitions.len()
}

/// Collects the references in a value. Returns whether all objects are small enough to be read.
fn collect_references(value: JsonValue<'_>, found: &mut BTreeSet<String>) -> bool {
    for (count, (name, value)) in value.fields().into_iter().flatten().enumerate() {
        if count == FIELDS_MAX {
            return false;
        }
        match value.text() {
            Some(text) if name == "$ref" => drop(found.insert(text.into_owned())),
            _ if !collect_references(value, found) => return false,
            _ => {}
        }
    }
    to_items(value).into_iter().flatten().all(|item| collect_references(item, found))
}

/// Whether OpenAI accepts the schema in strict mode: every object is closed, and every property is
/// required.
pub(in crate::translate) fn is_strict_at_openai(schema: &str) -> bool {
    let Ok(document) = parse_document(schema.as_bytes()) else { return false };
    let Some(fields) = SchemaFields::from_value(document.root()) else { return false };
    let is_object = fields.find("type").and_then(JsonValue::text).as_deref() == Some("object");
    is_object && fields.find("anyOf").is_none() && is_strict(&fields)
}

fn is_strict(fields: &SchemaFields<'_>) -> bool {
    let is_closed = || {
        let required: BTreeSet<_> = fields
            .find("required")
            .and_then(to_items)
            .into_iter()
            .flatten()
            .filter_map(JsonValue::text)
            .collect();
        let names =
            fields.find("properties").and_then(SchemaFields::from_value).unwrap_or_default();
        let closed = fields.find("additionalProperties");
        closed.is_some_and(|value| value.raw() == "false")
            && names.iter().all(|(name, _)| required.contains(name))
    };
    (!is_of_objects(fields) || is_closed())
        && fields.iter().all(|(name, value)| is_strict_keyword(name, value))
}

fn is_strict_keyword(name: &str, value: JsonValue<'_>) -> bool {
    let is_schema =
        |value: JsonValue<'_>| SchemaFields::from_value(value).is_some_and(|it| is_strict(&it));
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
        let moved = "A name.\n\n{maxLength: 5, minLength: 1}";
        check(
            &json!({"type":"object","properties":{"name":name,"age":{"type":"integer","minimum":0}}}),
            &json!({"type":"object","additionalProperties":false,"properties":{
                "name":{"type":"string","description":moved},
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
        let moved = "{format: \"regex\", pattern: \"^(?=a)b$\"}";
        check(&pattern, &json!({"type":"string","description":moved}));
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
    fn root_reference_is_resolved() {
        let answer = json!({"type":"object","properties":{"n":{"type":"integer"}},
            "required":["n"],"additionalProperties":false});
        for holder in HOLDERS {
            let reference = |name: &str| json!({"$ref": format!("#/{holder}/{name}")});
            let definitions = json!({"Answer": answer, "Other": reference("Answer")});
            let mut expect = answer.clone();
            expect[holder] = definitions.clone();
            for name in ["Answer", "Other"] {
                let mut schema = reference(name);
                schema[holder] = definitions.clone();
                schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
                check(&schema, &expect);
            }
        }
        check(&json!({"$ref":"#/definitions/b","definitions":{"a":answer}}), &Value::Null);
        check(&json!({"$ref":"#/definitions/a","definitions":{"a":true}}), &Value::Null);
    }

    #[test]
    fn last_value_of_a_repeated_name_counts() {
        let schema = r#"{"type":"string","oneOf":0,"type":"object","oneOf":[{"type":"object"}],
            "properties":{"a":0,"a":{"type":"string"}}}"#;
        let expect = r#"{"type":"object","anyOf":[{"type":"object","additionalProperties":false}],"properties":{"a":{"type":"string"}},"additionalProperties":false}"#;
        assert_eq!(to_anthropic(schema).as_deref(), Some(expect));
        let closed = r#"{"type":"object","properties":{},"additionalProperties":true,"additionalProperties":false}"#;
        assert!(is_strict_at_openai(closed));
    }

    #[test]
    fn object_with_too_many_fields_is_not_expressed() {
        let of = |count: usize| {
            let fields: Vec<_> = (0..count).map(|at| format!("\"p{at}\":{{}}")).collect();
            format!(r#"{{"type":"object","properties":{{{}}}}}"#, fields.join(","))
        };
        assert!(to_anthropic(&of(FIELDS_MAX)).is_some());
        assert_eq!(to_anthropic(&of(FIELDS_MAX + 1)), None);
    }

    #[test]
    fn definitions_in_a_chain_are_finite_and_a_circle_is_not() {
        let chain = |last: &str| {
            let next = |at: usize| if at == 99 { last.to_owned() } else { format!("d{}", at + 1) };
            let held: serde_json::Map<String, Value> = (0..100)
                .map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/{}", next(at))})))
                .chain([("end".to_owned(), json!({"type":"string"}))])
                .collect();
            json!({"anyOf":[{"$ref":"#/$defs/d0"}],"$defs":held}).to_string()
        };
        assert!(to_anthropic(&chain("end")).is_some());
        assert_eq!(to_anthropic(&chain("d50")), None);
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
