//! Hostile inputs against a running Baton, one module for each class of attack.
//!
//! `cargo test -p baton-tests --test hostile [-- CLASS]` starts the real binary, tries every input
//! of each class, and fails if an input did harm. It prints a table (class, inputs tried,
//! failures), which must equal the one in `docs/reference/hostile-inputs.md`. With
//! `BATON_WRITE_DOCS=1` the table is written there instead.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints a table, and stops where it cannot do its work"
)]
#![expect(
    clippy::too_many_lines,
    clippy::excessive_nesting,
    reason = "a class is a list of inputs, tried on each path in each form"
)]

mod account_faults;
mod accounts;
mod admin_tokens;
mod api_faults;
mod authorization;
mod aws_roles;
mod bad_upstream;
mod bursting_streams;
mod class;
mod compressed_bodies;
mod exhaustion;
mod fields;
mod graceful_stop;
mod greedy_upstream;
mod growth;
mod http2_floods;
mod limit_answers;
mod lockout;
mod log_forging;
mod metadata_addresses;
mod odd_answers;
mod odd_forms;
mod odd_streams;
mod odd_wholes;
mod openid_sign_ins;
mod paths;
mod plain_upstream;
mod process;
mod recursion;
mod response_bombs;
mod returned_states;
mod slow_clients;
mod spending;
mod stalled_streams;
mod steering;
mod tool_definitions;
mod unfinished_bodies;
mod write_only_credentials;
mod wrong_keys;

use class::{AttackClass, AttackResults};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

type ClassRunner = fn(AttackClass) -> Pin<Box<dyn Future<Output = ()>>>;

/// All classes, ordered by name.
const CLASSES: &[(&str, ClassRunner)] = &[
    ("HTTP/2 floods", |class| Box::pin(http2_floods::run(class))),
    ("absurd limits", |class| Box::pin(limit_answers::bad_limits(class))),
    ("accounts taken out by one tenant", |class| Box::pin(accounts::run(class))),
    ("accounts with restricted keys", |class| Box::pin(account_faults::restricted(class))),
    ("addresses of clouds' metadata", |class| Box::pin(metadata_addresses::run(class))),
    ("admin tokens", |class| Box::pin(admin_tokens::run(class))),
    ("answers in the background", |class| Box::pin(spending::background(class))),
    ("authorization of the admin API", |class| Box::pin(authorization::run(class))),
    ("bodies without an end", |class| Box::pin(unfinished_bodies::run(class))),
    ("bursting streams", |class| Box::pin(bursting_streams::run(class))),
    ("cardinality", |class| Box::pin(growth::cardinality(class))),
    ("compressed request bodies", |class| Box::pin(compressed_bodies::run(class))),
    ("credentials in upstream answers", |class| Box::pin(accounts::run_echoes(class))),
    ("exhaustion by connections", |class| Box::pin(exhaustion::run(class))),
    ("failover hides an error", |class| Box::pin(account_faults::elsewhere(class))),
    ("false usage reports", |class| Box::pin(limit_answers::lies(class))),
    ("faults of the admin API", |class| Box::pin(api_faults::run(class))),
    ("fields beyond the documented ones", |class| Box::pin(spending::undocumented(class))),
    ("fields given twice", |class| Box::pin(fields::twice(class))),
    ("fields of another type", |class| Box::pin(fields::types(class))),
    ("forged lines and cells", |class| Box::pin(log_forging::run(class))),
    ("graceful stop", |class| Box::pin(graceful_stop::run(class))),
    ("headers and queries that choose an organization", |class| {
        Box::pin(accounts::run_owners(class))
    }),
    ("headers and queries that steer a server", |class| Box::pin(steering::run(class))),
    ("hostile bodies", |class| Box::pin(fields::malformed(class))),
    ("large settings", |class| Box::pin(recursion::large_settings(class))),
    ("limit figures are correct", |class| Box::pin(limit_answers::truth(class))),
    ("limits on free upstream calls", |class| Box::pin(limit_answers::free_calls(class))),
    ("lock-out of operators by guesses", |class| Box::pin(lockout::run(class))),
    ("long records", |class| Box::pin(growth::long_records(class))),
    ("model names with prefixes", |class| Box::pin(fields::decorations(class))),
    ("models named in the body", |class| Box::pin(spending::named_models(class))),
    ("money limits overspent", |class| Box::pin(spending::overspending(class))),
    ("names and schemas of tools", |class| Box::pin(tool_definitions::run(class))),
    ("odd answers of upstreams", |class| Box::pin(odd_answers::run(class))),
    ("path tricks upstream", |class| Box::pin(paths::run(class))),
    ("quadratic work in requests", |class| Box::pin(recursion::quadratic(class))),
    ("recursion in requests", |class| Box::pin(recursion::requests(class))),
    ("requests that wait for a limit", |class| Box::pin(limit_answers::waiting(class))),
    ("reservation by a foreign field", |class| Box::pin(spending::reservations(class))),
    ("response bombs, translated", |class| Box::pin(response_bombs::translated(class))),
    ("response bombs, untranslated", |class| Box::pin(response_bombs::untranslated(class))),
    ("retry advice is correct", |class| Box::pin(limit_answers::advice(class))),
    ("rights of AWS roles", |class| Box::pin(aws_roles::run(class))),
    ("sign-ins by OpenID", |class| Box::pin(openid_sign_ins::run(class))),
    ("slow clients", |class| Box::pin(slow_clients::run(class))),
    ("states of earlier answers", |class| Box::pin(returned_states::run(class))),
    ("store reads without a credential", |class| Box::pin(wrong_keys::run(class))),
    ("streams of tiny events", |class| Box::pin(stalled_streams::tiny_events(class))),
    ("streams that nobody reads", |class| Box::pin(stalled_streams::unread(class))),
    ("usage hidden by an upstream", |class| Box::pin(account_faults::hidden_usage(class))),
    ("write-only credentials and identity files", |class| {
        Box::pin(write_only_credentials::run(class))
    }),
];

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| filter.as_deref().is_none_or(|part| name.contains(part));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut results = AttackResults::default();
    for (name, run) in CLASSES.iter().filter(|(name, _)| is_wanted(name)) {
        let class = AttackClass::default();
        runtime.block_on(run(class.clone()));
        results.add(name, &class);
    }
    println!("\n{}", results.table());
    let is_fresh = filter.is_some() || results.compare_with(&documentation());
    let failures = results.print_failures();
    let passed = results.tries() - failures;
    println!("\n{passed} passed, {failures} failed");
    if failures == 0 && is_fresh { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn documentation() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/hostile-inputs.md")
}
