//! The token endpoint: codes and refresh tokens are redeemed here (RFC 6749 sections 4.1.3 and 6).

use std::borrow::Cow;
use std::time::Duration;

use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, ExtraTokenFields, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

use super::calls::{CallError, Calls, TokenEndpoint};
use super::client_auth::{Credentials, Proof};
use super::metadata::Metadata;
use crate::clock::Ambient;
use crate::secret::Secret;

/// What the token endpoint gave.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access_token: Secret,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) refresh_token: Option<Secret>,
    /// Unverified.
    pub(crate) id_token: Option<Secret>,
}

/// Why it gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Nobody said anything about the grant: try again later.
    #[error("the token endpoint is in trouble: {0}")]
    Unavailable(String),
    /// The provider refused, by a typed OAuth error (RFC 6749 section 5.2): asking again is of no use.
    #[error("the token endpoint refused with `{code}`: {description}")]
    Refused {
        /// The OAuth error code.
        code: String,
        /// The provider's words, for the log.
        description: String,
    },
    /// A success that cannot be understood.
    #[error("the token endpoint's answer cannot be used: {0}")]
    Unusable(String),
}

/// The ID token as its text: parsing it is a step of its own, so that an odd one costs no refresh token.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct IdTokenField {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

impl ExtraTokenFields for IdTokenField {}

type Response = StandardTokenResponse<IdTokenField, BasicTokenType>;

/// The client of the `oauth2` crate, with both endpoints set.
pub(crate) type OauthClient = Client<
    BasicErrorResponse,
    Response,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Who calls which endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) credentials: &'a Credentials,
    pub(crate) metadata: &'a Metadata,
    pub(crate) calls: &'a Calls,
    pub(crate) ambient: &'a Ambient,
}

impl Caller<'_> {
    /// Redeems an authorization code.
    pub(crate) async fn redeem_code(
        &self,
        code: &Secret,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Tokens, TokenError> {
        let proof = self.prove()?;
        let redirect = RedirectUrl::new(redirect_uri.to_owned())
            .map_err(|error| TokenError::Unusable(error.to_string()))?;
        let client = oauth_client(self.client_id, self.metadata, &proof);
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
            .set_redirect_uri(Cow::Owned(redirect));
        for (name, value) in proof.parameters() {
            request = request.add_extra_param(name, value);
        }
        let endpoint = TokenEndpoint(self.calls);
        request
            .request_async(&endpoint)
            .await
            .map(|response| read(&response))
            .map_err(failure)
    }

    /// Redeems a refresh token. The answer's refresh token, if any, replaces it (RFC 6749 section 6).
    pub(crate) async fn redeem_refresh(&self, token: &Secret) -> Result<Tokens, TokenError> {
        let proof = self.prove()?;
        let client = oauth_client(self.client_id, self.metadata, &proof);
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let mut request = client.exchange_refresh_token(&token);
        for (name, value) in proof.parameters() {
            request = request.add_extra_param(name, value);
        }
        let endpoint = TokenEndpoint(self.calls);
        request
            .request_async(&endpoint)
            .await
            .map(|response| read(&response))
            .map_err(failure)
    }

    fn prove(&self) -> Result<Proof, TokenError> {
        let offered = self.metadata.token_auth_methods.as_deref();
        self.credentials
            .prove(offered, self.metadata.token_endpoint.as_str(), self.ambient)
            .map_err(|error| {
                TokenError::Unusable(format!("the client assertion cannot be signed: {error}"))
            })
    }
}

/// Builds the client that makes requests for us.
pub(crate) fn oauth_client(client_id: &str, metadata: &Metadata, proof: &Proof) -> OauthClient {
    let client = Client::new(ClientId::new(client_id.to_owned()))
        .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()));
    let secret = |secret: &Secret| ClientSecret::new(secret.expose_secret().to_owned());
    match proof {
        Proof::Basic(text) => client
            .set_auth_type(AuthType::BasicAuth)
            .set_client_secret(secret(text)),
        Proof::Post(text) => client
            .set_auth_type(AuthType::RequestBody)
            .set_client_secret(secret(text)),
        Proof::Assertion(_) | Proof::Public => client.set_auth_type(AuthType::RequestBody),
    }
}

fn read(response: &Response) -> Tokens {
    let text = |text: &String| Secret::new(text.as_str());
    Tokens {
        access_token: text(response.access_token().secret()),
        expires_in: response.expires_in(),
        refresh_token: response.refresh_token().map(|token| text(token.secret())),
        id_token: response.extra_fields().id_token.as_ref().map(text),
    }
}

fn failure(error: RequestTokenError<CallError, BasicErrorResponse>) -> TokenError {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            let code = by_the_book(answer.error().as_ref());
            let description = loggable(answer.error_description().map_or("", String::as_str));
            match answer.error() {
                BasicErrorResponseType::Extension(code) if is_temporary(code) => {
                    TokenError::Unavailable(format!("{code}: {description}"))
                }
                _ => TokenError::Refused {
                    code: loggable(&code),
                    description,
                },
            }
        }
        RequestTokenError::Request(error) => TokenError::Unavailable(error.to_string()),
        // The parser's error holds places in the text, never the text itself.
        RequestTokenError::Parse(error, _) => TokenError::Unusable(error.to_string()),
        RequestTokenError::Other(what) => TokenError::Unusable(loggable(&what)),
    }
}

/// The standard code for what GitHub calls otherwise.
fn by_the_book(code: &str) -> String {
    match code {
        "bad_verification_code" | "bad_refresh_token" => "invalid_grant",
        "incorrect_client_credentials" => "invalid_client",
        other => other,
    }
    .to_owned()
}

/// Codes that tell of trouble at the provider, not of the request (RFC 6749 section 4.1.2.1).
pub(crate) fn is_temporary(code: &str) -> bool {
    matches!(
        code,
        "temporarily_unavailable" | "server_error" | "slow_down"
    )
}

/// A foreign text, fit for a log line: printable, and cut.
pub(crate) fn loggable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> TokenError {
        failure(RequestTokenError::ServerResponse(
            serde_json::from_str(body).unwrap(),
        ))
    }

    #[test]
    fn typed_errors_are_conclusive_and_trouble_is_not() {
        for code in [
            "invalid_grant",
            "invalid_client",
            "unauthorized_client",
            "interaction_required",
        ] {
            let error = refused(&format!(
                r#"{{"error":"{code}","error_description":"a\nb"}}"#
            ));
            assert!(
                matches!(&error, TokenError::Refused { code: found, description } if found == code && description == "a b"),
                "{error}"
            );
        }
        for code in ["temporarily_unavailable", "server_error", "slow_down"] {
            assert!(matches!(
                refused(&format!(r#"{{"error":"{code}"}}"#)),
                TokenError::Unavailable(_)
            ));
        }
        assert!(matches!(
            failure(RequestTokenError::Request(CallError::Status(403))),
            TokenError::Unavailable(_)
        ));
    }

    #[test]
    fn an_odd_id_token_does_not_lose_the_refresh_token() {
        let body = r#"{"access_token":"a","token_type":"Bearer","expires_in":60,"refresh_token":"r","id_token":"not.a.jwt"}"#;
        let tokens = read(&serde_json::from_str(body).unwrap());
        assert_eq!(tokens.refresh_token, Some(Secret::new("r")));
        assert_eq!(tokens.expires_in, Some(Duration::from_secs(60)));
    }
}
