//! The program: reads its command line and does what it says.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_oidc_proxy::cli::run()
}
