//! The authorization server for MCP clients.

mod flow;
