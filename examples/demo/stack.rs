//! The three parts and their ports: the provider, the sample server, and the proxy in front.

use std::net::SocketAddr;

use mcp_oidc_proxy::app::Running;
use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::config::{self, Sources};
use mcp_oidc_proxy::telemetry::log;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::idp::Provider;
use crate::sample::Sample;
use crate::{Failure, Outcome, web};

/// A port, and the variable that changes it.
struct Port(&'static str, u16);

const PROXY: Port = Port("DEMO_PORT", 8080);
const IDP: Port = Port("DEMO_IDP_PORT", 9000);
const MCP: Port = Port("DEMO_MCP_PORT", 9001);
const METRICS: Port = Port("DEMO_METRICS_PORT", 9090);

/// The configuration that the proxy starts from.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/demo.yaml");

/// Where everything is, as origins without a final slash.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) proxy: String,
    pub(crate) idp: String,
    pub(crate) mcp: String,
    pub(crate) metrics: String,
}

/// The running parts. Dropping it ends them.
pub(crate) struct Stack {
    pub(crate) addresses: Addresses,
    proxy: Running,
    until: CancellationToken,
    servers: JoinSet<()>,
}

impl Stack {
    /// Starts everything: on the usual ports, or on free ones.
    pub(crate) async fn start(free_ports: bool) -> Outcome<Self> {
        let until = CancellationToken::new();
        let idp = IDP.bind("identity provider", free_ports).await?;
        let mcp = MCP.bind("sample MCP server", free_ports).await?;
        // The proxy binds by itself, and its public address has to be known before: take the ports, and let them go.
        let proxy = PROXY.bind("proxy", free_ports).await?.local_addr()?;
        let metrics = METRICS.bind("metrics", free_ports).await?.local_addr()?;
        let addresses = Addresses {
            proxy: format!("http://localhost:{}", proxy.port()),
            idp: origin(idp.local_addr()?),
            mcp: origin(mcp.local_addr()?),
            metrics: origin(metrics),
        };
        let provider = Provider::new(
            addresses.idp.clone(),
            addresses.proxy.clone(),
            Ambient::system(),
        )?;
        let sample = Sample::new(&until);
        let mut servers = JoinSet::new();
        servers.spawn(web::serve(idp, until.clone(), move |request| {
            provider.clone().handle(request)
        }));
        servers.spawn(web::serve(mcp, until.clone(), move |request| {
            sample.clone().handle(request)
        }));
        let loaded = config::load(&addresses.sources(proxy, metrics, free_ports))?;
        log::init(&loaded.config.logging)?;
        let proxy = Box::pin(Running::start(loaded, Ambient::system())).await?;
        Ok(Self {
            addresses,
            proxy,
            until,
            servers,
        })
    }

    /// Ends everything.
    pub(crate) async fn stop(mut self) {
        self.proxy.stop().await;
        self.until.cancel();
        while self.servers.join_next().await.is_some() {}
    }
}

impl Addresses {
    /// The file of the demo, and the ports where they are not those of the file.
    fn sources(&self, proxy: SocketAddr, metrics: SocketAddr, quiet: bool) -> Sources {
        let mut sources = Sources::file(CONFIG);
        let set = [
            ("LISTEN__0__ADDRESS", proxy.to_string()),
            ("METRICS__ADDRESS", metrics.to_string()),
            ("PUBLIC_URL", self.proxy.clone()),
            ("OIDC__ISSUER", self.idp.clone()),
            ("BACKENDS__0__UPSTREAM", format!("{}/mcp", self.mcp)),
            ("BACKENDS__1__UPSTREAM", format!("{}/app", self.mcp)),
            ("BACKENDS__2__UPSTREAM", format!("{}/engineering", self.mcp)),
        ];
        sources.env = set
            .map(|(key, value)| (format!("MCP_PROXY__{key}"), value))
            .into();
        if quiet {
            sources
                .flags
                .push(("logging.level".to_owned(), "warn".to_owned()));
        }
        sources
    }
}

impl Port {
    fn number(&self, free: bool) -> Outcome<u16> {
        if free {
            return Ok(0);
        }
        match std::env::var(self.0) {
            Ok(text) => text
                .parse()
                .map_err(|_| Failure::from(format!("{}=`{text}` is not a port number", self.0))),
            Err(_) => Ok(self.1),
        }
    }

    async fn bind(&self, what: &str, free: bool) -> Outcome<TcpListener> {
        let number = self.number(free)?;
        TcpListener::bind(("127.0.0.1", number)).await.map_err(|error| {
            let text = format!(
                "cannot listen on 127.0.0.1:{number} for the {what}: {error}. Choose another port with {name}, as in `{name}=18080 make demo`.",
                name = self.0
            );
            Failure::from(text)
        })
    }
}

fn origin(address: SocketAddr) -> String {
    format!("http://{address}")
}
