//! We as authorization server for MCP clients (OAuth 2.1): metadata, clients, consent, tokens, revocation.
//!
//! ```text
//! GET authorize --checks--> Asked --no session--> sign-in at the provider --> GET authorize again
//!                             \--session--> consent page --POST consent of this session--> Grant::Coded --303--> code
//! POST token: client authenticated -> code | refresh | client credentials | identity assertion -> access + refresh
//! request with an access token: authn -> access (signature) -> grant::find(sid) -> claims of the login
//! ```

pub mod grant;

pub mod access;
pub(crate) mod authorize;
pub(crate) mod client;
pub(crate) mod consent;
pub(crate) mod desk;
pub(crate) mod error;
pub(crate) mod form;
pub mod keys;
pub(crate) mod register;

mod handoff;
mod prompt;
mod remembered;

pub use self::grant::{Grants, Living};
