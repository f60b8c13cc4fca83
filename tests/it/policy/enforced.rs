//! Each key of the configuration, and that it holds.

use serde_json::json;

use super::world::{World, request, tool, tool_with};
use crate::harness::client::get;

#[tokio::test]
async fn lists_of_rules_hold_for_what_they_are_about() {
    let world = World::start(
        "allow: { any_user: true }
tools: [{ match: 'read_*' }, { match: 'delete_*', allow: { groups: [admins] }, name: admins only }]
prompts: [{ match: [summary, 'draft-?'] }]
resources: [{ match: 'file:///docs/*' }, { match: 'file:///docs/secret*', deny: true }]
methods: [{ match: 'x/*', deny: true }, { match: '*' }]",
    )
    .await;
    let read = |uri: &str| request("resources/read", &json!({ "uri": uri }));
    let prompt = |name: &str| request("prompts/get", &json!({ "name": name }));
    for message in [
        tool("read_a"),
        prompt("summary"),
        prompt("draft-1"),
        read("file:///docs/a/b"),
        request("y/z", &json!({})),
        request("initialize", &json!({})),
        request("tools/list", &json!({})),
    ] {
        world.send(&message).await.passed(&message.to_string());
    }
    for (message, rule) in [
        (tool("delete_a"), "admins only"),
        (tool("other"), "`r`"),
        (prompt("draft-10"), "`r`"),
        (read("file:///docs/secret.txt"), "r.resources[1]"),
        (read("file:///etc/passwd"), "`r`"),
        (request("x/y", &json!({})), "r.methods[0]"),
        (
            request(
                "resources/subscribe",
                &json!({ "uri": "file:///etc/passwd" }),
            ),
            "`r`",
        ),
        (
            request(
                "completion/complete",
                &json!({ "ref": { "type": "ref/prompt", "name": "secret" }, "argument": { "name": "a", "value": "" } }),
            ),
            "`r`",
        ),
    ] {
        let error = world.send(&message).await.denied(&message.to_string());
        let text = error["message"].as_str().unwrap();
        assert!(text.contains(rule), "{text}");
        assert_eq!(error["data"]["code"], "policy_denied");
    }
    let admin = json!({ "groups": ["admins"] });
    world.by(&admin, &tool("delete_a")).await.passed("an admin");
    for line in [
        r#"mcp_proxy_authz_decisions_total{policy="admins only",decision="deny",stage="tool"} 1"#,
        r#"mcp_proxy_authz_decisions_total{policy="admins only",decision="allow",stage="tool"} 1"#,
        r#"mcp_proxy_authz_decisions_total{policy="r.resources[1]",decision="deny",stage="resource"} 1"#,
    ] {
        assert!(world.measures(line).await, "{line}");
    }
}

#[tokio::test]
async fn what_no_rule_matches_follows_the_default() {
    let get = request("prompts/get", &json!({ "name": "p" }));
    let unknown = request("x/y", &json!({}));
    for (default, tool_passes, prompt_passes, method_passes) in [
        ("", false, true, true),
        ("default: deny", false, false, false),
        ("default: allow", true, true, true),
    ] {
        let world = World::start(&format!(
            "allow: {{ any_user: true }}\ntools: [{{ match: a }}]\n{default}"
        ))
        .await;
        for (message, passes) in [
            (&tool("a"), true),
            (&tool("b"), tool_passes),
            (&get, prompt_passes),
            (&unknown, method_passes),
            (&request("ping", &json!({})), true),
        ] {
            let seen = world.send(message).await;
            let why = format!("{default}: {message}");
            if passes {
                seen.passed(&why);
            } else {
                seen.denied(&why);
            }
        }
    }
}

#[tokio::test]
async fn arguments_are_conditions() {
    let world = World::start(
        "allow: { any_user: true }
tools:
  - { match: { names: query, arguments: { mode: ['drop*'] } }, deny: true }
  - { match: { names: query, arguments: { table: ['public_*'], /limits/0: [10, 20] } } }
  - { match: { names: [query, other], arguments: { dry_run: [true] } } }",
    )
    .await;
    for (arguments, passes) in [
        (json!({ "table": "public_x", "limits": [10] }), true),
        (json!({ "table": "public_x", "limits": [11] }), false),
        (json!({ "table": "x", "limits": [10] }), false),
        (json!({ "table": "x", "dry_run": true }), true),
        (json!({ "dry_run": true, "mode": "drop it" }), false),
        (json!({ "dry_run": false }), false),
        (json!({ "dry_run": null }), false),
        (json!({}), false),
        (json!({ "dry_run": "true" }), false),
    ] {
        let seen = world.send(&tool_with("query", &arguments)).await;
        if passes {
            seen.passed(&arguments.to_string());
        } else {
            seen.denied(&arguments.to_string());
        }
    }
}

