//! Leaf values of the configuration: durations, sizes and secrets. Each checks itself while it is read.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::secret::Secret;

/// A duration written as `500ms`, `10s`, `5m`, `8h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Reads `500ms`, `10s`, `5m`, `8h`, `30d`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{text}` is not a duration; write a whole number and a unit, as in 500ms, 10s, 5m, 8h or 30d"))?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => {
                return Err(format!(
                    "`{text}` has no unit that is known; write 500ms, 10s, 5m, 8h or 30d"
                ));
            }
        };
        number
            .checked_mul(millis)
            .map(|total| Self(Duration::from_millis(total)))
            .ok_or_else(|| format!("`{text}` is too long a time"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
        ] {
            if millis >= size && millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

/// A size in bytes, written as `8192`, `64KiB` or `4MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `8192`, `64KiB`, `4MiB`, `1GiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let wrong =
            || format!("`{text}` is not a size; write bytes or a unit, as in 8192, 64KiB or 4MiB");
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }

    /// As a `usize`, saturating.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as 8192, 64KiB or 4MiB")]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => Self::parse(&text).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" }
        ] })
    }
}

/// A secret and where it came from. In the file: the text itself, `{ env: NAME }`, `{ file: PATH }` or
/// `{ credential: NAME }` (one trailing newline is trimmed). It is resolved while the configuration is read, so a missing variable
/// or file is reported with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    source: SecretSource,
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

    /// Where it came from.
    pub fn source(&self) -> &SecretSource {
        &self.source
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
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a text, { env: NAME }, { file: PATH } or { credential: NAME }"
        )]
        enum Form {
            Inline(String),
            Env(EnvForm),
            File(FileForm),
            Credential(CredentialForm),
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
        let (source, text) = match Form::deserialize(deserializer)? {
            Form::Inline(text) => (SecretSource::Inline, text),
            Form::Env(EnvForm { env }) => match environment::get(&env) {
                Some(text) => (SecretSource::Env(env), text),
                None => {
                    return Err(de::Error::custom(format!(
                        "the environment variable {env} is not set (or is not UTF-8); set it, or name another"
                    )));
                }
            },
            Form::File(FileForm { file }) => {
                let text = read_secret(&file, "secret file").map_err(de::Error::custom)?;
                (SecretSource::File(file), text)
            }
            Form::Credential(CredentialForm { credential }) => {
                let folder = environment::get(CREDENTIALS_DIRECTORY);
                let text = credential_file(folder.as_deref(), &credential)
                    .and_then(|file| read_secret(&file, "credential"))
                    .map_err(de::Error::custom)?;
                (SecretSource::Credential(credential), text)
            }
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

/// The environment that `{ env: NAME }` is looked up in while a configuration is read. serde has no way to hand
/// a value to a derived `Deserialize`, so it is set for the thread around one read.
pub(super) mod environment {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static CURRENT: RefCell<Option<BTreeMap<String, String>>> = const { RefCell::new(None) };
    }

    /// Reads with this environment in place of the process's.
    pub(in crate::config) fn with<T>(
        env: &BTreeMap<String, String>,
        read: impl FnOnce() -> T,
    ) -> T {
        struct Restore(Option<BTreeMap<String, String>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.with(|current| current.replace(self.0.take()));
            }
        }
        let _restore = Restore(CURRENT.with(|current| current.replace(Some(env.clone()))));
        read()
    }

    pub(super) fn get(name: &str) -> Option<String> {
        CURRENT.with(|current| match &*current.borrow() {
            Some(env) => env.get(name).cloned(),
            None => std::env::var(name).ok(),
        })
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "type": "string", "minLength": 1 },
            { "type": "object", "properties": { "env": { "type": "string" } }, "required": ["env"], "additionalProperties": false },
            { "type": "object", "properties": { "file": { "type": "string" } }, "required": ["file"], "additionalProperties": false },
            { "type": "object", "properties": { "credential": { "type": "string" } }, "required": ["credential"], "additionalProperties": false }
        ] })
    }
}
