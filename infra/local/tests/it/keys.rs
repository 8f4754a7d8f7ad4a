//! The key service and its key file.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use aws_sdk_kms::{primitives::Blob, types::DataKeySpec};
use baton_local::LocalAws;

use crate::fixture::LocalAwsFixture;

#[tokio::test]
async fn data_key_can_be_decrypted_only_with_its_context() {
    let fixture = LocalAwsFixture::new().await;
    let id = fixture.local.resources().data_key_id;
    let made = fixture
        .kms
        .generate_data_key()
        .key_id(&id)
        .key_spec(DataKeySpec::Aes256)
        .encryption_context("item", "account#a")
        .send()
        .await
        .unwrap();
    let blob = made.ciphertext_blob.unwrap();
    let open = |blob: &Blob, of: &str| {
        let request = fixture.kms.decrypt().key_id(&id).ciphertext_blob(blob.clone());
        request.encryption_context("item", of).send()
    };
    assert_eq!(made.plaintext.as_ref().unwrap().as_ref().len(), 32);
    assert_eq!(open(&blob, "account#a").await.unwrap().plaintext, made.plaintext);
    let mut changed = blob.clone().into_inner();
    changed[20] ^= 1;
    for (blob, of) in
        [(&blob, "account#b"), (&Blob::new(changed), "account#a"), (&Blob::new("x"), "account#a")]
    {
        let refused = open(blob, of).await.unwrap_err().into_service_error();
        assert!(refused.is_invalid_ciphertext_exception(), "{refused:?}");
    }
}

#[tokio::test]
async fn data_key_can_be_decrypted_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let generate = async |fixture: &LocalAwsFixture, key: &str| {
        fixture.kms.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256).send().await
    };
    let made = {
        let fixture = LocalAwsFixture::open(Some(dir.path())).await;
        generate(&fixture, "DataKey").await.unwrap()
    };
    let fixture = LocalAwsFixture::open(Some(dir.path())).await;
    let opened = fixture.kms.decrypt().ciphertext_blob(made.ciphertext_blob.unwrap()).send().await;
    assert_eq!(opened.unwrap().plaintext, made.plaintext);
    let other = generate(&fixture, "OtherKey").await.unwrap_err();
    assert!(other.into_service_error().is_not_found_exception());
    let unknown = fixture.kms.describe_key().key_id("DataKey").send().await.unwrap_err();
    assert_eq!(unknown.into_service_error().meta().code(), Some("UnknownOperationException"));
}

#[tokio::test]
async fn readable_key_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("master.key");
    drop(LocalAws::open(Some(dir.path())).await.unwrap());
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let refused = async || LocalAws::open(Some(dir.path())).await.err().unwrap().to_string();
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let line = refused().await;
    assert!(line.contains("can be read by others: run `chmod 600 "), "{line}");

    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "not a key").unwrap();
    assert!(refused().await.contains("does not hold a key"));

    fs::remove_file(&key).unwrap();
    let line = refused().await;
    assert!(
        line.contains("is missing, but the data in its directory was encrypted with it"),
        "{line}"
    );
}
