//! Why a credential was refused: a label for metrics and logs, and what its holder may know.

use crate::reject::Code;

/// Why a bearer token, API key or session is no credential here. The set is closed: its names are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    Algorithm,
    Type,
    Critical,
    WrongIssuer,
    NoExpiry,
    Expired,
    NotYetValid,
    IssuedInFuture,
    NoSubject,
    NoAudience,
    WrongAudience,
    UnknownKey,
    BadSignature,
    GrantOver,
    Inactive,
    UnknownApiKey,
    UnknownScheme,
}

impl Refusal {
    /// The label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Critical => "critical_header",
            Self::WrongIssuer => "wrong_issuer",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::NoSubject => "no_subject",
            Self::NoAudience => "no_audience",
            Self::WrongAudience => "wrong_audience",
            Self::UnknownKey => "unknown_kid",
            Self::BadSignature => "bad_signature",
            Self::GrantOver => "grant_over",
            Self::Inactive => "inactive",
            Self::UnknownApiKey => "unknown_api_key",
            Self::UnknownScheme => "unknown_scheme",
        }
    }

    /// What its holder may know, as `error_description` (RFC 6750 section 3: no quotes, no backslashes).
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Malformed => "The token is not a signed JWT",
            Self::Inactive => "The token is not active",
            Self::Algorithm => "The token is signed with an algorithm that is not accepted",
            Self::Type => "The token is not an access token",
            Self::Critical => "The token has a critical header that is not understood",
            Self::WrongIssuer => "The token is from an issuer that is not accepted",
            Self::NoExpiry => "The token has no usable expiry",
            Self::Expired => "The token has expired",
            Self::NotYetValid => "The token is not valid yet",
            Self::IssuedInFuture => "The token was issued in the future",
            Self::NoSubject => "The token has no subject",
            Self::NoAudience => "The token has no audience",
            Self::WrongAudience => "The token is for another audience",
            Self::UnknownKey => "The token is signed with an unknown key",
            Self::BadSignature => "The signature of the token is wrong",
            Self::GrantOver => "The access that the token stands for is over",
            Self::UnknownApiKey => "The API key is not known",
            Self::UnknownScheme => "The authorization scheme is not accepted",
        }
    }

    /// The code of the answer.
    pub(super) fn code(self) -> Code {
        match self {
            Self::UnknownApiKey | Self::UnknownScheme => Code::Unauthenticated,
            _ => Code::InvalidToken,
        }
    }
}
