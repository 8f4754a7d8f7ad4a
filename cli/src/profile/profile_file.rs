//! The file of profiles, `$XDG_CONFIG_HOME/baton/config.toml`, which only its owner can read.

use crate::CliError;
use baton_domain::secret::Secret;
use etcetera::BaseStrategy as _;
use etcetera::base_strategy::Xdg;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The content of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileFile {
    /// The name of the current profile.
    pub(crate) current: Option<String>,
    /// All profiles by name.
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One deployment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The address of its admin API.
    pub(crate) url: String,
    /// Its admin token, unless the token comes from another place.
    pub(crate) token: Option<Secret>,
}

/// The path of the file, by the XDG base directory specification.
pub(crate) fn path() -> Result<PathBuf, CliError> {
    let folders = Xdg::new().map_err(|_| {
        CliError::Failed(
            "no home folder was found; set HOME or XDG_CONFIG_HOME for the profiles".into(),
        )
    })?;
    Ok(folders.config_dir().join("baton").join("config.toml"))
}

impl ProfileFile {
    /// Reads the file. A missing file means no profiles.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::Failed(format!("{shown}: {error}"))),
        };
        let mode = std::fs::metadata(path).map_err(CliError::from_cause)?.permissions().mode();
        if mode & 0o077 != 0 {
            let message = format!(
                "other users can read {shown}, which can contain tokens; run `chmod 600 {shown}`"
            );
            return Err(CliError::Failed(message));
        }
        // The parser's own message would quote the line, which can hold a token.
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            CliError::Failed(format!("{shown}, line {line}: {}", error.message()))
        })
    }

    /// Finds the profile of that name.
    pub(crate) fn find(&self, name: &str) -> Result<&Profile, CliError> {
        self.profiles.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            CliError::Usage(format!("the profile {name} does not exist (known profiles: {known})"))
        })
    }

    /// Replaces the file, with mode 0600. After a crash, either the old or the new file is there.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CliError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let failed =
            |error: std::io::Error| CliError::Failed(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        // A temporary file is created with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(self.to_toml().as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Written by hand, because a secret cannot be serialized.
    fn to_toml(&self) -> String {
        let mut all = toml::Table::new();
        if let Some(current) = &self.current {
            all.insert("current".into(), current.as_str().into());
        }
        let mut profiles = toml::Table::new();
        for (name, profile) in &self.profiles {
            let mut fields = toml::Table::new();
            fields.insert("url".into(), profile.url.as_str().into());
            if let Some(token) = &profile.token {
                fields.insert("token".into(), token.expose().into());
            }
            profiles.insert(name.clone(), fields.into());
        }
        all.insert("profiles".into(), profiles.into());
        all.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile_file() -> ProfileFile {
        let profile = |url: &str, token: Option<&str>| Profile {
            url: url.into(),
            token: token.map(|token| Secret::new(token.into())),
        };
        let profiles = [
            ("local".to_owned(), profile("http://127.0.0.1:8081", None)),
            ("a \"prod\"".to_owned(), profile("https://a", Some("bta_x"))),
        ];
        ProfileFile { current: Some("local".into()), profiles: profiles.into() }
    }

    #[test]
    fn profile_file_survives_a_round_trip_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baton/config.toml");
        assert!(ProfileFile::read(&path).ok().unwrap().profiles.is_empty());
        profile_file().write(&path).ok().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = ProfileFile::read(&path).ok().unwrap();
        assert_eq!(read.to_toml(), profile_file().to_toml());
        assert_eq!(read.find("a \"prod\"").ok().unwrap().url, "https://a");
        assert_eq!(read.find("other").err().map(|fail| fail.code()), Some(2));
    }

    #[test]
    fn insecure_or_invalid_file_is_refused_without_showing_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        profile_file().write(&path).ok().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let message = ProfileFile::read(&path).err().unwrap().to_string();
        assert!(message.contains("chmod 600"), "{message}");
        std::fs::write(&path, "[profiles.a]\nurl = \"u\"\ntoken = bta_secret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let message = ProfileFile::read(&path).err().unwrap().to_string();
        assert!(message.contains("line 3") && !message.contains("bta_secret"), "{message}");
    }
}
