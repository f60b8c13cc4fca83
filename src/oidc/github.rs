//! GitHub, which is plain OAuth: endpoints that are known, and an API that tells who somebody is. Organisations and teams
//! become groups (`org`, `org/team`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use url::Url;

use super::calls::{CallError, Calls, Endpoint};
use super::metadata::{Metadata, MetadataError, checked_url};
use super::userinfo::UserinfoError;
use crate::clock::{Ambient, Timestamp};
use crate::config::oidc::Oidc;
use crate::secret::Secret;

/// Entries of a page, and pages that are read of one list.
const PAGE: usize = 100;
const PAGES: usize = 10;

/// How long somebody's groups are known, and of how many people.
const KNOWN: Duration = Duration::from_secs(60);
const PEOPLE: usize = 1000;

/// The version of the API that is asked for.
const VERSION: &str = "2022-11-28";

/// The API, with groups that were read a moment ago: somebody who signs in several clients in a row costs GitHub's rate
/// limit once.
pub(crate) struct Api {
    base: String,
    known: Cache<u64, (Timestamp, Arc<[String]>)>,
}

/// Who somebody is.
pub(crate) struct Person {
    /// The numeric id: the login name can be changed, and then be somebody else's.
    pub(crate) subject: String,
    pub(crate) claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

#[expect(clippy::struct_field_names, reason = "as its API writes it")]
#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Organisation {
    login: String,
}

#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Organisation,
}

/// What a discovery document would say.
pub(super) fn metadata(config: &Oidc) -> Result<Metadata, MetadataError> {
    let issuer = config.issuer.trim_end_matches('/');
    let plain = issuer.starts_with("http://");
    let at = |member, path: &str| checked_url(member, &format!("{issuer}{path}"), plain);
    Ok(Metadata {
        authorization_endpoint: at("authorization_endpoint", "/login/oauth/authorize")?,
        token_endpoint: at("token_endpoint", "/login/oauth/access_token")?,
        jwks_uri: None,
        userinfo_endpoint: None,
        end_session_endpoint: None,
        scopes_supported: Vec::new(),
        prompt_values: None,
        token_auth_methods: Some(vec!["client_secret_post".to_owned()]),
        response_has_issuer: false,
        issuer: issuer.to_owned(),
    })
}

impl Api {
    /// Below the configured address, else where GitHub has it: `api.github.com`, `api.` of a tenant of `ghe.com`, and
    /// `/api/v3` of GitHub Enterprise Server.
    pub(crate) fn new(config: &Oidc) -> Self {
        let issuer = config.issuer.trim_end_matches('/');
        let host = Url::parse(issuer)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_default();
        let base = match &config.api_url {
            Some(written) => written.trim_end_matches('/').to_owned(),
            None if host == "github.com" || host.ends_with(".ghe.com") => {
                format!("https://api.{host}")
            }
            None => format!("{issuer}/api/v3"),
        };
        Self {
            base,
            known: Cache::new(PEOPLE),
        }
    }

    /// Who the token's person is. A scope that was not granted leaves out what it is for.
    pub(crate) async fn ask(
        &self,
        calls: &Calls,
        token: &Secret,
        ambient: &Ambient,
    ) -> Result<Person, UserinfoError> {
        let Some(user) = self.get::<User>(calls, token, "/user").await? else {
            return Err(UserinfoError::Unusable(
                "the API does not take the access token".to_owned(),
            ));
        };
        let email = self
            .get::<Vec<Email>>(calls, token, "/user/emails?per_page=100")
            .await?
            .into_iter()
            .flatten()
            .find(|email| email.primary && email.verified);
        let now = ambient.now();
        let groups = match self.known.get(&user.id) {
            Some((at, groups)) if now.since(at) < KNOWN => groups,
            _ => {
                let groups: Arc<[String]> = self.groups(calls, token).await?.into();
                self.known.insert(user.id, (now, Arc::clone(&groups)));
                groups
            }
        };
        let mut claims = Map::new();
        let mut add = |name: &str, value: Value| {
            if !value.is_null() {
                claims.insert(name.to_owned(), value);
            }
        };
        add("sub", user.id.to_string().into());
        add("login", user.login.into());
        add("name", user.name.into());
        add("picture", user.avatar_url.into());
        if let Some(email) = email {
            add("email", email.email.into());
            add("email_verified", true.into());
        }
        add("groups", json!(groups));
        Ok(Person {
            subject: user.id.to_string(),
            claims,
        })
    }

