//! Permissions on AWS: the template's roles grant exactly this table.
//!
//! The handles of `shared/store` say the same, so that a function cannot name what its role may not
//! do. The tests read the template as it is written. `infra/check-template.py` checks what SAM adds
//! when it expands it (the schedule's role, the permissions of the function URLs).

use std::collections::BTreeSet;

use baton_store::permissions::{Action, Permission, Resource};
use baton_store::{AdminStores, RefreshStores, RelayStores, StatsStores};
use yaml_serde::Value;

const TEMPLATE: &str = include_str!("../../template.yaml");
const FUNCTIONS: [&str; 4] = ["Relay", "Stats", "Refresh", "Admin"];

// An action without a service belongs to DynamoDB.
const READ: &str = "GetItem BatchGetItem Query";
const CHANGE: &str = "UpdateItem ConditionCheckItem";
const WRITE: &str = "PutItem UpdateItem DeleteItem ConditionCheckItem";
const TAKE: &str = "sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes";
const SEAL: &str = "kms:Decrypt kms:GenerateDataKey";
const LOG: &str = "logs:CreateLogStream logs:PutLogEvents";

const CONFIG: &str = "ConfigTable ConfigTable/index/*";
const USAGE: &str = "UsageTable UsageTable/index/*";
const SECRET: &str = "secretsmanager:GetSecretValue";
const CLIENT_SECRET: &str = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:\
${AWS::AccountId}:secret:${OidcClientSecretName}-??????";

const NONE: &str = "";
const DATA_KEY: &str = "StringEquals kms:EncryptionContext:item setting#data_key";
const TOKENS: &str = "ForAllValues:StringLike dynamodb:LeadingKeys token#*";
const AUDIT: &str = "ForAllValues:StringLike dynamodb:LeadingKeys audit#*";
const RERATE: &str = "ForAllValues:StringLike dynamodb:LeadingKeys event#* rollup#*";
const ACCOUNTS_AND_LIMITS: &str =
    "ForAllValues:StringLike dynamodb:LeadingKeys health#* limit#* moved#* seats#*";
const RESERVATIONS: &str =
    "ForAllValues:StringLike dynamodb:LeadingKeys health#* limit#* seats#* touched";
const KEPT: &str = "ForAllValues:StringLike dynamodb:LeadingKeys health#* moved#* renew pending";
const EVENTS: &str = "ForAllValues:StringLike dynamodb:LeadingKeys event#*";
const SUMS: &str = "ForAllValues:StringLike dynamodb:LeadingKeys rollup#* used#*";
const SETTLED: &str = "ForAllValues:StringLike dynamodb:LeadingKeys limit#* touched";
const SWEPT: &str = "ForAllValues:StringLike dynamodb:LeadingKeys \
health#* limit#* touched told outbox pending renew";
const TENDED: &str = "ForAllValues:StringLike dynamodb:LeadingKeys \
health#* lease#* limit#* alert#* touched told outbox pending renew";
const RESET: &str = "ForAllValues:StringLike dynamodb:LeadingKeys \
health#* lease#* sign_in#* session#* limit#* replay#* rerate alert#* outbox";
const IDENTITY: &str = "if UsesWorkloadIdentity: \
ForAllValues:StringEquals sts:IdentityTokenAudience !Ref WorkloadIdentityAudience";

const CLIENT: &str = "if OidcHasSecret: ";
const TOPIC: &str = "if HasAlertTopic: ";
const BEDROCK: &str = "if BedrockAllowed: ";
const BEDROCK_ROLE: &str = "if HasBedrockRole: ";

