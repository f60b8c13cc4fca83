//! Sockets that the service manager opened for us (`sd_listen_fds(3)`): they outlive us, so a restart refuses nobody.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Config;
use crate::config::listen::Listener;

/// Where the names of the sockets are, parted by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// Sockets that were passed to the process, by what they are for.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For the listeners without TLS, in the order of the configuration.
    http: Vec<InheritedSocket>,
    /// For those with TLS.
    https: Vec<InheritedSocket>,
    metrics: Option<InheritedSocket>,
    admin: Option<InheritedSocket>,
}

/// A socket that listens.
#[derive(Debug)]
pub enum InheritedSocket {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket. Its file belongs to who made it.
    Unix(UnixListener),
}

/// Why sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The name of a socket says nothing to us.
    #[error(
        "a socket named `{0}` was passed, which fits nothing; name it http, https, metrics or admin with FileDescriptorName= in the socket unit"
    )]
    UnknownName(String),
    /// More than one where there can be one.
    #[error("more than one socket named `{0}` was passed; there is one such listener")]
    Twice(&'static str),
    /// It is no socket, or one of another kind.
    #[error(
        "the socket named `{name}` is not a TCP or unix stream socket that listens ({why}); use ListenStream= and Accept=no in the socket unit"
    )]
    WrongKind {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration has no listener for it.
    #[error(
        "{passed} socket(s) named `{name}` were passed, and the configuration has {there} {what}; {mend}"
    )]
    NoPlace {
        /// The name.
        name: &'static str,
        /// How many.
        passed: usize,
        /// How many listeners there are.
        there: usize,
        /// What is missing.
        what: &'static str,
        /// What to do.
        mend: &'static str,
    },
}

/// Which listener of the configuration a socket is for: whether it speaks TLS, and its number among those that do,
/// or do not.
pub(super) type Role = (bool, usize);

impl Inherited {
    /// Takes the sockets that the environment names; those of a parent process do not count. To be called once,
    /// before there are other threads: it takes the names out of the environment.
    ///
    /// # Errors
    /// A socket is of no use, or nobody knows for what.
    pub fn take() -> Result<Self, InheritError> {
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut this = Self::default();
        for index in 0..sockets.len() {
            let name = names.split(':').nth(index).unwrap_or_default().to_owned();
            let wrong = |why: String| InheritError::WrongKind {
                name: name.clone(),
                why,
            };
            let socket = match sockets.take_tcp_listener(index) {
                Ok(Some(socket)) => InheritedSocket::Tcp(socket),
                _ => match sockets.take_unix_listener(index) {
                    Ok(Some(socket)) => InheritedSocket::Unix(socket),
                    Ok(None) => return Err(wrong("it is missing".to_owned())),
                    Err(error) => return Err(wrong(error.to_string())),
                },
            };
            if !socket.listens() {
                return Err(wrong("it does not listen".to_owned()));
            }
            this.add(name, socket)?;
        }
        Ok(this)
    }

    pub(super) fn add(
        &mut self,
        name: String,
        socket: InheritedSocket,
    ) -> Result<(), InheritError> {
        let (place, name) = match &*name {
            "http" => {
                self.http.push(socket);
                return Ok(());
            }
            "https" => {
                self.https.push(socket);
                return Ok(());
            }
            "metrics" => (&mut self.metrics, "metrics"),
            "admin" => (&mut self.admin, "admin"),
            _ => return Err(InheritError::UnknownName(name)),
        };
        match place.replace(socket) {
            None => Ok(()),
            Some(_) => Err(InheritError::Twice(name)),
        }
    }

    /// Whether the configuration has a place for each of them.
    ///
    /// # Errors
    /// One that nobody would listen at: whoever connects to it would wait for ever.
    pub fn fits(&self, config: &Config) -> Result<(), InheritError> {
        self.traffic_fits(config)?;
        if self.metrics.is_some() && !config.metrics.enabled {
            return Err(InheritError::NoPlace {
                name: "metrics",
                passed: 1,
                there: 0,
                what: "metrics listener",
                mend: "set metrics.enabled, or remove the socket",
            });
        }
        if let Some(InheritedSocket::Unix(_)) = self.metrics {
            return Err(InheritError::WrongKind {
                name: "metrics".to_owned(),
                why: "metrics are served over TCP".to_owned(),
            });
        }
        if self.admin.is_some() && config.admin.address.is_none() {
            return Err(InheritError::NoPlace {
                name: "admin",
                passed: 1,
                there: 0,
                what: "admin listener",
                mend: "set admin.address to the socket's, so that commands find it, or remove the socket",
            });
        }
        Ok(())
    }

