//! Reads `template.yaml`, the only definition of the infrastructure, into a plan.
//!
//! It reads only the resources that the local stack supports, and of the intrinsic functions only
//! those that these resources use. Physical names are the logical ids. Other modules create the
//! resources.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{LocalError, intrinsics};

/// The template that this binary was built with.
pub const TEMPLATE: &str = include_str!("../../../template.yaml");

/// The resources of the template that the local stack supports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplatePlan {
    /// `AWS::DynamoDB::Table`
    pub tables: Vec<TableDefinition>,
    /// `AWS::SQS::Queue`
    pub queues: Vec<QueueDefinition>,
    /// `AWS::KMS::Key`, by name
    pub keys: Vec<String>,
    /// Functions that a queue feeds.
    pub event_sources: Vec<EventSourceMapping>,
    /// Functions that are called at a rate.
    pub schedules: Vec<ScheduleDefinition>,
}

/// A table. Its properties go into `CreateTable` unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDefinition {
    /// Its name.
    pub name: String,
    /// Its properties.
    pub properties: TableProperties,
}

/// The supported properties of a table, with the names that `CloudFormation` and DynamoDB share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TableProperties {
    /// The types of all key attributes.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The table's key.
    pub key_schema: Vec<KeyElement>,
    /// Its indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global_secondary_indexes: Vec<SecondaryIndex>,
    /// The billing mode.
    #[serde(default = "on_demand")]
    pub billing_mode: String,
    /// The expiry of items.
    #[serde(default, skip_serializing)]
    pub time_to_live_specification: Option<TimeToLive>,
}

/// A key attribute and its type (`S`, `N` or `B`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    /// The attribute.
    pub attribute_name: String,
    /// Its type.
    pub attribute_type: String,
}

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyElement {
    /// The attribute.
    pub attribute_name: String,
    /// `HASH` or `RANGE`.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecondaryIndex {
    /// Its name.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<KeyElement>,
    /// The attributes that it holds.
    pub projection: Value,
}

/// The attribute that holds the expiry of an item in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimeToLive {
    /// The attribute.
    pub attribute_name: String,
    /// Whether expiry is enabled.
    pub enabled: bool,
}

/// A queue; all times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDefinition {
    /// Its name.
    pub name: String,
    /// Its properties.
    pub properties: QueueProperties,
}

/// The supported properties of a queue, with SQS's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueProperties {
    /// How long a received message is hidden.
    #[serde(default = "half_a_minute")]
    pub visibility_timeout: i64,
    /// How long a new message is hidden.
    #[serde(default)]
    pub delay_seconds: i64,
    /// How long a message is kept.
    #[serde(default = "four_days")]
    pub message_retention_period: i64,
    /// The dead-letter queue, if any.
    #[serde(default)]
    pub redrive_policy: Option<RedrivePolicy>,
}

/// The dead-letter queue of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedrivePolicy {
    /// The dead-letter queue; its name after the intrinsic functions are resolved.
    pub dead_letter_target_arn: String,
    /// How often a message can be received before it is moved.
    pub max_receive_count: i64,
}

/// A function that a queue feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSourceMapping {
    /// The function.
    pub function: String,
    /// The queue.
    pub queue: String,
    /// The most messages in one batch.
    pub batch_size: usize,
}

/// A function that is called at a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleDefinition {
    /// The function.
    pub function: String,
    /// The time between two calls.
    pub every: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionProperties {
    #[serde(default)]
    events: BTreeMap<String, FunctionEvent>,
}

#[derive(Deserialize)]
#[serde(tag = "Type", content = "Properties")]
enum FunctionEvent {
    #[serde(rename = "SQS", rename_all = "PascalCase")]
    Queue {
        queue: String,
        #[serde(default = "lambda_batch")]
        batch_size: usize,
    },
    #[serde(rename_all = "PascalCase")]
    ScheduleV2 { schedule_expression: String },
    #[serde(rename_all = "PascalCase")]
    Schedule { schedule: String },
}

impl TemplatePlan {
    /// Reads a template.
    ///
    /// # Errors
    /// A resource is not supported. The error names the resource and the reason.
    pub fn parse(template: &str) -> Result<Self, LocalError> {
        let template = intrinsics::resolve_template(template)?;
        let mut plan = Self::default();
        for (name, resource) in template {
            plan.add(name, &resource.kind, resource.properties)?;
        }
        Ok(plan)
    }

    /// The function that `queue` feeds.
    pub(crate) fn source_of(&self, queue: &str) -> Result<&EventSourceMapping, LocalError> {
        self.event_sources
            .iter()
            .find(|source| source.queue == queue)
            .ok_or_else(|| LocalError::Template(format!("no function is fed by {queue}")))
    }

    /// The schedule of `function`.
    pub(crate) fn schedule_of(&self, function: &str) -> Result<&ScheduleDefinition, LocalError> {
        self.schedules
            .iter()
            .find(|schedule| schedule.function == function)
            .ok_or_else(|| LocalError::Template(format!("{function} has no schedule")))
    }

