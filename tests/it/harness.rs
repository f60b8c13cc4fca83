//! What tests stand on.

pub(crate) mod balancer;
pub(crate) mod browser;
pub(crate) mod cable;
pub(crate) mod client;
pub(crate) mod echo;
pub(crate) mod everything;
pub(crate) mod forwarder;
pub(crate) mod idp;
pub(crate) mod keycloak;
pub(crate) mod mcp;
pub(crate) mod numbered;
pub(crate) mod oauth;
pub(crate) mod parts;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod scripted;
pub(crate) mod vault;
