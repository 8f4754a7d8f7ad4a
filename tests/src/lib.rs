//! The promises, kept from outside: harness, real clients, benchmarks, tidy.