/// Function, allowed actions, their resources, and the condition.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("Relay", READ, CONFIG, NONE),
    ("Relay", "GetItem BatchGetItem", "StateTable", ACCOUNTS_AND_LIMITS),
    ("Relay", "PutItem", "StateTable", KEPT),
    ("Relay", CHANGE, "StateTable", RESERVATIONS),
    ("Relay", SECRET, "KeyPepper", NONE),
    ("Relay", "sqs:SendMessage", "UsageQueue", NONE),
    ("Relay", "kms:Decrypt", "DataKey", DATA_KEY),
    ("Relay", "bedrock:InvokeModel* bedrock:CountTokens", "*", BEDROCK),
    ("Relay", "sts:AssumeRole", "BedrockRoleArn", BEDROCK_ROLE),
    ("Relay", LOG, "RelayLog", NONE),
    ("Stats", "GetItem", "UsageTable", EVENTS),
    ("Stats", "PutItem", "UsageTable", EVENTS),
    ("Stats", "UpdateItem", "UsageTable", SUMS),
    ("Stats", "GetItem", "StateTable", SETTLED),
    ("Stats", CHANGE, "StateTable", SETTLED),
    ("Stats", TAKE, "UsageQueue", NONE),
    ("Stats", LOG, "StatsLog", NONE),
    ("Refresh", READ, CONFIG, NONE),
    ("Refresh", "UpdateItem", "ConfigTable", TOKENS),
    ("Refresh", "Query", "StateTable/index/*", NONE),
    ("Refresh", READ, "StateTable", SWEPT),
    ("Refresh", WRITE, "StateTable", TENDED),
    ("Refresh", "sqs:SendMessage", "UsageQueue", NONE),
    ("Refresh", "kms:Decrypt", "DataKey", DATA_KEY),
    ("Refresh", "sts:GetWebIdentityToken", "*", IDENTITY),
    ("Refresh", "sns:Publish", "AlertTopicArn", TOPIC),
    ("Refresh", "bedrock:CountTokens", "*", BEDROCK),
    ("Refresh", "sts:AssumeRole", "BedrockRoleArn", BEDROCK_ROLE),
    ("Refresh", LOG, "RefreshLog", NONE),
    ("Admin", READ, CONFIG, NONE),
    ("Admin", WRITE, CONFIG, NONE),
    ("Admin", READ, USAGE, NONE),
    ("Admin", "PutItem", "UsageTable", AUDIT),
    ("Admin", "UpdateItem", "UsageTable", RERATE),
    ("Admin", READ, "StateTable", NONE),
    ("Admin", WRITE, "StateTable", RESET),
    ("Admin", SECRET, "KeyPepper AdminToken SessionSecret", NONE),
    ("Admin", SECRET, CLIENT_SECRET, CLIENT),
    ("Admin", TAKE, "UsageDeadLetterQueue", NONE),
    ("Admin", "sqs:SendMessage sqs:GetQueueAttributes", "UsageQueue", NONE),
    ("Admin", SEAL, "DataKey", DATA_KEY),
    ("Admin", "bedrock:CountTokens", "*", BEDROCK),
    ("Admin", "sts:AssumeRole", "BedrockRoleArn", BEDROCK_ROLE),
    ("Admin", LOG, "AdminLog", NONE),
];

/// One action on one resource under one condition, as texts.
type Grants = BTreeSet<(String, String, String)>;

fn expected(function: &str) -> Grants {
    let rows = TABLE.iter().filter(|row| row.0 == function);
    let each = rows.flat_map(|(_, actions, resources, condition)| {
        let pairs = actions.split(' ').flat_map(|a| resources.split(' ').map(move |r| (a, r)));
        pairs.map(move |(action, resource)| {
            let service = if action.contains(':') { "" } else { "dynamodb:" };
            (format!("{service}{action}"), resource.to_owned(), (*condition).to_owned())
        })
    });
    each.collect()
}

/// The words of a value: scalars, functions as they are written, lists and maps flattened.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Tagged(tagged) => vec![format!("{} {}", tagged.tag, words(&tagged.value).join(" "))],
        Value::Sequence(items) => items.iter().flat_map(words).collect(),
        Value::Mapping(entries) => {
            entries.iter().flat_map(|(key, value)| [words(key), words(value)].concat()).collect()
        }
        other => vec![format!("{other:?}")],
    }
}

/// `!GetAtt X.Arn` and `!Sub "${X.Arn}/…"` as `X` and `X/…`.
fn resource(written: &str) -> String {
    let name = written.strip_prefix("!GetAtt ").and_then(|path| path.strip_suffix(".Arn"));
    let sub = || written.strip_prefix("!Sub ${").filter(|rest| rest.contains(".Arn}"));
    let name = name.or(written.strip_prefix("!Ref "));
    name.map(str::to_owned)
        .or_else(|| sub().map(|rest| rest.replacen(".Arn}", "", 1)))
        .unwrap_or_else(|| written.strip_prefix("!Sub ").unwrap_or(written).to_owned())
}

fn add(grants: &mut Grants, statement: &Value, only_if: &str) {
    if let Value::Tagged(tagged) = statement {
        let parts = tagged.value.as_sequence().expect("a condition and two statements");
        assert_eq!(tagged.tag, "!If");
        assert_eq!(words(&parts[2]), ["!Ref AWS::NoValue"], "an `!If` must have no other branch");
        return add(grants, &parts[1], &format!("if {}: ", words(&parts[0]).join("")));
    }
    for (key, _) in statement.as_mapping().expect("a statement") {
        let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
        assert!(key.as_str().is_some_and(|key| known.contains(&key)), "{key:?} in {statement:?}");
    }
    assert_eq!(statement["Effect"], "Allow");
    let condition = statement.get("Condition").map(words).unwrap_or_default().join(" ");
    for action in words(&statement["Action"]) {
        for place in words(&statement["Resource"]) {
            let condition = format!("{only_if}{condition}");
            grants.insert((action.clone(), resource(&place), condition));
        }
    }
}

