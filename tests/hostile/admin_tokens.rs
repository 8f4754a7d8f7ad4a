//! Baton refuses to start with an admin token that can be guessed. Its message is one line that
//! does not repeat the token.

use crate::class::AttackClass;
use baton_test_harness::system::TestSystem;

pub(crate) async fn run(class: AttackClass) {
    for token in ["a", "admin", "password", "0123456789abcde", "short-token", "ääääääääääääääa"]
    {
        let mut process = TestSystem::builder().env("BATON_ADMIN_TOKEN", token).spawn();
        let ended = process.ended();
        let lines = ended.stderr.lines().count();
        let says = ended.stderr.contains("BATON_ADMIN_TOKEN") && ended.stderr.contains("16");
        let is_right = says && lines == 1 && !ended.stderr.contains(&format!("{token:?}"));
        class.check(token, is_right, || ended.stderr.clone());
    }
    for token in ["lab-admin-token-0123456789abcdef", "0123456789abcdef"] {
        let process = TestSystem::builder().env("BATON_ADMIN_TOKEN", token).start_process().await;
        class.check(token, process.id() > 0, String::new);
    }
}
