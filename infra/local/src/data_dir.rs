//! The data directory: made private, and held by one process at a time.
//!
//! What is in its files does not belong here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::LocalError;

/// A data directory that this process holds until it ends, however it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The operating system gives the lock up with the file, also after `kill -9`.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, LocalError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(LocalError::file("create", path))?;
        let path = fs::canonicalize(path).map_err(LocalError::file("open", path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(LocalError::file("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(LocalError::Busy(path)),
            Err(TryLockError::Error(cause)) => Err(LocalError::file("lock", lock_path)(cause)),
        }
    }

    /// A file that only its owner can read, made if need be.
    pub(crate) fn private_file(&self, name: &str) -> Result<PathBuf, LocalError> {
        let path = self.join(name);
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(LocalError::file("write", &path))?;
        Ok(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
