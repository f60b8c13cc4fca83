//! What is particular about each identity provider, as one small record each. Whatever is not in a record is done by the
//! book (OpenID Connect Core, Discovery, RP-Initiated Logout).

use serde_json::{Map, Value};
use url::Url;

use crate::config::oidc::{ClaimMap, Kind, Oidc, Userinfo, WrittenClaims};

mod auth0;
mod authentik;
mod cognito;
mod dex;
mod entra;
mod generic;
mod github;
mod google;
mod keycloak;
mod okta;

/// How a provider differs.
pub(crate) struct Profile {
    pub(crate) kind: Kind,
    /// Where the discovery document is, for issuers below which it is not.
    document: fn(&Url) -> Option<String>,
    /// Which issuers of tokens are meant by the one that the document names.
    pub(crate) issuers: Issuers,
    /// Parameters of the authorization request, unless the operator writes others.
    parameters: &'static [(&'static str, &'static str)],
    /// A value that `prompt` always has, beside what is wished for.
    prompt: Option<&'static str>,
    /// Parameters that make it refuse the sign-in; never sent.
    refuses: &'static [&'static str],
    /// Scopes instead of the default ones.
    scopes: Option<&'static [&'static str]>,
    /// Scopes that are added where the document offers them.
    offered_scopes: &'static [&'static str],
    /// When `offline_access` is asked for.
    offline: Offline,
    /// Claim paths that stand for `email`, `name` and `preferred_username`, and those of the groups.
    claims: DefaultClaims,
    /// What `userinfo: auto` means.
    userinfo: Userinfo,
    /// How browsers are signed out.
    pub(crate) sign_out: SignOut,
    /// Judges verified claims once more; the error is for the operator's log.
    judge: fn(&Oidc, &Map<String, Value>) -> Result<(), String>,
    /// Adds to verified claims what can be told only with knowledge of the provider.
    mend: fn(&mut Map<String, Value>),
    /// Audiences beside a configured one that mean the same.
    audience: fn(&str) -> Option<String>,
}

struct DefaultClaims {
    preferred_username: &'static str,
    groups: &'static [&'static str],
}

/// When `offline_access` is asked for, if the operator lets it be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offline {
    WhenOffered,
    Always,
    Never,
}

/// Which `iss` there may be in tokens, given the document's issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuers {
    /// That one.
    Exact,
    /// That one, with or without `https://` (Google's tokens from older libraries).
    SchemeOptional,
    /// That one; `{tenantid}` in it stands for the tenant of each token, and the tenant's older issuer means the same.
    Tenants,
}

/// How browsers are signed out at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignOut {
    /// RP-Initiated Logout 1.0, where the document names an endpoint.
    Standard,
    /// By an address of its own, which takes the client and a registered address to come back to.
    Own {
        /// The address's path, on the host of the authorization endpoint.
        path: &'static str,
        /// The parameter with the address to come back to.
        back: &'static str,
        /// Use it although the document names an endpoint.
        always: bool,
    },
}

