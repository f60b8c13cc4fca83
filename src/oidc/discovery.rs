//! Discovery: from the configured issuer to the provider's checked metadata.

use bytes::Bytes;
use http::header::ACCEPT;
use url::Url;

use super::calls::{Calls, Endpoint};
use super::github;
use super::metadata::{Metadata, MetadataError};
use super::profile::{Issuers, Profile};
use crate::config::oidc::Oidc;
use crate::telemetry::metrics::Metrics;
use crate::upstream::fetch::{Fetch, FetchError};

/// Path of the document below the issuer (OpenID Connect Discovery 1.0 section 4).
pub const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Largest answer of a provider that is read, in bytes.
pub(crate) const MAX_ANSWER: usize = 1 << 20;

/// Where a configured issuer's document is, and which issuer it has to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address of the document.
    pub document: String,
    /// The issuer, give or take one final slash.
    pub issuer: String,
    /// Whether the document may name another one.
    rule: Issuers,
}

impl Place {
    /// From the issuer or from the full address of its document.
    ///
    /// # Errors
    /// [`DiscoveryError::Address`] when it is no absolute http or https address.
    pub fn of(configured: &str) -> Result<Self, DiscoveryError> {
        let wrong = || DiscoveryError::Address(configured.to_owned());
        let url = Url::parse(configured).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https")
            || url.host_str().is_none()
            || url.fragment().is_some()
        {
            return Err(wrong());
        }
        if let Some(at) = configured.find(WELL_KNOWN) {
            return Ok(Self {
                document: configured.to_owned(),
                issuer: configured[..at].to_owned(),
                rule: Issuers::Exact,
            });
        }
        if url.query().is_some() {
            return Err(wrong());
        }
        let issuer = configured.strip_suffix('/').unwrap_or(configured);
        Ok(Self {
            document: format!("{issuer}{WELL_KNOWN}"),
            issuer: configured.to_owned(),
            rule: Issuers::Exact,
        })
    }

    /// The same for a provider whose peculiarities are known.
    pub(crate) fn of_provider(config: &Oidc, profile: &Profile) -> Result<Self, DiscoveryError> {
        let place = Self::of(&config.issuer)?;
        Ok(Self {
            document: profile.document(&place.issuer).unwrap_or(place.document),
            issuer: place.issuer,
            rule: profile.issuers,
        })
    }

    /// Whether a document may name this issuer: the same bytes, give or take one final slash.
    fn accepts(&self, issuer: &str) -> bool {
        let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        bare(&self.issuer) == bare(issuer) || self.rule.accept(&self.issuer, issuer)
    }
}

/// Why discovery did not work. The messages name the address and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The configured issuer is no address.
    #[error(
        "`oidc.issuer` is `{0}`, which is not an absolute https address; write the issuer or its full {WELL_KNOWN} address"
    )]
    Address(String),
    /// The private CA cannot be used.
    #[error("{0}")]
    Setup(String),
    /// No answer.
    #[error(
        "the identity provider cannot be reached at {document}: {source}; check the address, DNS, firewall and CA"
    )]
    Unreachable {
        /// Address of the document.
        document: String,
        /// What happened.
        source: FetchError,
    },
    /// An answer that is no success.
    #[error(
        "{document} answered with status {status} instead of 200; check that the issuer's address is right (realm, tenant, path)"
    )]
    Status {
        /// Address of the document.
        document: String,
        /// The status.
        status: u16,
    },
    /// A document of somebody else.
    #[error(
        "the configured issuer is `{configured}`, but the document at {document} names the issuer `{found}`; configure the issuer exactly as the provider names it"
    )]
    IssuerMismatch {
        /// Address of the document.
        document: String,
        /// What is configured.
        configured: String,
        /// What the document says.
        found: String,
    },
    /// A document that cannot be used.
    #[error("the discovery document at {document} cannot be used: {source}")]
    Document {
        /// Address of the document.
        document: String,
        /// What is wrong with it.
        source: MetadataError,
    },
}

/// What `check-config --online` tells about a provider.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The exact issuer.
    pub issuer: String,
    /// Where browsers go to log in.
    pub authorization_endpoint: String,
    /// Where codes are redeemed.
    pub token_endpoint: String,
    /// Whether sign-out at the provider is offered.
    pub sign_out: bool,
    /// Whether refresh tokens are offered by scope.
    pub offline_access: bool,
}

