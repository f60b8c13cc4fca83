//! The authorization server for MCP clients.

mod authorize;
mod chromium;
mod clients;
mod conformance;
mod consent;
mod documents;
mod flow;
mod races;
mod registration;
mod ssrf;
mod tokens;
mod visit;
mod visits;
mod weeks;
