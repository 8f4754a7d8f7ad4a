//! The container's image, without a container engine: what `infra/Containerfile` builds is built,
//! and runs where nothing is but what the base image has.
//!
//! `cargo test -p baton-tests --test image` must be root's: it changes the root folder, and serves
//! names on port 53 of a loopback address.
#![expect(
    clippy::expect_used,
    reason = "a check that many tests share may fail them where it stands"
)]

mod file;
mod names;

use std::fs::{copy, create_dir_all, read, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use baton_tests::fixtures;
use baton_tests::lambda::{LambdaDeployment, ServeProcess};
use baton_tests::program::Program;
use file::Containerfile;
use names::{NAME, NameServer};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_image_serves_finds_names_is_healthy_and_drains() {
    let (file, names) = (Containerfile::read(), NameServer::start());
    let root = laid_out(&file);
    let folder = root.path().to_owned();
    let cloud = LambdaDeployment::open().await;
    let upstream = cloud.upstream.url().replace("127.0.0.1", NAME);
    let key = cloud.furnish_at(&cloud.function("admin").await, &upstream).await;

    assert_eq!(file.words("CMD "), ["serve"], "what `Server` adds");
    let serve = inside(&folder, &file.words("ENTRYPOINT "));
    let mut server = ServeProcess::start_as(serve, root, &cloud.variables()).await;
    let fixture = fixtures::stream("text").expect("the fixture");
    cloud.upstream.next("fixture:text");
    let answer = server.key(&key).ask("hi").await.ok();
    assert_eq!(answer.body, fixture.body);
    assert!(names.was_asked());

    let mut health = inside(&folder, &file.words("HEALTHCHECK "));
    let healthy = Program::run(health.env("BATON_LISTEN", server.relay.to_string()), SOON);
    assert_eq!(healthy.code, Some(0), "{}", healthy.stderr);

    server.program.terminate();
    let ended = server.program.ended(SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(cloud.stores.receive().await.len(), 1, "its usage is in the queue");
}

/// A folder with the binary and what its base image has besides.
fn laid_out(file: &Containerfile) -> TempDir {
    for instruction in [
        "ARG BASE=gcr.io/distroless/static-debian12:nonroot",
        "FROM ${BASE}",
        "COPY --from=build /baton /usr/local/bin/baton",
        "USER nonroot:nonroot",
    ] {
        assert!(file.says(instruction), "what follows does as it says: {instruction}");
    }
    let root = TempDir::with_prefix("baton-image-").expect("a folder");
    let at = |name: &str| root.path().join(name);
    for folder in ["etc/ssl/certs", "home/nonroot", "tmp", "usr/local/bin"] {
        create_dir_all(at(folder)).expect("a folder");
    }
    let certificates = read("/etc/ssl/certs/ca-certificates.crt").expect("Debian's certificates");
    let nobody = "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
    let server = format!("nameserver {}\n", NameServer::ADDRESS);
    for (name, text) in [
        ("etc/passwd", nobody.as_bytes()),
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

/// A command in the image, by its user.
fn inside(root: &Path, words: &[String]) -> Command {
    let mut command = Command::new("chroot");
    command.arg("--userspec=65532:65532").arg(root).args(words).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", "/home/nonroot");
    command
}
