//! Checks the container image without a container engine. The test builds what
//! `infra/Containerfile` builds and runs it in a folder that contains only what the base image has.
//!
//! `cargo test -p baton-tests --test image` needs root: it changes the root folder and serves DNS
//! on port 53 of a loopback address.
#![expect(clippy::expect_used, reason = "shared checks fail the test that calls them")]

mod file;
mod names;

use std::fs::{copy, create_dir_all, read, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use baton_test_harness::fixtures;
use baton_test_harness::lambda::{LambdaDeployment, ServeProcess};
use baton_test_harness::program::Program;
use file::Containerfile;
use names::{NAME, NameServer};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn image_resolves_names_serves_and_drains() {
    let (file, names) = (Containerfile::read(), NameServer::start());
    let root = image_root(&file);
    let folder = root.path().to_owned();
    let cloud = LambdaDeployment::open().await;
    let upstream = cloud.upstream.url().replace("127.0.0.1", NAME);
    let key = cloud.create_key_with_account_at(&cloud.function("admin").await, &upstream).await;

    assert_eq!(file.words("CMD "), ["serve"], "`ServeProcess` adds these words");
    let serve = command_in(&folder, &file.words("ENTRYPOINT "));
    let mut server = ServeProcess::start_as(serve, root, &cloud.variables()).await;
    let fixture = fixtures::stream("text").expect("the fixture");
    cloud.upstream.next("fixture:text");
    let answer = server.key(&key).ask("hi").await.ok();
    assert_eq!(answer.body, fixture.body);
    assert!(names.was_queried());

    let mut health = command_in(&folder, &file.words("HEALTHCHECK "));
    let healthy = Program::run(health.env("BATON_LISTEN", server.relay.to_string()), SOON);
    assert_eq!(healthy.code, Some(0), "{}", healthy.stderr);

    server.program.terminate();
    let ended = server.program.ended(SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(cloud.stores.receive().await.len(), 1, "its usage is in the queue");
}

/// A root folder with the binary and the files of its base image.
fn image_root(file: &Containerfile) -> TempDir {
    for instruction in [
        "ARG BASE=gcr.io/distroless/static-debian12:nonroot",
        "FROM ${BASE}",
        "COPY --from=build /baton /usr/local/bin/baton",
        "USER nonroot:nonroot",
    ] {
        assert!(file.has(instruction), "the container file lacks `{instruction}`");
    }
    let root = TempDir::with_prefix("baton-image-").expect("a folder");
    let at = |name: &str| root.path().join(name);
    for folder in ["etc/ssl/certs", "home/nonroot", "tmp", "usr/local/bin"] {
        create_dir_all(at(folder)).expect("a folder");
    }
    let certificates = read("/etc/ssl/certs/ca-certificates.crt").expect("Debian's certificates");
    let passwd = "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
    let server = format!("nameserver {}\n", NameServer::ADDRESS);
    for (name, text) in [
        ("etc/passwd", passwd.as_bytes()),
        ("etc/nsswitch.conf", b"hosts: files dns\n"),
        ("etc/resolv.conf", server.as_bytes()),
        ("etc/ssl/certs/ca-certificates.crt", &certificates),
    ] {
        write(at(name), text).expect("a file");
    }
    copy(file.build(), at("usr/local/bin/baton")).expect("the binary");
    set_permissions(root.path(), PermissionsExt::from_mode(0o755)).expect("open to its user");
    root
}

/// A command that runs inside the image, as the image's user.
fn command_in(root: &Path, words: &[String]) -> Command {
    let mut command = Command::new("chroot");
    command.arg("--userspec=65532:65532").arg(root).args(words).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", "/home/nonroot");
    command
}
