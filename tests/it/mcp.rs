//! What the proxy knows of MCP, over the wire.

mod sessions;
