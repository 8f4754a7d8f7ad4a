//! Identity tokens in files that another program keeps fresh, such as a pod's projected service
//! account token. Only regular files of one configured folder are read, and only as much as a token
//! needs.
//!
//! An administrator names the file through the API but does not own the machine. So errors are the
//! same for a file that does not exist, one without read permission, and one that is not a token.

use baton_domain::secret::Secret;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The largest token that Anthropic accepts, in bytes (its documentation of 2026-08-22).
pub const BYTES_MAX: usize = 16 << 10;
/// The timeout of a read, because a network file system can hang.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The folder with the tokens, if one is configured.
#[derive(Debug, Clone, Default)]
pub struct IdentityTokens {
    folder: Option<PathBuf>,
}

/// Why no token is read. It does not reveal which files exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityTokenError {
    /// No folder is configured.
    #[error(
        "identity tokens are not read from files here: BATON_IDENTITY_TOKEN_DIR names no folder; \
         leave `identity_token_file` out to use AWS STS"
    )]
    NoFolder,
    /// The file is outside of the folder.
    #[error(
        "`identity_token_file` is the path of a file inside the folder that \
         BATON_IDENTITY_TOKEN_DIR names, without `..`"
    )]
    Elsewhere,
    /// The file does not exist or is not usable.
    #[error(
        "`identity_token_file` cannot be read: it must be a regular file of at most 16384 bytes \
         inside the folder that BATON_IDENTITY_TOKEN_DIR names"
    )]
    Unreadable,
}

impl IdentityTokens {
    /// Reads files of this folder; `None` reads no files.
    pub fn in_folder(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// Checks whether an account can use this path. The file does not have to exist yet.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self, path: &str) -> Result<(), IdentityTokenError> {
        let full_path = self.full_path(path)?;
        match self.resolve_path(&full_path) {
            Err(LocateError::NotFound) | Ok(_) => Ok(()),
            Err(LocateError::Refused(error)) => Err(error),
        }
    }

    /// Reads the token from the file.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub async fn read(&self, path: &str) -> Result<Secret, IdentityTokenError> {
        let full_path = self.full_path(path)?;
        let tokens = self.clone();
        let reading = tokio::task::spawn_blocking(move || tokens.read_token_blocking(&full_path));
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(read)) => read,
            _ => Err(IdentityTokenError::Unreadable),
        }
    }

    fn read_token_blocking(&self, full_path: &Path) -> Result<Secret, IdentityTokenError> {
        let unreadable = |_| IdentityTokenError::Unreadable;
        let canonical_path = self.resolve_path(full_path).map_err(|missing| match missing {
            LocateError::NotFound => IdentityTokenError::Unreadable,
            LocateError::Refused(error) => error,
        })?;
        let file = std::fs::File::open(canonical_path).map_err(unreadable)?;
        // The file can have been replaced between the two checks.
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Err(IdentityTokenError::Unreadable);
        }
        let mut text = String::new();
        let bytes_max = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
        file.take(bytes_max.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() > BYTES_MAX {
            return Err(IdentityTokenError::Unreadable);
        }
        Ok(Secret::new(text))
    }

    /// The complete path without resolving links; a relative path is below the folder.
    fn full_path(&self, path: &str) -> Result<PathBuf, IdentityTokenError> {
        let folder = self.folder.as_ref().ok_or(IdentityTokenError::NoFolder)?;
        let full_path = folder.join(path);
        let is_invalid_part = |part: Component<'_>| matches!(part, Component::ParentDir);
        let is_inside = full_path.starts_with(folder) && full_path != *folder;
        if path.contains('\0') || !is_inside || Path::new(path).components().any(is_invalid_part) {
            return Err(IdentityTokenError::Elsewhere);
        }
        Ok(full_path)
    }

    /// The file after following all symbolic links, if it is a regular file inside the folder.
    fn resolve_path(&self, full_path: &Path) -> Result<PathBuf, LocateError> {
        let folder =
            self.folder.as_ref().ok_or(LocateError::Refused(IdentityTokenError::NoFolder))?;
        let not_there = |_| LocateError::NotFound;
        let folder = folder.canonicalize().map_err(not_there)?;
        let real = full_path.canonicalize().map_err(not_there)?;
        if !real.starts_with(&folder) {
            return Err(LocateError::Refused(IdentityTokenError::Elsewhere));
        }
        let found = real.metadata().map_err(not_there)?;
        if !found.is_file() || usize::try_from(found.len()).is_ok_and(|len| len > BYTES_MAX) {
            return Err(LocateError::Refused(IdentityTokenError::Unreadable));
        }
        Ok(real)
    }
}

