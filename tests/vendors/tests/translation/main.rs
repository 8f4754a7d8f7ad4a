//! What the relay makes of a client's request, judged by the strict twins.
//!
//! Recorded and generated requests of every client dialect are converted with the relay's pure
//! functions for an account of every vendor and several of its models. The outcome must be a request
//! that the vendor accepts, or a refusal of Baton's own that names a field. Conversations go on: the
//! twin's answer is translated for the client, the client makes its next turn of it, and that goes to
//! the same account or, as after a failover, to another one.
//!
//! A request that passes untranslated keeps its bytes. If the vendor refuses it when the client sends
//! it itself, the refusal is right.
//!
//! [`gaps`] lists what does not work yet. A row that no request needs any more fails the test, too.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod client;
mod content;
mod gaps;
mod generate;
mod recorded;
mod relay;

use baton_domain::protocol::ClientProtocol;
use baton_test_vendors::{TwinState, Vendor};
use client::ClientRequest;
use gaps::Faults;
use generate::{CLIENTS, generated};
use relay::{Outcome, TARGETS, Target, is_own_fault, relay};

/// How many generated requests each client sends to each target.
const GENERATED: usize = 60;

/// A fresh twin's state, which knows the seals of recorded requests.
fn fresh_state() -> TwinState {
    let mut state = TwinState::default();
    state.known_seals.extend(recorded::SEALS.map(str::to_owned));
    state
}

/// Sends one request to one target, and notes what is wrong with the outcome.
fn judge_one(request: &ClientRequest, target: Target, faults: &mut Faults) {
    let mut state = fresh_state();
    match relay(request, target, &mut state) {
        Outcome::Answered(sent, answer) => {
            faults.count_answer();
            let checked = content::check_kept(&request.body, &sent);
            if let Err(why) = checked.and_then(|()| client::check_answer(request, &answer)) {
                faults.add(request, target, &why);
            }
        }
        Outcome::RefusedByBaton(words) if names_a_field(&words) => faults.count_refusal(&words),
        Outcome::RefusedByBaton(words) => {
            faults.add(request, target, &format!("refused without a field: {words}"));
        }
        Outcome::RefusedByVendor(error) => {
            if !is_own_fault(request, target, &state) {
                faults.add(request, target, &error.message());
            }
        }
    }
}

/// Whether the words begin with a field or name one in backticks.
fn names_a_field(words: &str) -> bool {
    let first = words.split(':').next().unwrap_or_default();
    let is_path =
        first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.[]()/-".contains(&byte));
    (is_path && first.len() < words.len()) || words.contains('`')
}

#[test]
fn recorded_requests_are_accepted_or_refused_in_words() {
    let mut faults = Faults::default();
    for request in recorded::requests() {
        for target in TARGETS {
            judge_one(&request, target, &mut faults);
        }
    }
    faults.compare(gaps::RECORDED);
    faults.check_refusals();
}

#[test]
fn generated_requests_are_accepted_or_refused_in_words() {
    let mut faults = Faults::default();
    for client in CLIENTS {
        for request in generated(client, GENERATED) {
            for target in TARGETS {
                judge_one(&request, target, &mut faults);
            }
        }
    }
    faults.compare(gaps::GENERATED);
    faults.check_refusals();
}

/// The targets of conversations: one for each vendor and form.
fn talkers() -> Vec<Target> {
    TARGETS.into_iter().filter(|target| target.talks).collect()
}

#[test]
fn tool_loops_go_on_with_the_same_account() {
    let mut faults = Faults::default();
    for client in CLIENTS {
        for target in talkers() {
            for (is_stream, prompt) in
                [(false, "[[tool:ls]]"), (true, "[[tools:ls]]"), (true, "hi")]
            {
                talk(client, is_stream, prompt, &[target; 4], &mut faults);
            }
        }
    }
    faults.compare(gaps::LOOPS);
}

#[test]
fn tool_loops_go_on_with_an_account_of_another_kind() {
    let mut faults = Faults::default();
    for client in CLIENTS {
        for first in talkers() {
            for second in talkers().into_iter().filter(|second| second.vendor != first.vendor) {
                for (is_stream, prompt) in [(false, "[[tool:ls]]"), (true, "[[tools:ls]]")] {
                    let turns = [first, second, second, first];
                    talk(client, is_stream, prompt, &turns, &mut faults);
                }
            }
        }
    }
    faults.compare(gaps::FAILOVER);
}

/// A conversation whose turns go to these targets, each with the state of its own vendor.
fn talk(
    client: ClientProtocol,
    is_stream: bool,
    prompt: &str,
    targets: &[Target],
    faults: &mut Faults,
) {
    let mut states: Vec<(Vendor, TwinState)> = Vec::new();
    let mut request = client::first_turn(client, is_stream, prompt);
    if targets.iter().any(|target| is_own_fault(&request, *target, &fresh_state())) {
        return;
    }
    for target in targets {
        if !states.iter().any(|(vendor, _)| *vendor == target.vendor) {
            states.push((target.vendor, fresh_state()));
        }
        let known = states.iter_mut().find(|(vendor, _)| *vendor == target.vendor);
        let (_, state) = known.expect("the state was added");
        match relay(&request, *target, state) {
            Outcome::Answered(_, answer) => {
                if let Err(why) = client::check_answer(&request, &answer) {
                    return faults.add(&request, *target, &why);
                }
                request = client::next_turn(&request, &answer);
            }
            Outcome::RefusedByBaton(words) => {
                return faults.add(&request, *target, &format!("Baton: {words}"));
            }
            Outcome::RefusedByVendor(error) => {
                return faults.add(&request, *target, &error.message());
            }
        }
    }
}
