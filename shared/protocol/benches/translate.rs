//! Compares the cost of translating a stream's event with passing it on: `cargo bench -p
//! baton-protocol`.
//!
//! Each row processes streams of 10,000 events, one in each chunk, as the relay does, and shows the
//! best of several rounds. Pass-through costs as much as the meter.
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure stops")]

#[path = "../tests/streams/long.rs"]
mod long;

use long::Pair;
use std::hint::black_box;
use std::time::Instant;

const EVENTS: usize = 10_000;
const ROUNDS: usize = 30;

fn main() {
    println!("| stream | ns an event | allocations an event | most memory, bytes |");
    println!("| --- | --- | --- | --- |");
    for pair in Pair::all() {
        let nanos = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            black_box(pair.run(EVENTS));
            start.elapsed().as_nanos() / EVENTS as u128
        });
        let best = nanos.min().unwrap_or_default();
        let memory = allocation_counter::measure(|| {
            black_box(pair.run(EVENTS));
        });
        let (each, most) = (memory.count_total / EVENTS as u64, memory.bytes_max);
        println!("| {} | {best} | {each} | {most} |", pair.name);
    }
}
