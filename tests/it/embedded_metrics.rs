//! Every Baton metric that the template's alarms and dashboard name is written to the log by one
//! function, in CloudWatch's embedded metric format.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_test_harness::eventually::eventually;
use baton_test_harness::lambda::{FunctionProcess, LambdaDeployment, STACK, WITHOUT_HURRY, event};
use serde_json::{Value, json};
use yaml_serde::Value as Yaml;

const TEMPLATE: &str = include_str!("../../template.yaml");
/// The metrics, with unit and function.
const METRICS: [(&str, &str, &str); 2] =
    [("AuthFailedAccounts", "Count", "refresh"), ("SpendUsd", "None", "stats")];
const DOCUMENT: &str = include_str!("../../docs/operate/aws-stack.md");
const SOON: Duration = Duration::from_secs(10);

/// The metrics of the namespace `Baton` that the alarms and the dashboard name.
fn named_in_template() -> BTreeSet<String> {
    let template: Yaml = yaml_serde::from_str(TEMPLATE).expect("the template");
    let mut names = BTreeSet::new();
    for (_, resource) in template["Resources"].as_mapping().expect("resources") {
        let properties = &resource["Properties"];
        if resource["Type"] == "AWS::CloudWatch::Alarm" && properties["Namespace"] == "Baton" {
            let dimensions = properties["Dimensions"].as_sequence().expect("dimensions");
            assert_eq!(dimensions.len(), 1, "{properties:?}");
            assert_eq!(dimensions[0]["Name"], "Stack", "{properties:?}");
            names.insert(properties["MetricName"].as_str().expect("a name").to_owned());
        }
        if resource["Type"] == "AWS::CloudWatch::Dashboard" {
            let Yaml::Tagged(body) = &properties["DashboardBody"] else { panic!("no `!Sub`") };
            let body: Value =
                serde_json::from_str(body.value.as_str().expect("text")).expect("JSON");
            names.extend(on_dashboard(&body));
        }
    }
    names
}

/// The metrics of a dashboard. In a widget's list `.` repeats the value of the row before.
fn on_dashboard(body: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for widget in body["widgets"].as_array().expect("widgets") {
        let mut namespace = Value::Null;
        for row in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            if ![".", "..."].contains(&row[0].as_str().expect("a namespace")) {
                namespace = row[0].clone();
            }
            if namespace == "Baton" {
                assert_eq!(row[2], "Stack", "{row}");
                names.push(row[1].as_str().expect("a name").to_owned());
            }
        }
    }
    names
}

#[test]
#[ignore = "it compares the text of a document"]
fn infra_document_lists_the_metrics() {
    let (_, rest) = DOCUMENT.split_once("| metric | unit | by | when |").expect("the table");
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        (cells[1].clone(), cells[2].clone(), cells[3].clone())
    };
    let documented: BTreeSet<_> = rows.map(row).collect();
    let known =
        METRICS.map(|(metric, unit, by)| (metric.to_owned(), unit.to_owned(), by.to_owned()));
    assert_eq!(documented, known.into());
}

/// The values of a metric that a function has written so far.
fn values(function: &FunctionProcess, metric: &str, unit: &str) -> Vec<f64> {
    let written = function.stdout();
    let lines = written.lines().map(|line| -> Value {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
    });
    let of_metric = lines.filter(|line| !line[metric].is_null());
    of_metric
        .map(|line| {
            assert_eq!(line["Stack"], STACK, "{line}");
            assert!(line["_aws"]["Timestamp"].as_i64() > Some(1_700_000_000_000), "{line}");
            assert_eq!(
                line["_aws"]["CloudWatchMetrics"],
                json!([{
                    "Namespace": "Baton", "Dimensions": [["Stack"]],
                    "Metrics": [{"Name": metric, "Unit": unit}],
                }])
            );
            line[metric].as_f64().expect("a number")
        })
        .collect()
}

async fn expect(function: &FunctionProcess, metric: &str, unit: &str, expected: &[f64]) {
    eventually("the metric is written", SOON, async || {
        let values = values(function, metric, unit);
        if values == expected { Ok(()) } else { Err(format!("{values:?}, not {expected:?}")) }
    })
    .await;
}

#[tokio::test]
async fn template_metrics_are_written_by_their_function() {
    let known = METRICS.map(|(metric, ..)| metric.to_owned());
    assert_eq!(named_in_template(), known.into(), "the template names other metrics");
    let cloud = LambdaDeployment::open().await;
    let admin = cloud.function("admin").await;
    let key = cloud.create_account_and_key(&admin).await;
    let relay = cloud.function("relay").await;
    LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.ok();
    // Refresh checks refused accounts every five minutes and would make this account ready again.
    cloud.function("refresh").await.invoke(&event::tick(), WITHOUT_HURRY).await;
    cloud.upstream.only_takes(&[]);
    LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await.status(503);
    let messages = cloud.stores.receive().await;
    let cost = |message: &Value| -> f64 {
        let record: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        record["cost_usd"].as_str().unwrap().parse().unwrap()
    };
    let spent: f64 = messages.iter().map(cost).sum();
    assert!(spent > 0.0);

    for (metric, unit, by) in METRICS {
        let function = cloud.function(by).await;
        match metric {
            "SpendUsd" => {
                // The same batch again spends nothing.
                for _ in 0..2 {
                    function.invoke(&event::batch(&messages), WITHOUT_HURRY).await;
                }
                expect(&function, metric, unit, &[spent, 0.0]).await;
            }
            "AuthFailedAccounts" => {
                function.invoke(&event::tick(), WITHOUT_HURRY).await;
                expect(&function, metric, unit, &[1.0]).await;
            }
            other => panic!("this test does not know when {other} is written"),
        }
    }
    for quiet in [&relay, &admin] {
        assert_eq!(quiet.stdout(), "", "unexpected output");
    }
}
