//! Translation between dialects: a corpus with the expected words, and laws that hold for any.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod anything;
mod assemble;
mod corpus;
mod exchange;
mod nesting;
mod requests;
mod streams;
