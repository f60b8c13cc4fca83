//! Making connections: to one server, to the primary that Sentinels name, to the nodes of a Cluster.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::aio::{MultiplexedConnection, PubSub};
use deadpool_redis::redis::cluster::{ClusterClientBuilder, TlsMode};
use deadpool_redis::redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, ServerErrorKind, TlsCertificates, Value, cmd,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::error::ConnectError;
use super::link::Link;
use super::settings::{Seed, Servers, Settings, Tls};
use crate::config::session::ClientTls;
use crate::store::Unavailable;
use crate::upstream::connect::{Address, Connector, Io};

/// Makes connections, and remembers for a moment that it could not.
pub(super) struct Dialer {
    pub(super) settings: Settings,
    epoch: AtomicU64,
    failed: Mutex<Option<(Instant, Unavailable)>>,
    down: AtomicBool,
}

impl Dialer {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            epoch: AtomicU64::new(0),
            failed: Mutex::new(None),
            down: AtomicBool::new(false),
        }
    }

    /// Links made before the last [`Self::demoted`] have another epoch.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A server that we took for the primary is none: all links are made anew.
    pub(super) fn demoted(&self) {
        self.renew();
    }

    /// All links are made anew.
    pub(super) fn renew(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Connects; right after a failure it fails again without trying, so that a crowd of requests does not
    /// become a crowd of connections.
    pub(super) async fn dial(&self) -> Result<Link, Unavailable> {
        if let Some((when, error)) = &*self.failed.lock().unwrap_or_else(PoisonError::into_inner)
            && when.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let dialled = self.connect().await;
        let was_down = self.down.swap(dialled.is_err(), Ordering::AcqRel);
        let outcome = match dialled {
            Ok(link) => {
                if was_down {
                    tracing::info!("Redis answers again.");
                }
                Ok(link)
            }
            Err(error) => {
                if !was_down {
                    if error.is_permanent() {
                        tracing::error!(%error, "Redis cannot be used; sessions are unavailable until that is put right.");
                    } else {
                        tracing::warn!(%error, "Redis cannot be reached; sessions are unavailable until it can.");
                    }
                }
                Err(Unavailable::from(error))
            }
        };
        let failure = outcome
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        outcome
    }

    /// Connects, and asks the server something so that a refused password shows.
    pub(super) async fn connect(&self) -> Result<Link, ConnectError> {
        let epoch = self.epoch();
        let connecting = async {
            match &self.settings.servers {
                Servers::Single(connector) => self
                    .direct(connector, epoch, &cmd("PING"))
                    .await
                    .map(|(link, _)| link),
                Servers::Sentinel {
                    nodes,
                    login,
                    master,
                    tls,
                } => {
                    let found = self
                        .primary(nodes, login, master, tls.as_ref(), epoch)
                        .await;
                    found.map(|(link, _)| link)
                }
                Servers::Cluster { seeds, tls } => self.cluster(seeds, tls.as_ref(), epoch).await,
            }
        };
        timeout(self.settings.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(self.too_slow()))
    }

    /// A connection for subscriptions. In a Cluster every node tells what any node was told.
    pub(super) async fn subscriber(&self) -> Result<PubSub, ConnectError> {
        let connecting = async {
            match &self.settings.servers {
                Servers::Single(connector) => self.listen(connector).await,
                Servers::Sentinel {
                    nodes,
                    login,
                    master,
                    tls,
                } => {
                    let epoch = self.epoch();
                    let (_, connector) = self
                        .primary(nodes, login, master, tls.as_ref(), epoch)
                        .await?;
                    self.listen(&connector).await
                }
                Servers::Cluster { seeds, .. } => {
                    let mut last = self.too_slow();
                    for seed in seeds {
                        match self.listen(&seed.connector).await {
                            Ok(listening) => return Ok(listening),
                            Err(error) => last = error,
                        }
                    }
                    Err(last)
                }
            }
        };
        timeout(self.settings.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(self.too_slow()))
    }

    async fn listen(&self, connector: &Connector) -> Result<PubSub, ConnectError> {
        let stream = open(connector).await?;
        let listening = PubSub::new(&self.settings.login, stream).await;
        listening.map_err(|error| ConnectError::driver(&connector.address().to_string(), &error))
    }

    /// Asks all Sentinels at once. Each answer is tried until one leads to a server that says itself that it is
    /// the primary; a Sentinel that was cut off may still name the former one.
    async fn primary(
        &self,
        nodes: &[Connector],
        login: &RedisConnectionInfo,
        master: &str,
        tls: Option<&Tls>,
        epoch: u64,
    ) -> Result<(Link, Connector), ConnectError> {
        let mut answers: FuturesUnordered<_> = nodes
            .iter()
            .map(|node| self.ask_sentinel(node, login, master))
            .collect();
        let mut last = self.too_slow();
        while let Some(answer) = answers.next().await {
            let reached = match answer {
                Ok((host, port)) => {
                    let tls = tls.map(|tls| tls.towards(&host)).transpose()?;
                    let connector = Connector::new(Address::tcp(&host, port), tls);
                    self.direct(&connector, epoch, &cmd("ROLE"))
                        .await
                        .and_then(|(link, role)| {
                            let address = connector.address().to_string();
                            if is_primary(&role) {
                                Ok((link, connector))
                            } else {
                                Err(ConnectError::NotPrimary { address })
                            }
                        })
                }
                Err(error) => Err(error),
            };
            match reached {
                Ok(found) => return Ok(found),
                // What a Sentinel says about the name is worth more than that another one is down.
                Err(_) if matches!(last, ConnectError::UnknownMaster { .. }) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        node: &Connector,
        login: &RedisConnectionInfo,
        master: &str,
    ) -> Result<(String, u16), ConnectError> {
        let (mut connection, _driver) = self.handshake(node, login).await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let found: Option<(String, u16)> = question
            .query_async(&mut connection)
            .await
            .map_err(|error| ConnectError::driver(&node.address().to_string(), &error))?;
        found.ok_or_else(|| ConnectError::UnknownMaster {
            name: master.to_owned(),
        })
    }

    /// One server, with its answer to a first question.
    async fn direct(
        &self,
        connector: &Connector,
        epoch: u64,
        first: &Cmd,
    ) -> Result<(Link, Value), ConnectError> {
        let (mut connection, driver) = self.handshake(connector, &self.settings.login).await?;
        let answer = match first.query_async(&mut connection).await {
            // A user that may not ask this may still do the work.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Value::Nil,
            Err(error) => {
                return Err(ConnectError::driver(
                    &connector.address().to_string(),
                    &error,
                ));
            }
            Ok(answer) => answer,
        };
        Ok((Link::direct(connection, driver, epoch), answer))
    }

    async fn handshake(
        &self,
        connector: &Connector,
        login: &RedisConnectionInfo,
    ) -> Result<(MultiplexedConnection, AbortOnDropHandle<()>), ConnectError> {
        let stream = open(connector).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.command_timeout));
        let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config)
            .await
            .map_err(|error| ConnectError::driver(&connector.address().to_string(), &error))?;
        Ok((connection, AbortOnDropHandle::new(tokio::spawn(driver))))
    }

    async fn cluster(
        &self,
        seeds: &[Seed],
        tls: Option<&ClientTls>,
        epoch: u64,
    ) -> Result<Link, ConnectError> {
        let address = addresses(seeds);
        let failed = |error| ConnectError::driver(&address, &error);
        let mut nodes: Vec<ConnectionInfo> = Vec::new();
        for seed in seeds {
            let (host, port) = (seed.host.clone(), seed.port);
            let addr = match tls {
                Some(_) => ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                },
                None => ConnectionAddr::Tcp(host, port),
            };
            nodes.push(
                addr.into_connection_info()
                    .map_err(failed)?
                    .set_redis_settings(self.settings.login.clone()),
            );
        }
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(self.settings.connect_timeout)
            .response_timeout(self.settings.command_timeout)
            .overall_response_timeout(Some(
                self.settings.connect_timeout + self.settings.command_timeout,
            ))
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(20)
            .max_retry_wait(200);
        if let Some(tls) = tls {
            builder = builder.tls(TlsMode::Secure).certs(certificates(tls)?);
        }
        let mut connection = builder
            .build()
            .map_err(failed)?
            .get_async_connection()
            .await
            .map_err(failed)?;
        if let Err(error) = cmd("PING").query_async::<Value>(&mut connection).await
            && error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm)
        {
            return Err(failed(error));
        }
        Ok(Link::cluster(connection, epoch))
    }

    fn too_slow(&self) -> ConnectError {
        let (address, tls) = match &self.settings.servers {
            Servers::Single(connector) => (connector.address().to_string(), connector.is_tls()),
            Servers::Sentinel { master, tls, .. } => {
                (format!("the primary {master}"), tls.is_some())
            }
            Servers::Cluster { seeds, tls } => (addresses(seeds), tls.is_some()),
        };
        let patience = self.settings.connect_timeout.as_millis();
        // A port without TLS waits for the rest of a command that never comes.
        let guess = if tls { ", nor a TLS handshake" } else { "" };
        ConnectError::Unreachable {
            address,
            problem: format!("it did not answer within {patience} ms{guess}"),
        }
    }
}

