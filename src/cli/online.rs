//! `check-config --online`: asks once, and all at the same time, what the configuration points to.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde::Serialize;

use crate::clock::Ambient;
use crate::config::backend::Backend;
use crate::config::oidc::Oidc;
use crate::config::session::StoreKind;
use crate::config::{Config, Loaded, Problems, RemoteValues, Sources, load};
use crate::oidc::discovery;
use crate::secrets::Keeper;
use crate::store::redis;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;

/// Time for one question; what hangs longer does not answer.
const LIMIT: Duration = Duration::from_secs(15);

/// What was asked, and what went wrong.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) error: Option<String>,
}

/// Reads the secrets of other systems, then asks the identity provider, the further issuers, Redis and every backend.
/// With its secrets the configuration may turn out to be wrong; without them nothing further is asked.
pub(super) fn run(loaded: Loaded, sources: &Sources) -> (Result<Loaded, Problems>, Vec<Finding>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(all(loaded, sources)),
        Err(error) => {
            let error = Some(error.to_string());
            let what = "runtime".to_owned();
            (Ok(loaded), vec![Finding { what, error }])
        }
    }
}

async fn all(loaded: Loaded, sources: &Sources) -> (Result<Loaded, Problems>, Vec<Finding>) {
    let (values, mut found) = secrets(&loaded).await;
    if found.iter().any(|finding| finding.error.is_some()) {
        return (Ok(loaded), found);
    }
    let mut sources = sources.clone();
    sources.remote = Arc::new(values);
    match load(&sources) {
        Ok(loaded) => {
            found.extend(ask(&loaded.config).await);
            (Ok(loaded), found)
        }
        wrong @ Err(_) => (wrong, found),
    }
}

/// Reads each secret once.
async fn secrets(loaded: &Loaded) -> (RemoteValues, Vec<Finding>) {
    let (mut values, mut found) = (RemoteValues::new(), Vec::new());
    if loaded.unread.is_empty() {
        return (values, found);
    }
    let keeper = Keeper::new(Ambient::system());
    for (remote, answer) in keeper.read(&loaded.config, &loaded.unread).await {
        found.push(Finding {
            what: remote.to_string(),
            error: answer.as_ref().err().map(ToString::to_string),
        });
        if let Ok(value) = answer {
            values.insert(remote, value);
        }
    }
    keeper.finish().await;
    (values, found)
}

async fn ask(config: &Config) -> Vec<Finding> {
    let mut questions: Vec<BoxFuture<'_, Finding>> = Vec::new();
    if let Some(oidc) = config.oidc.as_ref().filter(|_| !config.is_bypass()) {
        questions.push(limited(format!("oidc ({})", oidc.issuer), provider(oidc)));
    }
    for (i, oidc) in config.further_providers.iter().enumerate() {
        let what = format!("further_providers[{i}] ({})", oidc.issuer);
        questions.push(limited(what, provider(oidc)));
    }
    for (i, issuer) in config.auth.issuers.iter().enumerate() {
        // With `jwks_uri` there need be no discovery document.
        if issuer.jwks_uri.is_none() {
            let asked = issuer_as_provider(&issuer.issuer, issuer.ca_file.as_deref());
            questions.push(limited(
                format!("auth.issuers[{i}] ({})", issuer.issuer),
                async move { provider(&asked?).await },
            ));
        }
    }
    if let (StoreKind::Redis, Some(settings)) = (config.sessions.store, &config.sessions.redis) {
        questions.push(limited("sessions.redis".to_owned(), async {
            redis::probe(settings)
                .await
                .map_err(|error| error.to_string())
        }));
    }
    let metrics = Metrics::new();
    let backends = config
        .backends
        .iter()
        .enumerate()
        .map(|(i, backend)| endpoints(i, backend, &metrics));
    let (mut found, backends) = tokio::join!(join_all(questions), join_all(backends));
    found.extend(backends.into_iter().flatten());
    found
}

