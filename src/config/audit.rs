//! `audit`: the record of who did what, chained and signed.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::{ByteSize, SecretRef, Span};

/// The audit log: a record of logins, tokens, decisions, calls and administration that shows when it was changed.
/// Off until `sink` says where it goes. A change takes a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Where records go: `file`, `stdout`, `syslog` or `journald`. Unset: there is no audit log.
    pub sink: Option<SinkKind>,
    /// The file, when `sink` is `file`.
    pub file: Option<AuditFile>,
    /// The syslog server, when `sink` is `syslog`.
    pub syslog: Syslog,
    /// `native` (described in docs/audit.md) or `ocsf` (a subset of OCSF 1.3.0).
    pub format: AuditFormat,
    /// What happens to requests while records cannot be written: `block` lets them wait for `max_wait`, then 503;
    /// `drop` lets them through and counts the records that are lost; `fail_closed` answers 503 at once, and forwards
    /// a request only after the record of its decision was written.
    pub when_full: WhenFull,
    /// How long a request waits for room or for its record to be written, before 503.
    pub max_wait: Span,
    /// Records that may wait for the sink.
    pub queue: u32,
    /// Ed25519 seed in base64, 32 bytes (`mcp-oidc-proxy keygen --audit` prints one and its public key), with which a
    /// checkpoint is signed each second. Unset: the chain is not signed, and whoever may write the file can make
    /// another.
    pub signing_key: Option<SecretRef>,
    /// What of a person is written besides issuer and subject.
    pub identity: AuditIdentity,
    /// Arguments of tools and prompts.
    pub arguments: AuditArguments,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            sink: None,
            file: None,
            syslog: Syslog::default(),
            format: AuditFormat::Native,
            when_full: WhenFull::Block,
            max_wait: Span::secs(2),
            queue: 8192,
            signing_key: None,
            identity: AuditIdentity::default(),
            arguments: AuditArguments::default(),
        }
    }
}

/// Where records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A file that is rotated.
    File,
    /// Standard output, beside the access records.
    Stdout,
    /// A syslog server (RFC 5424).
    Syslog,
    /// The journal of systemd.
    Journald,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditFormat {
    /// Our own schema.
    Native,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
}

/// What happens while records cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Requests wait, for a while.
    Block,
    /// Records are lost, and counted.
    Drop,
    /// Requests are refused.
    FailClosed,
}

/// A file that is rotated.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditFile {
    /// The file that is written to. Full ones get a number behind their name (`audit.jsonl.000001`).
    pub path: PathBuf,
    /// Size from which the next file is begun.
    #[serde(default = "default_rotate")]
    pub rotate_size: ByteSize,
    /// How many full files are kept; older ones are removed, which is itself recorded. `0`: all.
    #[serde(default)]
    pub keep: u32,
    /// Permissions of new files in octal: `0600`, or `0640` for a group that reads.
    #[serde(default)]
    pub mode: FileMode,
}

fn default_rotate() -> ByteSize {
    ByteSize(100 << 20)
}

/// Permissions of a file, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl FileMode {
    /// Reads `0600` and its like. The owner must be able to read, and nobody else to write.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let mode = u32::from_str_radix(digits, 8).map_err(|_| {
            format!("`{text}` is not a file mode; write it in octal, as in \"0600\"")
        })?;
        match mode {
            0o600 | 0o640 => Ok(Self(mode)),
            _ => Err(format!(
                "the mode {text} lets others write or everybody read; write 0600, or 0640 for a group that reads"
            )),
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a file mode such as \"0600\"")]
        enum Form {
            /// YAML reads `600` as a decimal number, where the digits are meant, and `0o600` as what it is.
            Number(u32),
            Text(String),
        }
        let text = match Form::deserialize(deserializer)? {
            Form::Number(mode @ (0o600 | 0o640)) => return Ok(Self(mode)),
            Form::Number(digits) => digits.to_string(),
            Form::Text(text) => text,
        };
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0?6[04]0$" })
    }
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Syslog {
    /// `unix:/dev/log`, `udp://host:514` or `tcp://host:601`. What is sent by UDP may be lost unseen.
    pub address: String,
    /// The facility of the records.
    pub facility: Facility,
}

impl Default for Syslog {
    fn default() -> Self {
        Self {
            address: "unix:/dev/log".to_owned(),
            facility: Facility::Authpriv,
        }
    }
}

/// A syslog facility (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Facility {
    /// 1.
    User,
    /// 3.
    Daemon,
    /// 4.
    Auth,
    /// 10.
    Authpriv,
    /// 13, "log audit".
    Audit,
    /// 16.
    Local0,
    /// 17.
    Local1,
    /// 18.
    Local2,
    /// 19.
    Local3,
    /// 20.
    Local4,
    /// 21.
    Local5,
    /// 22.
    Local6,
    /// 23.
    Local7,
}

