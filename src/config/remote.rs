//! Secrets that another system keeps: how the configuration names them, and what is known of them so far.
//!
//! Reading the configuration never asks anybody. It notes which of these secrets it needs, and takes their values from
//! [`RemoteValues`] when somebody has fetched them (`secrets` does) and reads the configuration once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

use super::env;
use super::layers::Layers;
use super::path::{KeyPath, Origin};
use super::problem::Problem;
use crate::secret::Secret;

/// A secret that is kept elsewhere, and how it is asked for. Safe to print: names only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    /// In Vault's key-value store.
    Vault(VaultKey),
    /// In AWS Secrets Manager.
    AwsSecret(AwsSecret),
    /// In the parameter store of AWS Systems Manager.
    AwsParameter(AwsParameter),
}

/// One value in Vault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultKey {
    /// Path of Vault's HTTP API below `/v1/`: `secret/data/mcp` in version 2 of the key-value store, `secret/mcp` in
    /// version 1.
    pub path: String,
    /// The key in that secret.
    pub key: String,
}

/// One value in AWS Secrets Manager.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSecret {
    /// Name or ARN.
    pub id: String,
    /// The key, where the secret is a JSON object. Default: the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The version by its stage. Default: `AWSCURRENT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_stage: Option<String>,
}

/// One value in the parameter store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsParameter {
    /// Name or ARN; `name:3` and `name:label` choose a version.
    pub name: String,
    /// The key, where the parameter is a JSON object. Default: the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Remote {
    /// Who keeps it: `vault`, `aws_secret` or `aws_parameter`.
    pub fn keeper(&self) -> &'static str {
        match self {
            Self::Vault(_) => "vault",
            Self::AwsSecret(_) => "aws_secret",
            Self::AwsParameter(_) => "aws_parameter",
        }
    }

    /// What is wrong with how it is named; `None` when it can be asked for.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Vault(VaultKey { path, key }) => {
                vault_path(path).or_else(|| key.is_empty().then(|| "`key` is empty".to_owned()))
            }
            Self::AwsSecret(AwsSecret { id, .. }) => aws_name("id", id),
            Self::AwsParameter(AwsParameter { name, .. }) => aws_name("name", name),
        }
    }
}

/// `vault secret/data/mcp, key client_secret`: for logs and messages.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self {
            Self::Vault(VaultKey { path, key }) => {
                write!(f, "vault {path}")?;
                Some(key)
            }
            Self::AwsSecret(AwsSecret {
                id,
                key,
                version_stage,
            }) => {
                write!(f, "aws_secret {id}")?;
                if let Some(stage) = version_stage {
                    write!(f, ", version {stage}")?;
                }
                key.as_ref()
            }
            Self::AwsParameter(AwsParameter { name, key }) => {
                write!(f, "aws_parameter {name}")?;
                key.as_ref()
            }
        };
        key.map_or(Ok(()), |key| write!(f, ", key {key}"))
    }
}

/// A path of the API: segments of plain characters, so that it can stand in an address as it is.
fn vault_path(path: &str) -> Option<String> {
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.~@:+=".contains(&b))
    };
    (!path.split('/').all(plain) || path.len() > 512).then(|| {
        format!("`{path}` is not a path of Vault's API; write it without a slash at its ends and without /v1, as in secret/data/mcp")
    })
}

fn aws_name(field: &str, name: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_graphic();
    (name.is_empty() || name.len() > 2048 || !name.bytes().all(good))
        .then(|| format!("`{field}` is empty, too long, or holds what a name in AWS cannot; write a name or an ARN"))
}

/// Values that were fetched. Never shown.
pub type RemoteValues = BTreeMap<Remote, Secret>;

/// Secrets of other systems that one reading of the configuration came across.
pub(super) type Needed = BTreeSet<Remote>;

/// Variables that the `vault:` block fills (`vault.secrets[]`), as if they stood in the environment.
pub(super) type Given = BTreeMap<String, Remote>;

