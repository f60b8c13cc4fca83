//! The program for AWS Lambda, which calls it `bootstrap`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_oidc_proxy::lambda::run()
}
