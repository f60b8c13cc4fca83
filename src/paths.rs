//! Every path that the proxy answers itself, spelt once.

/// An endpoint of our own. What is ours is never forwarded, whatever the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Own {
    /// `/oauth2/start`: begins a login.
    Start,
    /// `/oauth2/sign_in`: the sign-in page.
    SignIn,
    /// `/oauth2/callback`: where the provider sends the browser back to.
    Callback,
    /// `/oauth2/sign_out`: ends the session.
    SignOut,
    /// `/oauth2/userinfo`: who the session's person is.
    Userinfo,
    /// `/oauth2/session`: how long the session lasts.
    Session,
    /// `/oauth2/auth`: forward-auth (202, 401, 403).
    Auth,
    /// `/oauth2/style.css`: the one style sheet.
    Style,
    /// `/oauth2/logo`: the operator's logo.
    Logo,
    /// `/oauth2/language`: keeps the language that a person chose.
    Language,
    /// `/oauth2/authorize`, and `/authorize` for clients of 2025-03-26: begins an authorization (RFC 6749
    /// section 3.1), and shows the consent page.
    Authorize,
    /// `/oauth2/consent`: takes the person's answer.
    Consent,
    /// `/oauth2/switch_account`: ends the session and signs in again, then goes on.
    SwitchAccount,
    /// `/oauth2/token`, and `/token` for clients of 2025-03-26 (RFC 6749 section 3.2).
    Token,
    /// `/oauth2/register`, and `/register` for clients of 2025-03-26 (RFC 7591).
    Register,
    /// `/oauth2/revoke` (RFC 7009).
    Revoke,
    /// `/oauth2/jwks`: the keys that verify our access tokens.
    Jwks,
    /// `/oauth2/assertion/jwks`: the keys that verify what backends are told about callers.
    AssertionJwks,
    /// `/.well-known/oauth-authorization-server` (RFC 8414) and `/.well-known/openid-configuration`.
    ServerMetadata,
    /// `/oauth2/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0).
    BackchannelLogout,
    /// `/health` on the traffic listener.
    Health,
    /// `/ready` on the traffic listener.
    Ready,
    /// `/metrics` on the traffic listener, when switched on.
    Metrics,
    /// Something below our prefix that does not exist.
    Unknown,
}

impl Own {
    const UNDER_PREFIX: [(&'static str, Self); 19] = [
        ("/start", Self::Start),
        ("/sign_in", Self::SignIn),
        ("/callback", Self::Callback),
        ("/sign_out", Self::SignOut),
        ("/userinfo", Self::Userinfo),
        ("/session", Self::Session),
        ("/auth", Self::Auth),
        ("/style.css", Self::Style),
        ("/logo", Self::Logo),
        ("/language", Self::Language),
        ("/authorize", Self::Authorize),
        ("/consent", Self::Consent),
        ("/switch_account", Self::SwitchAccount),
        ("/token", Self::Token),
        ("/register", Self::Register),
        ("/revoke", Self::Revoke),
        ("/jwks", Self::Jwks),
        ("/assertion/jwks", Self::AssertionJwks),
        ("/backchannel-logout", Self::BackchannelLogout),
    ];

    /// Where clients of 2025-03-26 look when they find no metadata (section 2.3.3 of that revision).
    const AT_ROOT: [(&'static str, Self); 3] = [
        ("/authorize", Self::Authorize),
        ("/token", Self::Token),
        ("/register", Self::Register),
    ];

    /// A short fixed name for logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "own:start",
            Self::SignIn => "own:sign_in",
            Self::Callback => "own:callback",
            Self::SignOut => "own:sign_out",
            Self::Userinfo => "own:userinfo",
            Self::Session => "own:session",
            Self::Auth => "own:auth",
            Self::Style => "own:style",
            Self::Logo => "own:logo",
            Self::Language => "own:language",
            Self::Authorize => "own:authorize",
            Self::Consent => "own:consent",
            Self::SwitchAccount => "own:switch_account",
            Self::Token => "own:token",
            Self::Register => "own:register",
            Self::Revoke => "own:revoke",
            Self::Jwks => "own:jwks",
            Self::AssertionJwks => "own:assertion_jwks",
            Self::ServerMetadata => "own:server_metadata",
            Self::BackchannelLogout => "own:backchannel_logout",
            Self::Health => "own:health",
            Self::Ready => "own:ready",
            Self::Metrics => "own:metrics",
            Self::Unknown => "own:unknown",
        }
    }
}

/// Well-known prefix of protected resource metadata (RFC 9728 section 3.1).
pub const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// Well-known place of authorization server metadata (RFC 8414 section 3).
pub const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";

/// Well-known place of the OpenID Connect form of it (OpenID Connect Discovery section 4).
pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";

/// The own paths under the configured prefix.
#[derive(Clone, Debug)]
pub struct OwnPaths {
    prefix: Box<str>,
    authorization_server: bool,
}

impl OwnPaths {
    /// With a prefix such as `/oauth2` (starts with a slash, does not end with one). As authorization server the
    /// proxy also answers at `/authorize`, `/token` and `/register`.
    pub fn new(prefix: &str, authorization_server: bool) -> Self {
        Self {
            prefix: prefix.into(),
            authorization_server,
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Which own endpoint a path is; `None` when it is none of ours.
    pub fn find(&self, path: &str) -> Option<Own> {
        match path {
            "/health" => return Some(Own::Health),
            "/ready" => return Some(Own::Ready),
            _ => {}
        }
        if self.authorization_server
            && let Some((_, own)) = Own::AT_ROOT.iter().find(|(name, _)| *name == path)
        {
            return Some(*own);
        }
        let rest = path.strip_prefix(&*self.prefix)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some(
            Own::UNDER_PREFIX
                .iter()
                .find(|(name, _)| *name == rest)
                .map_or(Own::Unknown, |(_, own)| *own),
        )
    }

    /// The path of an endpoint under the prefix.
    pub fn path(&self, own: Own) -> String {
        match own {
            Own::Health => "/health".to_owned(),
            Own::Ready => "/ready".to_owned(),
            Own::Metrics => "/metrics".to_owned(),
            Own::ServerMetadata => SERVER_METADATA.to_owned(),
            _ => {
                let name = Own::UNDER_PREFIX
                    .iter()
                    .find(|(_, each)| *each == own)
                    .map_or("", |(name, _)| *name);
                format!("{}{name}", self.prefix)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_found_and_nothing_else() {
        let paths = OwnPaths::new("/oauth2", false);
        assert_eq!(paths.find("/oauth2/callback"), Some(Own::Callback));
        assert_eq!(paths.find("/oauth2/callback/"), Some(Own::Unknown));
        assert_eq!(paths.find("/oauth2"), Some(Own::Unknown));
        assert_eq!(paths.find("/oauth2x"), None);
        assert_eq!(paths.path(Own::Callback), "/oauth2/callback");
    }

    #[test]
    fn an_authorization_server_also_answers_at_the_root() {
        let with = OwnPaths::new("/oauth2", true);
        let without = OwnPaths::new("/oauth2", false);
        for (path, own) in Own::AT_ROOT {
            assert_eq!(with.find(path), Some(own));
            assert_eq!(without.find(path), None);
            assert_eq!(with.find(&format!("/oauth2{path}")), Some(own));
        }
        assert_eq!(with.find("/tokens"), None);
    }
}
