//! A file per promise, kept from outside. Payloads are files under `fixtures/`.

mod upstream;
