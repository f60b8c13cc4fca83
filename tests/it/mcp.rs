//! What the proxy knows of MCP, over the wire.

mod lists;
mod results;
mod sessions;
