//! Bearer tokens: JWTs of the main provider and of listed issuers, verified once and remembered for a moment.
//!
//! What is remembered are verified claims only. Times, audience, route and policy are judged on every request. In
//! front stands what this connection sent last, behind it a shared cache that knows tokens by their SHA-256.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use metrics::{Counter, Histogram};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::grant;
use super::issuers::{Issuer, Issuers, NoIssuer};
use super::jwt::{self, Facts};
use super::refusal::Refusal;
use super::{Credential, Identity, token};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::http::Inbound;
use crate::ids::Subject;
use crate::oidc::jwks::{Jwks, KeyError, VerifyKey};
use crate::route::Target;
use crate::secret::Digest;
use crate::telemetry::metrics::{Metrics, Name};

/// How long a verification is remembered at most.
const REMEMBER: Duration = Duration::from_secs(60);
/// Bytes of tokens that the shared cache stands for, and how many tokens that would be.
const CACHE_BYTES: u64 = 16 << 20;
const CACHE_TOKENS: usize = 16 << 10;

/// Verifies bearer tokens.
pub(super) struct Bearer {
    pub(super) issuers: Issuers,
    skew: Duration,
    cache: Cache<[u8; 32], Arc<Verified>, Size>,
    /// Tells what this value verified from what its predecessor did, before a reload.
    era: Arc<()>,
    hits: Counter,
    misses: Counter,
    stale: Counter,
    duration: Histogram,
}

/// A verified token.
pub(super) struct Verified {
    era: Arc<()>,
    issuer: Arc<Issuer>,
    /// The key set that it was verified with, and its generation; `None` for our own tokens.
    keys: Option<(Arc<Jwks>, u64)>,
    /// The grant that it rests on, for our own tokens.
    pub(super) grant: Option<Arc<str>>,
    at: Timestamp,
    /// How long it is remembered at most.
    pub(super) life: Duration,
    size: u64,
    claims: Arc<Claims>,
    audiences: Vec<Box<str>>,
    scopes: Arc<[Box<str>]>,
    client_id: Option<Arc<str>>,
    expires: Timestamp,
}

/// Why a token gives no identity.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is no credential here.
    Refused(Refusal),
    /// Nobody knows: its issuer's keys cannot be read.
    Unavailable(String),
}

/// The outcome for one token, with the issuer's label for metrics.
pub(super) struct Judged {
    pub(super) issuer: Option<Arc<Issuer>>,
    pub(super) outcome: Result<Identity, Failure>,
}

#[derive(Clone)]
struct Size;

impl Weighter<[u8; 32], Arc<Verified>> for Size {
    fn weight(&self, _: &[u8; 32], value: &Arc<Verified>) -> u64 {
        value.size
    }
}

impl Bearer {
    pub(super) fn new(issuers: Issuers, skew: Duration, metrics: &Metrics) -> Self {
        let cache = |result| metrics.counter(Name::TokenCache, &[("result", result)]);
        Self {
            issuers,
            skew,
            cache: Cache::with_weighter(CACHE_TOKENS, CACHE_BYTES, Size),
            era: Arc::new(()),
            hits: cache("hit"),
            misses: cache("miss"),
            stale: cache("stale"),
            duration: metrics.histogram(Name::TokenValidationDuration, &[("kind", "jwt")]),
        }
    }

    /// Judges the token of an `Authorization` header for a target.
    pub(super) async fn judge(
        &self,
        header: &HeaderValue,
        target: &Target,
        inbound: &Inbound,
    ) -> Judged {
        match self.verified(header, inbound).await {
            Ok(verified) => Judged {
                outcome: match admit(&verified, target) {
                    Ok(identity) => grant::rests_on(&verified, identity).await,
                    refused => refused,
                },
                issuer: Some(Arc::clone(&verified.issuer)),
            },
            Err((issuer, failure)) => Judged {
                issuer,
                outcome: Err(failure),
            },
        }
    }

    async fn verified(
        &self,
        header: &HeaderValue,
        inbound: &Inbound,
    ) -> Result<Arc<Verified>, (Option<Arc<Issuer>>, Failure)> {
        let now = inbound.received;
        if let Some(known) = inbound.conn.memo.recall::<Verified>(header.as_bytes())
            && self.is_fresh(&known, now)
        {
            self.hits.increment(1);
            return Ok(known);
        }
        let token = token(header).map_err(|refusal| (None, Failure::Refused(refusal)))?;
        let digest = *Digest::of(token).as_bytes();
        match self.cache.get(&digest) {
            Some(known) if self.is_fresh(&known, now) => {
                self.hits.increment(1);
                inbound
                    .conn
                    .memo
                    .remember(header.as_bytes(), Arc::clone(&known));
                return Ok(known);
            }
            Some(_) => self.stale.increment(1),
            None => self.misses.increment(1),
        }
        let began = tokio::time::Instant::now();
        // Boxed: waiting for keys is rare and must not make every request's future large.
        let verified = Box::pin(self.verify(token, now)).await;
        self.duration.record(began.elapsed());
        let verified = Arc::new(verified?);
        self.cache.insert(digest, Arc::clone(&verified));
        inbound
            .conn
            .memo
            .remember(header.as_bytes(), Arc::clone(&verified));
        Ok(verified)
    }

