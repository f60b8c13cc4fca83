//! A client of `rmcp` with its own OAuth support, in this process.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rmcp::model::{CallToolRequestParams, ProgressNotificationParam, ProtocolVersion};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationManager, AuthorizationRequest, CredentialStore,
    InMemoryCredentialStore, OAuthState, StoredCredentials,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::echo::Echo;

/// The client, signed in.
pub(super) struct Agent {
    session: RunningService<RoleClient, Watcher>,
    watcher: Watcher,
    ahead: Arc<AtomicU64>,
}

/// Notes progress.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<f64>>>);

impl ClientHandler for Watcher {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.0.lock().unwrap().push(progress.progress);
    }
}

/// Keeps tokens, and makes them older than they are: the library reads the machine's clock.
struct Aging {
    inner: InMemoryCredentialStore,
    ahead: Arc<AtomicU64>,
}

type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, AuthError>> + Send + 'a>>;

impl CredentialStore for Aging {
    fn load<'a, 'b>(&'a self) -> Work<'b, Option<StoredCredentials>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let mut kept = self.inner.load().await?;
            if let Some(at) = kept
                .as_mut()
                .and_then(|kept| kept.token_received_at.as_mut())
            {
                *at -= self.ahead.load(Ordering::SeqCst);
            }
            Ok(kept)
        })
    }

    fn save<'a, 'b>(&'a self, mut credentials: StoredCredentials) -> Work<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            if let Some(at) = credentials.token_received_at.as_mut() {
                *at += self.ahead.load(Ordering::SeqCst);
            }
            self.inner.save(credentials).await
        })
    }

    fn clear<'a, 'b>(&'a self) -> Work<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        self.inner.clear()
    }
}

impl Agent {
    /// Finds the authorization server of a URL, registers, lets ann sign in and approve, and connects.
    pub(super) async fn sign_in(url: &str, revision: &str) -> Self {
        let ahead = Arc::<AtomicU64>::default();
        let mut manager = AuthorizationManager::new(url).await.unwrap();
        manager.set_credential_store(Aging {
            inner: InMemoryCredentialStore::new(),
            ahead: Arc::clone(&ahead),
        });
        let landing = Echo::start().await;
        let redirect = format!("{}/callback", landing.url());
        let mut state = OAuthState::Unauthorized(manager);
        let request = AuthorizationRequest::new(redirect).with_client_name("rmcp");
        state.start_authorization(request).await.unwrap();

        let mut browser = Browser::default();
        let authorize = state.get_authorization_url().await.unwrap();
        let login = browser.open(&authorize).await;
        let page = browser.sign_in(login, "ann").await;
        let form = page.form_to("/oauth2/consent").fill("decision", "approve");
        let returned = browser.submit(form).await;
        state
            .handle_callback_url(returned.url.as_str())
            .await
            .unwrap();

        let manager = state.into_authorization_manager().unwrap();
        let transport = StreamableHttpClientTransport::with_client(
            AuthClient::new(reqwest::Client::new(), manager),
            StreamableHttpClientTransportConfig::with_uri(url),
        );
        let mode = if revision == "2026-07-28" {
            ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            }
        } else {
            ClientLifecycleMode::Initialize
        };
        let watcher = Watcher::default();
        let session = Box::pin(watcher.clone().serve_with_lifecycle(transport, mode))
            .await
            .unwrap();
        Self {
            session,
            watcher,
            ahead,
        }
    }

    /// Does what a process would do at the same command; `steps.mjs` lists them.
    pub(super) async fn ask(&mut self, command: &Value) -> Value {
        match command["do"].as_str().unwrap() {
            "list" => match self.session.list_all_tools().await {
                Ok(tools) => {
                    let names: Vec<String> =
                        tools.into_iter().map(|tool| tool.name.into()).collect();
                    json!({ "tools": names })
                }
                Err(error) => json!({ "error": error.to_string() }),
            },
            "call" => {
                self.watcher.0.lock().unwrap().clear();
                let tool = command["tool"].as_str().unwrap().to_owned();
                let mut parameters = CallToolRequestParams::new(tool);
                parameters.arguments = command["arguments"].as_object().cloned();
                match self.session.call_tool(parameters).await {
                    Ok(result) => {
                        let progress: Vec<Value> = self
                            .watcher
                            .0
                            .lock()
                            .unwrap()
                            .iter()
                            .map(|step| serde_json::from_str(&step.to_string()).unwrap())
                            .collect();
                        let text = result.content.first().and_then(|part| part.as_text());
                        json!({ "text": text.map(|text| &text.text), "progress": progress })
                    }
                    Err(error) => json!({ "error": error.to_string() }),
                }
            }
            "later" => {
                let seconds = command["seconds"].as_u64().unwrap();
                self.ahead.fetch_add(seconds, Ordering::SeqCst);
                json!({})
            }
            _ => {
                self.session.close().await.unwrap();
                json!({})
            }
        }
    }
}
