//! Secrets that other systems keep: asks Vault and AWS for what the configuration names.
//!
//! Nothing here is on the way of a request. `app` asks at the start, at each reload and now and then in between; values
//! come into force by a reload, like everything else of the configuration.

#[cfg(feature = "aws")]
mod aws;
mod error;
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::error::SecretError;
use crate::clock::Ambient;
use crate::config::remote::VaultKey;
use crate::config::{Config, Remote};
use crate::secret::Secret;

/// What became of each question.
pub type Answers = BTreeMap<Remote, Result<Secret, SecretError>>;

/// Time for giving a login back at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Asks the systems that keep secrets, and keeps being logged in there.
pub struct Keeper {
    ambient: Ambient,
    /// One question at a time: logins are shared, and nobody waits here on behalf of a request.
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    vault: Option<vault::Client>,
    #[cfg(feature = "aws")]
    aws: Option<aws::Client>,
}

impl Keeper {
    /// Asks nobody yet.
    pub fn new(ambient: Ambient) -> Self {
        Self {
            ambient,
            clients: Mutex::default(),
        }
    }

    /// Asks for all of `wanted`; an answer for each.
    pub async fn read(&self, config: &Config, wanted: &BTreeSet<Remote>) -> Answers {
        let mut clients = self.clients.lock().await;
        let mut answers = Answers::new();
        let keys: BTreeSet<&VaultKey> = wanted
            .iter()
            .filter_map(|each| match each {
                Remote::Vault(key) => Some(key),
                _ => None,
            })
            .collect();
        if !keys.is_empty() {
            // Boxed: TLS and HTTP state are large.
            let found = Box::pin(self.vault(&mut clients, config, &keys)).await;
            let found = found.into_iter();
            answers.extend(found.map(|(key, found)| (Remote::Vault(key.clone()), found)));
        }
        let others: BTreeSet<&Remote> = wanted
            .iter()
            .filter(|each| !matches!(each, Remote::Vault(_)))
            .collect();
        if !others.is_empty() {
            #[cfg(feature = "aws")]
            let found = Box::pin(self.aws(&mut clients, &others)).await;
            // The configuration is refused before it comes to this.
            #[cfg(not(feature = "aws"))]
            let found = all(&others, &SecretError::NotConfigured("aws"));
            answers.extend(found);
        }
        answers
    }

    async fn vault<'k>(
        &self,
        clients: &mut Clients,
        config: &Config,
        keys: &BTreeSet<&'k VaultKey>,
    ) -> Vec<(&'k VaultKey, Result<Secret, SecretError>)> {
        let all = |error: SecretError| keys.iter().map(|key| (*key, Err(error.clone()))).collect();
        let Some(settings) = config.vault.as_ref().filter(|vault| vault.enabled) else {
            return all(SecretError::NotConfigured("vault"));
        };
        let mut client = match clients.vault.take() {
            Some(client) if client.is_for(settings) => client,
            old => {
                if let Some(old) = old {
                    farewell(old).await;
                }
                match vault::Client::new(settings, &self.ambient) {
                    Ok(client) => client,
                    Err(error) => return all(error),
                }
            }
        };
        let found = client.read(keys).await;
        clients.vault = Some(client);
        found
    }

    #[cfg(feature = "aws")]
    async fn aws(&self, clients: &mut Clients, wanted: &BTreeSet<&Remote>) -> Answers {
        let client = match clients.aws.take() {
            Some(client) => client,
            None => match aws::Client::new(&self.ambient).await {
                Ok(client) => client,
                Err(error) => return all(wanted, &error),
            },
        };
        let answers = client.read(wanted).await;
        clients.aws = Some(client);
        answers
    }

    /// When a login has to be renewed; `None` while there is none that ends.
    pub async fn renew_at(&self) -> Option<Instant> {
        let clients = self.clients.lock().await;
        clients.vault.as_ref().and_then(vault::Client::renew_at)
    }

    /// Renews a login whose time has come, or logs in again.
    ///
    /// # Errors
    /// Neither worked; it is due again soon.
    pub async fn renew(&self) -> Result<(), SecretError> {
        let mut clients = self.clients.lock().await;
        match &mut clients.vault {
            Some(vault) if vault.renew_at().is_some_and(|due| due <= Instant::now()) => {
                Box::pin(vault.renew()).await
            }
            _ => Ok(()),
        }
    }

    /// Gives logins back. Tokens that were configured are not ours to end.
    pub async fn finish(&self) {
        let mut clients = self.clients.lock().await;
        if let Some(vault) = clients.vault.take() {
            farewell(vault).await;
        }
    }
}

fn all(wanted: &BTreeSet<&Remote>, error: &SecretError) -> Answers {
    let wanted = wanted.iter();
    wanted
        .map(|each| ((*each).clone(), Err(error.clone())))
        .collect()
}

async fn farewell(client: vault::Client) {
    let said = tokio::time::timeout(FAREWELL, Box::pin(client.revoke())).await;
    if let Ok(Err(error)) = said {
        tracing::debug!(%error, "the login at Vault was not given back; it ends by itself");
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}
