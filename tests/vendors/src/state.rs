//! What a twin remembers, and the seals by which it knows its own state again.

use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The state of a twin. It is plain data, so that the rules stay pure.
#[derive(Debug, Clone, Default)]
pub struct TwinState {
    /// Signatures and encrypted contents that are valid beside those that the twin made. Recorded
    /// requests have some.
    pub known_seals: HashSet<String>,
    /// Stored responses: the conversation up to and with the answer, by account and id.
    pub(crate) responses: HashMap<(String, String), Vec<Value>>,
    /// Message threads: the same, by account and the id of the last message.
    pub(crate) threads: HashMap<(String, String), Vec<Value>>,
    /// The number of answers so far.
    pub(crate) serial: u64,
}

/// A seal over texts: the same texts get the same seal, and others do not. It stands for signatures
/// and encrypted contents. It is FNV-1a, because nobody here forges one on purpose.
pub fn seal(kind: &str, parts: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{kind}{hash:016x}{:016x}", hash.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl TwinState {
    /// Whether the state of that kind over these texts is valid.
    pub(crate) fn is_sealed(&self, given: &str, kind: &str, parts: &[&str]) -> bool {
        given == seal(kind, parts) || self.known_seals.contains(given)
    }

    /// The next number for ids.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