/// Reads `vault.secrets` from the layers, before they are read as a whole: what it gives decides what the environment
/// says. A variable that the process has wins.
pub(super) fn given(
    layers: &Layers,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Given {
    let vault = KeyPath::root().key("vault");
    let list = vault.key("secrets");
    let off = layers.get(&vault.key("enabled")).and_then(Value::as_bool) == Some(false);
    let entries = layers.get(&list).and_then(Value::as_sequence);
    let mut given = Given::new();
    for (index, entry) in entries.filter(|_| !off).into_iter().flatten().enumerate() {
        let at = list.index(index);
        // What is missing or of a wrong kind is told when the whole is read.
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let (Some(path), Some(key), Some(name)) = (text("path"), text("key"), text("env")) else {
            continue;
        };
        if env.contains_key(name) {
            warnings.push(format!(
                "{at} is not used: the environment has {name} already; unset it there, or remove the entry"
            ));
            continue;
        }
        let remote = Remote::Vault(VaultKey {
            path: path.to_owned(),
            key: key.to_owned(),
        });
        if given.insert(name.to_owned(), remote).is_some() {
            problems.push(Problem {
                path: at.key("env").to_string(),
                origin: layers.origins.near(&at.key("env")),
                message: format!("{name} is given twice; remove one of the entries"),
            });
        }
    }
    given
}

/// Lays the names of `given` over the files, as the environment is afterwards.
pub(super) fn apply(given: &Given, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let origin = layers
        .origins
        .near(&KeyPath::root().key("vault").key("secrets"));
    for name in given.keys() {
        if let Err(message) = give(name, layers, &origin) {
            problems.push(Problem {
                path: "vault.secrets".to_owned(),
                origin: origin.clone(),
                message,
            });
        }
    }
}

/// Takes the secret of a variable that `vault.secrets` fills. A name that means no key is for `{ env: NAME }` alone.
fn give(name: &str, layers: &mut Layers, origin: &Origin) -> Result<(), String> {
    let source = env::secret_source(name);
    let generated = name
        .strip_prefix(env::PREFIX)
        .map(env::path_of)
        .transpose()?;
    if let Some((path, _)) = generated.as_ref().filter(|(_, shape)| shape.is_secret()) {
        return layers.set(path, source, origin);
    }
    if let Some(short) = env::SECRET.iter().find(|short| short.name == name) {
        return layers.set(&KeyPath::parse(short.key)?, source, origin);
    }
    let (list, front, value) = match name {
        env::MCP_API_KEY => {
            let mut key = Mapping::new();
            key.insert("name".into(), "api-key".into());
            key.insert("key".into(), source);
            ("auth.api_keys", false, Value::Mapping(key))
        }
        env::MCP_ENCRYPTION_KEY => ("secret_keys", true, source),
        _ if generated.is_some() || env::short_names().any(|short| short.name == name) => {
            return Err(format!(
                "{name} holds no secret, and only secrets are taken from Vault; set its key in the file"
            ));
        }
        _ => return Ok(()),
    };
    if env::refers_to(layers, list, name) {
        return Ok(());
    }
    layers.insert(&KeyPath::parse(list)?, front, value, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(path: &str, key: &str) -> Remote {
        Remote::Vault(VaultKey {
            path: path.to_owned(),
            key: key.to_owned(),
        })
    }

    #[test]
    fn paths_that_leave_their_place_are_refused() {
        assert_eq!(vault("secret/data/mcp-proxy/oidc", "k").problem(), None);
        for path in [
            "", "/a", "a/", "a//b", "a/../b", "a/./b", "a?b", "a b", "a/%2e", "v1\n",
        ] {
            assert!(vault(path, "k").problem().is_some(), "{path:?}");
        }
        assert!(vault("a/b", "").problem().is_some());
    }

    #[test]
    fn they_are_told_by_names_alone() {
        let secret = Remote::AwsSecret(AwsSecret {
            id: "mcp/oidc".to_owned(),
            key: Some("secret".to_owned()),
            version_stage: Some("AWSPREVIOUS".to_owned()),
        });
        assert_eq!(
            secret.to_string(),
            "aws_secret mcp/oidc, version AWSPREVIOUS, key secret"
        );
        assert_eq!(
            vault("secret/data/a", "b").to_string(),
            "vault secret/data/a, key b"
        );
        assert_eq!(
            serde_json::to_string(&vault("p", "k")).unwrap(),
            r#"{"vault":{"path":"p","key":"k"}}"#
        );
    }
}
