//! An OIDC identity provider in front of any MCP server.
//!
//! The module list follows a request through the house:
//!
//! ```text
//! socket --listen--> Conn --serve--> Request
//!   --route--> Matched --authn--> Caller --mcp--> Call --authz--> Permit --forward--> upstream --> Response
//! every step:  -> Result<Next, Reject>        http::respond is the only way out for a Reject
//! ```

// Vocabulary: depends on nothing else of ours.
pub mod build;
pub mod claims;
pub mod clock;
pub mod headers;
pub mod ids;
pub mod keys;
pub mod paths;
pub mod peer;
pub mod reject;
pub mod scope;
pub mod seal;
pub mod secret;
pub mod urls;

// The file's shape, and how it is loaded.
pub mod config;

// What of it other systems keep.
pub mod secrets;

// 1  connections.
pub mod listen;

// 2  the flight of one request.
pub mod http;
pub mod proxy;

// 3  where to.
pub mod route;

// 4  who.
pub mod authn;

// 5  may they.
pub mod authz;

// 6  what do they ask.
pub mod mcp;

// 7  send it.
pub mod forward;
pub mod upstream;

// 8  what is remembered, and what of it ended.
pub mod revocation;
pub mod session;
pub mod signing;
pub mod store;

// 9  we as client of the identity provider.
pub mod oidc;

// 10 we as authorization server for MCP clients.
pub mod issuer;

// 11 what operators see.
pub mod admin;
pub mod audit;
pub mod telemetry;

// The whole: built in `app`, run by `lifecycle`, started by `cli` or, where there are no sockets, by `lambda`.
pub mod app;
pub mod cli;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod lifecycle;

// What fuzzing throws bytes at.
pub mod fuzz;
