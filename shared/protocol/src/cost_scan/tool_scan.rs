//! The tools of a request: which of them the upstream runs itself, and what those can cost.

use super::field_scan::{UNKNOWN, find_nested_models};
use super::known::is_tool_field;
use super::named_models::{ModelSearch, NamedModels};
use super::{CostScan, FieldName, UpstreamProtocol, shown};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// The highest number of prompt tokens for the definition of one of the upstream's own tools.
const DEFINITION_TOKENS: u64 = 10_000;

const LEAVE_OUT: &str = "Baton cannot compute the cost of this tool. Leave it out.";

/// A list of tools. Namespaces contain such lists, too.
pub(super) struct ToolScanner<'f> {
    scan: &'f mut CostScan,
}

/// The fields of one tool.
#[derive(Default)]
struct ToolFields {
    kind: Option<String>,
    max_uses: Option<Value>,
    environment: Option<Value>,
    execution: Option<Value>,
    /// The tool describes its arguments, so the client runs it.
    has_schema: bool,
    /// Models that a schema or a description names. They mean nothing in a tool that the client
    /// runs.
    described: NamedModels,
    /// The first field that no API documents.
    unknown: Option<String>,
}

impl<'f> ToolScanner<'f> {
    pub(super) fn new(scan: &'f mut CostScan) -> Self {
        Self { scan }
    }

    fn assess_tool(&mut self, tool: &ToolFields) {
        // A tool without a type is the client's own if it describes its arguments. Any other tool
        // is identified only by its field, such as Google's `{"google_search": {}}`.
        let own = if tool.has_schema { "custom" } else { "without a type" };
        let kind = tool.kind.as_deref().unwrap_or(own);
        let field = format!("tools ({})", shown(kind));
        let starts = |names: &[&str]| names.iter().any(|name| kind.starts_with(name));
        let is_local = match self.scan.body_protocol {
            UpstreamProtocol::Messages => {
                matches!(kind, "custom" | "function")
                    || starts(&["bash_", "text_editor_", "computer_", "memory_", "browser_"])
            }
            UpstreamProtocol::Chat => matches!(kind, "function" | "custom"),
            UpstreamProtocol::Responses => {
                let is_hosted = |place: &Value| place["type"] != "local" && !place.is_null();
                match kind {
                    "tool_search" => tool.execution.as_ref().is_some_and(|by| by == "client"),
                    "shell" => !tool.environment.as_ref().is_some_and(is_hosted),
                    "function"
                    | "custom"
                    | "namespace"
                    | "local_shell"
                    | "apply_patch"
                    | "computer"
                    | "computer_use"
                    | "computer_use_preview" => true,
                    _ => false,
                }
            }
        };
        if !matches!(kind, "custom" | "function") {
            self.scan.models.add_all(&tool.described);
        }
        if !matches!(kind, "custom" | "function" | "namespace") {
            let tokens = &mut self.scan.cost_factors.prompt_tokens;
            *tokens = tokens.saturating_add(DEFINITION_TOKENS);
        }
        if is_local {
            return self.judge_fields(tool);
        }
        match self.scan.body_protocol {
            UpstreamProtocol::Messages if kind.starts_with("advisor_") => {
                // At most one call in each round, or fewer if `max_uses` says so.
                let rounds = super::SERVER_TOOL_PASSES - 1;
                let uses = tool.max_uses.as_ref().and_then(Value::as_u64).unwrap_or(rounds);
                self.scan.advices = self.scan.advices.saturating_add(uses.min(rounds));
                self.scan.cost_factors.has_unbounded_pass = true;
            }
            UpstreamProtocol::Messages if kind.starts_with("web_search_") => {
                match tool.max_uses.as_ref().and_then(Value::as_u64) {
                    Some(uses) if uses > 0 => {
                        let searches = &mut self.scan.cost_factors.searches;
                        *searches = searches.saturating_add(uses);
                    }
                    _ => {
                        let advice = "Set `max_uses` of the tool, or leave the tool out.";
                        return self.scan.note_unbounded_field(format!("{field}.max_uses"), advice);
                    }
                }
                self.scan.note_external_content(field, LEAVE_OUT);
            }
            UpstreamProtocol::Messages if kind.starts_with("web_fetch_") => {
                self.scan.note_external_content(field, LEAVE_OUT);
            }
            UpstreamProtocol::Messages if kind.starts_with("tool_search_tool_") => {}
            UpstreamProtocol::Responses if kind == "tool_search" => {}
            _ => return self.scan.note_unbounded_field(field, LEAVE_OUT),
        }
        self.scan.runs_tools = true;
        self.judge_fields(tool);
    }

    fn judge_fields(&mut self, tool: &ToolFields) {
        if let Some(name) = &tool.unknown {
            self.scan.note_unbounded_field(format!("tools[].{name}"), UNKNOWN);
        }
    }
}

impl<'de> DeserializeSeed<'de> for ToolScanner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ToolScanner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scan.note_unbounded_field(format!("tools ({})", shown(text)), LEAVE_OUT);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(ToolScanner { scan: self.scan })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut tool = ToolFields::default();
        while let Some(FieldName(name)) = map.next_key()? {
            self.read_field(&name, &mut tool, &mut map)?;
        }
        self.assess_tool(&tool);
        Ok(())
    }
}

impl ToolScanner<'_> {
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        tool: &mut ToolFields,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "type" => {
                let kind =
                    self.scan.parse_value("tools[].type", map.next_value::<&RawValue>()?.get());
                if tool.kind.is_some() {
                    self.scan.note_duplicate("tools[].type");
                }
                // A tool whose type is not a text is not known to run at the client.
                tool.kind = match kind {
                    Value::Null => None,
                    Value::String(kind) => Some(kind),
                    other => Some(other.to_string()),
                };
            }
            "max_uses" | "environment" | "execution" => {
                let raw = map.next_value::<&RawValue>()?.get();
                find_nested_models(self.scan, name, raw);
                let value = self.scan.parse_value(name, raw);
                let location = match name {
                    "max_uses" => &mut tool.max_uses,
                    "environment" => &mut tool.environment,
                    _ => &mut tool.execution,
                };
                if location.replace(value).is_some() {
                    self.scan.note_duplicate(name);
                }
            }
            "cache_control" => {
                let raw = map.next_value::<&RawValue>()?.get();
                find_nested_models(self.scan, name, raw);
                let control = self.scan.parse_value(name, raw);
                self.scan.read_cache_control(&control);
            }
            "tools" => map.next_value_seed(ToolScanner { scan: self.scan })?,
            "description" | "name" => drop(map.next_value::<IgnoredAny>()?),
            // Schemas, and the fields that accompany them.
            "input_schema" | "parameters" | "function" | "custom" | "input_examples" | "format"
            | "output_schema" | "annotations" => {
                let found = map.next_value_seed(ModelSearch::new(&mut tool.described, name))?;
                let is_schema =
                    matches!(name, "input_schema" | "parameters" | "function" | "custom");
                tool.has_schema |= is_schema && !found.is_null;
            }
            name => {
                let found = map.next_value_seed(ModelSearch::new(&mut self.scan.models, name))?;
                if !found.is_null && !is_tool_field(name) {
                    tool.unknown.get_or_insert_with(|| shown(name));
                }
            }
        }
        Ok(())
    }
}
