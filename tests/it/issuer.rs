//! The authorization server for MCP clients.

mod authorize;
mod bearers;
mod chromium;
mod clients;
mod conformance;
mod consent;
mod documents;
mod flow;
mod machines;
mod races;
mod registration;
mod replicas;
mod ssrf;
mod tokens;
mod visit;
mod visits;
mod weeks;
