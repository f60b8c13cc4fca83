//! What the provider does, as a test says.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Reply {
    /// As it should.
    #[default]
    Normal,
    /// With this status and body (`text/html`), whatever was asked.
    Status(u16, &'static str),
    /// With this status and a JSON body.
    Json(u16, &'static str),
    /// As it should, but late.
    Late(Duration),
    /// Does what it should, and then never answers (a lost answer).
    Lost,
    /// Not at all, for as long as anybody waits.
    Hang,
    /// With 200 and this many bytes of nothing.
    Flood(usize),
}

/// The `iss` of an answer to the browser.
#[derive(Clone, Debug)]
pub(crate) enum AnswerIssuer {
    /// As it should be.
    Ours,
    /// None.
    Absent,
    /// Somebody else's.
    Other(String),
}

/// What the provider does. Change it with [`Idp::script`].
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Script {
    pub(crate) discovery: Reply,
    pub(crate) jwks: Reply,
    pub(crate) token: Reply,
    pub(crate) userinfo: Reply,
    /// Members of the discovery document to set, or to remove (`null`).
    pub(crate) document: Map<String, Value>,
    /// Who logs in.
    pub(crate) subject: String,
    /// Claims of ID tokens, besides the protocol's own.
    pub(crate) claims: Map<String, Value>,
    /// Claims of ID tokens to set, or to remove (`null`), after all others: `iss`, `aud`, `nonce`, `exp`, `sub`.
    pub(crate) forge: Map<String, Value>,
    /// The same, at refresh only.
    pub(crate) forge_at_refresh: Map<String, Value>,
    /// Claims at userinfo; `sub` is added unless it is there.
    pub(crate) userinfo_claims: Map<String, Value>,
    /// Answer at userinfo with a signed JWT; `iss` and `aud` are added unless they are there.
    pub(crate) signed_userinfo: bool,
    /// What signs: RS256 or ES256.
    pub(crate) algorithm: Algorithm,
    /// Sign with a key that is not published (`true`: a forged token).
    pub(crate) unpublished_key: bool,
    /// Life of access tokens in seconds; `None`: it is not said.
    pub(crate) access_life: Option<u64>,
    /// Give refresh tokens.
    pub(crate) refresh_tokens: bool,
    /// Take used refresh tokens again, as providers do that do not rotate, or give the old one a time of grace.
    pub(crate) reuse: bool,
    /// Give a new refresh token at each refresh; else the first one stays good.
    pub(crate) rotate: bool,
    /// Give a new ID token at refresh.
    pub(crate) id_token_at_refresh: bool,
    /// Give an ID token at login.
    pub(crate) id_token: bool,
    /// Refuse authorization with this error.
    pub(crate) refuse: Option<&'static str>,
    /// The `iss` of the answer to the browser (RFC 9207).
    pub(crate) answer_issuer: AnswerIssuer,
    /// How the client has to authenticate: `client_secret_basic`, `client_secret_post`, `private_key_jwt`, `none`.
    pub(crate) client_auth: &'static str,
    /// PEM public key (EC) of the client, for `private_key_jwt`.
    pub(crate) client_key: Option<String>,
    /// What the product at hand is particular about.
    pub(crate) product: Product,
    /// Added to the provider's clock, in seconds.
    pub(crate) clock_offset: i64,
}

/// What a product is particular about. A sign-in that does not honour it fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Product {
    /// Authorization and token requests with one of these parameters are refused.
    pub(crate) refuses_parameters: &'static [&'static str],
    /// Authorization requests with one of these scopes are refused.
    pub(crate) refuses_scopes: &'static [&'static str],
    /// Without all these parameters of the authorization request there is no refresh token.
    pub(crate) offline_parameters: &'static [(&'static str, &'static str)],
    /// Without this scope there is no refresh token.
    pub(crate) offline_scope: Option<&'static str>,
    /// Without this scope there are no groups.
    pub(crate) groups_scope: Option<&'static str>,
    /// The path of an address for signing out of its own, and the parameter with the address to come back to.
    pub(crate) sign_out: Option<(&'static str, &'static str)>,
}

impl Default for Script {
    fn default() -> Self {
        let claims = json!({
            "email": "ann@example.com", "email_verified": true, "name": "Ann Example", "preferred_username": "ann",
            "groups": ["engineering"],
        });
        Self {
            discovery: Reply::Normal,
            jwks: Reply::Normal,
            token: Reply::Normal,
            userinfo: Reply::Normal,
            document: Map::new(),
            subject: "subject-of-ann".to_owned(),
            claims: claims.as_object().unwrap().clone(),
            forge: Map::new(),
            forge_at_refresh: Map::new(),
            userinfo_claims: Map::new(),
            signed_userinfo: false,
            algorithm: Algorithm::RS256,
            unpublished_key: false,
            access_life: Some(300),
            refresh_tokens: true,
            reuse: false,
            rotate: true,
            id_token_at_refresh: true,
            id_token: true,
            refuse: None,
            answer_issuer: AnswerIssuer::Ours,
            client_auth: "client_secret_basic",
            client_key: None,
            product: Product::default(),
            clock_offset: 0,
        }
    }
}
