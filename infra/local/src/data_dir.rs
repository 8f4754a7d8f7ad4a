//! The data directory: private to its owner, and used by one process at a time.
//!
//! Other modules read and write its files.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::LocalError;

/// A data directory, locked until this process ends in any way.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The operating system releases the lock with the file, also after `kill -9`.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if necessary and locks it.
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

    /// The path of a file that only its owner can read. The file is created if necessary.
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
