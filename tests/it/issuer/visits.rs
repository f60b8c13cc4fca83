//! Official MCP clients that know nothing but a URL: they register, a person signs in and approves once, and from then
//! on nobody is asked again, whatever becomes of tokens, keys and replicas.
//!
//! Two replicas stand behind a balancer without affinity from the first request on, sign-in included; the provider does
//! not register clients, so that everything has to come from the proxy's own authorization server.

use std::time::Duration;

use serde_json::{Value, json};

use self::agent::Agent;
use self::world::{MCP, World};
use crate::harness::parts::{self, Part};

mod agent;
mod world;

/// Longer than an access token lives.
const LIFE: Duration = Duration::from_secs(660);

/// What is known of a client.
struct Client {
    visitor: Visitor,
    /// The revision that it speaks.
    revision: &'static str,
    /// It shows the progress of a call.
    progress: bool,
    /// It answers a refused token with a refresh. Python's starts a new sign-in, and looks at the time instead.
    refreshes_when_refused: bool,
}

/// A client, running.
enum Visitor {
    Part(Part),
    Agent(Box<Agent>),
}

impl Visitor {
    async fn ask(&mut self, command: &Value) -> Value {
        let reply = match self {
            Self::Part(part) => part.ask(command).await,
            Self::Agent(agent) => agent.ask(command).await,
        };
        assert!(reply["error"].is_null(), "{command}: {reply:#}");
        reply
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask(&json!({ "do": "call", "tool": tool, "arguments": arguments }))
            .await
    }

    async fn echoes(&mut self, text: &str) {
        let reply = self.call("echo", json!({ "text": text })).await;
        assert_eq!(reply["text"], text, "{reply:#}");
    }
}

/// Everything that the issue promises to a client, in one visit.
async fn visit(mut world: World, mut client: Client) {
    let visitor = &mut client.visitor;

    // From the URL alone.
    let listed = visitor.ask(&json!({ "do": "list" })).await;
    let tools = listed["tools"].as_array().unwrap();
    for tool in ["echo", "add", "slow", "steps", "whoami"] {
        assert!(tools.contains(&json!(tool)), "{listed:#}");
    }
    if client.progress {
        let reply = visitor.call("steps", json!({ "steps": 3 })).await;
        assert_eq!(reply["text"], "3 steps", "{reply:#}");
        assert_eq!(reply["progress"], json!([0, 1, 2]), "{reply:#}");
    }
    let who = visitor.call("whoami", json!({})).await;
    let who: Value = serde_json::from_str(who["text"].as_str().unwrap()).unwrap();
    assert_eq!(who["user"], "ann");
    assert_eq!(who["groups"], "engineering,staff");
    assert_eq!(who["authorization"], Value::Null, "the token stays here");
    assert_eq!(world.registrations(), 1);
    assert_eq!(world.approvals(), 1);
    assert_eq!(world.token_requests("authorization_code"), 1);
    assert_eq!(world.token_requests("refresh_token"), 0);
    assert_eq!(world.revision(), client.revision);
    assert_eq!(
        world.replicas_that_served(),
        2,
        "no affinity: one token, both replicas"
    );

    // The access token ends, and the client sees it coming if it looks at the time.
    world.clock.advance(LIFE);
    let later = json!({ "do": "later", "seconds": LIFE.as_secs() });
    visitor.ask(&later).await;
    visitor.echoes("after expiry").await;
    let mut refreshes = 1;
    assert_eq!(world.token_requests("refresh_token"), refreshes);
    assert_eq!(world.approvals(), 1);

    // The access token ends sooner than the client thinks.
    if client.refreshes_when_refused {
        world.clock.advance(LIFE);
        visitor.echoes("after a refusal").await;
        refreshes += 1;
        assert_eq!(world.token_requests("refresh_token"), refreshes);
        assert_eq!(world.approvals(), 1);
    }

    // Every replica ends, and new ones begin with what is in Redis.
    let before = world.last_token();
    world.restart().await;
    visitor.echoes("after a restart").await;
    assert_eq!(
        world.last_token().bearer,
        before.bearer,
        "the same token goes on"
    );

    // The signing key changes: the new one is published, signs, and is alone at last.
    let old = before.token_header()["kid"].clone();
    world.sign_with(&["one", "two"]).await;
    world.sign_with(&["two", "one"]).await;
    visitor.echoes("with a token of the old key").await;
    assert_eq!(world.last_token().bearer, before.bearer);
    world.clock.advance(LIFE);
    visitor.ask(&later).await;
    visitor.echoes("with a token of the new key").await;
    assert_ne!(world.last_token().token_header()["kid"], old);
    world.sign_with(&["two"]).await;
    visitor.echoes("with the new key alone").await;

    refreshes += 1;
    assert_eq!(world.token_requests("refresh_token"), refreshes);
    assert_eq!(world.token_requests("authorization_code"), 1);
    assert_eq!(world.approvals(), 1, "a person was asked once");
    assert_eq!(world.registrations(), 1);
    world.every_token_request_was_answered();
    visitor.ask(&json!({ "do": "quit" })).await;
}

