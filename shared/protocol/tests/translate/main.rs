//! Tests of the translation between protocols: a corpus with expected output, and general
//! properties.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod anything;
mod assemble;
mod corpus;
mod dialects;
mod empty_answers;
mod exchange;
mod nesting;
mod requests;
mod streams;