/// Asks each endpoint of a backend.
async fn endpoints(i: usize, backend: &Backend, metrics: &Arc<Metrics>) -> Vec<Finding> {
    let what = format!("backends[{i}] ({})", backend.name);
    let upstream = match Upstream::new(backend, metrics) {
        Ok(upstream) => upstream,
        Err(error) => {
            return vec![Finding {
                what,
                error: Some(error.to_string()),
            }];
        }
    };
    let Ok(answers) = tokio::time::timeout(LIMIT, upstream.probe()).await else {
        return vec![Finding {
            what,
            error: Some(format!("no answer within {} s", LIMIT.as_secs())),
        }];
    };
    let several = answers.len() > 1;
    let name = |n: usize, address: &str| {
        if several {
            format!("backends[{i}].endpoints[{n}] ({}, {address})", backend.name)
        } else {
            what.clone()
        }
    };
    answers
        .into_iter()
        .enumerate()
        .map(|(n, (address, answer))| Finding {
            what: name(n, &address),
            error: answer.err(),
        })
        .collect()
}

fn limited<'a>(
    what: String,
    question: impl Future<Output = Result<(), String>> + Send + 'a,
) -> BoxFuture<'a, Finding> {
    async move {
        let answer = tokio::time::timeout(LIMIT, question).await;
        let answer =
            answer.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())));
        Finding {
            what,
            error: answer.err(),
        }
    }
    .boxed()
}

async fn provider(oidc: &Oidc) -> Result<(), String> {
    discovery::probe(oidc)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// A further issuer has the same kind of document; its other settings have their defaults.
fn issuer_as_provider(issuer: &str, ca_file: Option<&std::path::Path>) -> Result<Oidc, String> {
    let settings = serde_json::json!({ "issuer": issuer, "client_id": "none", "ca_file": ca_file });
    serde_json::from_value(settings).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Answers every connection with one body, until dropped.
    struct Server {
        port: u16,
        end: Arc<AtomicBool>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Server {
        fn start(body: impl Fn(u16) -> String + Send + 'static) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let end = Arc::new(AtomicBool::new(false));
            let ended = Arc::clone(&end);
            let thread = std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut stream = stream.unwrap();
                    let _ = stream.read(&mut [0; 4096]);
                    let body = body(port);
                    let length = body.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    );
                }
            });
            Self {
                port,
                end,
                thread: Some(thread),
            }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.end.store(true, Ordering::SeqCst);
            let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    fn document(issuer: &str) -> String {
        serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
        .to_string()
    }

    fn findings(issuer: u16, backend: u16) -> Vec<Finding> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut sources = Sources::default();
        for (name, text) in [
            ("MCP_TARGET_HOST", "127.0.0.1".to_owned()),
            ("MCP_TARGET_PORT", backend.to_string()),
            ("OIDC_DISCOVERY_URL", format!("http://127.0.0.1:{issuer}")),
            ("OIDC_CLIENT_ID", "c".to_owned()),
        ] {
            sources.env.insert(name.to_owned(), text);
        }
        run(load(&sources).unwrap(), &sources).1
    }

    #[test]
    fn what_answers_is_fine() {
        let provider = Server::start(|port| document(&format!("http://127.0.0.1:{port}")));
        let backend = Server::start(|_| "{}".to_owned());
        let found = findings(provider.port, backend.port);
        assert!(found.iter().all(|each| each.error.is_none()), "{found:?}");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn the_slash_of_an_issuer_is_accepted_and_another_issuer_is_not() {
        let slash = Server::start(|port| document(&format!("http://127.0.0.1:{port}/")));
        let other = Server::start(|_| document("https://other.example"));
        let backend = Server::start(|_| "{}".to_owned());
        assert!(findings(slash.port, backend.port)[0].error.is_none());
        let error = findings(other.port, backend.port)[0].error.clone().unwrap();
        assert!(
            error.contains("names the issuer `https://other.example`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn each_endpoint_is_asked() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let living = Server::start(|_| "{}".to_owned());
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config: Config = serde_yaml::from_str(&format!(
            "version: 1\nbackends: [{{ name: b, endpoints: ['http://127.0.0.1:{}/m', 'http://{free}/m'] }}]",
            living.port
        ))
        .unwrap();
        let found = ask(&config).await;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].error.is_none(), "{found:?}");
        assert!(
            found[1].what.starts_with("backends[0].endpoints[1] (b, ") && found[1].error.is_some(),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_down_is_named() {
        // Bound and closed again: nobody listens there.
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let found = findings(free, free);
        assert!(
            found[0]
                .error
                .as_ref()
                .unwrap()
                .contains("cannot be reached"),
            "{found:?}"
        );
        assert!(
            found[1].what.contains("target") && found[1].error.is_some(),
            "{found:?}"
        );
    }
}
