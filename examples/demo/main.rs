//! The demo: an identity provider, a sample MCP server and the real proxy between them, all on loopback.
//!
//! `make demo` starts them and says what to open. `make demo ONCE=1` takes free ports, signs in like a browser, works
//! like an MCP client, and exits 0 only if all of it went well.
#![expect(
    clippy::print_stdout,
    reason = "a program for eyes: what it prints is what it is for"
)]

mod hints;
mod idp;
mod once;
mod sample;
mod stack;
mod web;

use std::process::ExitCode;

use self::stack::Stack;

/// Anything that went wrong, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What the demo's functions give back.
pub(crate) type Outcome<T> = Result<T, Failure>;

#[tokio::main]
async fn main() -> ExitCode {
    let once = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--once") => true,
        Some(other) => {
            println!("`{other}` means nothing here: there is only --once");
            return ExitCode::from(2);
        }
    };
    match Box::pin(demo(once)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("\nFAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(once: bool) -> Outcome<()> {
    // The only TLS provider of the process. Nothing in the demo uses TLS, but its HTTP client wants one.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return Err(Failure::from(
            "another crypto provider is installed already",
        ));
    }
    let stack = Box::pin(Stack::start(once)).await?;
    let outcome = if once {
        Box::pin(once::run(&stack.addresses)).await
    } else {
        hints::print(&stack.addresses);
        tokio::signal::ctrl_c().await.map_err(Failure::from)
    };
    stack.stop().await;
    outcome
}
