//! KMS in this process: data keys that are encrypted by a master key, which is a private file in
//! the data directory.
//!
//! As in KMS, the encryption context is authenticated with the ciphertext, and so is the name of
//! the key.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    LocalError,
    definitions::DATA_KEY,
    store_reply::{StoreRefusal, StoreReply, parse_request},
};

const ARN_PREFIX: &str = "arn:aws:kms:us-east-1:000000000000:key/";
/// The first byte of each ciphertext: the version of the layout nonce · sealed · tag.
const LAYOUT: u8 = 1;

/// The key service.
#[derive(Clone)]
pub(crate) struct Kms {
    master: Arc<RandomizedNonceKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KmsRequest {
    key_id: Option<String>,
    ciphertext_blob: Option<String>,
    number_of_bytes: Option<usize>,
    #[serde(default)]
    encryption_context: BTreeMap<String, String>,
}

impl Kms {
    /// Reads or creates the key file, or keeps a key in memory. `has_data` is true if there is data
    /// that a new key could not decrypt.
    pub(crate) fn open(file: Option<&Path>, has_data: bool) -> Result<Self, LocalError> {
        let key = match file {
            Some(path) => load_or_create_key(path, has_data)?,
            None => new_key()?,
        };
        let master = RandomizedNonceKey::new(&AES_256_GCM, &key)
            .map_err(|cause| LocalError::store("key service", cause))?;
        Ok(Self { master: Arc::new(master) })
    }

    /// Answers one request without blocking.
    pub(crate) fn call_operation(&self, operation: &str, body: &[u8]) -> StoreReply {
        let outcome = parse_request(body).and_then(|request: KmsRequest| match operation {
            "Decrypt" => self.decrypt(&request),
            "GenerateDataKey" => self.generate_data_key(&request),
            _ => Err(StoreRefusal::unknown_operation(operation)),
        });
        outcome.into()
    }

    fn generate_data_key(&self, request: &KmsRequest) -> Result<Value, StoreRefusal> {
        check_key_id(request)?;
        let mut key = vec![0; request.number_of_bytes.unwrap_or(32).clamp(1, 1024)];
        rand::fill(&mut key).map_err(StoreRefusal::server)?;
        let plaintext = BASE64_STANDARD.encode(&key);
        let sealed = self.seal(request, key)?;
        Ok(json!({ "CiphertextBlob": sealed, "Plaintext": plaintext, "KeyId": key_arn() }))
    }

    fn decrypt(&self, request: &KmsRequest) -> Result<Value, StoreRefusal> {
        let refused =
            || StoreRefusal::client("InvalidCiphertextException", "it cannot be decrypted");
        let mut blob = decode(request.ciphertext_blob.as_deref())?;
        let (head, sealed) = blob.split_at_mut_checked(1 + NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).map_err(|_| refused())?;
        if head[0] != LAYOUT {
            return Err(refused());
        }
        // KMS finds the key from the ciphertext, so the request can leave it out.
        if request.key_id.is_some() {
            check_key_id(request)?;
        }
        let context = context(request);
        let plaintext = self
            .master
            .open_in_place(nonce, Aad::from(context.as_bytes()), sealed)
            .map_err(|_| refused())?;
        Ok(json!({
            "Plaintext": BASE64_STANDARD.encode(plaintext),
            "KeyId": key_arn(),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }))
    }

    fn seal(&self, request: &KmsRequest, mut data: Vec<u8>) -> Result<String, StoreRefusal> {
        let context = context(request);
        let nonce = self
            .master
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut data)
            .map_err(StoreRefusal::server)?;
        let blob = [&[LAYOUT], nonce.as_ref().as_slice(), &data].concat();
        Ok(BASE64_STANDARD.encode(blob))
    }
}

fn key_arn() -> String {
    format!("{ARN_PREFIX}{DATA_KEY}")
}

/// Checks that the request names the key by its id or its ARN.
fn check_key_id(request: &KmsRequest) -> Result<(), StoreRefusal> {
    let requested = request.key_id.as_deref().unwrap_or_default();
    let requested = requested.strip_prefix(ARN_PREFIX).unwrap_or(requested);
    if requested == DATA_KEY {
        return Ok(());
    }
    Err(StoreRefusal::client("NotFoundException", format!("there is no key `{requested}`")))
}

/// The data that is authenticated with the ciphertext: JSON of sorted pairs, so that different
/// contexts never have the same text.
fn context(request: &KmsRequest) -> String {
    json!([DATA_KEY, request.encryption_context]).to_string()
}

fn decode(text: Option<&str>) -> Result<Vec<u8>, StoreRefusal> {
    BASE64_STANDARD
        .decode(text.unwrap_or_default())
        .map_err(|cause| StoreRefusal::client("SerializationException", cause.to_string()))
}

fn new_key() -> Result<[u8; 32], LocalError> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|cause| LocalError::store("key service", cause))?;
    Ok(key)
}

/// The key in `path`, or a new one if there is neither a file nor data.
fn load_or_create_key(path: &Path, has_data: bool) -> Result<[u8; 32], LocalError> {
    let metadata = match fs::metadata(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            if has_data {
                return Err(LocalError::KeyMissing(path.to_owned()));
            }
            return create_key(path);
        }
        other => other.map_err(LocalError::file("open", path))?,
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(LocalError::KeyExposed(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(LocalError::file("read", path))?;
    let mut key = [0; 32];
    let decoded = hex::decode_to_slice(text.trim(), &mut key);
    decoded.map(|()| key).map_err(|_| LocalError::KeyMalformed(path.to_owned()))
}

/// Writes the key under another name first, so that a crash never leaves half a key.
fn create_key(path: &Path) -> Result<[u8; 32], LocalError> {
    let key = new_key()?;
    let draft = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", hex::encode(key))?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(LocalError::file("write", path))?;
    Ok(key)
}
