//! The local stack is the one that `template.yaml` defines: a change of the template fails here
//! until the local stack follows.

use baton_local::{
    LocalAws,
    definitions::{
        DATA_KEY, QUEUES, QueueDefinition, REFRESH_INTERVAL, TABLES, TableDefinition,
        USAGE_BATCH_SIZE, USAGE_QUEUE,
    },
};
use serde_json::{Map, Value, json};
use yaml_serde::Value as Yaml;

const TEMPLATE: &str = include_str!("../../../../template.yaml");

/// What the local stack implements. All other types, such as roles and alarms, are AWS's only.
const TYPES: [&str; 4] =
    ["AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::KMS::Key", "AWS::Serverless::Function"];

/// Properties that mean nothing on one machine. Any other property of a table, a queue or an event
/// must be the same here and there.
const AWS_ONLY: [&str; 6] = [
    "DeletionProtectionEnabled",
    "PointInTimeRecoverySpecification",
    "SqsManagedSseEnabled",
    // The local event source does not wait for a batch to fill up, and has one consumer.
    "MaximumBatchingWindowInSeconds",
    "ScalingConfig",
    // The next tick is the retry.
    "RetryPolicy",
];

/// The value with intrinsic functions as text: `!Ref Name`.
fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Tagged(tagged) => match to_json(&tagged.value) {
            Value::String(text) => json!(format!("{} {text}", tagged.tag)),
            other => json!({ tagged.tag.to_string(): other }),
        },
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|(name, value)| (name.as_str().expect("a name").to_owned(), to_json(value)));
            entries.filter(|(name, _)| !AWS_ONLY.contains(&name.as_str())).collect()
        }
        plain => serde_json::to_value(plain).expect("a plain value"),
    }
}

fn read(template: &str) -> Value {
    to_json(&yaml_serde::from_str(template).expect("YAML"))
}

/// The part of the template that the local stack implements, by logical id.
fn defined(template: &str) -> Value {
    let template = read(template);
    let resources = template["Resources"].as_object().expect("resources").iter();
    let local = resources.filter_map(|(name, resource)| {
        let kind = resource["Type"].as_str().filter(|kind| TYPES.contains(kind))?;
        let mut properties = resource["Properties"].clone();
        match kind {
            "AWS::KMS::Key" => properties = json!({}),
            "AWS::Serverless::Function" => properties = properties.get("Events")?.clone(),
            // SQS's own default.
            "AWS::SQS::Queue" if properties.get("VisibilityTimeout").is_none() => {
                properties["VisibilityTimeout"] = json!(30);
            }
            _ => {}
        }
        Some((name.clone(), json!({ "Type": kind, "Properties": properties })))
    });
    Value::Object(local.collect())
}

/// The local stack in the template's form.
fn implemented() -> Value {
    let mut all = Map::new();
    let mut add = |name: &str, kind: &str, properties: Value| {
        all.insert(name.to_owned(), json!({ "Type": kind, "Properties": properties }));
    };
    for table in TABLES {
        add(table.name, "AWS::DynamoDB::Table", table_properties(&table));
    }
    for queue in &QUEUES {
        add(queue.name, "AWS::SQS::Queue", queue_properties(queue));
    }
    add(DATA_KEY, "AWS::KMS::Key", json!({}));
    let usage = json!({
        "Queue": format!("!GetAtt {USAGE_QUEUE}.Arn"),
        "BatchSize": USAGE_BATCH_SIZE,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    });
    let usage = json!({ "Usage": { "Type": "SQS", "Properties": usage } });
    add("StatsFunction", "AWS::Serverless::Function", usage);
    assert_eq!(REFRESH_INTERVAL.as_secs(), 60, "the plural of the rate");
    let tick = json!({ "ScheduleExpression": "rate(1 minute)" });
    let tick = json!({ "Tick": { "Type": "ScheduleV2", "Properties": tick } });
    add("RefreshFunction", "AWS::Serverless::Function", tick);
    Value::Object(all)
}

