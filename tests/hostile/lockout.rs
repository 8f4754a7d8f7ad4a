//! Guessing of credentials: a client that guesses has to wait, and other clients do not, even at
//! the same address.

use crate::class::AttackClass;
use baton_domain::id::KeyId;
use baton_domain::relay_key::{compose, new_secret};
use baton_test_harness::system::TestSystem;
use serde_json::json;

/// A well-formed key that does not exist.
fn unknown_key(number: u128) -> String {
    compose(&KeyId::from_bits(number), &new_secret([number, 7])).expose().to_owned()
}

pub(crate) async fn run(class: AttackClass) {
    let mut system = TestSystem::empty().await;
    let admin = system.admin();
    let ada = admin.create("/users", &json!({"name": "Ada"})).await;
    let revoked = system.key("revoked").with("user_id", ada.as_str()).create().await;
    let good = system.key("good").with("user_id", ada.as_str()).create().await;
    admin.with_token(&revoked.secret).get("/keys").await.ok();
    admin.delete(&format!("/keys/{}", revoked.id)).await.status(204);
    // A process that has just started knows no clients.
    system.restart().await;
    let token = system.admin();
    let statuses = async |credentials: Vec<String>| {
        let mut statuses = Vec::new();
        for credential in credentials {
            statuses.push(token.with_token(&credential).get("/keys").await.status);
        }
        statuses
    };
    let floods: [(&str, Vec<String>); 4] = [
        ("a revoked key, again and again", vec![revoked.secret.clone(); 300]),
        ("short guesses", (0..150).map(|n| format!("guess{n}")).collect()),
        ("well-formed keys", (0..150).map(unknown_key).collect()),
        (
            "a token that is nearly right",
            (0..150).map(|_| format!("{}x", system.admin_token())).collect(),
        ),
    ];
    for (name, credentials) in floods {
        let statuses = statuses(credentials).await;
        let only_refusals = statuses.iter().all(|status| [401, 429].contains(status));
        class.check(name, only_refusals, || format!("{statuses:?}"));
        let looked_at = statuses.iter().filter(|status| **status == 401).count();
        class.check(&format!("{name}: told to wait"), looked_at <= 90, || format!("{looked_at}"));
        let right = token.get("/groups").await.status;
        class.check(&format!("{name}: the admin token"), right == 200, || right.to_string());
        let member = token.with_token(&good.secret).get("/keys").await.status;
        class.check(&format!("{name}: another key"), member == 200, || member.to_string());
    }
    // The same while guesses are being sent.
    let guesses = (0..200).map(|n| {
        let guess = token.with_token(&unknown_key(1000 + n));
        async move { guess.get("/keys").await.status }
    });
    let (statuses, right) = futures_util::join!(
        futures_util::future::join_all(guesses),
        futures_util::future::join_all((0..20).map(|_| token.get("/groups"))),
    );
    let is_refused = statuses.iter().all(|status| [401, 429].contains(status));
    class.check("two hundred guesses at once", is_refused, || format!("{statuses:?}"));
    for answer in right {
        class.check("the admin token beside them", answer.status == 200, || answer.text());
    }
}
