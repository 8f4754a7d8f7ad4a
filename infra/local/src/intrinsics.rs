//! Resolves the intrinsic functions of a `CloudFormation` template, with each resource's logical id
//! as its name and ARN: `!Ref`, `!GetAtt`, `!Sub` and `!If` with named conditions, all in their
//! short forms. Parameters have their default values.
//!
//! The meaning of the resources is in `template.rs`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use yaml_serde::Value as Yaml;

use crate::LocalError;

/// A resource whose properties hold plain values only.
pub(crate) struct ResolvedResource {
    pub(crate) kind: String,
    pub(crate) properties: Value,
}

/// The types whose properties are resolved; other types can use functions that are not supported
/// here.
const PLAYED: [&str; 4] =
    ["AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::KMS::Key", "AWS::Serverless::Function"];

/// The resources of `template` by logical id.
pub(crate) fn resolve_template(
    template: &str,
) -> Result<BTreeMap<String, ResolvedResource>, LocalError> {
    let template: Yaml =
        yaml_serde::from_str(template).map_err(|cause| LocalError::Template(cause.to_string()))?;
    let names = LogicalNames { template: &template };
    let Some(Yaml::Mapping(resources)) = template.get("Resources") else {
        return Err(LocalError::Template("the section Resources is missing".to_owned()));
    };
    let mut resolved = BTreeMap::new();
    for (name, resource) in resources {
        let (Some(name), Some(kind)) = (name.as_str(), text_at(resource, "Type")) else {
            return Err(LocalError::Template(format!(
                "a resource without a name or Type: {name:?}"
            )));
        };
        if !PLAYED.contains(&kind) {
            continue;
        }
        let properties = resource.get("Properties").map_or(Ok(Value::Null), |p| names.resolve(p));
        let properties =
            properties.map_err(|reason| LocalError::Template(format!("{name}: {reason}")))?;
        resolved.insert(name.to_owned(), ResolvedResource { kind: kind.to_owned(), properties });
    }
    Ok(resolved)
}

fn text_at<'a>(yaml: &'a Yaml, key: &str) -> Option<&'a str> {
    yaml.get(key).and_then(Yaml::as_str)
}

/// Whether the value is `!Ref AWS::NoValue`, which removes the property.
fn is_no_value(value: &Value) -> bool {
    value.as_str() == Some("AWS::NoValue")
}

struct LogicalNames<'a> {
    template: &'a Yaml,
}

impl LogicalNames<'_> {
    fn resolve(&self, yaml: &Yaml) -> Result<Value, String> {
        match yaml {
            Yaml::Tagged(tagged) => self.call_intrinsic(&tagged.tag.to_string(), &tagged.value),
            Yaml::Sequence(items) => {
                let items = items.iter().map(|item| self.resolve(item));
                items.filter(|item| !item.as_ref().is_ok_and(is_no_value)).collect()
            }
            Yaml::Mapping(entries) => {
                let mut object = Map::new();
                for (key, value) in entries {
                    let key = key.as_str().ok_or_else(|| format!("not a name: {key:?}"))?;
                    let value = self.resolve(value)?;
                    if !is_no_value(&value) {
                        object.insert(key.to_owned(), value);
                    }
                }
                Ok(Value::Object(object))
            }
            plain => serde_json::to_value(plain).map_err(|cause| cause.to_string()),
        }
    }

    fn call_intrinsic(&self, tag: &str, argument: &Yaml) -> Result<Value, String> {
        let text = argument.as_str();
        match (tag, text) {
            ("!Ref", Some(name)) => self.look_up_name(name),
            ("!GetAtt", Some(path)) => self.look_up_name(path.split('.').next().unwrap_or(path)),
            ("!Sub", Some(text)) => self.substitute(text).map(Value::String),
            ("!If", None) => match argument.as_sequence().map(Vec::as_slice) {
                Some([condition, yes, no]) => {
                    let holds = condition.as_str().ok_or("!If without the name of a condition")?;
                    self.resolve(if self.is_condition_true(holds)? { yes } else { no })
                }
                _ => Err("!If takes a condition and two values".to_owned()),
            },
            _ => Err(format!("{tag} is not supported by the local stack")),
        }
    }

    /// Whether the condition of this name holds.
    fn is_condition_true(&self, name: &str) -> Result<bool, String> {
        let condition = self.template.get("Conditions").and_then(|all| all.get(name));
        self.evaluate_condition(
            condition.ok_or_else(|| format!("!If: no condition is named {name}"))?,
        )
    }

    fn evaluate_condition(&self, condition: &Yaml) -> Result<bool, String> {
        let Yaml::Tagged(tagged) = condition else {
            return Err(format!("not a condition: {condition:?}"));
        };
        let tag = tagged.tag.to_string();
        match (tag.as_str(), tagged.value.as_sequence().map(Vec::as_slice)) {
            ("!Not", Some([inner])) => self.evaluate_condition(inner).map(|holds| !holds),
            ("!Equals", Some([left, right])) => {
                Ok(self.resolve_text(left)? == self.resolve_text(right)?)
            }
            _ => Err(format!("{tag} is not supported by the local stack")),
        }
    }

    /// A value as `CloudFormation` compares it: the number 0 and the text "0" are equal.
    fn resolve_text(&self, yaml: &Yaml) -> Result<String, String> {
        Ok(match self.resolve(yaml)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// A parameter's default, a resource's logical id, or the name of a pseudo parameter.
    fn look_up_name(&self, name: &str) -> Result<Value, String> {
        let parameter = self.template.get("Parameters").and_then(|all| all.get(name));
        if let Some(parameter) = parameter {
            let default = parameter.get("Default");
            return default
                .ok_or_else(|| format!("parameter {name} has no Default"))
                .and_then(|default| self.resolve(default));
        }
        let resources = self.template.get("Resources");
        let is_resource = |name: &str| resources.is_some_and(|all| all.get(name).is_some());
        // SAM makes a resource for a function's URL.
        let is_url = name.strip_suffix("Url").is_some_and(is_resource);
        if is_resource(name) || is_url || name.starts_with("AWS::") {
            return Ok(Value::String(name.to_owned()));
        }
        Err(format!("no parameter or resource is named {name}"))
    }

    fn substitute(&self, text: &str) -> Result<String, String> {
        let mut pieces = text.split("${");
        let mut result = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece
                .split_once('}')
                .ok_or_else(|| format!("a closing brace is missing in {text:?}"))?;
            match self.look_up_name(name.split('.').next().unwrap_or(name))? {
                Value::String(value) => result.push_str(&value),
                other => result.push_str(&other.to_string()),
            }
            result.push_str(rest);
        }
        Ok(result)
    }
}
