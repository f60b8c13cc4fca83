//! Servers made with the official TypeScript packages, as child processes on loopback: npm `server-everything`, and one
//! of ours that has what the conformance suite asks for by name.

use std::process::Command;

use super::parts::{self, Part};

/// The running server. It ends when it is dropped.
pub(crate) struct Everything {
    part: Part,
}

impl Everything {
    /// Starts with a transport, `streamableHttp` or `sse`.
    pub(crate) async fn start(transport: &str) -> Self {
        let folder = parts::folder();
        let mut command = Command::new("node");
        command
            .args(["--no-warnings", "--import"])
            .arg(folder.join("everything/loopback.mjs"))
            .arg(folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js"))
            .arg(transport);
        Self {
            part: Part::start("server-everything", command).await,
        }
    }

    /// Starts the server of the 2026-07-28 revision.
    pub(crate) async fn modern() -> Self {
        let command = parts::node("everything/modern.mjs");
        Self {
            part: Part::start("modern", command).await,
        }
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        self.part.said("url") + path
    }
}
