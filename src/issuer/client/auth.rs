//! Who calls the token endpoint: what was presented, and whether it proves the client (RFC 6749 section 2.3).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::assertion::Assertion;
use super::fetches::Cause;
use super::shelf::Nothing;
use super::{Client, ClientAuth, ClientError, ClientKeys, Clients, MAX_CLIENT_ID};
use crate::issuer::form::Form;
use crate::secret::{Digest, Secret};
use crate::store::{Key, Space};

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request presented.
#[derive(Debug)]
enum Presented<'r> {
    /// Its id alone.
    Id(Cow<'r, str>),
    /// A secret, in every reading that it may have.
    Secret(Cow<'r, str>, Vec<Secret>),
    /// A signed assertion.
    Assertion(&'r str),
}

impl Clients {
    /// The client that calls the token or revocation endpoint, authenticated as it has to be: by HTTP Basic, by the
    /// form's `client_secret`, by an assertion, or by its mere id when it is public. `cause` is who
    /// calls, for limits.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &Form,
        cause: Cause,
    ) -> Result<Arc<Client>, ClientError> {
        match presented(headers, form)? {
            Presented::Id(id) => {
                let client = self.known(&id, cause).await?;
                match client.auth {
                    ClientAuth::None => Ok(client),
                    ClientAuth::Secret(_) => Err(ClientError::Unproven("its secret is missing")),
                    ClientAuth::Keys(_) => Err(ClientError::Unproven(
                        "it has to authenticate with private_key_jwt and did not",
                    )),
                }
            }
            Presented::Secret(id, secrets) => {
                let client = self.known(&id, cause).await?;
                match &client.auth {
                    // What everybody may do without a secret, one may do with any.
                    ClientAuth::None => Ok(client),
                    ClientAuth::Secret(digest) => {
                        let right = secrets
                            .iter()
                            .any(|secret| Digest::of(secret.expose_secret()) == *digest);
                        right
                            .then_some(client)
                            .ok_or(ClientError::Unproven("its secret is wrong"))
                    }
                    ClientAuth::Keys(_) => Err(ClientError::Unproven(
                        "it has to authenticate with private_key_jwt and sent a secret",
                    )),
                }
            }
            Presented::Assertion(token) => self.asserted(token, form.get("client_id"), cause).await,
        }
    }

    async fn asserted(
        &self,
        token: &str,
        client_id: Option<&str>,
        cause: Cause,
    ) -> Result<Arc<Client>, ClientError> {
        let assertion = Assertion::parse(token).map_err(ClientError::Unproven)?;
        if client_id.is_some_and(|id| id != assertion.client()) {
            return Err(ClientError::Unproven("the assertion is for another client"));
        }
        // Before anything is fetched for it.
        let now = self.ambient.now();
        let once = assertion
            .judge(&self.audiences, now, self.skew)
            .map_err(ClientError::Unproven)?;
        let client = self.known(assertion.client(), cause).await?;
        let ClientAuth::Keys(keys) = &client.auth else {
            return Err(ClientError::Unproven("it has no keys for private_key_jwt"));
        };
        self.verify(keys, &assertion, cause).await?;
        let new = self
            .store
            .put_new(
                &Key::new(Space::Replay, once.id),
                Bytes::from_static(b"1"),
                once.life,
            )
            .await
            .map_err(|error| ClientError::Unavailable(error.to_string()))?;
        if new {
            Ok(client)
        } else {
            Err(ClientError::Unproven("the assertion was used before"))
        }
    }

    async fn verify(
        &self,
        keys: &ClientKeys,
        assertion: &Assertion<'_>,
        cause: Cause,
    ) -> Result<(), ClientError> {
        let keys = self
            .keys
            .find(keys, assertion.kid.as_deref(), assertion.algorithm, cause)
            .await
            .map_err(|nothing| match nothing {
                Nothing::NotHad => {
                    ClientError::Unavailable("its key set cannot be read".to_owned())
                }
                Nothing::Limited(seconds) => ClientError::Limited(seconds),
            })?;
        keys.iter()
            .any(|key| {
                key.verifies(
                    assertion.algorithm,
                    assertion.signed.as_bytes(),
                    &assertion.signature,
                )
            })
            .then_some(())
            .ok_or(ClientError::Unproven(
                "no key of it made the signature of the assertion",
            ))
    }
}

/// Reads what was presented. Two ways at once are refused (RFC 6749 section 2.3), as are two different ids.
fn presented<'r>(headers: &HeaderMap, form: &'r Form) -> Result<Presented<'r>, ClientError> {
    let basic = basic(headers)?;
    let id = form.get("client_id");
    let secret = form.secret("client_secret");
    let assertion = match (
        form.get("client_assertion"),
        form.get("client_assertion_type"),
    ) {
        (None, None) => None,
        (Some(token), Some(ASSERTION_TYPE)) => Some(token),
        _ => {
            return Err(ClientError::Malformed(
                "client_assertion needs the client_assertion_type of RFC 7523",
            ));
        }
    };
    match (basic, secret, assertion) {
        (None, None, None) => id
            .map(|id| Presented::Id(Cow::Borrowed(id)))
            .ok_or(ClientError::Malformed("client_id is missing")),
        (None, Some(secret), None) => id
            .map(|id| Presented::Secret(Cow::Borrowed(id), vec![secret.clone()]))
            .ok_or(ClientError::Malformed("client_id is missing")),
        (None, None, Some(token)) => Ok(Presented::Assertion(token)),
        (Some(basic), None, None) => basic.into_presented(id),
        _ => Err(ClientError::Malformed(
            "the client authenticates in more than one way; use one",
        )),
    }
}

/// The two parts of HTTP Basic as they came.
struct Basic {
    user: String,
    password: String,
}

/// Reads `Authorization`. RFC 6749 section 2.3.1 wants both parts form-encoded before they are put together.
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, ClientError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(ClientError::Malformed(
            "there are several Authorization headers",
        ));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(ClientError::Unproven("Authorization is not Basic"));
    }
    let decoded = STANDARD
        .decode(encoded.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(ClientError::Unproven(
            "Authorization is not readable as Basic",
        ))?;
    let (user, password) = decoded.split_once(':').ok_or(ClientError::Unproven(
        "Authorization is not readable as Basic",
    ))?;
    Ok(Some(Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    }))
}

impl Basic {
    fn into_presented(self, id: Option<&str>) -> Result<Presented<'_>, ClientError> {
        let user = form_decoded(&self.user);
        let user = match id {
            // Some clients send both, and the id unencoded in the header.
            Some(id) if id == user || id == self.user => Cow::Borrowed(id),
            Some(_) => {
                return Err(ClientError::Malformed(
                    "client_id and the Authorization header name different clients",
                ));
            }
            None => Cow::Owned(user),
        };
        if self.password.is_empty() {
            return Ok(Presented::Id(user));
        }
        // Some clients do not encode; both readings are tried, as a secret of ours is the same in both.
        let secrets = vec![
            Secret::new(form_decoded(&self.password)),
            Secret::new(self.password),
        ];
        Ok(Presented::Secret(user, secrets))
    }
}

fn form_decoded(text: &str) -> String {
    let plus = text.replace('+', " ");
    percent_encoding::percent_decode_str(&plus)
        .decode_utf8_lossy()
        .into_owned()
}

/// Whether a text may be a client's id at all.
pub(super) fn may_be_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_CLIENT_ID && id.bytes().all(|b| (0x20..0x7f).contains(&b))
}

#[cfg(test)]
mod tests;