fn addresses(seeds: &[Seed]) -> String {
    let all: Vec<String> = seeds
        .iter()
        .map(|seed| seed.connector.address().to_string())
        .collect();
    all.join(", ")
}

async fn open(connector: &Connector) -> Result<Io, ConnectError> {
    connector
        .connect()
        .await
        .map_err(|error| ConnectError::transport(&error))
}

/// `ROLE` begins with `master` on a primary; no answer at all means that we may not ask.
fn is_primary(role: &Value) -> bool {
    let Value::Array(parts) = role else {
        return true;
    };
    match parts.first() {
        Some(Value::BulkString(name)) => name == b"master",
        Some(Value::SimpleString(name)) => name == "master",
        _ => true,
    }
}

/// The files of `tls`, for the Cluster driver, which does its own TLS.
fn certificates(tls: &ClientTls) -> Result<TlsCertificates, ConnectError> {
    let read =
        |key: &str, path: &Option<std::path::PathBuf>| -> Result<Option<Vec<u8>>, ConnectError> {
            let Some(path) = path else { return Ok(None) };
            std::fs::read(path)
                .map(Some)
                .map_err(|error| ConnectError::BadSetting {
                    key: format!("tls.{key}"),
                    problem: format!("cannot read {}: {error}", path.display()),
                })
        };
    let client = read("cert_file", &tls.cert_file)?.zip(read("key_file", &tls.key_file)?);
    Ok(TlsCertificates {
        client_tls: client.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        }),
        root_cert: read("ca_file", &tls.ca_file)?,
    })
}

const PAUSE: Duration = Duration::from_millis(250);
const CLUSTER_RETRIES: u32 = 3;

/// Shared by all that connects.
pub(super) type SharedDialer = Arc<Dialer>;
