//! Identity assertions (ID-JAG): an enterprise's provider says on behalf of a person that a client may use a resource,
//! and the client exchanges that for an access token (RFC 7523 section 2.1, enterprise-managed authorization).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Given, TokenDesk};
use crate::claims::Claims;
use crate::clock::{Ambient, Timestamp};
use crate::config::Config;
use crate::config::oidc::ClaimMap;
use crate::ids::Subject;
use crate::issuer::client::Client;
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::issuer::form::Form;
use crate::issuer::grant::{About, Basis};
use crate::issuer::wanted;
use crate::keys::{KeyRing, Purpose};
use crate::oidc::claim_map;
use crate::oidc::jwks::{self, KeyError};
use crate::oidc::listed::Listed;
use crate::route::Table;
use crate::scope::ScopeSet;
use crate::store::{Key, Space, Store};
use crate::telemetry::metrics::Metrics;

/// The `typ` of an assertion.
const TYPE: &str = "oauth-id-jag+jwt";
/// Longest assertion, in bytes.
const MAX_ASSERTION: usize = 16 << 10;
/// Longest life of one that we keep in mind.
const MAX_LIFE: Duration = Duration::from_secs(3600);

/// The issuers of assertions, and which of those were used.
pub(in crate::issuer) struct Assertions {
    issuers: HashMap<String, Trusted>,
    /// Our own issuer, with and without a final slash.
    audience: [String; 2],
    skew: Duration,
    store: Arc<dyn Store>,
    keys: KeyRing,
    ambient: Ambient,
}

struct Trusted {
    listed: Listed,
    claims: ClaimMap,
    single_use: bool,
}

/// What an assertion's header says. Members that name keys are not read: an assertion does not say whom to believe.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A verified assertion.
struct Verified {
    payload: Map<String, Value>,
    issuer: Arc<str>,
    subject: Arc<str>,
    expires: Timestamp,
}

impl Assertions {
    /// The error names the key of the configuration.
    pub(in crate::issuer) fn new(
        config: &Config,
        issuer: &str,
        store: Arc<dyn Store>,
        keys: &KeyRing,
        ambient: &Ambient,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let mut issuers = HashMap::new();
        for (at, trusted) in config
            .authorization_server
            .identity_assertions
            .iter()
            .enumerate()
        {
            let listed = Listed::new(
                &trusted.issuer,
                trusted.jwks_uri.as_deref(),
                trusted.ca_file.as_deref(),
                ambient,
                metrics,
            )
            .map_err(|error| {
                format!("authorization_server.identity_assertions[{at}].ca_file: {error}")
            })?;
            // People are the same as at a sign-in when the assertions come from the main provider, so its map reads
            // them; groups count only where that is written.
            let base = config
                .oidc
                .as_ref()
                .map_or_else(ClaimMap::default, claim_map);
            let claims = ClaimMap {
                groups: trusted.groups_claim.iter().cloned().collect(),
                ..base
            };
            issuers.insert(
                trusted.issuer.clone(),
                Trusted {
                    listed,
                    claims,
                    single_use: trusted.single_use,
                },
            );
        }
        Ok(Self {
            issuers,
            audience: [issuer.to_owned(), format!("{issuer}/")],
            skew: config.auth.clock_skew.0,
            store,
            keys: keys.clone(),
            ambient: ambient.clone(),
        })
    }

    /// Keeps the issuers' keys fresh, until cancelled.
    pub(in crate::issuer) async fn watch(&self, until: CancellationToken) {
        join_all(
            self.issuers
                .values()
                .map(|trusted| trusted.listed.watch(until.clone())),
        )
        .await;
    }