#[tokio::test]
async fn each_condition_on_the_caller_holds_on_rules() {
    let world = World::start(
        "allow: { any_user: true }
tools:
  - { match: g, allow: { groups: [ops, admins] } }
  - { match: e, allow: { email_domains: [corp.example] } }
  - { match: c, allow: { claims: { level: [3] } } }
  - { match: i, allow: { clients: [https://app.example/client.json] } }
  - { match: k, allow: { api_keys: [robot] } }
  - { match: and, allow: { groups: [ops], claims: { level: [3] } } }
  - { match: any, allow: { any_user: true } }",
    )
    .await;
    for (name, claims) in [
        ("g", json!({ "groups": ["ops"] })),
        ("e", json!({ "email": "a@corp.example" })),
        ("c", json!({ "level": 3 })),
        (
            "i",
            json!({ "client_id": "https://app.example/client.json" }),
        ),
        ("and", json!({ "groups": ["ops"], "level": 3 })),
        ("any", json!({})),
    ] {
        world.by(&claims, &tool(name)).await.passed(name);
    }
    for (name, claims) in [
        ("g", json!({})),
        ("e", json!({ "email": "a@corp.example.evil" })),
        ("c", json!({ "level": "3" })),
        (
            "i",
            json!({ "client_id": "https://app.example/client.json/" }),
        ),
        ("k", json!({ "sub": "robot" })),
        ("and", json!({ "groups": ["ops"] })),
        ("and", json!({ "level": 3 })),
    ] {
        world.by(&claims, &tool(name)).await.denied(name);
    }
    world.robot(&tool("k")).await.passed("the key");
    world
        .robot(&tool("g"))
        .await
        .denied("the key is in no such group");
}

#[tokio::test]
async fn each_new_condition_holds_on_routes() {
    for (allow, fits, misfits) in [
        ("clients: [good]", json!({ "client_id": "good" }), json!({})),
        (
            "clients: [good], groups: [ops]",
            json!({ "client_id": "good", "groups": ["ops"] }),
            json!({ "client_id": "good" }),
        ),
    ] {
        let world = World::start(&format!("allow: {{ {allow} }}")).await;
        world.by(&fits, &tool("a")).await.passed(allow);
        let seen = world.by(&misfits, &tool("a")).await;
        assert!(!seen.forwarded && seen.answer.status == 403, "{allow}");
        assert_eq!(
            seen.answer.header("www-authenticate"),
            "",
            "another token would not help"
        );
    }
    let world = World::start("allow: { api_keys: [robot] }").await;
    world.robot(&tool("a")).await.passed("the key");
    assert_eq!(world.send(&tool("a")).await.answer.status, 403);
}

#[tokio::test]
async fn scopes_are_asked_for_in_one_challenge() {
    let world = World::start(
        "scopes: [mcp]
allow: { scopes: [mcp], groups: [engineering] }
tools:
  - { match: write, allow: { scopes: [mcp:write mcp:undo] } }
  - { match: '*' }
methods: [{ match: tools/call, allow: { scopes: [mcp:call] } }]",
    )
    .await;
    let metadata = format!(
        "resource_metadata=\"{}\"",
        world.proxy.url("/.well-known/oauth-protected-resource/mcp")
    );
    for (granted, name, scopes) in [
        ("", "write", "mcp mcp:write mcp:undo mcp:call"),
        ("mcp unrelated", "write", "mcp mcp:write mcp:undo mcp:call"),
        (
            "mcp mcp:call mcp:undo",
            "write",
            "mcp mcp:call mcp:undo mcp:write",
        ),
        ("mcp mcp:write", "read", "mcp mcp:write mcp:call"),
    ] {
        let claims = json!({ "scope": granted });
        let challenge = world.by(&claims, &tool(name)).await.stepped_up();
        assert!(
            challenge.starts_with("Bearer error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(
            challenge.contains(&format!("scope=\"{scopes}\"")),
            "{challenge}"
        );
        assert!(challenge.contains(&metadata), "{challenge}");
        assert_eq!(challenge.matches("Bearer").count(), 1);
    }
    let all = json!({ "scope": "mcp mcp:write mcp:undo mcp:call" });
    world.by(&all, &tool("write")).await.passed("all scopes");

    // The route's own demand holds for streams, too.
    let url = world.proxy.url("/mcp");
    let stream = |claims| {
        let token = world.token(&claims);
        world.ask(
            get(&url)
                .bearer(&token)
                .header("accept", "text/event-stream"),
        )
    };
    stream(json!({})).await.stepped_up();
    assert!(stream(json!({ "scope": "mcp" })).await.forwarded);

    // Who is not in the group would gain nothing by another token.
    let outsider = json!({ "groups": ["x"], "scope": "" });
    let seen = world.by(&outsider, &tool("read")).await;
    assert_eq!(
        (
            seen.answer.status.as_u16(),
            seen.answer.header("www-authenticate")
        ),
        (403, "")
    );
    // A key has no scopes and never will.
    let world =
        World::start("allow: { any_user: true }\ntools: [{ match: a, allow: { scopes: [s] } }]")
            .await;
    world.robot(&tool("a")).await.denied("a key");
}

#[tokio::test]
async fn a_reload_changes_what_may_be_called() {
    let world = World::start("allow: { any_user: true }\ntools: [{ match: a }]").await;
    world.send(&tool("a")).await.passed("before");
    world.send(&tool("b")).await.denied("before");
    world
        .reload("allow: { any_user: true }\ntools: [{ match: b }]")
        .await;
    world.send(&tool("a")).await.denied("after");
    world.send(&tool("b")).await.passed("after");
    world.reload("allow: { any_user: true }").await;
    world.send(&tool("a")).await.passed("without rules");
}