    /// Tolerated difference between clocks.
    pub(super) fn skew(&self) -> Duration {
        self.skew
    }

    fn is_fresh(&self, known: &Verified, now: Timestamp) -> bool {
        Arc::ptr_eq(&known.era, &self.era)
            && now < known.expires
            && now.since(known.at) < known.life
            && known
                .keys
                .as_ref()
                .is_none_or(|(jwks, generation)| *generation == jwks.generation())
    }

    async fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, (Option<Arc<Issuer>>, Failure)> {
        let refused = |refusal| (None, Failure::Refused(refusal));
        let parsed = match jwt::parse(token) {
            // No JWT, or one that does not say whose it is.
            Err(Refusal::Malformed) if self.asks_about(token) => {
                return self.introspected(token, now).await;
            }
            Ok(parsed) if !parsed.payload.contains_key("iss") && self.asks_about(token) => {
                return self.introspected(token, now).await;
            }
            parsed => parsed.map_err(refused)?,
        };
        let named = parsed
            .payload
            .get("iss")
            .and_then(serde_json::Value::as_str)
            .ok_or(refused(Refusal::WrongIssuer))?;
        let issuer = match self.issuers.find(named).await {
            Ok(issuer) => issuer,
            Err(NoIssuer::Refused(refusal)) => return Err(refused(refusal)),
            Err(NoIssuer::Unavailable) => {
                return Err((
                    None,
                    Failure::Unavailable("the issuer is not discovered yet".to_owned()),
                ));
            }
        };
        let with_issuer = |failure| (Some(Arc::clone(issuer)), failure);
        let refused = |refusal| with_issuer(Failure::Refused(refusal));
        if !issuer.allows(parsed.algorithm) {
            return Err(refused(Refusal::Algorithm));
        }
        // Before the keys: what has expired need not make anybody look for one.
        let expires = jwt::times(&parsed.payload, now, self.skew).map_err(refused)?;
        if let Some(own) = issuer.own() {
            return self
                .verify_own(own, issuer, token, parsed, expires, now)
                .await
                .map_err(with_issuer);
        }
        let jwks = issuer.jwks().await.ok_or_else(|| {
            with_issuer(Failure::Unavailable(
                "the issuer's keys are not discovered yet".to_owned(),
            ))
        })?;
        let keys = match jwks.find(parsed.kid.as_deref(), parsed.algorithm).await {
            Ok(keys) => keys,
            Err(KeyError::Unknown) => return Err(refused(Refusal::UnknownKey)),
            Err(KeyError::Unavailable(why)) => return Err(with_issuer(Failure::Unavailable(why))),
        };
        // After the set was found and before it is used: if it changes in between, this is too old, not too new.
        let generation = jwks.generation();
        let signature = parsed.signature().map_err(refused)?;
        let message = parsed.signed.as_bytes();
        let signed_by = |key: &VerifyKey| key.verifies(parsed.algorithm, message, &signature);
        if !keys.iter().any(|key| signed_by(key)) {
            return Err(refused(Refusal::BadSignature));
        }
        let facts = jwt::facts(&parsed.payload, expires).map_err(refused)?;
        let subject = Subject {
            issuer: issuer.canonical(named),
            subject: facts.subject.as_str().into(),
        };
        let claims = Claims::read(subject, parsed.payload, &issuer.claims);
        Ok(Verified {
            keys: Some((jwks, generation)),
            ..self.verified_by(issuer, token, facts, claims, now)
        })
    }

    /// What is remembered of a token that an issuer was proven to have made.
    pub(super) fn verified_by(
        &self,
        issuer: &Arc<Issuer>,
        token: &str,
        facts: Facts,
        claims: Claims,
        now: Timestamp,
    ) -> Verified {
        Verified {
            era: Arc::clone(&self.era),
            keys: None,
            grant: None,
            at: now,
            life: REMEMBER,
            size: token.len() as u64,
            audiences: facts.audiences,
            scopes: facts.scopes.into(),
            client_id: facts.client_id.map(Arc::from),
            expires: facts.expires,
            claims: Arc::new(claims),
            issuer: Arc::clone(issuer),
        }
    }
}

impl Verified {
    /// The grant that one of our own tokens rests on.
    pub(super) fn grant(&self) -> Option<&Arc<str>> {
        self.grant.as_ref()
    }

    /// Who made it.
    pub(super) fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }
}

/// What is judged on every request, whether the token was seen before or not. Our own tokens are for one resource,
/// and listed audiences do not widen that.
fn admit(verified: &Verified, target: &Target) -> Result<Identity, Failure> {
    let listed = |audience: &str| {
        verified.grant.is_none()
            && [&target.route().audiences, &verified.issuer.audiences]
                .into_iter()
                .any(|list| list.iter().any(|each| each == audience))
    };
    if !verified
        .audiences
        .iter()
        .any(|audience| target.accepts_audience(audience) || listed(audience))
    {
        return Err(Failure::Refused(Refusal::WrongAudience));
    }
    Ok(Identity {
        claims: Arc::clone(&verified.claims),
        credential: Credential::Bearer,
        scopes: Arc::clone(&verified.scopes),
        client_id: verified.client_id.clone(),
        expires: Some(verified.expires),
        basis: None,
    })
}