    async fn verify(
        &self,
        assertion: &str,
        client: &Client,
    ) -> Result<(Verified, &Trusted), OAuthError> {
        let malformed = || invalid("the assertion is no signed JWT");
        if assertion.len() > MAX_ASSERTION {
            return Err(malformed());
        }
        let (signed, signature) = assertion.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
        let payload: Map<String, Value> =
            serde_json::from_slice(&decode(payload)?).map_err(|_| malformed())?;
        let algorithm = jwks::algorithm(&header.alg).ok_or_else(|| {
            invalid("the assertion is signed with an algorithm that is not accepted")
        })?;
        if header.crit.is_some() {
            return Err(invalid("the assertion has a critical extension"));
        }
        if !header.typ.as_deref().is_some_and(|typ| {
            typ.eq_ignore_ascii_case(TYPE)
                || typ.eq_ignore_ascii_case("application/oauth-id-jag+jwt")
        }) {
            return Err(invalid("the assertion's typ is not oauth-id-jag+jwt"));
        }
        let text = |name: &str| payload.get(name).and_then(Value::as_str);
        let trusted = text("iss")
            .and_then(|issuer| self.issuers.get(issuer))
            .ok_or_else(|| invalid("the assertion's issuer is not trusted here"))?;
        let expires = self.times(&payload)?;
        self.addressed(&payload)?;
        if text("client_id") != Some(&*client.id) {
            return Err(invalid("the assertion was made for another client"));
        }
        let subject = text("sub")
            .filter(|subject| !subject.is_empty() && subject.len() <= 1024)
            .ok_or_else(|| invalid("the assertion names no subject"))?;
        trusted
            .signed(&header, algorithm, signed, &decode(signature)?)
            .await?;
        let verified = Verified {
            issuer: trusted.listed.issuer().into(),
            subject: subject.into(),
            expires,
            payload,
        };
        Ok((verified, trusted))
    }

    fn times(&self, payload: &Map<String, Value>) -> Result<Timestamp, OAuthError> {
        let time = |name: &str| payload.get(name).and_then(Value::as_i64);
        let now = self.ambient.now();
        let expires = time("exp")
            .map(Timestamp::from_secs)
            .ok_or_else(|| invalid("the assertion has no exp"))?;
        let issued = time("iat")
            .map(Timestamp::from_secs)
            .ok_or_else(|| invalid("the assertion has no iat"))?;
        if now >= expires.plus(self.skew) {
            return Err(invalid("the assertion is over"));
        }
        if issued > now.plus(self.skew) || expires > now.plus(MAX_LIFE + self.skew) {
            return Err(invalid("the assertion's times are not of now"));
        }
        let later = payload.get("nbf").is_some()
            && time("nbf").is_none_or(|nbf| Timestamp::from_secs(nbf) > now.plus(self.skew));
        if later {
            return Err(invalid("the assertion is not good yet"));
        }
        Ok(expires)
    }

    /// `aud` is our issuer and nothing else.
    fn addressed(&self, payload: &Map<String, Value>) -> Result<(), OAuthError> {
        let audience = match payload.get("aud") {
            Some(Value::String(one)) => Some(one.as_str()),
            Some(Value::Array(many)) => match many.as_slice() {
                [Value::String(one)] => Some(one.as_str()),
                _ => None,
            },
            _ => None,
        };
        if audience.is_some_and(|audience| self.audience.iter().any(|ours| ours == audience)) {
            Ok(())
        } else {
            Err(invalid(
                "the assertion is not addressed to this server alone",
            ))
        }
    }

    /// An assertion belongs to the client that used it first; to be used once only where the operator says so. Who
    /// cannot be asked whether it was used lets nothing through.
    async fn used(
        &self,
        verified: &Verified,
        client: &Client,
        trusted: &Trusted,
    ) -> Result<(), OAuthError> {
        let jti = verified
            .payload
            .get("jti")
            .and_then(Value::as_str)
            .filter(|jti| !jti.is_empty())
            .ok_or_else(|| invalid("the assertion has no jti"))?;
        let name = format!("id-jag {}:{}{jti}", verified.issuer.len(), verified.issuer);
        let mac = self.keys.mac(Purpose::Index, name.as_bytes());
        let key = Key::new(Space::Replay, URL_SAFE_NO_PAD.encode(mac));
        let now = self.ambient.now();
        let ttl = verified.expires.plus(self.skew).since(now) + Duration::from_secs(60);
        let owner = bytes::Bytes::copy_from_slice(client.digest.as_bytes());
        if self.store.put_new(&key, owner.clone(), ttl).await? {
            return Ok(());
        }
        let first = self.store.get(&key).await?;
        let same = first.is_some_and(|stored| stored.blob == owner);
        if same && !trusted.single_use {
            Ok(())
        } else {
            Err(invalid("the assertion was used already"))
        }
    }
}