/// Reads a provider's document once, for `check-config --online`.
///
/// # Errors
/// Whatever keeps the proxy from using this provider.
pub async fn probe(config: &Oidc) -> Result<Summary, DiscoveryError> {
    let fetch = Fetch::new(config.ca_file.as_deref(), config.timeout.0, MAX_ANSWER)
        .map_err(DiscoveryError::Setup)?;
    let calls = Calls::new(fetch, "probe", &Metrics::new());
    let profile = Profile::of(config);
    let metadata = find(
        &Place::of_provider(config, profile)?,
        profile,
        config,
        &calls,
    )
    .await?;
    Ok(Summary {
        issuer: metadata.issuer.clone(),
        authorization_endpoint: metadata.authorization_endpoint.to_string(),
        token_endpoint: metadata.token_endpoint.to_string(),
        sign_out: metadata.end_session_endpoint.is_some(),
        offline_access: metadata
            .scopes_supported
            .iter()
            .any(|scope| scope == "offline_access"),
    })
}

/// The metadata of a provider: known for one without a document, else fetched.
pub(crate) async fn find(
    place: &Place,
    profile: &Profile,
    config: &Oidc,
    calls: &Calls,
) -> Result<Metadata, DiscoveryError> {
    if !profile.is_oauth_only() {
        return discover(place, calls).await;
    }
    github::metadata(config).map_err(|source| DiscoveryError::Document {
        document: place.issuer.clone(),
        source,
    })
}

/// Fetches and checks the document.
async fn discover(place: &Place, calls: &Calls) -> Result<Metadata, DiscoveryError> {
    let document = place.document.clone();
    let request = http::Request::get(&document)
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|_| DiscoveryError::Address(document.clone()))?;
    let answer = match calls.send(Endpoint::Discovery, request).await {
        Ok(answer) => answer,
        Err(source) => return Err(DiscoveryError::Unreachable { document, source }),
    };
    if answer.status() != http::StatusCode::OK {
        return Err(DiscoveryError::Status {
            document,
            status: answer.status().as_u16(),
        });
    }
    let metadata = match Metadata::read(answer.body()) {
        Ok(metadata) => metadata,
        Err(source) => return Err(DiscoveryError::Document { document, source }),
    };
    if !place.accepts(&metadata.issuer) {
        let found = metadata.issuer.chars().take(200).collect();
        return Err(DiscoveryError::IssuerMismatch {
            document,
            configured: place.issuer.clone(),
            found,
        });
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_and_well_known_form_mean_the_same() {
        let by_issuer = Place::of("https://idp.example/realms/corp").unwrap();
        let by_document =
            Place::of("https://idp.example/realms/corp/.well-known/openid-configuration").unwrap();
        assert_eq!(by_issuer, by_document);
        assert!(by_issuer.accepts("https://idp.example/realms/corp"));
        assert!(by_issuer.accepts("https://idp.example/realms/corp/"));
        for other in [
            "https://idp.example/realms/corp//",
            "https://idp.example/realms",
            "https://IDP.example/realms/corp",
            "http://idp.example/realms/corp",
        ] {
            assert!(!by_issuer.accepts(other), "{other}");
        }
    }

    #[test]
    fn one_final_slash_makes_no_difference() {
        let place = Place::of("https://tenant.auth0.example/").unwrap();
        assert_eq!(
            place.document,
            "https://tenant.auth0.example/.well-known/openid-configuration"
        );
        assert!(
            place.accepts("https://tenant.auth0.example/")
                && place.accepts("https://tenant.auth0.example")
        );
    }

    #[test]
    fn a_query_belongs_to_the_document_only() {
        let place =
            Place::of("https://b2c.example/t/v2.0/.well-known/openid-configuration?p=x").unwrap();
        assert_eq!(place.issuer, "https://b2c.example/t/v2.0");
        for bad in [
            "idp.example",
            "https://",
            "ftp://a.b",
            "https://a.b/?x=y",
            "https://a.b/#f",
            "",
        ] {
            assert!(Place::of(bad).is_err(), "{bad}");
        }
    }
}
