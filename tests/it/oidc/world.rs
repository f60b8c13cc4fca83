//! A provider, the browser's side of the proxy, and a browser with its cookies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use mcp_oidc_proxy::audit::Audit;
use mcp_oidc_proxy::clock::{Ambient, ManualClock, SystemRandom, Timestamp};
use mcp_oidc_proxy::config::Config;
use mcp_oidc_proxy::http::inbound::TrustedProxies;
use mcp_oidc_proxy::http::{Inbound, RequestBody};
use mcp_oidc_proxy::keys::KeyRing;
use mcp_oidc_proxy::oidc::{Browser, Provider};
use mcp_oidc_proxy::paths::OwnPaths;
use mcp_oidc_proxy::peer::{Conn, Peer, TokenMemo};
use mcp_oidc_proxy::reject::{Code, Reject};
use mcp_oidc_proxy::revocation::Revocations;
use mcp_oidc_proxy::session::{Session, Sessions};
use mcp_oidc_proxy::store::Store;
use mcp_oidc_proxy::store::memory::MemoryStore;
use mcp_oidc_proxy::telemetry::metrics::Metrics;
use mcp_oidc_proxy::upstream::fetch::Fetch;
use mcp_oidc_proxy::urls::PublicUrl;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};

pub(crate) const PUBLIC: &str = "https://mcp.example.com";
pub(crate) const SESSION: &str = "__Host-mcp_session";

/// Everything but the browser.
pub(crate) struct World {
    pub(crate) idp: Idp,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) provider: Arc<Provider>,
    providers: Vec<Arc<Provider>>,
    pub(crate) proxy: Arc<Browser>,
    ambient: Ambient,
    config: Config,
    store: Arc<dyn Store>,
    keys: KeyRing,
    until: CancellationToken,
    _end: DropGuard,
}

/// Two providers: the world's own, and `partners`.
pub(crate) struct Two {
    pub(crate) main: World,
    pub(crate) partner: Idp,
}

impl Two {
    /// `more` is for the section of `partners`.
    pub(crate) async fn new(more: Value) -> Self {
        let mut main = World::new().await;
        let partner = Idp::start(main.ambient.clone()).await;
        let mut section = json!({
            "issuer": partner.issuer(), "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "timeout": "2s",
            "name": "partners", "label": "Partner companies",
        });
        for (name, value) in more.as_object().unwrap() {
            section[name] = value.clone();
        }
        let section = serde_json::from_value(section).unwrap();
        let further = Provider::further(&section, main.ambient.clone(), &main.metrics).unwrap();
        tokio::spawn(Arc::clone(&further).watch(main.until.clone()));
        further.settled().await;
        further.health().unwrap();
        main.providers.push(further);
        main.proxy = main.replica();
        Self { main, partner }
    }

    /// Somebody who is signed in at a provider.
    pub(crate) async fn signed_in(&self, provider: &str) -> Person {
        let mut person = Person::default();
        let path = format!("/oauth2/start?provider={provider}");
        let start = self.main.get(&mut person, &path).await;
        let callback = self.main.at_provider(&start).await;
        let done = self.main.arrive(&mut person, &callback).await;
        assert_eq!(done.status, StatusCode::FOUND, "{done:?}");
        person
    }
}

/// A browser: cookies by its rules for `__Host-` names, and the headers that it sends.
#[derive(Clone, Default)]
pub(crate) struct Person {
    pub(crate) jar: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// The code of a rejection.
    pub(crate) code: Option<Code>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With more keys in the `oidc` section.
    pub(crate) async fn with(oidc: Value) -> Self {
        let world = Self::undiscovered(oidc, |_| ()).await;
        world.discovered().await;
        world
    }