impl Trusted {
    async fn signed(
        &self,
        header: &Header,
        algorithm: Algorithm,
        signed: &str,
        signature: &[u8],
    ) -> Result<(), OAuthError> {
        let unavailable = || {
            OAuthError::unavailable("the keys of the assertion's issuer cannot be read just now")
        };
        let jwks = self.listed.jwks().await.ok_or_else(unavailable)?;
        let keys = match jwks.find(header.kid.as_deref(), algorithm).await {
            Ok(keys) => keys,
            Err(KeyError::Unknown) => {
                return Err(invalid("the assertion was signed with an unknown key"));
            }
            Err(KeyError::Unavailable(error)) => {
                tracing::warn!(%error, "the keys of an issuer of assertions cannot be read");
                return Err(unavailable());
            }
        };
        if keys
            .iter()
            .any(|key| key.verifies(algorithm, signed.as_bytes(), signature))
        {
            Ok(())
        } else {
            Err(invalid("the assertion's signature is wrong"))
        }
    }
}

/// Exchanges an assertion for an access token. There is no refresh token: the client comes back with a new assertion.
pub(super) async fn exchange(
    desk: &TokenDesk,
    routes: &Table,
    client: &Client,
    form: &Form,
) -> Result<Given, OAuthError> {
    let assertion = form
        .get("assertion")
        .ok_or(OAuthError::invalid_request("assertion is missing"))?;
    let (verified, trusted) = desk.assertions.verify(assertion, client).await?;
    let target = match said(&verified.payload, "resource")? {
        None => wanted::resource(routes, desk.default_route.as_deref(), client, form)?,
        Some(named) => {
            let target = routes
                .resource(named)
                .ok_or_else(|| invalid("the assertion is for a resource that is not here"))?;
            let asked = super::code::named(routes, form)?;
            if asked.is_some_and(|asked| *asked != **target.resource()) {
                return Err(OAuthError::new(
                    OAuthCode::InvalidTarget,
                    "the assertion is for another resource",
                ));
            }
            target
        }
    };
    if client
        .routes
        .as_ref()
        .is_some_and(|routes| !routes.contains(&target.route().name))
    {
        return Err(OAuthError::new(
            OAuthCode::InvalidTarget,
            "this client may not use that resource",
        ));
    }
    let mut scopes = wanted::scopes(client, &target, form.get("scope"))?;
    if let Some(allowed) = said(&verified.payload, "scope")? {
        let allowed = ScopeSet::parse(allowed)
            .ok_or_else(|| invalid("the assertion's scope cannot be read"))?;
        scopes = scopes.common(&allowed);
    }
    desk.assertions.used(&verified, client, trusted).await?;
    let subject = Subject {
        issuer: Arc::clone(&verified.issuer),
        subject: Arc::clone(&verified.subject),
    };
    let claims = Claims::read(subject.clone(), verified.payload, &trusted.claims);
    let about = About {
        client_id: client.id.to_string(),
        client: client.digest.to_string(),
        client_name: client.name.clone(),
        subject,
        basis: Basis::Here(Box::new(claims)),
        resource: target.resource().to_string(),
        scopes: scopes.clone(),
        created: desk.ambient.now(),
        ends: desk.one_token(),
    };
    Ok(Given {
        grant: desk.grants.start(about.clone()).await?,
        about,
        scopes,
        refresh: None,
    })
}

/// A claim that bounds what the assertion is good for. One that is there and no text bounds it in a way that we cannot
/// read, and is not passed over.
fn said<'p>(payload: &'p Map<String, Value>, name: &str) -> Result<Option<&'p str>, OAuthError> {
    match payload.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(
            "resource or scope of the assertion is not one text",
        )),
    }
}

fn invalid(description: &'static str) -> OAuthError {
    OAuthError::invalid_grant(description)
}
