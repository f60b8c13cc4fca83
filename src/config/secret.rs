//! Secrets in the configuration: a value, and where it came from.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::lookup::{self, Found};
use super::remote::{AwsParameter, AwsSecret, Remote, VaultKey};
use crate::secret::Secret;

/// A secret and where it came from. In the file: the text itself, `{ env: NAME }`, `{ file: PATH }` or
/// `{ credential: NAME }` (one trailing newline is trimmed), or what another system keeps (`{ vault: … }`, `{ aws_secret: … }`, `{ aws_parameter: … }`).
/// It is resolved while the configuration is read, so a missing variable or file is reported with its key, unless
/// [`Sources::leave_secrets`](super::Sources) leaves it; what another system keeps is unknown until somebody fetched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    source: SecretSource,
    /// Empty while unknown. A configuration with unknown secrets is never run: [`Loaded::unread`](super::Loaded), [`Loaded::left`](super::Loaded).
    secret: Secret,
}

/// Where a secret was found; safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the file, an environment override or a flag.
    Inline,
    /// Read from this environment variable.
    Env(String),
    /// Read from this file.
    File(PathBuf),
    /// Read from the file of this name in the folder that systemd gives (`systemd.exec(5)`, `LoadCredential=`).
    Credential(String),
    /// Kept by another system.
    Remote(Remote),
}

/// Where systemd says in which folder a service's credentials are (`systemd.exec(5)`).
pub(crate) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

impl SecretRef {
    /// A secret that was given directly.
    pub fn inline(secret: impl Into<String>) -> Self {
        Self {
            source: SecretSource::Inline,
            secret: Secret::new(secret),
        }
    }

    /// The secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The secret, unless it still has to be fetched.
    pub fn known(&self) -> Option<&Secret> {
        (!self.secret.is_empty()).then_some(&self.secret)
    }

    /// Where it came from.
    pub fn source(&self) -> &SecretSource {
        &self.source
    }

    /// The secret as it is now: a file or credential is read again, everything else is what it was.
    ///
    /// # Errors
    /// The file cannot be read, or is empty.
    pub fn again(&self) -> Result<Secret, String> {
        match &self.source {
            SecretSource::File(file) => not_empty(read_secret(file, "secret file")?, file),
            SecretSource::Credential(name) => {
                let file = credential_now(name)?;
                not_empty(read_secret(&file, "credential")?, &file)
            }
            _ => Ok(self.secret.clone()),
        }
    }

    /// One that nobody looked at.
    fn left(source: SecretSource) -> Self {
        Self {
            source,
            secret: Secret::new(""),
        }
    }

    fn remote(remote: Remote) -> Result<Self, String> {
        if let Some(message) = remote.problem() {
            return Err(message);
        }
        let secret = lookup::remote(&remote).unwrap_or_else(|| Secret::new(""));
        Ok(Self {
            source: SecretSource::Remote(remote),
            secret,
        })
    }
}

