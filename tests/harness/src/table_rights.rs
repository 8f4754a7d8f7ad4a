//! The permissions of a function's role on the tables: evaluates the policies of the template for
//! one request to DynamoDB, as IAM would. The local stores do not enforce them; tests compare
//! requests with them.
//!
//! Conditions on leading keys: IAM User Guide, "`DynamoDB`: allows access to specific attributes"
//! and DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control"
//! (November 2026). A transaction needs the permissions of each of its actions.

use serde_json::Value;
use yaml_serde::Value as Yaml;

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// The permissions of one function on the tables.
#[derive(Debug, Clone)]
pub struct TableRights(Vec<PolicyGrant>);

#[derive(Debug, Clone)]
struct PolicyGrant {
    actions: Vec<String>,
    /// `StateTable`, `StateTable/index/*`.
    places: Vec<String>,
    /// Patterns of partition keys, if the grant is limited to some.
    leading: Option<Vec<String>>,
}

/// One action of a request.
struct TableAction {
    action: String,
    place: String,
    key: Option<String>,
}

impl TableRights {
    /// The permissions of `Relay`, `Stats`, `Refresh` or `Admin`.
    pub fn of(function: &str) -> Self {
        let template: Yaml = yaml_serde::from_str(TEMPLATE).expect("YAML");
        let policy = &template["Resources"][format!("{function}Policy").as_str()];
        let statements = policy["Properties"]["PolicyDocument"]["Statement"].as_sequence();
        let grants = statements.expect("statements").iter().filter_map(grant).collect::<Vec<_>>();
        assert!(!grants.is_empty(), "{function} has rights at tables");
        Self(grants)
    }

    /// The actions of a request, by its `x-amz-target` and body, that the role does not permit.
    pub fn denied(&self, target: &str, body: &[u8]) -> Vec<String> {
        let Some(operation) = target.strip_prefix("DynamoDB_20120810.") else { return Vec::new() };
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let denied = deeds(operation, &body).into_iter().filter(|deed| !self.allow(deed));
        denied
            .map(|TableAction { action, place, key }| format!("{action} {place} {key:?}"))
            .collect()
    }

    /// Whether the role permits this action on items of that partition.
    pub fn may(&self, action: &str, place: &str, key: &str) -> bool {
        let key = Some(key.to_owned());
        self.allow(&TableAction { action: action.to_owned(), place: place.to_owned(), key })
    }

    fn allow(&self, deed: &TableAction) -> bool {
        let is_led = |patterns: &Vec<String>, key: &String| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => key.starts_with(prefix),
                None => key == pattern,
            })
        };
        self.0.iter().any(|grant| {
            let leads = match (&grant.leading, &deed.key) {
                (None, _) => true,
                (Some(patterns), Some(key)) => is_led(patterns, key),
                (Some(_), None) => false,
            };
            grant.actions.contains(&deed.action) && grant.places.contains(&deed.place) && leads
        })
    }
}

/// The permissions on tables that a statement grants, if it is about tables.
fn grant(statement: &Yaml) -> Option<PolicyGrant> {
    let leading = &statement.get("Condition").map(|all| &all["ForAllValues:StringLike"]);
    let leading = leading.and_then(|keys| keys.get("dynamodb:LeadingKeys")).map(texts);
    let actions = texts(statement.get("Action")?);
    let actions = actions.iter().filter_map(|action| action.strip_prefix("dynamodb:"));
    let actions: Vec<String> = actions.map(str::to_owned).collect();
    let places = texts(statement.get("Resource")?).iter().map(|text| resource_name(text)).collect();
    (!actions.is_empty()).then_some(PolicyGrant { actions, places, leading })
}

/// Turns `StateTable.Arn` and `${StateTable.Arn}/index/*` into `StateTable` and
/// `StateTable/index/*`.
fn resource_name(written: &str) -> String {
    written.replace("${", "").replace('}', "").replacen(".Arn", "", 1)
}

/// A text, or each text of a list. For a function, its argument.
fn texts(value: &Yaml) -> Vec<String> {
    match value {
        Yaml::String(text) => vec![text.clone()],
        Yaml::Tagged(tagged) => texts(&tagged.value),
        Yaml::Sequence(items) => items.iter().flat_map(texts).collect(),
        other => panic!("no text: {other:?}"),
    }
}

/// All actions of a request, each with its partition.
fn deeds(operation: &str, body: &Value) -> Vec<TableAction> {
    match operation {
        "TransactWriteItems" => {
            let actions = body["TransactItems"].as_array().expect("actions").iter();
            actions
                .flat_map(|action| action.as_object().expect("one").iter().map(transacted))
                .collect()
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().expect("tables").iter();
            let each = |(table, wanted): (&String, &Value)| {
                let keys = wanted["Keys"].as_array().expect("keys").iter();
                keys.map(|key| deed("BatchGetItem", table, key["pk"]["S"].as_str()))
                    .collect::<Vec<_>>()
            };
            tables.flat_map(each).collect()
        }
        "Query" => {
            let table = body["TableName"].as_str().expect("a table");
            if body["IndexName"].is_string() {
                return vec![deed(operation, &format!("{table}/index/*"), None)];
            }
            // The first comparison in the key condition is the one of the partition.
            let condition = body["KeyConditionExpression"].as_str().expect("a condition");
            let name = condition.split('=').nth(1).and_then(|rest| rest.split_whitespace().next());
            let key = body["ExpressionAttributeValues"][name.expect("a value")]["S"].as_str();
            vec![deed(operation, table, key)]
        }
        _ => vec![single(operation, body)],
    }
}

fn transacted((kind, body): (&String, &Value)) -> TableAction {
    let action = if kind == "ConditionCheck" {
        "ConditionCheckItem".to_owned()
    } else {
        format!("{kind}Item")
    };
    single(&action, body)
}

fn single(action: &str, body: &Value) -> TableAction {
    let of = if body["Key"].is_null() { &body["Item"] } else { &body["Key"] };
    deed(action, body["TableName"].as_str().expect("a table"), of["pk"]["S"].as_str())
}

fn deed(action: &str, place: &str, key: Option<&str>) -> TableAction {
    TableAction { action: action.to_owned(), place: place.to_owned(), key: key.map(str::to_owned) }
}
