//! From the environment to the first event.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::answer::Mode;
use super::api::Api;
use super::event::Bounds;
use super::serve::Server;
use super::{INITIALIZATION_TYPE, RESPONSE, RUNTIME_API, TASK_ROOT, fit};
use crate::app::{self, Running, StartError};
use crate::cli::{self, Exit};
use crate::clock::Ambient;
use crate::config::{Loaded, Sources, load};
use crate::telemetry::log;

/// The platform gives a start ten seconds, and begins it anew when they are over.
const PATIENCE: Duration = Duration::from_secs(9);

/// Why there is no function.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It is started where it cannot be.
    #[error("{0}")]
    Place(&'static str),
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// Something that is needed cannot be had.
    #[error("{0}")]
    Unavailable(String),
    /// The system or the platform refused something.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Place(_) => Exit::Usage,
            Self::Config(_) => Exit::Config,
            Self::Unavailable(_) => Exit::Unavailable,
            Self::Failed(_) => Exit::Failure,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Place(_) | Self::Config(_) => "Proxy.Config",
            Self::Unavailable(_) => "Proxy.Unavailable",
            Self::Failed(_) => "Proxy.Failed",
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(why) => Self::Config(why),
            StartError::Unavailable(why) => Self::Unavailable(why),
            StartError::Failed(why) => Self::Failed(why),
        }
    }
}

/// Starts and serves. Comes back only with an error.
pub(super) fn run() -> Result<(), Failure> {
    let sources = sources();
    let set = |name: &str| sources.env.get(name).map_or("", String::as_str);
    let api = set(RUNTIME_API).to_owned();
    if api.is_empty() {
        return Err(Failure::Place(
            "this program runs as a function of AWS Lambda only, which sets AWS_LAMBDA_RUNTIME_API; elsewhere use mcp-oidc-proxy",
        ));
    }
    if set(INITIALIZATION_TYPE) == "snap-start" {
        // Keys, names and connections of one process must not come to life in many.
        return Err(Failure::Place(
            "SnapStart copies a process with its secrets and connections, which this one must not be; switch it off, and use provisioned concurrency against cold starts",
        ));
    }
    let mode = Mode::parse(set(RESPONSE))
        .ok_or_else(|| Failure::Config(format!("{RESPONSE}: write auto, stream or buffer")))?;
    let loaded = load(&sources).map_err(|problems| {
        let count = problems.all().len();
        let word = if count == 1 { "problem" } else { "problems" };
        Failure::Config(format!(
            "{problems}\nnothing was started: the configuration has {count} {word}"
        ))
    })?;
    let runtime = runtime()?;
    let loaded = if loaded.unread.is_empty() {
        loaded
    } else {
        // Once for each environment: the platform replaces it within hours, and a new one has the new values.
        let complete = app::load_once(&sources);
        runtime.block_on(complete).map_err(StartError::from)?
    };
    runtime.block_on(serve(loaded, &api, mode))
}

/// Tells the platform and whoever reads the log why there is no function.
pub(super) fn tell(failure: &Failure) {
    cli::complain(&format!("mcp-oidc-proxy-lambda: {failure}\n"));
    let Ok(address) = std::env::var(RUNTIME_API) else {
        return;
    };
    let telling = async {
        let mut api = Api::new(&address);
        timeout(
            PATIENCE,
            api.cannot_start(failure.kind(), &failure.to_string()),
        )
        .await
    };
    // Printed already; the exit code says it once more.
    if let Ok(runtime) = runtime() {
        let _ = runtime.block_on(telling);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot start: {error}")))
}

/// The environment, over the file beside the program if there is one.
fn sources() -> Sources {
    let mut sources = cli::sources_of_process(Vec::new());
    let root = PathBuf::from(root(&sources.env));
    sources.default_files = vec![root.join("config.yaml")];
    sources.checks.push(fit::problems);
    sources
}

fn root(env: &BTreeMap<String, String>) -> &str {
    env.get(TASK_ROOT)
        .map(String::as_str)
        .filter(|root| !root.is_empty())
        .unwrap_or("/var/task")
}

async fn serve(loaded: Loaded, api: &str, mode: Mode) -> Result<(), Failure> {
    log::init(&loaded.config.logging).map_err(|error| Failure::Config(error.to_string()))?;
    for warning in loaded
        .warnings
        .iter()
        .map(String::as_str)
        .chain(fit::warnings(&loaded.config))
        .chain(loaded.config.bypass_warning())
    {
        tracing::warn!("{warning}");
    }
    let ambient = Ambient::system();
    let bounds = Bounds {
        headers: loaded.config.limits.max_headers,
        bytes: loaded.config.limits.max_header_bytes.as_usize(),
    };
    let loaded = Loaded {
        config: fit::fitted(loaded.config),
        ..loaded
    };
    let starting = async {
        let running = Box::pin(Running::start(loaded, ambient.clone())).await?;
        running.discovered().await;
        Ok::<_, Failure>(running)
    };
    let running = timeout(PATIENCE, starting).await.map_err(|_| {
        Failure::Unavailable(
            "the session store did not answer in the time that a function has to start; check sessions.redis, and that the function's network reaches it".to_owned(),
        )
    })??;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "waiting for events");
    let server = Server {
        running,
        api: Api::new(api),
        mode,
        bounds,
        ambient,
    };
    let error = Box::pin(server.run()).await;
    Err(Failure::Failed(error.to_string()))
}