    /// With a provider that was prepared before discovery began.
    pub(crate) async fn undiscovered(oidc: Value, prepare: impl FnOnce(&Idp)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_750_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let idp = Idp::start(ambient.clone()).await;
        prepare(&idp);
        let mut section = json!({
            "issuer": idp.issuer(), "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "timeout": "2s",
        });
        for (name, value) in oidc.as_object().unwrap() {
            section[name] = value.clone();
        }
        // A path stands for the issuer below the provider's address.
        if let Some(path) = section["issuer"]
            .as_str()
            .filter(|text| text.starts_with('/'))
        {
            section["issuer"] = format!("{}{path}", idp.issuer()).into();
        }
        if section["client_secret"].is_null() {
            section.as_object_mut().unwrap().remove("client_secret");
        }
        let config: Config =
            serde_json::from_value(json!({ "version": 1, "public_url": PUBLIC, "oidc": section }))
                .unwrap();
        let metrics = Metrics::new();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&config.sessions, ambient.clone()));
        let keys = KeyRing::ephemeral(ambient.clone());
        let provider =
            Provider::new(config.oidc.as_ref().unwrap(), ambient.clone(), &metrics).unwrap();
        let until = CancellationToken::new();
        tokio::spawn(Arc::clone(&provider).watch(until.clone()));
        let providers = vec![Arc::clone(&provider)];
        let proxy = replica(
            &config, &providers, &store, &keys, &ambient, &metrics, &until,
        );
        Self {
            _end: until.clone().drop_guard(),
            idp,
            clock,
            metrics,
            provider,
            providers,
            proxy,
            ambient,
            config,
            store,
            keys,
            until,
        }
    }

    /// A further replica on the same store.
    pub(crate) fn replica(&self) -> Arc<Browser> {
        replica(
            &self.config,
            &self.providers,
            &self.store,
            &self.keys,
            &self.ambient,
            &self.metrics,
            &self.until,
        )
    }

    pub(crate) async fn discovered(&self) {
        for _ in 0..200 {
            if self.provider.health().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not discovered: {:?}", self.provider.health());
    }

    /// One request to an endpoint of ours, with the browser's cookies.
    pub(crate) async fn send(
        &self,
        person: &mut Person,
        method: Method,
        uri: &str,
        more: &[(&str, &str)],
        form: &str,
    ) -> Answer {
        let mut headers = person.headers();
        for (name, value) in more {
            headers.append(
                header::HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        let mut request = http::Request::builder().method(method).uri(uri);
        *request.headers_mut().unwrap() = headers.clone();
        let body = if form.is_empty() {
            None
        } else {
            Some(Bytes::from(form.to_owned()))
        };
        let request = request.body(RequestBody::Full(body)).unwrap();
        let own = OwnPaths::new("/oauth2", true)
            .find(request.uri().path())
            .unwrap();
        let result = self
            .proxy
            .handle(own, &self.inbound(&headers), request)
            .await;
        let answer = Answer::of(result).await;
        person.take_cookies(&answer.headers);
        answer
    }

    /// A navigation of the person.
    pub(crate) async fn get(&self, person: &mut Person, uri: &str) -> Answer {
        self.send(person, Method::GET, uri, &[("sec-fetch-site", "none")], "")
            .await
    }

    /// The redirect that a provider makes: Chromium marks it as cross-site.
    pub(crate) async fn arrive(&self, person: &mut Person, uri: &str) -> Answer {
        self.send(
            person,
            Method::GET,
            uri,
            &[("sec-fetch-site", "cross-site")],
            "",
        )
        .await
    }

    /// Goes to the provider with what `start` said; gives path and query of the callback.
    pub(crate) async fn at_provider(&self, start: &Answer) -> String {
        assert_eq!(start.status, StatusCode::FOUND, "{start:?}");
        let back = self.visit(start.location()).await.location().to_owned();
        back.strip_prefix(PUBLIC).expect("back to us").to_owned()
    }

    /// Asks the provider.
    pub(crate) async fn visit(&self, url: &str) -> Answer {
        let fetch = Fetch::new(None, Duration::from_secs(5), 1 << 20).unwrap();
        let answer = fetch
            .send(http::Request::get(url).body(Bytes::new()).unwrap())
            .await
            .unwrap();
        let (head, body) = answer.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
            code: None,
        }
    }

    /// A whole login; the answer of the callback.
    pub(crate) async fn login(&self, person: &mut Person) -> Answer {
        let start = self.get(person, "/oauth2/start?rd=%2Fhome%3Fa%3Db").await;
        let callback = self.at_provider(&start).await;
        self.arrive(person, &callback).await
    }

    /// Somebody who is signed in.
    pub(crate) async fn signed_in(&self) -> Person {
        let mut person = Person::default();
        let answer = self.login(&mut person).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{answer:?}");
        assert!(person.jar.contains_key(SESSION));
        person
    }

    /// The session, as a request to a backend would find it.
    pub(crate) async fn session(&self, person: &Person) -> Result<Option<Arc<Session>>, Reject> {
        self.proxy.session(&person.headers()).await
    }

    pub(crate) fn inbound(&self, headers: &HeaderMap) -> Inbound {
        let conn = Arc::new(Conn {
            peer: Peer::Unix,
            listener: "test".into(),
            tls: None,
            memo: TokenMemo::default(),
        });
        Inbound::new(&self.ambient, conn, headers, &TrustedProxies::default())
    }
}

fn replica(
    config: &Config,
    providers: &[Arc<Provider>],
    store: &Arc<dyn Store>,
    keys: &KeyRing,
    ambient: &Ambient,
    metrics: &Arc<Metrics>,
    until: &CancellationToken,
) -> Arc<Browser> {
    let sessions = Sessions::new(
        Arc::clone(store),
        keys.clone(),
        &config.sessions,
        &Revocations::new(Arc::clone(store), ambient.clone()),
        ambient.clone(),
        metrics,
    );
    let (background, until) = (Arc::clone(&sessions), until.clone());
    tokio::spawn(async move { background.background(until).await });
    Arc::new(Browser::new(
        config,
        &PublicUrl::parse(PUBLIC).unwrap(),
        providers.to_vec(),
        sessions,
        Arc::clone(store),
        keys,
        ambient.clone(),
        metrics,
        &Audit::default(),
    ))
}

impl Person {
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !self.jar.is_empty() {
            let line = self
                .jar
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join("; ");
            headers.insert(header::COOKIE, HeaderValue::try_from(line).unwrap());
        }
        headers
    }

    /// As a browser does: a `__Host-` cookie is taken, or removed, only with `Secure`, `Path=/` and no `Domain`.
    fn take_cookies(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let attributes: Vec<&str> = line.split("; ").skip(1).collect();
            assert!(
                attributes.contains(&"Secure") && attributes.contains(&"Path=/"),
                "{line}"
            );
            assert!(
                attributes.contains(&"HttpOnly") && attributes.contains(&"SameSite=Lax"),
                "{line}"
            );
            assert!(!line.contains("Domain"), "{line}");
            let (name, value) = line.split("; ").next().unwrap().split_once('=').unwrap();
            if attributes.contains(&"Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

impl Answer {
    async fn of(result: Result<mcp_oidc_proxy::http::Response, Reject>) -> Self {
        match result {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Self {
                    status: head.status,
                    headers: head.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    code: None,
                }
            }
            Err(reject) => Self {
                status: reject.status(),
                headers: reject.headers().iter().cloned().collect(),
                body: reject.message().to_owned(),
                code: Some(reject.code()),
            },
        }
    }

    pub(crate) fn location(&self) -> &str {
        self.headers
            .get(header::LOCATION)
            .unwrap_or_else(|| panic!("a redirect: {self:?}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
