//! The MD5 sums by which SQS clients check the messages that they sent and received.
//!
//! They protect against accidental changes only.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

/// The message attributes by name, in the order that the sum requires.
pub(super) type MessageAttributes = BTreeMap<String, MessageAttribute>;

/// One message attribute, in the protocol's format.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MessageAttribute {
    #[serde(default)]
    pub(super) data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) string_value: Option<String>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) binary_value: Option<String>,
}

impl MessageAttribute {
    fn bytes(&self) -> (u8, Vec<u8>) {
        match (&self.string_value, &self.binary_value) {
            (None, Some(binary)) => (2, BASE64_STANDARD.decode(binary).unwrap_or_default()),
            (text, _) => (1, text.clone().unwrap_or_default().into_bytes()),
        }
    }

    /// The bytes that it adds to the size of its message.
    pub(super) fn size_bytes(&self) -> usize {
        self.data_type.len() + self.bytes().1.len()
    }
}

/// The sum of a body.
pub(super) fn checksum_body(body: &str) -> String {
    hex(&Md5::digest(body.as_bytes()))
}

/// The sum of message attributes. For each attribute, in the order of names, it covers length (4
/// bytes) and bytes of the name and of the type, one byte for string or binary, and length and
/// bytes of the value ("Amazon SQS message metadata", developer guide, read 2026-10-30).
pub(super) fn checksum_attributes(attributes: &MessageAttributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut sum = Md5::new();
    for (name, attribute) in attributes {
        let (kind, value) = attribute.bytes();
        add_bytes(&mut sum, name.as_bytes());
        add_bytes(&mut sum, attribute.data_type.as_bytes());
        sum.update([kind]);
        add_bytes(&mut sum, &value);
    }
    Some(hex(&sum.finalize()))
}

fn add_bytes(sum: &mut Md5, bytes: &[u8]) {
    sum.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    sum.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
