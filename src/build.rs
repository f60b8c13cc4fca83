//! What this program is: version, revision, compiler.

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Revision of the source; `unknown` when it was not built from a repository, `dev` in unoptimised builds.
pub const REVISION: &str = match option_env!("MCP_OIDC_PROXY_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The compiler.
pub const RUSTC: &str = match option_env!("MCP_OIDC_PROXY_RUSTC") {
    Some(rustc) => rustc,
    None => "unknown",
};
