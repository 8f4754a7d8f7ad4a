//! Checks the signature of a request as AWS does (IAM user guide, "Create a signed AWS API
//! request", 2026-08). It is written from that text and does not use the library that signs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use super::RecordedRequest;

/// The accepted access key.
pub const ACCESS_KEY: &str = "AKIATESTACCESSKEY000";
/// Its secret.
pub const SECRET_KEY: &str = "test+secret/key0000000000000000000000000";
/// The access key, the secret and the token of the role that STS issues.
pub const ROLE: (&str, &str, &str) =
    ("ASIATESTASSUMED00000", "assumed+secret/key", "session/token==");

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from_digit(u32::from(half), 16).expect("half a byte"))
        .collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Fails with a description of the problem.
pub(super) fn check_signature(request: &RecordedRequest) -> Result<(), String> {
    let header = |name: &str| request.header(name).ok_or(format!("no {name}"));
    let value = header("authorization")?;
    let rest = value.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
    let part = |name: &str| {
        rest.split(", ").find_map(|part| part.strip_prefix(name)).ok_or(format!("no {name}"))
    };
    let (credential, names, signature) =
        (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
    let (access_key, scope) = credential.split_once('/').ok_or("no scope")?;
    let secret = match access_key {
        ACCESS_KEY => SECRET_KEY,
        key if key == ROLE.0 && header("x-amz-security-token")? == ROLE.2 => ROLE.1,
        _ => return Err("The security token included in the request is invalid.".to_owned()),
    };
    let scope_parts: Vec<&str> = scope.split('/').collect();
    let [day, region, "bedrock", "aws4_request"] = scope_parts[..] else {
        return Err(format!("scope {scope}"));
    };
    let at = header("x-amz-date")?;
    if !at.starts_with(day) || !names.split(';').any(|name| name == "host") {
        return Err("the date or the host is not signed".to_owned());
    }
    // The path is encoded once more than it was sent.
    let path = request.path().replace('%', "%25");
    let mut canonical = format!("{}\n{path}\n\n", request.method);
    for name in names.split(';') {
        canonical.extend([name, ":", header(name)?, "\n"]);
    }
    let body = hex(digest(&SHA256, &request.body).as_ref());
    canonical.extend(["\n", names, "\n", &body]);
    let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashed}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for step in [day, region, "bedrock", "aws4_request"] {
        key = mac(&key, step);
    }
    if hex(&mac(&key, &text)) == signature {
        Ok(())
    } else {
        Err(format!("The request signature does not match. Canonical: {canonical:?}"))
    }
}