/// Shows the source only, never the secret.
impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match &self.source {
            SecretSource::Inline => serializer.serialize_str("(redacted)"),
            SecretSource::Env(name) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("env", name)?;
                map.end()
            }
            SecretSource::File(path) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("file", path)?;
                map.end()
            }
            SecretSource::Credential(name) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("credential", name)?;
                map.end()
            }
            SecretSource::Remote(remote) => {
                // As a map: YAML would write the variant of an enum as a tag.
                let mut map = serializer.serialize_map(Some(1))?;
                match remote {
                    Remote::Vault(key) => map.serialize_entry("vault", key)?,
                    Remote::AwsSecret(secret) => map.serialize_entry("aws_secret", secret)?,
                    Remote::AwsParameter(each) => map.serialize_entry("aws_parameter", each)?,
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a text, { env: NAME }, { file: PATH }, { credential: NAME }, { vault: { path, key } }, { aws_secret: { id } } or { aws_parameter: { name } }"
        )]
        enum Form {
            Inline(String),
            Env(EnvForm),
            File(FileForm),
            Credential(CredentialForm),
            Vault(VaultForm),
            AwsSecret(AwsSecretForm),
            AwsParameter(AwsParameterForm),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct EnvForm {
            env: String,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct FileForm {
            file: PathBuf,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct CredentialForm {
            credential: String,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct VaultForm {
            vault: VaultKey,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct AwsSecretForm {
            aws_secret: AwsSecret,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct AwsParameterForm {
            aws_parameter: AwsParameter,
        }
        let remote = |remote| Self::remote(remote).map_err(de::Error::custom);
        let (source, text) = match Form::deserialize(deserializer)? {
            Form::Inline(text) => {
                if let Some(kind) = reference(&text) {
                    return Err(de::Error::custom(format!(
                        "the secret is the text of a reference to another place; in a variable's name write __{} after the key, and as its value what the reference says",
                        kind.to_ascii_uppercase()
                    )));
                }
                (SecretSource::Inline, text)
            }
            Form::Env(EnvForm { env }) => match lookup::env(&env) {
                Some(Found::Text(_)) | None if lookup::leaves() => {
                    return Ok(Self::left(SecretSource::Env(env)));
                }
                Some(Found::Text(text)) => (SecretSource::Env(env), text),
                Some(Found::Remote(found)) => return remote(found),
                None => {
                    return Err(de::Error::custom(format!(
                        "the environment variable {env} is not set (or is not UTF-8); set it, or name another"
                    )));
                }
            },
            Form::File(FileForm { file }) => {
                if lookup::leaves() {
                    return Ok(Self::left(SecretSource::File(file)));
                }
                let text = read_secret(&file, "secret file").map_err(de::Error::custom)?;
                (SecretSource::File(file), text)
            }
            Form::Credential(CredentialForm { credential }) => {
                if lookup::leaves() {
                    // Where it would be is no secret.
                    credential_file(Some("."), &credential).map_err(de::Error::custom)?;
                    return Ok(Self::left(SecretSource::Credential(credential)));
                }
                let text = credential_now(&credential)
                    .and_then(|file| read_secret(&file, "credential"))
                    .map_err(de::Error::custom)?;
                (SecretSource::Credential(credential), text)
            }
            Form::Vault(form) => return remote(Remote::Vault(form.vault)),
            Form::AwsSecret(form) => return remote(Remote::AwsSecret(form.aws_secret)),
            Form::AwsParameter(form) => return remote(Remote::AwsParameter(form.aws_parameter)),
        };
        if text.is_empty() {
            return Err(de::Error::custom("the secret is empty"));
        }
        Ok(Self {
            source,
            secret: Secret::new(text),
        })
    }
}

/// The kind of reference that a text looks like. A variable holds a text, whatever it looks like, and would pass for
/// the secret itself.
fn reference(text: &str) -> Option<&'static str> {
    const KINDS: [&str; 6] = [
        "env",
        "file",
        "credential",
        "vault",
        "aws_secret",
        "aws_parameter",
    ];
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (key, _) = inner.split_once(':')?;
    let key = key.trim().trim_matches(['"', '\'']);
    KINDS.into_iter().find(|kind| *kind == key)
}

fn not_empty(text: String, file: &Path) -> Result<Secret, String> {
    if text.is_empty() {
        return Err(format!("{} is empty", file.display()));
    }
    Ok(Secret::new(text))
}

/// The file of a credential, in the folder that the environment names.
fn credential_now(name: &str) -> Result<PathBuf, String> {
    match lookup::env(CREDENTIALS_DIRECTORY) {
        Some(Found::Text(folder)) => credential_file(Some(&folder), name),
        _ => credential_file(None, name),
    }
}

/// The file of a credential. Names are those that systemd takes: a file name, nothing that leads elsewhere.
///
/// # Errors
/// What is wrong and what to do.
pub(super) fn credential_file(folder: Option<&str>, name: &str) -> Result<PathBuf, String> {
    let good = !name.is_empty()
        && name.len() <= 255
        && !name.contains(['/', '\0'])
        && !matches!(name, "." | "..");
    if !good {
        return Err(format!(
            "`{name}` is not the name of a credential; write the name that LoadCredential= gives it, without a path"
        ));
    }
    let folder = folder.ok_or_else(|| {
        format!(
            "the credential {name} cannot be found: {CREDENTIALS_DIRECTORY} is not set; systemd sets it for services with LoadCredential={name}:PATH or ImportCredential=, elsewhere use {{ file: PATH }}"
        )
    })?;
    Ok(Path::new(folder).join(name))
}

fn read_secret(file: &Path, what: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the {what} {}: {error}", file.display()))?;
    let trimmed = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(trimmed.to_owned())
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json!({ "type": "string", "minLength": 1 });
        let section = |properties: &serde_json::Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        json_schema!({ "oneOf": [
            { "type": "string", "minLength": 1 },
            { "type": "object", "properties": { "env": { "type": "string" } }, "required": ["env"], "additionalProperties": false },
            { "type": "object", "properties": { "file": { "type": "string" } }, "required": ["file"], "additionalProperties": false },
            { "type": "object", "properties": { "credential": { "type": "string" } }, "required": ["credential"], "additionalProperties": false },
            { "type": "object", "properties": { "vault": section(&json!({ "path": text, "key": text }), &["path", "key"]) }, "required": ["vault"], "additionalProperties": false },
            { "type": "object", "properties": { "aws_secret": section(&json!({ "id": text, "key": text, "version_stage": text }), &["id"]) }, "required": ["aws_secret"], "additionalProperties": false },
            { "type": "object", "properties": { "aws_parameter": section(&json!({ "name": text, "key": text }), &["name"]) }, "required": ["aws_parameter"], "additionalProperties": false }
        ] })
    }
}
