//! The configuration of Redis, taken apart: which servers, with which credentials, over which TLS.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::RedisConnectionInfo;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use url::Url;

use super::error::ConnectError;
use crate::config::session::{ClientTls, Redis};
use crate::upstream::connect::{Address, ClientTlsSetup, Connector, client_config, server_name};

/// What the rest of this module needs to connect.
pub(super) struct Settings {
    pub(super) servers: Servers,
    /// How to present ourselves to a Redis server, with the database.
    pub(super) login: RedisConnectionInfo,
    pub(super) prefix: Box<str>,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    pub(super) pool_size: usize,
}

/// Where the records are.
pub(super) enum Servers {
    /// One server.
    Single(Connector),
    /// The primary that Sentinels name.
    Sentinel {
        nodes: Vec<Connector>,
        login: RedisConnectionInfo,
        master: Box<str>,
        /// TLS towards the primary, whose address is not known yet.
        tls: Option<Tls>,
    },
    /// The nodes of a Cluster.
    Cluster {
        seeds: Vec<Seed>,
        tls: Option<ClientTls>,
    },
}

/// One configured node of a Cluster.
pub(super) struct Seed {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) connector: Connector,
}

/// TLS towards servers whose names are found at run time.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Settings {
    pub(super) fn read(config: &Redis) -> Result<Self, ConnectError> {
        let url = config
            .url
            .as_ref()
            .map(|url| Node::parse(url.secret().expose_secret(), "url"))
            .transpose()?;
        let mut credentials = url
            .as_ref()
            .map(|node| node.credentials.clone())
            .unwrap_or_default();
        if let Some(username) = &config.username {
            credentials.username = Some(username.clone());
        }
        if let Some(password) = &config.password {
            credentials.password = Some(password.secret().expose_secret().to_owned());
        }
        let database = url.as_ref().map_or(0, |node| node.database);
        let settings = config.tls.clone().unwrap_or_default();

        let servers = if let Some(sentinel) = &config.sentinel {
            let mut nodes = Vec::new();
            let mut sentinel_login = Credentials::default();
            for (at, text) in sentinel.nodes.iter().enumerate() {
                let node = Node::parse(text, &format!("sentinel.nodes[{at}]"))?;
                nodes.push(node.connector(&settings)?);
                sentinel_login = sentinel_login.or(node.credentials);
            }
            let explicit = Credentials {
                username: sentinel.username.clone(),
                password: sentinel
                    .password
                    .as_ref()
                    .map(|password| password.secret().expose_secret().to_owned()),
            };
            let tls = url
                .as_ref()
                .is_some_and(|node| node.tls)
                .then(|| Tls::new(&settings))
                .transpose()?;
            Servers::Sentinel {
                nodes,
                login: explicit.or(sentinel_login).info(0),
                master: sentinel.master_name.as_str().into(),
                tls,
            }
        } else if config.cluster.is_empty() {
            let node = url.ok_or_else(|| ConnectError::BadSetting {
                key: "url".to_owned(),
                problem: "there is no address; set url, sentinel or cluster".to_owned(),
            })?;
            Servers::Single(node.connector(&settings)?)
        } else {
            let mut seeds = Vec::new();
            let mut tls = false;
            for (at, text) in config.cluster.iter().enumerate() {
                let node = Node::parse(text, &format!("cluster[{at}]"))?;
                tls |= node.tls;
                seeds.push(Seed {
                    connector: node.connector(&settings)?,
                    host: node.host.clone(),
                    port: node.port,
                });
                credentials = credentials.or(node.credentials);
            }
            if database != 0 {
                return Err(ConnectError::BadSetting {
                    key: "url".to_owned(),
                    problem: "a Cluster has database 0 only; leave the number out".to_owned(),
                });
            }
            if tls && settings.server_name.is_some() {
                return Err(ConnectError::BadSetting {
                    key: "tls.server_name".to_owned(),
                    problem: "the nodes of a Cluster are told apart by name; give each a certificate for its own address".to_owned(),
                });
            }
            Servers::Cluster {
                seeds,
                tls: tls.then_some(settings),
            }
        };

        Ok(Self {
            servers,
            login: credentials.info(database),
            prefix: config.key_prefix.as_str().into(),
            connect_timeout: config.connect_timeout.0,
            command_timeout: config.command_timeout.0,
            pool_size: usize::try_from(config.pool_size)
                .unwrap_or(1)
                .clamp(1, MAX_POOL),
        })
    }
}

