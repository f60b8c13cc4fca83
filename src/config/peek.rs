//! What can be said of a configuration without reading its secrets and without checking it: for commands that ask a
//! running proxy and may not read what it may, and to know which files to watch.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_yaml::Value;

use super::layers::Layers;
use super::load::{environment_of, files_of, lay};
use super::secret::{CREDENTIALS_DIRECTORY, credential_file};
use super::{KeyPath, Problems, Sources};

/// The most files that are named; a configuration that names more is watched in part.
const MAX_FILES: usize = 1000;

/// A configuration as its sources write it.
pub struct Peek {
    layers: Layers,
    files: Vec<PathBuf>,
    credentials: Option<String>,
}

impl Peek {
    /// Reads the sources. What is wrong with single values does not matter here.
    ///
    /// # Errors
    /// A file cannot be read, or is no YAML.
    pub fn of(sources: &Sources) -> Result<Self, Problems> {
        let env = environment_of(sources);
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let mut layers = Layers::new();
        let (files, _) = lay(sources, &env, &mut layers, &mut problems, &mut warnings)?;
        Ok(Self {
            layers,
            files,
            credentials: env.get(CREDENTIALS_DIRECTORY).cloned(),
        })
    }

    /// The text at a key path such as `admin.address`, if there is one.
    pub fn text(&self, path: &str) -> Option<&str> {
        let path = KeyPath::parse(path).ok()?;
        self.layers.get(&path)?.as_str()
    }

    /// The files that the configuration consists of and those that it names: secrets, certificates, keys.
    pub fn named_files(&self) -> BTreeSet<PathBuf> {
        let mut found: BTreeSet<PathBuf> = self.files.iter().cloned().collect();
        collect(&self.layers.tree, self.credentials.as_deref(), &mut found);
        found
    }
}

/// The files of the configuration itself, also where they cannot be read.
pub fn files(sources: &Sources) -> Vec<PathBuf> {
    files_of(sources)
}

/// Keys that name a file to be read are `file` and those that end with `_file`.
fn collect(node: &Value, credentials: Option<&str>, found: &mut BTreeSet<PathBuf>) {
    match node {
        Value::Mapping(map) => {
            for (key, value) in map {
                let file = match (key.as_str(), value.as_str()) {
                    (Some("credential"), Some(name)) => credential_file(credentials, name).ok(),
                    // The platform writes this one anew now and then, and it is read when it is needed.
                    (Some("jwt_file"), _) => None,
                    (Some(key), Some(path)) if key == "file" || key.ends_with("_file") => {
                        Some(PathBuf::from(path))
                    }
                    _ => None,
                };
                match file {
                    Some(file) if found.len() < MAX_FILES => {
                        found.insert(file);
                    }
                    Some(_) => {}
                    None => collect(value, credentials, found),
                }
            }
        }
        Value::Sequence(list) => {
            for value in list {
                collect(value, credentials, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path, text: &str) -> Sources {
        let file = folder.join("config.yaml");
        std::fs::write(&file, text).unwrap();
        Sources::file(file)
    }

    #[test]
    fn secrets_need_not_be_readable_to_look_at_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = sources(
            folder.path(),
            "version: 1\nadmin: { address: '127.0.0.1:1' }\noidc: { client_secret: { file: /no/such/file } }\n",
        );
        let peek = Peek::of(&sources).unwrap();
        assert_eq!(peek.text("admin.address"), Some("127.0.0.1:1"));
        assert_eq!(peek.text("metrics.address"), None);
        sources.flags = vec![("admin.address".to_owned(), "unix:/run/a".to_owned())];
        let peek = Peek::of(&sources).unwrap();
        assert_eq!(peek.text("admin.address"), Some("unix:/run/a"));
    }

    #[test]
    fn every_file_that_is_named_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = sources(
            folder.path(),
            "version: 1\nsecret_keys: [{ file: /s/1 }, { credential: root }, { env: HOME }]\n\
             listen: [{ address: 'a:1', tls: { cert_file: /c/1, key_file: /c/2 } }]\n\
             audit: { file: { path: /var/log/a } }\nunknown: { ca_file: /c/3 }\n",
        );
        let own = sources.files[0].clone();
        let found = |sources: &Sources| {
            let found = Peek::of(sources).unwrap().named_files();
            let found = found.into_iter().filter(|file| *file != own);
            found
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&sources), ["/c/1", "/c/2", "/c/3", "/s/1"]);
        sources
            .env
            .insert("CREDENTIALS_DIRECTORY".to_owned(), "/run/cred".to_owned());
        assert!(found(&sources).contains(&"/run/cred/root".to_owned()));
    }

    #[test]
    fn what_is_no_yaml_is_a_problem_and_its_file_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path(), "a: [");
        assert!(Peek::of(&sources).is_err());
        assert_eq!(files(&sources), sources.files);
    }
}