/// A client that is a process; `opens` says that it opens a browser by itself.
async fn process(name: &str, mut command: std::process::Command, opens: Option<&World>) -> Visitor {
    if let Some(world) = opens {
        world.give_browser(&mut command);
    }
    let mut part = Part::spawn(name, command);
    let ready = part.reply().await;
    assert_eq!(ready["ready"], true, "{ready}");
    Visitor::Part(part)
}

async fn typescript(family: &str, mode: Option<&str>, revision: &'static str) {
    let world = World::new().await;
    let mut command = parts::node("clients/typescript.mjs");
    command.args([family, &world.url(MCP), "ann", "-", "-"]);
    command.args(mode);
    let client = Client {
        visitor: process("typescript", command, None).await,
        revision,
        progress: true,
        refreshes_when_refused: true,
    };
    Box::pin(visit(world, client)).await;
}

#[tokio::test]
async fn typescript_v1() {
    typescript("v1", None, "2025-11-25").await;
}

#[tokio::test]
async fn typescript_v2_with_sessions() {
    typescript("v2", Some("legacy"), "2025-11-25").await;
}

#[tokio::test]
async fn typescript_v2_stateless() {
    typescript("v2", Some("2026-07-28"), "2026-07-28").await;
}

#[tokio::test]
async fn typescript_v2_that_finds_out() {
    typescript("v2", Some("auto"), "2026-07-28").await;
}

async fn python(mode: &str, revision: &'static str) {
    let world = World::new().await;
    let mut command = parts::python("clients/python.py");
    command.args([&world.url(MCP), "ann", "-", "-", mode]);
    let client = Client {
        visitor: process("python", command, None).await,
        revision,
        progress: true,
        refreshes_when_refused: false,
    };
    Box::pin(visit(world, client)).await;
}

#[tokio::test]
async fn python_with_sessions() {
    python("legacy", "2025-11-25").await;
}

#[tokio::test]
async fn python_that_finds_out() {
    python("auto", "2026-07-28").await;
}

async fn fastmcp(mode: &str, revision: &'static str) {
    let world = World::new().await;
    let mut command = parts::python("clients/fastmcp_client.py");
    command.args([&world.url(MCP), mode]);
    let client = Client {
        visitor: process("fastmcp", command, Some(&world)).await,
        revision,
        progress: true,
        refreshes_when_refused: false,
    };
    Box::pin(visit(world, client)).await;
}

#[tokio::test]
async fn fastmcp_with_sessions() {
    fastmcp("legacy", "2025-11-25").await;
}

#[tokio::test]
async fn fastmcp_that_finds_out() {
    fastmcp("auto", "2026-07-28").await;
}

async fn mcp_remote(mode: &str, revision: &'static str) {
    let world = World::new().await;
    let mut command = parts::new_node("clients/remote.mjs");
    command.args([&world.url(MCP), mode, world.folder()]);
    let client = Client {
        visitor: process("mcp-remote", command, Some(&world)).await,
        revision,
        progress: true,
        refreshes_when_refused: true,
    };
    Box::pin(visit(world, client)).await;
}

#[tokio::test]
async fn mcp_remote_with_sessions() {
    mcp_remote("legacy", "2025-11-25").await;
}

#[tokio::test]
async fn mcp_remote_that_finds_out() {
    mcp_remote("auto", "2026-07-28").await;
}

async fn inspector(mode: &str, revision: &'static str) {
    let world = World::new().await;
    let mut command = parts::new_node("clients/inspector.mjs");
    command.args([&world.url(MCP), mode, world.folder()]);
    let client = Client {
        visitor: process("inspector", command, Some(&world)).await,
        revision,
        progress: false,
        refreshes_when_refused: true,
    };
    Box::pin(visit(world, client)).await;
}

#[tokio::test]
async fn inspector_with_sessions() {
    inspector("legacy", "2025-11-25").await;
}

#[tokio::test]
async fn inspector_stateless() {
    inspector("modern", "2026-07-28").await;
}

async fn rmcp(revision: &'static str) {
    let world = World::new().await;
    let agent = Agent::sign_in(&world.url(MCP), revision).await;
    let client = Client {
        visitor: Visitor::Agent(Box::new(agent)),
        revision,
        progress: true,
        refreshes_when_refused: true,
    };
    Box::pin(visit(world, client)).await;
}

#[tokio::test]
async fn rmcp_with_sessions() {
    rmcp("2025-11-25").await;
}

#[tokio::test]
async fn rmcp_stateless() {
    rmcp("2026-07-28").await;
}