/// Everything that the role of `function` grants.
fn granted(template: &Value, function: &str) -> Grants {
    let resources = &template["Resources"];
    let role = &resources[format!("{function}Role").as_str()]["Properties"];
    assert_eq!(words(&role["ManagedPolicyArns"]), [format!("!Ref {function}Policy")]);
    let trust = words(&role["AssumeRolePolicyDocument"]["Statement"]).join(" ");
    let lambda = "Effect Allow Principal Service lambda.amazonaws.com Action sts:AssumeRole";
    assert_eq!(trust, lambda);
    let policy = &resources[format!("{function}Policy").as_str()]["Properties"]["PolicyDocument"];
    let inline = role["Policies"].as_sequence().expect("the log's policy").iter();
    let documents = inline.map(|policy| &policy["PolicyDocument"]).chain([policy]);
    let mut grants = Grants::new();
    for document in documents {
        for statement in document["Statement"].as_sequence().expect("a list of statements") {
            add(&mut grants, statement, "");
        }
    }
    grants
}

fn read(text: &str) -> Value {
    yaml_serde::from_str(text).expect("YAML")
}

#[test]
fn roles_grant_exactly_the_table() {
    let template = read(TEMPLATE);
    for function in FUNCTIONS {
        let (granted, expected) = (granted(&template, function), expected(function));
        let wider: Vec<_> = granted.difference(&expected).collect();
        let narrower: Vec<_> = expected.difference(&granted).collect();
        assert!(wider.is_empty(), "{function} can do more than the table allows: {wider:#?}");
        assert!(narrower.is_empty(), "{function} cannot do what the table requires: {narrower:#?}");
    }
}

/// What the handles of a function may do.
fn permissions_of_handles(function: &str) -> Vec<Permission> {
    match function {
        "Relay" => RelayStores::permissions(),
        "Stats" => StatsStores::permissions(),
        "Refresh" => RefreshStores::permissions(),
        "Admin" => AdminStores::permissions(),
        other => panic!("{other} has no stores"),
    }
}

/// An action as IAM names it.
fn action_name(action: Action) -> String {
    match action {
        Action::Decrypt | Action::GenerateDataKey => format!("kms:{action:?}"),
        _ => format!("dynamodb:{action:?}"),
    }
}

/// A resource as the template names it.
fn resource_name(resource: Resource) -> &'static str {
    match resource {
        Resource::ConfigTable => "ConfigTable",
        Resource::ConfigIndexes => "ConfigTable/index/*",
        Resource::StateTable => "StateTable",
        Resource::StateIndexes => "StateTable/index/*",
        Resource::UsageTable => "UsageTable",
        Resource::UsageIndexes => "UsageTable/index/*",
        Resource::DataKey => "DataKey",
    }
}

/// The partition keys that a condition of the table allows; `*` without a condition on them.
fn partitions(condition: &str) -> Vec<&str> {
    let keys = condition.strip_prefix("ForAllValues:StringLike dynamodb:LeadingKeys ");
    keys.map_or(vec!["*"], |keys| keys.split(' ').collect())
}

/// Whether one of the patterns allows all keys that `wanted` stands for.
fn is_covered(patterns: &[&str], wanted: &str) -> bool {
    patterns.iter().any(|pattern| *pattern == "*" || *pattern == wanted)
}

/// A function holds only handles that its role permits, and its role permits nothing that no handle
/// uses.
#[test]
fn handles_of_a_function_match_its_role() {
    for function in FUNCTIONS {
        let (granted, handles) = (expected(function), permissions_of_handles(function));
        for permission in &handles {
            for (action, partition) in permission
                .actions
                .iter()
                .flat_map(|action| permission.partitions.iter().map(move |key| (action, key)))
            {
                let is_granted = granted.iter().any(|(name, resource, condition)| {
                    *name == action_name(*action)
                        && resource == resource_name(permission.resource)
                        && is_covered(&partitions(condition), partition)
                });
                let resource = permission.resource;
                assert!(is_granted, "{function} may not {action:?} {resource:?} {partition}");
            }
        }
        let in_store = |resource: &str| resource.contains("Table") || resource == "DataKey";
        for (name, resource, condition) in granted.iter().filter(|grant| in_store(&grant.1)) {
            for wanted in partitions(condition) {
                let is_used = handles.iter().any(|permission| {
                    resource_name(permission.resource) == resource
                        && permission.partitions.iter().any(|key| is_covered(&[wanted], key))
                });
                assert!(is_used, "no handle of {function} uses {name} {resource} {wanted}");
            }
        }
    }
}

