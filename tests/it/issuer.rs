//! The authorization server for MCP clients.

mod authorize;
mod consent;
mod flow;
mod visit;
