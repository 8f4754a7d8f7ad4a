//! The memory of a translated stream does not grow with its length.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "streams/long.rs"]
mod long;

use long::{Pair, WORD};

const EVENTS: usize = 10_000;

#[test]
fn memory_does_not_grow_with_the_stream() {
    for pair in Pair::all() {
        let most = |events| {
            let run = || assert!(pair.run(events) > events, "{}: something is said", pair.name);
            allocation_counter::measure(run).bytes_max
        };
        let (short, long) = (most(EVENTS / 10), most(EVENTS));
        // The last event of a Responses stream repeats the whole text. The text is kept in a buffer
        // that doubles.
        let text = if pair.name.starts_with("Responses") { EVENTS * WORD.len() } else { 0 };
        let kept = 2 * text as u64;
        assert!(long <= short + kept, "{}: {short} bytes, then {long}", pair.name);
    }
}
