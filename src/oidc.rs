//! We as client of the identity provider: discovery, keys, login, refresh, logout.
//!
//! ```text
//! login::begin --302--> provider --> callback: flow, code -> token -> id_token, userinfo -> Claims -> session
//! Browser::session --due--> refresh (one owner) --> token -> id_token | userinfo -> Claims
//! logout: session ends here --302--> provider's end_session_endpoint --> back to the signed-out page
//! ```

pub mod discovery;
pub(crate) mod first;
pub mod jwks;
pub mod listed;
pub mod metadata;

mod backchannel;
mod browser;
mod callback;
mod calls;
mod client_auth;
mod endpoints;
mod flow;
mod github;
mod id_token;
pub(crate) mod introspection;
mod jwt;
mod login;
mod logout;
mod profile;
mod provider;
mod refresh;
mod site;
mod switch;
mod token;
mod userinfo;

pub use self::browser::{Browser, Refreshed};
pub use self::login::Wish;
pub use self::provider::Provider;

/// The claim map of a provider as main provider: what is written, else what the product calls it.
pub fn claim_map(config: &crate::config::oidc::Oidc) -> crate::config::oidc::ClaimMap {
    profile::Profile::of(config).claims(&config.claims, true)
}
