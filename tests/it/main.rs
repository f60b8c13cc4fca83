//! Integration tests: the parts together, against fakes on loopback and against the real parts of `tests/parts`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests say what they expect by failing"
)]

mod architecture;
mod audit;
mod backends;
mod browser_pages;
mod cli;
mod conformance;
mod forward_auth;
mod fuzz_seeds;
mod harness;
mod issuer;
mod lifecycle;
mod login_keycloak;
mod login_oidc_provider;
mod mcp;
mod mcp_clients;
mod operations;
mod outage;
mod policy;
mod reload;
mod revocation;
mod secrets;

mod oidc;
mod security;
mod store;
mod streams;
mod tracing;
