//! What is answered to nobody: 401 with one challenge (RFC 6750 section 3, RFC 9728 section 5.1).
//!
//! Clients read the first challenge only, and its parameters in double quotes without escapes. `error` stands
//! there when a token was presented, and not otherwise.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use super::refusal::Refusal;
use crate::config::route::Kind;
use crate::paths::RESOURCE_METADATA;
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;
use crate::scope::ScopeSet;
use crate::urls::PublicUrl;

/// Builds challenges.
#[derive(Debug)]
pub(super) struct Challenger {
    pub(super) public_url: PublicUrl,
    /// Some issuer's tokens count here.
    pub(super) tokens: bool,
    /// People can sign in here.
    pub(super) login: bool,
}

impl Challenger {
    /// Nobody asked, or somebody whose credential is none. `page`: a person waits for the answer in a browser.
    pub(super) fn reject(&self, target: &Target, refusal: Option<Refusal>, page: bool) -> Reject {
        let mcp = target.route().kind == Kind::Mcp;
        let (code, message, reason): (Code, Cow<'static, str>, _) = match refusal {
            Some(refusal) => (
                refusal.code(),
                format!("{}.", refusal.description()).into(),
                refusal.as_str(),
            ),
            None if mcp && page => (Code::Unauthenticated, guide(target).into(), "no credential"),
            None => (
                Code::Unauthenticated,
                "This needs you to be signed in.".into(),
                "no credential",
            ),
        };
        let reject =
            Reject::new(StatusCode::UNAUTHORIZED, code, Fault::Client, message).because(reason);
        let reject = match HeaderValue::try_from(self.challenge(target, refusal)) {
            Ok(value) => reject.header(WWW_AUTHENTICATE, value),
            Err(_) => reject,
        };
        if !mcp && page && self.login && refusal.is_none() {
            reject.or_login()
        } else {
            reject
        }
    }

    /// The token is good, and was granted too little (RFC 6750 section 3.1). One challenge names everything that is
    /// needed (MCP 2026-07-28, authorization, "Scope Challenge Handling").
    pub(super) fn step_up(&self, target: &Target, scopes: &ScopeSet) -> Reject {
        let mut parameters: Vec<(&str, Cow<'_, str>)> = vec![
            ("error", "insufficient_scope".into()),
            (
                "error_description",
                "The token was granted too little for this".into(),
            ),
        ];
        if target.route().kind == Kind::Mcp {
            parameters.push(("resource_metadata", self.metadata_url(target).into()));
        }
        parameters.push(("scope", scopes.to_string().into()));
        let reject = Reject::new(
            StatusCode::FORBIDDEN,
            Code::InsufficientScope,
            Fault::Client,
            format!("Your token was granted too little for this. Ask for a token with these scopes: {scopes}."),
        )
        .because("the token was not granted a scope that is needed");
        match HeaderValue::try_from(bearer(&parameters)) {
            Ok(value) => reject.header(WWW_AUTHENTICATE, value),
            Err(_) => reject,
        }
    }

    /// The challenge alone, where tokens count.
    pub(super) fn guide(&self, target: &Target) -> Option<HeaderValue> {
        self.tokens
            .then(|| HeaderValue::try_from(self.challenge(target, None)).ok())
            .flatten()
    }

    /// The absolute URL of a resource's metadata: the well-known path is put between host and path (RFC 9728
    /// section 3.1).
    fn metadata_url(&self, target: &Target) -> String {
        let origin = self.public_url.as_str();
        let path = target.resource().strip_prefix(origin).unwrap_or_default();
        format!("{origin}{RESOURCE_METADATA}{path}")
    }

    fn challenge(&self, target: &Target, refusal: Option<Refusal>) -> String {
        if !self.tokens {
            return "ApiKey header=\"X-API-Key\"".to_owned();
        }
        let mut parameters: Vec<(&str, Cow<'_, str>)> = Vec::new();
        if let Some(refusal) = refusal.filter(|refusal| refusal.code() == Code::InvalidToken) {
            parameters.push(("error", "invalid_token".into()));
            parameters.push(("error_description", refusal.description().into()));
        }
        if target.route().kind == Kind::Mcp {
            parameters.push(("resource_metadata", self.metadata_url(target).into()));
        }
        let scopes = scopes(target);
        if !scopes.is_empty() {
            parameters.push(("scope", scopes.join(" ").into()));
        }
        bearer(&parameters)
    }
}

/// A challenge with its parameters.
fn bearer(parameters: &[(&str, Cow<'_, str>)]) -> String {
    let mut text = "Bearer".to_owned();
    for (at, (name, value)) in parameters.iter().enumerate() {
        // Writing into a String does not fail.
        let _ = write!(
            text,
            "{}{name}=\"{value}\"",
            if at == 0 { " " } else { ", " }
        );
    }
    text
}

/// For a person who opened an MCP address in a browser.
fn guide(target: &Target) -> String {
    format!(
        "This is the address of an MCP server, not a page. Add {} to an MCP client (Claude, Cursor, VS Code, the Inspector); it will ask you to sign in.",
        target.resource()
    )
}

/// The scopes that a client needs on a route, as far as they can stand in a challenge (RFC 6749 section 3.3).
/// `offline_access` is never asked for here: it is between client and authorization server.
pub(super) fn scopes(target: &Target) -> Vec<&str> {
    let token = |scope: &str| {
        !scope.is_empty()
            && scope
                .bytes()
                .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    target
        .route()
        .scopes
        .iter()
        .map(String::as_str)
        .filter(|scope| token(scope) && *scope != "offline_access")
        .collect()
}