impl Profile {
    /// The configured one, or the one that the issuer's address tells.
    pub(crate) fn of(config: &Oidc) -> &'static Self {
        let kind = match config.provider {
            Kind::Auto => Url::parse(&config.issuer).map_or(Kind::Generic, |url| detect(&url)),
            kind => kind,
        };
        match kind {
            Kind::Auto | Kind::Generic => &generic::PROFILE,
            Kind::Entra => &entra::PROFILE,
            Kind::Google => &google::PROFILE,
            Kind::Okta => &okta::PROFILE,
            Kind::Auth0 => &auth0::PROFILE,
            Kind::Keycloak => &keycloak::PROFILE,
            Kind::Authentik => &authentik::PROFILE,
            Kind::Cognito => &cognito::PROFILE,
            Kind::Dex => &dex::PROFILE,
            Kind::Github => &github::PROFILE,
        }
    }

    /// Whether it is plain OAuth: no discovery, no ID token, no keys.
    pub(crate) fn is_oauth_only(&self) -> bool {
        self.kind == Kind::Github
    }

    /// Where the document of a configured issuer is, if not below it.
    pub(crate) fn document(&self, issuer: &str) -> Option<String> {
        (self.document)(&Url::parse(issuer).ok()?)
    }

    /// The claim map: what is written, else what this provider calls it. Groups of a further provider count only where
    /// they are written: two providers' `admins` are not the same people.
    pub(crate) fn claims(&self, written: &WrittenClaims, main: bool) -> ClaimMap {
        let text = |written: &Option<String>, default: &str| {
            written.clone().unwrap_or_else(|| default.to_owned())
        };
        let groups = || {
            let own = self.claims.groups.iter().filter(|_| main);
            own.map(|path| (*path).to_owned()).collect()
        };
        ClaimMap {
            email: text(&written.email, "email"),
            name: text(&written.name, "name"),
            preferred_username: text(&written.preferred_username, self.claims.preferred_username),
            groups: written.groups.clone().unwrap_or_else(groups),
        }
    }

    /// When userinfo is asked.
    pub(crate) fn userinfo(&self, configured: Userinfo) -> Userinfo {
        if configured == Userinfo::Auto {
            self.userinfo
        } else {
            configured
        }
    }

    /// The scopes to ask for, each once.
    pub(crate) fn scopes(&self, config: &Oidc, supported: &[String]) -> Vec<String> {
        let offers = |scope: &str| supported.iter().any(|each| each == scope);
        let mut all: Vec<String> = Vec::new();
        let mut add = |scope: &str| {
            let unwanted = scope == "offline_access" && self.offline == Offline::Never;
            if !unwanted && !all.iter().any(|each| each == scope) {
                all.push(scope.to_owned());
            }
        };
        if !self.is_oauth_only() {
            add("openid");
        }
        match self.scopes.filter(|_| config.has_default_scopes()) {
            Some(own) => own.iter().for_each(|scope| add(scope)),
            None => config.scopes.iter().for_each(|scope| add(scope)),
        }
        for scope in self.offered_scopes {
            if offers(scope) {
                add(scope);
            }
        }
        let offline = self.offline == Offline::Always || offers("offline_access");
        if offline && config.offline_access {
            add("offline_access");
        }
        all
    }

    /// Further parameters of the authorization request: the operator's, then this provider's own. `prompt` is what the
    /// request wishes for.
    pub(crate) fn parameters(&self, config: &Oidc, prompt: Option<&str>) -> Vec<(String, String)> {
        let written = &config.authorization_params;
        let own = self.parameters.iter();
        let mut all: Vec<(String, String)> = own
            .filter(|(name, _)| !written.contains_key(*name))
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let kept = written
            .iter()
            .filter(|(name, _)| *name != "prompt" && !self.refuses.contains(&name.as_str()));
        all.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        let written = written.get("prompt").map(String::as_str);
        let prompt = match (prompt, written.or(self.prompt)) {
            (Some(wish), _) => Some(self.with_own_prompt(wish)),
            (None, own) => own.map(str::to_owned),
        };
        all.extend(prompt.map(|prompt| ("prompt".to_owned(), prompt)));
        all
    }

    /// `none` stands alone (OpenID Connect Core section 3.1.2.1).
    fn with_own_prompt(&self, wish: &str) -> String {
        match self.prompt {
            Some(own) if wish != "none" && !wish.split(' ').any(|each| each == own) => {
                format!("{wish} {own}")
            }
            _ => wish.to_owned(),
        }
    }

    /// Configured parameters that are not sent, to say so at the start.
    pub(crate) fn dropped<'a>(&self, config: &'a Oidc) -> impl Iterator<Item = &'a str> {
        let refuses = self.refuses;
        let names = config.authorization_params.keys().map(String::as_str);
        names.filter(move |name| refuses.contains(name))
    }

    /// Judges claims that were verified, and completes them.
    pub(crate) fn complete(
        &self,
        config: &Oidc,
        claims: &mut Map<String, Value>,
    ) -> Result<(), String> {
        (self.judge)(config, claims)?;
        (self.mend)(claims);
        Ok(())
    }

    /// The configured audiences of bearer tokens, with those that mean the same; never the client's bare id unless that
    /// is written, for ID tokens have it too.
    pub(crate) fn audiences(&self, config: &Oidc) -> Vec<String> {
        let mut all = config.audiences.clone();
        for audience in &config.audiences {
            let same = (self.audience)(audience);
            all.extend(
                same.filter(|same| *same != config.client_id && !config.audiences.contains(same)),
            );
        }
        all
    }
}

impl Issuers {
    /// Whether a document that names `found` may be the one of a configured issuer, beyond its being the same.
    pub(crate) fn accept(self, configured: &str, found: &str) -> bool {
        self == Self::Tenants && entra::is_document_of(configured, found)
    }

    /// Whether `iss` of a token is the provider's, whose document names `issuer`.
    pub(crate) fn hold(self, issuer: &str, iss: &str) -> bool {
        issuer == iss
            || match self {
                Self::Exact => false,
                Self::SchemeOptional => issuer
                    .split_once("://")
                    .is_some_and(|(_, bare)| bare == iss),
                Self::Tenants => entra::is_same(issuer, iss),
            }
    }

    /// The one spelling under which a person of an `iss` that [`Self::hold`]s is known.
    pub(crate) fn canonical(self, issuer: &str, iss: &str) -> String {
        match self {
            Self::Exact | Self::SchemeOptional => issuer.to_owned(),
            Self::Tenants => entra::canonical(issuer, iss),
        }
    }
}

/// Which provider an issuer's address belongs to.
fn detect(issuer: &Url) -> Kind {
    let host = issuer.host_str().unwrap_or_default();
    let below = |parents: &[&str]| {
        parents.iter().any(|parent| {
            host.strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.'))
        })
    };
    match host {
        "accounts.google.com" => return Kind::Google,
        "github.com" => return Kind::Github,
        host if entra::HOSTS.contains(&host) => return Kind::Entra,
        _ => {}
    }
    if below(&[
        "okta.com",
        "oktapreview.com",
        "okta-emea.com",
        "okta-gov.com",
    ]) {
        return Kind::Okta;
    }
    if below(&["auth0.com"]) {
        return Kind::Auth0;
    }
    if below(&["ghe.com"]) {
        return Kind::Github;
    }
    if host.starts_with("cognito-idp.") && below(&["amazonaws.com", "amazonaws.com.cn"]) {
        return Kind::Cognito;
    }
    let segments: Vec<&str> = issuer.path_segments().into_iter().flatten().collect();
    match segments.as_slice() {
        [.., "realms", realm] | [.., "realms", realm, ""] if !realm.is_empty() => Kind::Keycloak,
        [.., "application", "o", app] | [.., "application", "o", app, ""] if !app.is_empty() => {
            Kind::Authentik
        }
        [.., "dex"] | [.., "dex", ""] => Kind::Dex,
        _ => Kind::Generic,
    }
}

#[cfg(test)]
mod tests;
