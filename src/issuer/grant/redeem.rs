//! Redeeming a code: once, by the client that it was made for, with the proof that belongs to it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::record::{Ending, State};
use super::ticket::{self, GrantId};
use super::{ATTEMPTS, About, Grants, contended};
use crate::issuer::client::Client;
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::secret::{Digest, Secret};
use crate::store::Replaced;

/// What a client presents with a code.
#[derive(Debug)]
pub(crate) struct Redemption<'a> {
    pub(crate) code: &'a str,
    pub(crate) verifier: Option<&'a str>,
    pub(crate) redirect_uri: Option<&'a str>,
    /// The resource that it names; `None`: the grant's.
    pub(crate) resource: Option<&'a str>,
    /// Whether it gets a refresh token.
    pub(crate) refresh: bool,
}

impl Grants {
    /// Turns a code into an active grant; gives its id, what it is about, and the first refresh token.
    ///
    /// A second redemption ends the grant (RFC 6749 section 4.1.2); so does one without the right proof, for then
    /// somebody else holds the code. Another client's code is refused before any of that.
    pub(crate) async fn redeem(
        &self,
        client: &Client,
        redemption: &Redemption<'_>,
    ) -> Result<(Arc<str>, About, Option<Secret>), OAuthError> {
        let inner = &*self.0;
        let unknown = || {
            OAuthError::invalid_grant(
                "the code is unknown, used, too old, or was made for another client",
            )
        };
        let (id, secret) = ticket::parse_code(redemption.code).ok_or_else(unknown)?;
        for _ in 0..ATTEMPTS {
            let now = inner.ambient.now();
            let Some((revision, mut record)) = inner.read(id).await? else {
                return Err(unknown());
            };
            let ours = record.code.map(Digest::from_bytes) == Some(secret);
            if *record.about.client != *client.digest || !ours {
                return Err(unknown());
            }
            let State::Coded {
                challenge,
                redirect_uri,
                expires,
            } = &record.state
            else {
                if matches!(record.state, State::Active { .. }) {
                    self.burn(id, Ending::CodeReplayed).await?;
                }
                return Err(unknown());
            };
            if now >= *expires {
                return Err(unknown());
            }
            if redemption
                .resource
                .is_some_and(|resource| resource != record.about.resource)
            {
                return Err(OAuthError::new(
                    OAuthCode::InvalidTarget,
                    "the code was made for another resource",
                ));
            }
            if !proves(redemption.verifier, challenge)
                || redemption.redirect_uri != Some(redirect_uri)
            {
                self.burn(id, Ending::CodeMisused).await?;
                return Err(OAuthError::invalid_grant(
                    "code_verifier or redirect_uri is not the one of the authorization request; the code is used up",
                ));
            }
            let generation = u64::from(redemption.refresh);
            record.state = State::Active {
                generation,
                presented: Vec::new(),
                used: now,
            };
            match inner.replace(id, revision, &record, now).await? {
                Replaced::Done(_) => {
                    let refresh = redemption
                        .refresh
                        .then(|| ticket::refresh(&inner.keys, id, generation, &client.digest));
                    return Ok((id.hex(), record.about, refresh));
                }
                Replaced::Changed => {}
                Replaced::Absent => return Err(unknown()),
            }
        }
        Err(contended().into())
    }

    async fn burn(&self, id: GrantId, why: Ending) -> Result<(), OAuthError> {
        tracing::warn!(grant = %id.hex(), why = why.as_str(), "a code was presented in a way that no honest client does; its grant is ended");
        self.0.end(id, why).await?;
        Ok(())
    }
}

/// RFC 7636 section 4.6, method S256. A verifier has 43 to 128 unreserved characters (section 4.1).
fn proves(verifier: Option<&str>, challenge: &str) -> bool {
    let Some(verifier) = verifier else {
        return false;
    };
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return false;
    }
    let ours = URL_SAFE_NO_PAD.encode(Digest::of(verifier).as_bytes());
    Secret::new(ours) == Secret::new(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7636_appendix_b() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(proves(Some(verifier), challenge));
        assert!(!proves(None, challenge));
        assert!(!proves(Some(""), challenge));
        assert!(!proves(Some(challenge), challenge), "`plain` is not served");
        assert!(!proves(Some(&verifier[1..]), challenge));
        assert!(!proves(Some(&"a".repeat(129)), challenge));
    }
}