/// Each function's crate names only its own stores, and the console none.
#[test]
fn functions_name_only_their_own_stores() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    for function in FUNCTIONS.into_iter().chain(["Console"]) {
        let mut folders = vec![root.join("functions").join(function.to_lowercase()).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                for other in FUNCTIONS.iter().filter(|other| **other != function) {
                    let stores = format!("{other}Stores");
                    assert!(!text.contains(&stores), "{} names {stores}", path.display());
                }
            }
        }
    }
}

#[test]
fn functions_have_no_other_permissions() {
    let template = read(TEMPLATE);
    let globals = template["Globals"]["Function"].as_mapping().expect("globals");
    let grants = ["Role", "Policies", "PermissionsBoundary"];
    assert!(globals.keys().all(|key| !grants.contains(&key.as_str().unwrap_or_default())));
    let mut seen = 0;
    for (name, resource) in template["Resources"].as_mapping().expect("resources") {
        let name = name.as_str().expect("a name");
        let of = FUNCTIONS.iter().find(|function| name.starts_with(*function));
        match resource["Type"].as_str().expect("a type") {
            "AWS::Serverless::Function" => {
                let of = of.unwrap_or_else(|| panic!("{name} is not in the table"));
                assert_eq!(
                    words(&resource["Properties"]["Role"]),
                    [format!("!GetAtt {of}Role.Arn")]
                );
                assert!(
                    resource["Properties"].get("Policies").is_none(),
                    "{name}: SAM ignores them"
                );
                seen += 1;
            }
            "AWS::IAM::Role" => {
                assert_eq!(name, format!("{}Role", of.unwrap_or(&"no function's ")));
            }
            "AWS::IAM::ManagedPolicy" => {
                assert_eq!(name, format!("{}Policy", of.unwrap_or(&"no function's ")));
                let attached = ["Roles", "Users", "Groups"];
                assert!(attached.iter().all(|key| resource["Properties"].get(key).is_none()));
            }
            "AWS::DynamoDB::Table" => {
                assert!(resource["Properties"].get("ResourcePolicy").is_none(), "{name}");
            }
            kind => {
                let rights =
                    kind.contains("IAM") || kind.contains("Polic") || kind.contains("Permission");
                assert!(!rights, "{name}: a {kind} grants something outside of the table");
            }
        }
    }
    assert_eq!(seen, FUNCTIONS.len());
}

#[test]
fn wider_policy_is_detected() {
    let function = |text: &str, name| granted(&read(text), name);
    for (name, from, to) in [
        ("Relay", "Action: sqs:SendMessage", "Action: \"sqs:*\""),
        ("Relay", "Resource: !GetAtt UsageQueue.Arn", "Resource: \"*\""),
        ("Admin", "[\"audit#*\"]", "[\"audit#*\", \"event#*\"]"),
        (
            "Relay",
            "            Resource: !GetAtt DataKey.Arn\n            Condition: { StringEquals: { \"kms:EncryptionContext:item\": \"setting#data_key\" } }\n",
            "            Resource: !GetAtt DataKey.Arn\n",
        ),
        ("Refresh", "dynamodb:DeleteItem, dynamodb:Con", "dynamodb:Scan, dynamodb:Con"),
        ("Relay", "[\"health#*\", \"moved#*\", renew, pending]", "[\"*\"]"),
        ("Relay", "\"seats#*\", touched]", "\"seats#*\", touched, \"session#*\"]"),
        ("Stats", "[\"rollup#*\", \"used#*\"]", "[\"rollup#*\", \"used#*\", \"audit#*\"]"),
        (
            "Refresh",
            "                  - lease#*\n                  - limit#*\n                  - alert#*",
            "                  - session#*",
        ),
        ("Relay", "Resource: !Ref KeyPepper", "Resource: [!Ref KeyPepper, !Ref SessionSecret]"),
    ] {
        assert!(TEMPLATE.contains(from), "{from}");
        assert_ne!(
            function(&TEMPLATE.replacen(from, to, 1), name),
            expected(name),
            "{from} -> {to}"
        );
    }
}