    /// The same for what a reload can change.
    pub(super) fn traffic_fits(&self, config: &Config) -> Result<(), InheritError> {
        let tls = config.listen.iter().filter(|each| each.tls.is_some());
        let tls = tls.count();
        for (name, passed, there, what) in [
            (
                "http",
                self.http.len(),
                config.listen.len() - tls,
                "listeners without TLS",
            ),
            ("https", self.https.len(), tls, "listeners with TLS"),
        ] {
            if passed > there {
                return Err(InheritError::NoPlace {
                    name,
                    passed,
                    there,
                    what,
                    mend: "add such a listener to `listen`, or remove the socket",
                });
            }
        }
        Ok(())
    }

    /// The socket of the metrics listener.
    pub fn take_metrics(&mut self) -> Option<InheritedSocket> {
        self.metrics.take()
    }

    /// The socket of the admin listener.
    pub fn take_admin(&mut self) -> Option<InheritedSocket> {
        self.admin.take()
    }

    /// A handle to the socket for a listener. The socket stays here too: a listener that a reload takes away and
    /// another brings back finds it again.
    pub(super) fn of(&self, (tls, number): Role) -> io::Result<Option<InheritedSocket>> {
        let sockets = if tls { &self.https } else { &self.http };
        sockets.get(number).map(InheritedSocket::copy).transpose()
    }
}

/// The roles of listeners, in their order.
pub(super) fn roles(listeners: &[Listener]) -> Vec<Role> {
    let mut counts = [0, 0];
    let roles = listeners.iter().map(|listener| {
        let tls = listener.tls.is_some();
        let count = &mut counts[usize::from(tls)];
        *count += 1;
        (tls, *count - 1)
    });
    roles.collect()
}

impl InheritedSocket {
    fn listens(&self) -> bool {
        let socket = match self {
            Self::Tcp(socket) => SockRef::from(socket),
            Self::Unix(socket) => SockRef::from(socket),
        };
        socket.is_listener().unwrap_or(false)
    }

    fn copy(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> InheritedSocket {
        InheritedSocket::Tcp(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn config(text: &str) -> Config {
        serde_yaml::from_str(&format!("version: 1\n{text}")).unwrap()
    }

    fn of(names: &[&str]) -> Result<Inherited, InheritError> {
        let mut inherited = Inherited::default();
        for name in names {
            inherited.add((*name).to_owned(), tcp())?;
        }
        Ok(inherited)
    }

    #[test]
    fn a_name_that_fits_nothing_is_refused() {
        assert!(matches!(
            of(&["http", "mcp-oidc-proxy.socket"]),
            Err(InheritError::UnknownName(name)) if name == "mcp-oidc-proxy.socket"
        ));
        assert!(matches!(of(&[""]), Err(InheritError::UnknownName(_))));
        assert!(matches!(
            of(&["admin", "admin"]),
            Err(InheritError::Twice("admin"))
        ));
    }

    #[test]
    fn every_socket_needs_its_listener() {
        let plain = config("listen: [{ address: 'a:1' }]");
        assert!(of(&["http", "metrics"]).unwrap().fits(&plain).is_ok());
        for names in [["http", "http"], ["http", "https"], ["http", "admin"]] {
            let error = of(&names).unwrap().fits(&plain).unwrap_err();
            assert!(matches!(error, InheritError::NoPlace { .. }), "{error}");
        }
        let more = config(
            "listen: [{ address: 'a:1' }, { address: 'a:2', redirect_to_https: true }]\n\
             admin: { address: 'unix:/a' }\nmetrics: { enabled: false }",
        );
        assert!(of(&["http", "http", "admin"]).unwrap().fits(&more).is_ok());
        assert!(of(&["metrics"]).unwrap().fits(&more).is_err());
    }

    #[test]
    fn listeners_are_counted_by_kind() {
        let config = config(
            "listen:\n- { address: 'a:1', tls: { cert_file: /a, key_file: /b } }\n- { address: 'a:2' }\n\
             - { address: 'a:3' }\n- { address: 'a:4', tls: { cert_file: /a, key_file: /b } }",
        );
        assert_eq!(
            roles(&config.listen),
            [(true, 0), (false, 0), (false, 1), (true, 1)]
        );
    }

    #[test]
    fn what_does_not_listen_is_noticed() {
        assert!(tcp().listens());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!SockRef::from(&one).is_listener().unwrap());
    }
}