impl Tls {
    fn new(tls: &ClientTls) -> Result<Self, ConnectError> {
        let config = client_config(tls, &[]).map_err(|error| ConnectError::BadSetting {
            key: format!("tls.{}", error.key),
            problem: error.message,
        })?;
        Ok(Self {
            config,
            server_name: tls.server_name.clone(),
        })
    }

    /// TLS towards this host.
    pub(super) fn towards(&self, host: &str) -> Result<ClientTlsSetup, ConnectError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let server_name = server_name(name).map_err(|error| ConnectError::BadSetting {
            key: format!("tls.{}", error.key),
            problem: error.message,
        })?;
        Ok(ClientTlsSetup {
            config: Arc::clone(&self.config),
            server_name,
        })
    }
}

/// A `redis://` or `rediss://` URL.
struct Node {
    host: String,
    port: u16,
    tls: bool,
    database: i64,
    credentials: Credentials,
}

#[derive(Clone, Default)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// These, or the others where there are none.
    fn or(self, others: Self) -> Self {
        if self.password.is_some() {
            self
        } else {
            Self {
                username: self.username.or(others.username),
                ..others
            }
        }
    }

    fn info(&self, database: i64) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_db(database)
            .set_skip_set_lib_name();
        if let Some(password) = &self.password {
            info = info.set_password(password);
            if let Some(username) = &self.username {
                info = info.set_username(username);
            }
        }
        info
    }
}

impl Node {
    /// Reads a URL. What is wrong with it is not repeated, for it may hold a password.
    fn parse(text: &str, key: &str) -> Result<Self, ConnectError> {
        Self::read(text).ok_or_else(|| ConnectError::BadAddress {
            key: key.to_owned(),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        let decode = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .ok()
                .map(std::borrow::Cow::into_owned)
        };
        let username = match url.username() {
            "" => None,
            name => Some(decode(name)?),
        };
        let password = match url.password() {
            None | Some("") => None,
            Some(password) => Some(decode(password)?),
        };
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number
                .parse()
                .ok()
                .filter(|number| (0..=MAX_DATABASE).contains(number))?,
        };
        Some(Self {
            host,
            port: url.port().unwrap_or(6379),
            tls,
            database,
            credentials: Credentials { username, password },
        })
    }

    fn connector(&self, tls: &ClientTls) -> Result<Connector, ConnectError> {
        let tls = if self.tls {
            Some(Tls::new(tls)?.towards(&self.host)?)
        } else {
            None
        };
        Ok(Connector::new(Address::tcp(&self.host, self.port), tls))
    }
}

const MAX_POOL: usize = 256;
const MAX_DATABASE: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_of_a_url_are_found() {
        let node = Node::read("rediss://ann:p%40ss@[::1]:6380/3").unwrap();
        assert_eq!(
            (node.host.as_str(), node.port, node.tls, node.database),
            ("[::1]", 6380, true, 3)
        );
        assert_eq!(node.credentials.username.as_deref(), Some("ann"));
        assert_eq!(node.credentials.password.as_deref(), Some("p@ss"));
        let node = Node::read("redis://:secret@cache").unwrap();
        assert_eq!((node.port, node.tls, node.database), (6379, false, 0));
        assert_eq!(node.credentials.username, None);
    }

    proptest! {
        #[test]
        fn advisory_a_bad_url_is_never_repeated(text in "(redis|http|rediss|)(:|//|://)\\PC{0,40}hunter2\\PC{0,20}") {
            if let Err(error) = Node::parse(&text, "url") {
                let said = format!("{error} {error:?}");
                prop_assert!(!said.contains("hunter2"));
            }
        }
    }
}
