//! Integration tests: the parts together, against fakes on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests say what they expect by failing"
)]

mod architecture;
mod cli;
mod harness;

mod oidc;
mod store;