impl Facility {
    /// The number.
    pub fn number(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Authpriv => 10,
            Self::Audit => 13,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

/// What of a person is written besides issuer and subject, which are always there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditIdentity {
    /// The e-mail address.
    pub email: bool,
    /// The groups.
    pub groups: bool,
}

/// Arguments of tools and prompts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditArguments {
    /// Write them at all. They are what people hand to tools: mind what they may hold.
    pub include: bool,
    /// Further patterns (regular expressions, without look-around) of what is blanked out, besides the built-in ones
    /// for secrets and personal data.
    pub redact: Vec<String>,
    /// Further names of arguments whose values are blanked out whole; upper and lower case are the same.
    pub redact_keys: Vec<String>,
    /// Longest text of one call's arguments; of longer ones only the size is written.
    pub max_bytes: ByteSize,
}

impl Default for AuditArguments {
    fn default() -> Self {
        Self {
            include: false,
            redact: Vec::new(),
            redact_keys: Vec::new(),
            max_bytes: ByteSize(4 << 10),
        }
    }
}

impl Audit {
    /// The seed of the signing key; `None` when there is none, or it is not 32 bytes of base64.
    pub fn seed(&self) -> Option<zeroize::Zeroizing<[u8; 32]>> {
        let key = self.signing_key.as_ref()?;
        let bytes = super::derived::decode_key(key.secret().expose_secret())?;
        let bytes = zeroize::Zeroizing::new(bytes);
        bytes
            .as_slice()
            .try_into()
            .ok()
            .map(zeroize::Zeroizing::new)
    }
}

/// Where a syslog server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A datagram socket of this machine, or a stream one where that is what it is.
    Unix(PathBuf),
    /// `host:port`; one datagram for each record (RFC 5426).
    Udp(String),
    /// `host:port`; records are counted octets (RFC 6587 section 3.4.1).
    Tcp(String),
}

impl SyslogAddress {
    /// Reads `unix:/dev/log`, `udp://host:514` and `tcp://host:601`.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = |rest: &str| match super::derived::Address::parse(rest) {
            Ok(super::derived::Address::Tcp { port, .. }) if port > 0 => Ok(rest.to_owned()),
            _ => Err(format!(
                "`{text}` is not the address of a syslog server; write unix:/dev/log, udp://host:514 or tcp://host:601"
            )),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if path.starts_with('/') {
                return Ok(Self::Unix(path.into()));
            }
            return Err(format!(
                "`{text}` is not an absolute path; write unix:/dev/log"
            ));
        }
        if let Some(rest) = text.strip_prefix("udp://") {
            return place(rest).map(Self::Udp);
        }
        place(text.strip_prefix("tcp://").unwrap_or_default()).map(Self::Tcp)
    }
}

/// Compiles a pattern of `arguments.redact`. The engine is linear in the length of the text, whatever the pattern.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str) -> Result<regex::Regex, String> {
    const MAX_COMPILED: usize = 1 << 20;
    let compiled = regex::RegexBuilder::new(text)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the pattern is too large once compiled; use smaller repetitions".to_owned()
            }
            error => format!(
                "this is not a pattern: {}",
                error.to_string().lines().last().unwrap_or_default().trim()
            ),
        })?;
    if compiled.is_match("") {
        return Err("the pattern matches the empty text, so it would match everywhere; make it ask for something".to_owned());
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_however_they_are_written() {
        let read = |yaml: &str| serde_yaml::from_str::<FileMode>(yaml);
        for (yaml, mode) in [
            ("\"0600\"", 0o600),
            ("0640", 0o640),
            ("640", 0o640),
            ("0o600", 0o600),
        ] {
            assert_eq!(read(yaml).unwrap(), FileMode(mode), "{yaml}");
        }
        for bad in ["0644", "0660", "0000", "rw", "\"0o9\""] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(FileMode(0o640).to_string(), "0640");
    }

    #[test]
    fn addresses_of_syslog_servers_are_read() {
        assert_eq!(
            SyslogAddress::parse("unix:/dev/log"),
            Ok(SyslogAddress::Unix("/dev/log".into()))
        );
        assert_eq!(
            SyslogAddress::parse("udp://log.example:514"),
            Ok(SyslogAddress::Udp("log.example:514".to_owned()))
        );
        assert_eq!(
            SyslogAddress::parse("tcp://[::1]:601"),
            Ok(SyslogAddress::Tcp("[::1]:601".to_owned()))
        );
        for bad in [
            "",
            "/dev/log",
            "unix:dev/log",
            "udp://host",
            "tcp://host:0",
            "tls://host:6514",
        ] {
            assert!(SyslogAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_have_bounds() {
        assert!(pattern("EMP-[0-9]{6}").is_ok());
        for bad in ["(", "a*", "(?=x)x", "(a{1000}){1000}"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
