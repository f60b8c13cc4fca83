//! The demo: an identity provider and a sample MCP server on loopback, to put the proxy between.
#![expect(
    clippy::print_stdout,
    reason = "a program for eyes: what it prints is what it is for"
)]

mod idp;
mod sample;
mod stack;
mod web;

use self::stack::Stack;

/// Anything that went wrong, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What the demo's functions give back.
pub(crate) type Outcome<T> = Result<T, Failure>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let stack = Stack::start(false).await?;
    let addresses = &stack.addresses;
    println!(
        "identity provider: {}\nsample MCP server: {}/mcp\nexpected proxy:    {}",
        addresses.idp, addresses.mcp, addresses.proxy
    );
    tokio::signal::ctrl_c().await?;
    stack.stop().await;
    Ok(())
}
