//! Real Redis servers on free ports of the loopback interface, ended by their process id when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Client, TlsCertificates, cmd};
use mcp_oidc_proxy::config::session::Redis;
use serde_json::{Value, json};

pub(crate) mod cluster;
pub(crate) mod sentinel;
pub(crate) mod tls;

/// One server.
pub(crate) struct Server {
    child: Option<Child>,
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    mode: &'static [&'static str],
}

impl Server {
    /// A server without a password.
    pub(crate) async fn plain() -> Self {
        Self::start(&[], |port| format!("port {port}\n")).await
    }

    /// Starts a server with lines of configuration; `mode` is for `--sentinel`. Another process may take a free
    /// port before the server does, so it is tried with another one.
    pub(crate) async fn start(
        mode: &'static [&'static str],
        lines: impl Fn(u16) -> String,
    ) -> Self {
        let mut log = String::new();
        for _ in 0..5 {
            let port = free_port();
            let dir = tempfile::tempdir().unwrap();
            let common = format!(
                "bind 127.0.0.1\ndir {0}\nlogfile {0}/log\ndaemonize no\n",
                dir.path().display()
            );
            let persistence = if mode.is_empty() {
                "save \"\"\nappendonly no\n"
            } else {
                ""
            };
            std::fs::write(
                dir.path().join("redis.conf"),
                format!("{common}{persistence}{}", lines(port)),
            )
            .unwrap();
            let mut server = Self {
                child: None,
                dir,
                port,
                mode,
            };
            if server.up().await {
                return server;
            }
            log = server.log();
        }
        panic!("redis-server did not start on five ports:\n{log}");
    }

    /// Ends the process at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the process again, on the same port and with nothing in it.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(
            self.up().await,
            "redis-server did not come back:\n{}",
            self.log()
        );
    }

    /// Holds the process (`true`) or lets it go on: it keeps its connections and answers nothing.
    pub(crate) fn freeze(&self, hold: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let child = self.child.as_ref().expect("the server runs");
        let pid = Pid::from_child(child);
        kill_process(pid, if hold { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A connection of the test's own. `login` is `user:password@`, `:password@` or nothing.
    pub(crate) async fn connection(&self, login: &str) -> MultiplexedConnection {
        self.connection_over(login, None).await
    }

    /// The same, over TLS if there is something to show.
    pub(crate) async fn connection_over(
        &self,
        login: &str,
        tls: Option<TlsCertificates>,
    ) -> MultiplexedConnection {
        let at = format!("{login}127.0.0.1:{}/", self.port);
        let client = match tls {
            Some(tls) => Client::build_with_tls(format!("rediss://{at}"), tls),
            None => Client::open(format!("redis://{at}")),
        };
        client
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap()
    }

    async fn up(&mut self) -> bool {
        let child = Command::new("redis-server")
            .arg(self.dir.path().join("redis.conf"))
            .args(self.mode)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("these tests need redis-server 6.2 or later on the PATH (Debian: apt-get install redis-server): {error}")
        }));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some()))
            {
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
                && self.says_ready()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Somebody else could listen on the port; the log says that it is our server.
    fn says_ready(&self) -> bool {
        let log = self.log();
        log.contains("Ready to accept connections") || log.contains("Sentinel ID is")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `sessions.redis`, as the file gives it. Times are short, so that tests of outages are.
pub(crate) fn config(settings: Value) -> Redis {
    let mut all = json!({ "connect_timeout": "2s", "command_timeout": "1s" });
    let (Value::Object(all_keys), Value::Object(settings)) = (&mut all, settings) else {
        panic!("an object")
    };
    all_keys.extend(settings);
    serde_json::from_value(all).unwrap()
}

/// Every key of a server that has no time to live; there must be none.
pub(crate) async fn keys_without_end(connection: &mut MultiplexedConnection) -> Vec<String> {
    let keys: Vec<String> = cmd("KEYS").arg("*").query_async(connection).await.unwrap();
    let mut endless = Vec::new();
    for key in keys {
        let ttl: i64 = cmd("PTTL").arg(&key).query_async(connection).await.unwrap();
        if ttl == -1 {
            endless.push(key);
        }
    }
    endless
}

/// Everything that is in a server: names and contents.
pub(crate) async fn dump(connection: &mut MultiplexedConnection) -> Vec<(String, Vec<u8>)> {
    let keys: Vec<String> = cmd("KEYS").arg("*").query_async(connection).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let kind: String = cmd("TYPE").arg(&key).query_async(connection).await.unwrap();
        if kind == "zset" {
            let members: Vec<Vec<u8>> = cmd("ZRANGE")
                .arg(&key)
                .arg(0)
                .arg(-1)
                .query_async(connection)
                .await
                .unwrap();
            all.push((key, members.concat()));
        } else {
            let value: Vec<u8> = cmd("GET").arg(&key).query_async(connection).await.unwrap();
            all.push((key, value));
        }
    }
    all
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