    async fn groups(&self, calls: &Calls, token: &Secret) -> Result<Vec<String>, UserinfoError> {
        let mut groups: Vec<String> = self
            .list::<Organisation>(calls, token, "/user/orgs")
            .await?
            .into_iter()
            .map(|organisation| organisation.login)
            .collect();
        let teams = self.list::<Team>(calls, token, "/user/teams").await?;
        groups.extend(
            teams
                .into_iter()
                .map(|team| format!("{}/{}", team.organization.login, team.slug)),
        );
        Ok(groups)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        calls: &Calls,
        token: &Secret,
        path: &str,
    ) -> Result<Vec<T>, UserinfoError> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let path = format!("{path}?per_page={PAGE}&page={page}");
            let Some(found) = self.get::<Vec<T>>(calls, token, &path).await? else {
                break;
            };
            let last = found.len() < PAGE;
            all.extend(found);
            if last {
                return Ok(all);
            }
        }
        if !all.is_empty() {
            tracing::warn!(%path, "somebody is in more organisations or teams than are read; the rest do not count");
        }
        Ok(all)
    }

    /// `None`: the token has no scope for it (403, 404). That a rate limit is reached (403 as well, with a header that
    /// says so) is trouble, and no answer.
    async fn get<T: DeserializeOwned>(
        &self,
        calls: &Calls,
        token: &Secret,
        path: &str,
    ) -> Result<Option<T>, UserinfoError> {
        let unusable = |error: String| UserinfoError::Unusable(format!("{path}: {error}"));
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|error| unusable(error.to_string()))?;
        bearer.set_sensitive(true);
        let request = http::Request::get(format!("{}{path}", self.base))
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", VERSION)
            .header(AUTHORIZATION, bearer)
            .body(Bytes::new())
            .map_err(|error| unusable(error.to_string()))?;
        let answer = calls
            .send(Endpoint::Userinfo, request)
            .await
            .map_err(CallError::from)?;
        let limited = answer.headers().contains_key("retry-after")
            || answer
                .headers()
                .get("x-ratelimit-remaining")
                .is_some_and(|left| left == "0");
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                .map(Some)
                .map_err(|error| unusable(error.to_string())),
            StatusCode::UNAUTHORIZED => {
                Err(unusable("it does not take the access token".to_owned()))
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if !limited => Ok(None),
            status => Err(CallError::Status(status.as_u16()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &Value) -> Oidc {
        let mut all = json!({"issuer": "https://github.com", "client_id": "x"});
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn the_api_is_found_where_each_edition_has_it() {
        for (more, base) in [
            (json!({}), "https://api.github.com"),
            (
                json!({"issuer": "https://corp.ghe.com"}),
                "https://api.corp.ghe.com",
            ),
            (
                json!({"issuer": "https://git.corp.example/"}),
                "https://git.corp.example/api/v3",
            ),
            (
                json!({"issuer": "https://git.corp.example", "api_url": "https://api.corp.example/"}),
                "https://api.corp.example",
            ),
        ] {
            assert_eq!(Api::new(&config(&more)).base, base);
        }
    }

    #[test]
    fn its_endpoints_are_below_the_issuer() {
        let metadata = metadata(&config(&json!({"issuer": "https://github.com/"}))).unwrap();
        assert_eq!(metadata.issuer, "https://github.com");
        assert_eq!(
            metadata.authorization_endpoint.as_str(),
            "https://github.com/login/oauth/authorize"
        );
        assert_eq!(
            metadata.token_endpoint.as_str(),
            "https://github.com/login/oauth/access_token"
        );
        assert!(super::metadata(&config(&json!({"issuer": "javascript:x"}))).is_err());
    }
}