fn table_properties(table: &TableDefinition) -> Value {
    let mut properties = table.properties();
    if let Some(attribute) = table.ttl_attribute {
        properties["TimeToLiveSpecification"] =
            json!({ "AttributeName": attribute, "Enabled": true });
    }
    properties
}

fn queue_properties(queue: &QueueDefinition) -> Value {
    let mut properties = json!({
        "MessageRetentionPeriod": queue.retention_seconds,
        "VisibilityTimeout": queue.visibility_seconds,
    });
    if let Some(redrive) = &queue.redrive {
        properties["RedrivePolicy"] = json!({
            "deadLetterTargetArn": format!("!GetAtt {}.Arn", redrive.dead_letter_queue),
            "maxReceiveCount": redrive.receives_max,
        });
    }
    properties
}

#[test]
fn local_stack_matches_the_template() {
    assert_eq!(implemented(), defined(TEMPLATE));
}

#[test]
fn changed_template_is_detected() {
    for (from, to) in [
        ("IndexName: by_kind", "IndexName: by_sort"),
        ("AttributeName: ttl", "AttributeName: expires"),
        ("ttl\n        Enabled: true", "ttl\n        Enabled: false"),
        ("ProjectionType: KEYS_ONLY", "ProjectionType: ALL"),
        ("AttributeName: due_at, AttributeType: N", "AttributeName: due_at, AttributeType: S"),
        ("- { AttributeName: created_at, KeyType: RANGE }", ""),
        ("BillingMode: PAY_PER_REQUEST", "BillingMode: PROVISIONED"),
        ("VisibilityTimeout: 360", "VisibilityTimeout: !If [ReservesRelay, 360, 90]"),
        ("VisibilityTimeout: 360", "VisibilityTimeout: 360\n      DelaySeconds: 5"),
        ("MessageRetentionPeriod: 1209600", "MessageRetentionPeriod: 60"),
        ("!GetAtt UsageDeadLetterQueue.Arn", "!GetAtt OtherQueue.Arn"),
        ("maxReceiveCount: 5", "maxReceiveCount: 3"),
        ("BatchSize: 100", "BatchSize: 7"),
        ("FunctionResponseTypes: [ReportBatchItemFailures]", "Enabled: false"),
        ("rate(1 minute)", "rate(2 hours)"),
        ("  UsageTable:\n    Type: AWS::DynamoDB::Table", "  Other:\n    Type: AWS::SQS::Queue"),
        ("AWS::SecretsManager::Secret", "AWS::KMS::Key"),
    ] {
        assert!(TEMPLATE.contains(from), "{from:?} is not in the template");
        assert_ne!(implemented(), defined(&TEMPLATE.replacen(from, to, 1)), "{from} -> {to}");
    }
    let comment = TEMPLATE.replacen("maxReceiveCount: 5", "maxReceiveCount: 5 # five", 1);
    assert_eq!(implemented(), defined(&comment));
}

#[test]
fn messages_are_hidden_for_six_timeouts_of_stats() {
    let timeout = &read(TEMPLATE)["Resources"]["StatsFunction"]["Properties"]["Timeout"];
    assert!(QUEUES[0].visibility_seconds >= 6 * timeout.as_i64().expect("seconds"));
}

#[tokio::test]
async fn function_environments_match_the_template() {
    let names = LocalAws::open(None).await.unwrap().resources();
    assert_eq!(
        [&*names.config_table, &names.state_table, &names.usage_table],
        TABLES.map(|table| table.name)
    );
    let urls = [names.usage_queue_url, names.dead_letter_queue_url];
    for (url, queue) in urls.iter().zip(&QUEUES) {
        assert_eq!(url.rsplit('/').next(), Some(queue.name));
    }
    assert_eq!(names.data_key_id, DATA_KEY);
}
