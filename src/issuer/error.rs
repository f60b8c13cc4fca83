//! Errors as OAuth has them: one code, one status, one match to the wire.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::http::{Body, Response};
use crate::store::Unavailable;

/// An error of the authorization, token, registration or revocation endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub(crate) struct OAuthError {
    /// The code on the wire.
    pub(crate) code: OAuthCode,
    /// What is wrong, for the developer of the client. Printable ASCII without `"` and `\`
    /// (RFC 6749 section 5.2), and nothing that the caller should not know.
    pub(crate) description: &'static str,
}

/// Error codes (RFC 6749 sections 4.1.2.1 and 5.2, RFC 8707 section 2); registration has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OAuthCode {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidScope,
    InvalidTarget,
    AccessDenied,
    LoginRequired,
    ConsentRequired,
    ServerError,
    TemporarilyUnavailable,
}

impl OAuthCode {
    /// As it is written on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    /// The status at the token, registration and revocation endpoints.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::LoginRequired
            | Self::ConsentRequired => StatusCode::BAD_REQUEST,
        }
    }
}

impl OAuthError {
    /// An error with a description.
    pub(crate) fn new(code: OAuthCode, description: &'static str) -> Self {
        Self { code, description }
    }

    /// `invalid_request`.
    pub(crate) fn invalid_request(description: &'static str) -> Self {
        Self::new(OAuthCode::InvalidRequest, description)
    }

    /// `invalid_grant`.
    pub(crate) fn invalid_grant(description: &'static str) -> Self {
        Self::new(OAuthCode::InvalidGrant, description)
    }

    /// 503: nobody knows just now. Clients keep what they have and try again.
    pub(crate) fn unavailable(description: &'static str) -> Self {
        Self::new(OAuthCode::TemporarilyUnavailable, description)
    }

    /// Whether it is not the caller's fault.
    pub(crate) fn is_ours(&self) -> bool {
        self.code.status().is_server_error()
    }

    /// The JSON answer (RFC 6749 section 5.2), not to be stored.
    pub(crate) fn answer(&self) -> Response {
        let body = serde_json::json!({
            "error": self.code.as_str(),
            "error_description": self.description,
        });
        let mut response = http::Response::new(Body::full(body.to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        match self.code {
            // RFC 6749 section 5.2 wants the scheme of those who tried by `Authorization`; others do not mind.
            OAuthCode::InvalidClient => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"token\""),
                );
            }
            OAuthCode::TemporarilyUnavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

impl From<Unavailable> for OAuthError {
    fn from(error: Unavailable) -> Self {
        tracing::warn!(%error, "a grant could not be looked up or written");
        Self::unavailable("the store of grants cannot be reached just now; try again")
    }
}