    fn add(&mut self, name: String, kind: &str, properties: Value) -> Result<(), LocalError> {
        match kind {
            "AWS::DynamoDB::Table" => {
                let properties = parse_properties(&name, properties)?;
                self.tables.push(TableDefinition { name, properties });
            }
            "AWS::SQS::Queue" => {
                let properties = parse_properties(&name, properties)?;
                self.queues.push(QueueDefinition { name, properties });
            }
            "AWS::KMS::Key" => self.keys.push(name),
            "AWS::Serverless::Function" => {
                self.add_events(&name, parse_properties(&name, properties)?)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn add_events(&mut self, function: &str, of: FunctionProperties) -> Result<(), LocalError> {
        let function = function.to_owned();
        for event in of.events.into_values() {
            match event {
                FunctionEvent::Queue { queue, batch_size } => {
                    let function = function.clone();
                    self.event_sources.push(EventSourceMapping { function, queue, batch_size });
                }
                FunctionEvent::ScheduleV2 { schedule_expression: rate }
                | FunctionEvent::Schedule { schedule: rate } => {
                    let function = function.clone();
                    let every = parse_rate(&rate).ok_or_else(|| {
                        LocalError::Template(format!("{function}: not a rate: {rate:?}"))
                    })?;
                    self.schedules.push(ScheduleDefinition { function, every });
                }
            }
        }
        Ok(())
    }
}

fn parse_properties<T: DeserializeOwned>(name: &str, properties: Value) -> Result<T, LocalError> {
    let properties = if properties.is_null() { Value::Object(<_>::default()) } else { properties };
    serde_json::from_value(properties)
        .map_err(|cause| LocalError::Template(format!("{name}: {cause}")))
}

/// The duration of `rate(5 minutes)`; `EventBridge` supports minutes, hours and days.
fn parse_rate(expression: &str) -> Option<Duration> {
    let (count, unit) = expression.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

fn on_demand() -> String {
    "PAY_PER_REQUEST".to_owned()
}

fn half_a_minute() -> i64 {
    30
}

fn four_days() -> i64 {
    345_600
}

fn lambda_batch() -> usize {
    10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_with(from: &str, to: &str) -> Result<TemplatePlan, LocalError> {
        assert!(TEMPLATE.contains(from), "{from:?} is not in the template");
        TemplatePlan::parse(&TEMPLATE.replacen(from, to, 1))
    }

    #[test]
    fn the_template_is_understood() {
        let plan = TemplatePlan::parse(TEMPLATE).unwrap();
        let names: Vec<_> = plan.tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["ConfigTable", "StateTable", "UsageTable"]);
        assert_eq!(plan.keys, ["DataKey"]);
        assert_eq!(plan.schedule_of("RefreshFunction").unwrap().every, Duration::from_mins(1));
        assert_eq!(plan.source_of("UsageQueue").unwrap().function, "StatsFunction");
        let usage = &plan.tables[2].properties;
        assert_eq!(usage.time_to_live_specification.as_ref().unwrap().attribute_name, "ttl");
        assert_eq!(usage.global_secondary_indexes.len(), 2);
        let queue = plan.queues.iter().find(|queue| queue.name == "UsageQueue").unwrap();
        let redrive = queue.properties.redrive_policy.as_ref().unwrap();
        assert_eq!(redrive.dead_letter_target_arn, "UsageDeadLetterQueue");
        assert_eq!(redrive.max_receive_count, 5);
    }

    #[test]
    fn template_is_parsed_into_a_plan() {
        let before = TemplatePlan::parse(TEMPLATE).unwrap();
        for (from, to) in [
            ("IndexName: by_kind", "IndexName: by_sort"),
            ("AttributeName: ttl", "AttributeName: expires"),
            ("VisibilityTimeout: 360", "VisibilityTimeout: 90"),
            ("maxReceiveCount: 5", "maxReceiveCount: 3"),
            ("BatchSize: 100", "BatchSize: 7"),
            ("rate(1 minute)", "rate(2 hours)"),
            ("AWS::SecretsManager::Secret", "AWS::KMS::Key"),
            ("- { AttributeName: created_at, KeyType: RANGE }", ""),
        ] {
            assert_ne!(plan_with(from, to).unwrap(), before, "{from} -> {to}");
        }
        assert_eq!(plan_with("maxReceiveCount: 5", "maxReceiveCount: 5 # five").unwrap(), before);
    }

    #[test]
    fn unsupported_resource_is_named_in_the_error() {
        let message = |from, to| plan_with(from, to).unwrap_err().to_string();
        assert!(
            message("rate(1 minute)", "cron(0 * * * ? *)").contains("RefreshFunction: not a rate")
        );
        assert!(
            message("VisibilityTimeout: 360", "VisibilityTimeout: !If [A, 1, 2]").contains("!If")
        );
        assert!(
            message("VisibilityTimeout: 360", "VisibilityTimeout: !Join [A, []]").contains("!Join")
        );
        assert!(message("!GetAtt UsageQueue.Arn", "!GetAtt NoQueue.Arn").contains("NoQueue"));
    }

    #[test]
    fn conditions_are_those_of_the_parameters_defaults() {
        let visible_for = |seconds: &str| {
            let plan =
                plan_with("VisibilityTimeout: 360", &format!("VisibilityTimeout: {seconds}"));
            plan.unwrap().queues[1].properties.visibility_timeout
        };
        assert_eq!(visible_for("!If [TellsByEmail, 1, 2]"), 2);
        assert_eq!(visible_for("!If [TellsByEmail, 1, !Ref RelayMemoryMegabytes]"), 128);
        assert_eq!(visible_for("!If [ReservesRelay, 1, !Ref AWS::NoValue]"), 30, "the default");
    }

    #[test]
    fn hidden_for_six_timeouts() {
        let visible_after =
            TemplatePlan::parse(TEMPLATE).unwrap().queues[1].properties.visibility_timeout;
        let stats = TEMPLATE.split("  StatsFunction:").nth(1).unwrap();
        let timeout = stats.split("Timeout: ").nth(1).unwrap().lines().next().unwrap();
        assert!(visible_after >= 6 * timeout.parse::<i64>().unwrap());
    }
}
