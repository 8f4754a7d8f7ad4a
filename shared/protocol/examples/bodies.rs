//! Measures the time in which Baton reads a request body of 5 MB, by the content of the body.
//!
//! `cargo run --release -p baton-protocol --example bodies`: medians of 41 readings. The session's
//! number is computed only for a request that names no session.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use baton_protocol::conversation_hash::session_seed;
use baton_protocol::envelope::Envelope;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const BYTES: usize = 5_000_000;
const READINGS: usize = 41;

fn main() {
    println!("| body | envelope | session's number |");
    println!("| --- | --- | --- |");
    for (name, text) in [
        ("prose", "All work and no play makes Jack a dull boy. "),
        ("Rust", include_str!("bodies.rs")),
        ("quotes", "\"a\": \"\n\", "),
    ] {
        row(&format!("{name}, one text"), &json!([said(&json!(filled(text, BYTES)))]));
        row(&format!("{name}, one block"), &json!([said(&block(&filled(text, BYTES)))]));
        row(&format!("{name}, turns of 4 KB"), &turns(text, 4_000));
    }
}

/// `text`, repeated until it takes `bytes` bytes of JSON.
fn filled(text: &str, bytes: usize) -> String {
    let written = json!(text).to_string().len() - 2;
    text.repeat(bytes.div_ceil(written))
}

fn block(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

fn said(content: &Value) -> Value {
    json!({"role": "user", "content": content})
}

fn turns(text: &str, bytes: usize) -> Value {
    let turn = block(&filled(text, bytes));
    let count = BYTES / turn.to_string().len();
    std::iter::repeat_n(said(&turn), count).collect()
}

fn row(name: &str, messages: &Value) {
    let body = json!({"model": "claude-opus-5-5", "max_tokens": 1024, "messages": messages});
    let body = body.to_string();
    let read = || Envelope::parse(black_box(body.as_bytes()));
    let Ok(envelope) = read() else { return };
    let number = || session_seed(None, black_box(&envelope.prefix));
    println!("| {name} | {} | {} |", median(read), median(number));
}

fn median<T>(read: impl Fn() -> T) -> String {
    let mut micros: Vec<u128> = (0..READINGS)
        .map(|_| {
            let started = Instant::now();
            black_box(read());
            started.elapsed().as_micros()
        })
        .collect();
    micros.sort_unstable();
    let half = micros.get(READINGS / 2).copied().unwrap_or_default();
    format!("{}.{:02} ms", half / 1000, half / 10 % 100)
}
