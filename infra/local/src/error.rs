//! Why the local stack cannot be opened or served. Each error is one line for the user.
//!
//! Errors that *clients* of the stores get are in `reply.rs`.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

/// A failure of the local stack itself.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process holds the lock file of the data directory.
    #[error("another baton process is using {}", .0.display())]
    Busy(PathBuf),
    /// A file operation failed.
    #[error("cannot {operation} {}: {cause}", .path.display())]
    File {
        /// The operation, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The file system's error.
        cause: io::Error,
    },
    /// The mode of the key file lets other users read it.
    #[error("key file {path} can be read by others: run `chmod 600 {path}`", path = .0.display())]
    KeyExposed(PathBuf),
    /// The content of the key file is not a key.
    #[error("key file {} does not hold a key: expected 64 hexadecimal digits", .0.display())]
    KeyMalformed(PathBuf),
    /// Data is there, the key that sealed its secrets is not.
    #[error(
        "key file {} is missing, but the data in its directory was encrypted with it: restore the \
         file, or move the directory away to start without data",
        .0.display()
    )]
    KeyMissing(PathBuf),
    /// A store returned an error while it was opened or brought to its definition.
    #[error("cannot open the local {store}: {cause}")]
    Store {
        /// The name of the store.
        store: &'static str,
        /// The store's error message.
        cause: String,
    },
    /// The stores accept any credentials, so they listen on this machine only.
    #[error("the local stores listen on loopback addresses only, not on {0}")]
    NotLoopback(std::net::SocketAddr),
}

impl LocalError {
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { operation, path, cause }
    }

    /// The same error with the file's name.
    pub(crate) fn database(store: &'static str, file: Option<&Path>, cause: &dyn Display) -> Self {
        let file = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
        Self::store(store, file + &cause.to_string())
    }

    #[expect(clippy::needless_pass_by_value, reason = "fits map_err as it is")]
    pub(crate) fn store(store: &'static str, cause: impl ToString) -> Self {
        Self::Store { store, cause: cause.to_string() }
    }
}
