//! Logins: Kubernetes, `AppRole`, or a token that is there; and how long each holds.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Client, answer};
use crate::clock::Ambient;
use crate::config::SecretRef;
use crate::config::secrets::AuthMethod;
use crate::secret::Secret;
use crate::secrets::SecretError;

/// Longest service account token that is read.
const MAX_JWT: usize = 64 << 10;

/// A login near its end is not renewed more often than this.
const SOONEST: Duration = Duration::from_secs(5);

/// A token and what is known of it.
pub(super) struct Login {
    token: Secret,
    policies: Vec<String>,
    renewable: bool,
    /// Made by logging in, and so ours to end.
    own: bool,
    /// How long it held at first; a renewed one that holds much shorter is at its longest time.
    first: Duration,
    /// `None`: it does not end.
    ends: Option<Instant>,
    due: Option<Instant>,
}

impl Login {
    fn new(token: Secret, about: About, own: bool, ambient: &Ambient) -> Self {
        let holds = Duration::from_secs(about.seconds.min(10 * 365 * 86_400));
        let now = Instant::now();
        let ends = (!holds.is_zero()).then(|| now + holds);
        Self {
            token,
            policies: about.policies,
            renewable: about.renewable,
            own,
            first: holds,
            ends,
            due: ends.map(|_| now + early(holds, ambient).max(SOONEST)),
        }
    }

    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    pub(super) fn renewable(&self) -> bool {
        self.renewable
    }

    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    /// When it should be renewed, or replaced.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.due
    }

    /// The names of its policies.
    pub(super) fn policies(&self) -> String {
        if self.policies.is_empty() {
            "not known; the token may have ended".to_owned()
        } else {
            self.policies.join(", ")
        }
    }
}

/// Between half and three quarters of its time, so that replicas that began together do not renew together.
fn early(holds: Duration, ambient: &Ambient) -> Duration {
    let [chance] = ambient.random::<1>();
    let half = holds / 2;
    half + half / 512 * u32::from(chance)
}

/// What Vault says of a token.
#[derive(Default)]
struct About {
    seconds: u64,
    renewable: bool,
    policies: Vec<String>,
}

/// The `auth` of an answer to a login or a renewal.
#[derive(Deserialize)]
struct Auth {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    policies: Option<Vec<String>>,
}

/// Logs in as the settings say.
pub(super) async fn begin(client: &Client) -> Result<Login, SecretError> {
    let settings = &client.settings;
    let body = match settings.auth_method {
        AuthMethod::Token => return with_token(client).await,
        AuthMethod::Kubernetes => {
            let jwt = service_account(&settings.jwt_file).await?;
            json!({ "role": settings.role, "jwt": jwt.expose_secret() })
        }
        AuthMethod::Approle => {
            let role = source("the role id", settings.role_id.as_ref())?;
            let secret = source("the secret id", settings.secret_id.as_ref())?;
            json!({ "role_id": role.expose_secret(), "secret_id": secret.expose_secret() })
        }
    };
    let mount = settings
        .auth_path
        .as_deref()
        .unwrap_or(settings.auth_method.as_str())
        .trim_end_matches('/');
    let path = format!("auth/{mount}/login");
    let (status, body) = client.send(Method::POST, &path, Some(&body)).await?;
    if matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    ) {
        return Err(SecretError::Login {
            mount: mount.to_owned(),
            why: answer::words(&body),
        });
    }
    let auth = auth(client, status, &body)?;
    Ok(login(client, auth, true))
}

/// Takes the token as it is now and asks what it is. A token without the policy `default` may not ask; then only
/// reading shows whether it is good.
async fn with_token(client: &Client) -> Result<Login, SecretError> {
    let token = source("the token", client.settings.token.as_ref())?;
    let mut asking = Client::new(&client.settings, &client.ambient)?;
    let ambient = &client.ambient;
    asking.login = Some(Login::new(token.clone(), About::default(), false, ambient));
    let path = "auth/token/lookup-self";
    let (status, body) = asking.send(Method::GET, path, None).await?;
    if status == StatusCode::FORBIDDEN {
        return Ok(Login::new(token, About::default(), false, ambient));
    }
    let address = &client.settings.address;
    let document = answer::document(address, path, status, &body)?;
    let data = &document["data"];
    let policies = data["policies"].as_array().into_iter().flatten();
    let about = About {
        seconds: data["ttl"].as_u64().unwrap_or(0),
        renewable: data["renewable"].as_bool().unwrap_or(false),
        policies: policies
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    };
    Ok(Login::new(token, about, false, ambient))
}

/// Renews the login. One that now holds less than half as long as at first is at its longest time: an own one counts
/// as not renewed, so that the next is made in good time.
pub(super) async fn renew(client: &Client) -> Result<Login, SecretError> {
    let path = "auth/token/renew-self";
    let (status, body) = client.send(Method::POST, path, Some(&json!({}))).await?;
    let auth = auth(client, status, &body)?;
    let old = client.login.as_ref();
    let first = old.map_or(Duration::ZERO, |login| login.first);
    let own = old.is_some_and(Login::is_own);
    let holds = Duration::from_secs(auth.lease_duration);
    if !first.is_zero() && (holds.is_zero() || own && holds < first / 2) {
        return Err(SecretError::Settings(
            "the login is at its longest time".to_owned(),
        ));
    }
    let mut login = login(client, auth, own);
    login.first = first;
    Ok(login)
}

fn auth(client: &Client, status: StatusCode, body: &[u8]) -> Result<Auth, SecretError> {
    let address = &client.settings.address;
    answer::done(address, status, body)?;
    let mut document = answer::json(address, body)?;
    serde_json::from_value(document["auth"].take())
        .map_err(|_| SecretError::NotUnderstood(format!("Vault at {address}")))
}

fn login(client: &Client, auth: Auth, own: bool) -> Login {
    let about = About {
        seconds: auth.lease_duration,
        renewable: auth.renewable,
        policies: auth.policies.unwrap_or_default(),
    };
    Login::new(Secret::new(auth.client_token), about, own, &client.ambient)
}

fn source(what: &'static str, secret: Option<&SecretRef>) -> Result<Secret, SecretError> {
    let missing = || Err("it is not configured".to_owned());
    secret
        .map_or_else(missing, SecretRef::again)
        .map_err(|why| SecretError::Credentials { what, why })
}

async fn service_account(file: &std::path::Path) -> Result<Secret, SecretError> {
    let failed = |why: String| SecretError::Credentials {
        what: "the token of the service account",
        why: format!("{}: {why}", file.display()),
    };
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let jwt = text.trim();
    if jwt.is_empty() || jwt.len() > MAX_JWT {
        return Err(failed("it is empty or too long".to_owned()));
    }
    Ok(Secret::new(jwt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_login_is_renewed_before_it_ends_and_one_that_never_ends_is_not() {
        let ambient = Ambient::system();
        let about = |seconds| About {
            seconds,
            renewable: true,
            policies: Vec::new(),
        };
        for _ in 0..100 {
            let login = Login::new(Secret::new("t"), about(3600), true, &ambient);
            let due = login.renew_at().unwrap() - Instant::now();
            assert!(
                due >= Duration::from_secs(1800) && due < Duration::from_secs(2700),
                "{due:?}"
            );
        }
        let short = Login::new(Secret::new("t"), about(1), true, &ambient);
        assert!(!short.is_over(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(short.is_over(Instant::now()));
        let root = Login::new(Secret::new("t"), about(0), true, &ambient);
        assert_eq!(root.renew_at(), None);
        assert!(!root.is_over(Instant::now() + Duration::from_secs(1 << 30)));
    }
}
