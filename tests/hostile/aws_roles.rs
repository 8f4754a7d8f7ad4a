//! What an attacker with the role of one function on AWS can do to the other functions: items that
//! the role writes into the tables, and how the console treats them.
//!
//! IAM is not simulated here, so each item is tried twice. The template's policy must deny writing
//! it, and the console must not accept it if it is in the table anyway (written by a role with a
//! wider policy, or restored from a copy).

use crate::class::AttackClass;
use baton_domain::secret::Secret;
use baton_runtime::vault::Pepper;
use baton_test_harness::lambda::{FunctionProcess, LambdaDeployment, WITHOUT_HURRY, event};
use baton_test_harness::table_rights::TableRights;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A secret that the relay also has.
const PEPPER: &str = "test-pepper-0123456789abcdef0123456789abcdef";
/// A secret that only the admin function has.
const SESSIONS: &str = "session-secret-of-a-test-0123456789";

struct ForgingRole {
    cloud: LambdaDeployment,
    admin: FunctionProcess,
    http: reqwest::Client,
    now: i64,
}

/// A forged session.
struct ForgedSession {
    what: &'static str,
    /// The owner that the cookie names.
    who: String,
    place_secret: &'static str,
    row_secret: Option<&'static str>,
    round: u64,
    begun: i64,
}

pub(crate) async fn run(class: AttackClass) {
    let cloud = LambdaDeployment::open().await;
    let admin = cloud.function_with("admin", "BATON_SESSION_SECRET", SESSIONS).await;
    let root = json!({"name": "Root", "role": "admin"});
    let root = LambdaDeployment::operate(&admin, "POST", "/users", &root).await.status(201).json();
    let root = root["id"].as_str().expect("an id").to_owned();
    let forge = ForgingRole { cloud, admin, http: reqwest::Client::new(), now: now() };
    forge.sessions(&class, &root).await;
    policies(&class);
}

#[expect(clippy::disallowed_methods, reason = "the stores' clock is the machine's")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Items that only the admin function's role can write, tried with each role.
fn policies(class: &AttackClass) {
    for function in ["Relay", "Stats", "Refresh"] {
        let rights = TableRights::of(function);
        for action in ["PutItem", "UpdateItem", "DeleteItem"] {
            for (table, key) in [
                ("StateTable", "session#0"),
                ("StateTable", "sign_in#0"),
                ("StateTable", "replay#0"),
                ("StateTable", "rerate"),
                ("ConfigTable", "user#usr_1"),
                ("ConfigTable", "key#key_1"),
                ("ConfigTable", "account#acc_1"),
                ("ConfigTable", "setting#admin_token"),
                ("ConfigTable", "setting#session_secret"),
                ("UsageTable", "audit#2026-11"),
            ] {
                let what = format!("{function}: {action} {table} {key}");
                class.check(&what, !rights.may(action, table, key), || "allowed".to_owned());
            }
        }
    }
}

impl ForgingRole {
    async fn sessions(&self, class: &AttackClass, root: &str) {
        let forged = |what, who: &str, place_secret, row_secret| ForgedSession {
            what,
            who: who.to_owned(),
            place_secret,
            row_secret,
            // A user that was created as an administrator is in round one.
            round: 1,
            begun: self.now,
        };
        // Checks the forging itself: with the right secret it produces a valid session.
        let control = forged("with the secret", root, SESSIONS, Some(SESSIONS));
        assert_eq!(self.status(&control).await, 200, "a session under the secret is one");
        for (what, place_secret, row_secret) in [
            ("under the pepper, without a proof", PEPPER, None),
            ("under the pepper, with a proof under it", PEPPER, Some(PEPPER)),
            ("under no secret", "", Some("")),
            ("at the right place, without a proof", SESSIONS, None),
            ("at the right place, with a proof under the pepper", SESSIONS, Some(PEPPER)),
            ("at the right place, with a proof under nothing", SESSIONS, Some("")),
            ("at a wrong place, with the right proof", PEPPER, Some(SESSIONS)),
        ] {
            for who in [root, "token"] {
                let one = forged(what, who, place_secret, row_secret);
                let status = self.status(&one).await;
                let input = format!("a session of {who} {what}");
                class.check(&input, status == 303, || format!("the console answers {status}"));
            }
        }
        // A valid session with a longer life or another round.
        for (what, change) in [
            (
                "a session whose begin is moved",
                ("created_at", json!({"S": stamp(self.now + 3600)})),
            ),
            ("a session whose use is moved", ("at", json!({"N": (self.now + 1800).to_string()}))),
            ("a session whose round is changed", ("version", json!({"N": "7"}))),
            ("a session with another proof", ("secret", json!({"B": "AAAA"}))),
        ] {
            let (cookie, mut item) =
                Self::item(&forged(what, root, SESSIONS, Some(SESSIONS)), what);
            item[change.0] = change.1;
            self.put(&item).await;
            let status = self.console(&cookie).await;
            class.check(what, status == 303, || format!("the console answers {status}"));
        }
    }

    /// The console's status for a request with this forged session.
    async fn status(&self, forged: &ForgedSession) -> u16 {
        let (cookie, item) = Self::item(forged, &format!("{}{}", forged.what, forged.who));
        self.put(&item).await;
        self.console(&cookie).await
    }

    fn item(forged: &ForgedSession, seed: &str) -> (String, Value) {
        // The forger can choose the random part.
        let random: String = seed
            .bytes()
            .chain([b'A'; 43])
            .filter(u8::is_ascii_alphanumeric)
            .map(char::from)
            .take(43)
            .collect();
        let cookie = format!("{}.{random}", forged.who);
        let under = |secret: &str| Pepper::new(&Secret::new(secret.to_owned()));
        let place = under(forged.place_secret).hash(&format!("session\n{cookie}"));
        let mut row =
            format!("session row\n{}\n{}\n{}\n", forged.begun * 1000, forged.begun, forged.round);
        place.iter().chain(b"\n").for_each(|byte| write!(row, "{byte:02x}").expect("text"));
        let name = place.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let mut item = json!({
            "pk": {"S": format!("session#{name}")}, "sk": {"S": "session"},
            "created_at": {"S": stamp(forged.begun)}, "at": {"N": forged.begun.to_string()},
            "version": {"N": forged.round.to_string()}, "secret": {"B": ""},
            "ttl": {"N": (forged.begun + 40_000).to_string()},
        });
        if let Some(secret) = forged.row_secret {
            use base64::Engine as _;
            let proven = under(secret).hash(&row);
            item["proven"] = json!({"B": base64::prelude::BASE64_STANDARD.encode(proven)});
        }
        (cookie, item)
    }

    async fn put(&self, item: &Value) {
        let body =
            json!({"TableName": self.cloud.stores.variable("BATON_STATE_TABLE"), "Item": item});
        let request = self
            .http
            .post(self.cloud.stores.variable("AWS_ENDPOINT_URL"))
            .header("x-amz-target", "DynamoDB_20120810.PutItem")
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = request.send().await.expect("the stores answer");
        assert!(
            answer.status().is_success(),
            "PutItem: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    async fn console(&self, cookie: &str) -> u16 {
        let cookie = format!("__Host-baton={cookie}");
        let event = event::request("GET", "/console/accounts", &[("cookie", &cookie)], "");
        self.admin.request(&event, WITHOUT_HURRY).await.status
    }
}

fn stamp(second: i64) -> String {
    let at = jiff::Timestamp::from_second(second).expect("a time");
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