/// Why a file was not found.
enum LocateError {
    NotFound,
    Refused(IdentityTokenError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_small_regular_files_of_the_folder_are_read() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tokens");
        std::fs::create_dir_all(folder.join("..2026_11")).unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        std::fs::write(folder.join("..2026_11/real"), "a token").unwrap();
        std::fs::write(home.path().join("outside"), "a secret").unwrap();
        std::fs::write(folder.join("huge"), "a".repeat(BYTES_MAX + 1)).unwrap();
        std::fs::write(folder.join("full"), "a".repeat(BYTES_MAX)).unwrap();
        std::fs::write(folder.join("binary"), [0xff; 8]).unwrap();
        // Kubernetes projects tokens through links like these.
        std::os::unix::fs::symlink("..2026_11", folder.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/real", folder.join("token")).unwrap();
        std::os::unix::fs::symlink(home.path().join("outside"), folder.join("leads-out")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("zero")).unwrap();
        std::os::unix::fs::symlink("loop", folder.join("loop")).unwrap();
        let tokens = IdentityTokens::in_folder(Some(folder.clone()));
        for path in ["token", "full", "..data/real"] {
            assert_eq!(tokens.check(path), Ok(()), "{path}");
            assert!(tokens.read(path).await.is_ok(), "{path}");
        }
        let full_path = folder.join("token").display().to_string();
        assert_eq!(tokens.read(&full_path).await.unwrap().expose(), "a token");
        for path in [
            "/etc/passwd",
            "/nonexistent",
            "/dev/zero",
            "/proc/self/environ",
            "../outside",
            "folder/../../outside",
            "",
            ".",
            "leads-out",
            "zero",
            "a\0b",
            &home.path().join("outside").display().to_string(),
            &format!("{}/../outside", folder.display()),
        ] {
            assert_eq!(tokens.check(path), Err(IdentityTokenError::Elsewhere), "{path}");
            assert_eq!(
                tokens.read(path).await.err(),
                Some(IdentityTokenError::Elsewhere),
                "{path}"
            );
        }
        for path in ["folder", "huge"] {
            assert_eq!(tokens.check(path), Err(IdentityTokenError::Unreadable), "{path}");
            assert_eq!(
                tokens.read(path).await.err(),
                Some(IdentityTokenError::Unreadable),
                "{path}"
            );
        }
        // A file that appears later can be named; reading it before then reveals nothing about it.
        for path in ["later", "loop", "binary"] {
            assert_eq!(tokens.check(path), Ok(()), "{path}");
            assert_eq!(
                tokens.read(path).await.err(),
                Some(IdentityTokenError::Unreadable),
                "{path}"
            );
        }
        let none = IdentityTokens::default();
        assert_eq!(none.check("token"), Err(IdentityTokenError::NoFolder));
        assert_eq!(none.read(&full_path).await.err(), Some(IdentityTokenError::NoFolder));
    }

    #[tokio::test]
    async fn named_pipe_does_not_block_reading() {
        let home = tempfile::tempdir().unwrap();
        let pipe = home.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()));
        let tokens = IdentityTokens::in_folder(Some(home.path().to_owned()));
        assert_eq!(tokens.check("pipe"), Err(IdentityTokenError::Unreadable));
        assert_eq!(tokens.read("pipe").await.err(), Some(IdentityTokenError::Unreadable));
    }
}
