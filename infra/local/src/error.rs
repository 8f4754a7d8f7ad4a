//! Why the local stack cannot be opened or served, each as the one line that the user reads.
//!
//! What a *client* of the stores is answered does not belong here: see `reply.rs`.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

/// A failure of the local stack itself.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The lock file of the data directory is held.
    #[error("another baton is running on {}", .0.display())]
    Busy(PathBuf),
    /// The file system said no.
    #[error("cannot {deed} {}: {cause}", .path.display())]
    File {
        /// What was tried, as a verb.
        deed: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The file system's answer.
        cause: io::Error,
    },
    /// The key file's mode lets others read it.
    #[error("key file {path} can be read by others: run `chmod 600 {path}`", path = .0.display())]
    KeyExposed(PathBuf),
    /// The key file holds something else.
    #[error("key file {} does not hold a key: expected 64 hexadecimal digits", .0.display())]
    KeyMalformed(PathBuf),
    /// Data is there, the key that sealed its secrets is not.
    #[error(
        "key file {} is missing, but the data beside it was sealed with it: restore the file, \
         or move the directory away to begin anew",
        .0.display()
    )]
    KeyMissing(PathBuf),
    /// The template says something that is not understood here.
    #[error("template.yaml: {0}")]
    Template(String),
    /// A store answered an error while it was opened or brought to the template's state.
    #[error("cannot open the local {store}: {cause}")]
    Store {
        /// Which of the stores.
        store: &'static str,
        /// Its own words.
        cause: String,
    },
    /// The stores accept any credentials, so they are offered on this machine only.
    #[error("the local stores listen on loopback addresses only, not on {0}")]
    NotLoopback(std::net::SocketAddr),
}

impl LocalError {
    pub(crate) fn file(
        deed: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { deed, path, cause }
    }

    /// The same, naming the file.
    pub(crate) fn database(store: &'static str, file: Option<&Path>, cause: &dyn Display) -> Self {
        let file = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
        Self::store(store, file + &cause.to_string())
    }

    #[expect(clippy::needless_pass_by_value, reason = "fits map_err as it is")]
    pub(crate) fn store(store: &'static str, cause: impl ToString) -> Self {
        Self::Store { store, cause: cause.to_string() }
    }
}
