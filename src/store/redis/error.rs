//! Why Redis cannot be used, said so that an operator knows what to change.

use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::Unavailable;
use crate::upstream::connect::ConnectError as Transport;

/// Why there is no connection to Redis. No message holds a password or a URL that may hold one.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An address of the configuration is not one.
    #[error(
        "sessions.redis.{key} is not a Redis address; write redis://host:6379/0, or rediss:// for TLS"
    )]
    BadAddress {
        /// The key below `sessions.redis`.
        key: String,
    },
    /// The settings do not go together, or a file of `tls` cannot be used.
    #[error("sessions.redis.{key}: {problem}")]
    BadSetting {
        /// The key below `sessions.redis`.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Nobody answers there.
    #[error(
        "Redis at {address} cannot be reached: {problem}; check the address, and that Redis runs and is not kept away by a firewall"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the try met.
        problem: String,
    },
    /// The server's certificate is not signed by a CA that is trusted.
    #[error(
        "the certificate of Redis at {address} is signed by an unknown CA; name that CA's PEM file in sessions.redis.tls.ca_file"
    )]
    UnknownCa {
        /// Host and port.
        address: String,
    },
    /// TLS was not agreed upon for another reason.
    #[error(
        "no TLS with Redis at {address}: {problem}; check that this port speaks TLS, and sessions.redis.tls"
    )]
    Tls {
        /// Host and port.
        address: String,
        /// What TLS said.
        problem: String,
    },
    /// The user or password was not accepted, or is missing.
    #[error(
        "Redis at {address} refused the password ({answer}); check sessions.redis.username and sessions.redis.password"
    )]
    Credentials {
        /// Host and port.
        address: String,
        /// Redis's own words.
        answer: String,
    },
    /// The ACL user may not do what is needed.
    #[error(
        "the Redis user lacks a permission ({answer}); it needs +get +set +getdel +del +eval +pexpire +zadd +zrem +zrangebyscore +zremrangebyscore +zremrangebyrank +zrange +getrange +publish +subscribe +ping on the keys and channels of sessions.redis.key_prefix"
    )]
    Permission {
        /// Redis's own words.
        answer: String,
    },
    /// No Sentinel knows the name.
    #[error(
        "no Sentinel watches a primary named `{name}`; check sessions.redis.sentinel.master_name against `sentinel monitor`"
    )]
    UnknownMaster {
        /// The configured name.
        name: String,
    },
    /// The server that was named is a replica: a failover is under way.
    #[error(
        "Redis at {address} is not the primary; a failover is under way, or the address names a replica"
    )]
    NotPrimary {
        /// Host and port.
        address: String,
    },
    /// Redis answered with something else.
    #[error("Redis at {address} answered with an error: {answer}")]
    Answer {
        /// Host and port.
        address: String,
        /// Redis's own words.
        answer: String,
    },
}

impl ConnectError {
    /// Whether only another configuration helps, so that trying again is of no use by itself.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::BadAddress { .. }
            | Self::BadSetting { .. }
            | Self::UnknownCa { .. }
            | Self::Credentials { .. }
            | Self::Permission { .. }
            | Self::UnknownMaster { .. } => true,
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::NotPrimary { .. }
            | Self::Answer { .. } => false,
        }
    }

    /// From a connection that was not made.
    pub(super) fn transport(error: &Transport) -> Self {
        match error {
            Transport::Resolve { address, source } => Self::Unreachable {
                address: address.to_string(),
                problem: format!("its name was not resolved ({source})"),
            },
            Transport::Refused { address, source } => Self::Unreachable {
                address: address.to_string(),
                problem: source.to_string(),
            },
            Transport::Tls { address, source } => {
                Self::tls(address.to_string(), &source.to_string())
            }
        }
    }

    fn tls(address: String, problem: &str) -> Self {
        // A CA that was made anew under its old name has another key: its signature does not hold.
        if problem.contains("UnknownIssuer") || problem.contains("BadSignature") {
            Self::UnknownCa { address }
        } else {
            Self::Tls {
                address,
                problem: problem.to_owned(),
            }
        }
    }

    /// From what Redis or the driver said about a command.
    pub(super) fn driver(address: &str, error: &RedisError) -> Self {
        let address = address.to_owned();
        let answer = describe(error);
        if is_refused_password(error) {
            return Self::Credentials { address, answer };
        }
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::Permission { answer },
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::NotPrimary { address },
            // The Cluster driver does its own TLS and tells of it in words only; and a server that refuses our
            // certificate says so after the handshake (RFC 8446 section 4.6.2).
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound if is_about_tls(&answer) => {
                Self::tls(address, &answer)
            }
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Self::Unreachable {
                address,
                problem: answer,
            },
            _ => Self::Answer { address, answer },
        }
    }
}

impl From<ConnectError> for Unavailable {
    fn from(error: ConnectError) -> Self {
        Self(error.to_string().into())
    }
}

fn is_about_tls(answer: &str) -> bool {
    answer.contains("certificate") || answer.contains("fatal alert")
}

/// Whether a user or password is missing or wrong: `WRONGPASS`, `NOAUTH`, and the words of the driver, which the
/// Cluster's wraps into an error of its own.
fn is_refused_password(error: &RedisError) -> bool {
    if error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
    {
        return true;
    }
    let words = error.to_string();
    ["AuthenticationFailed", "WRONGPASS", "NOAUTH"]
        .iter()
        .any(|word| words.contains(word))
}

/// Redis's own words where there are some, else the driver's.
pub(super) fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        _ if error.kind() == ErrorKind::AuthenticationFailed => "WRONGPASS".to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
