//! S24, S25: rules on tools that are evaded, and rules that fail open.

use serde_json::{Value, json};

use crate::harness::client::post;
use crate::policy::world::{World, tool, tool_with};

/// `safe_*` is for all, `admin_delete` for admins, and nobody learns what else there is.
const HIDING: &str = "allow: { any_user: true }
hide: true
tools: [{ match: 'safe_*' }, { match: [admin_delete, 'caf\u{e9}'], allow: { groups: [admins] } }]";

#[tokio::test]
async fn s24_a_hidden_tool_called_by_name_is_an_unknown_one() {
    let world = World::start(HIDING).await;
    let names = [
        "admin_delete",
        "no_such_tool",
        // Prefixes and separators of gateways that put several servers together.
        "r__admin_delete",
        "b0_admin_delete",
        "r.admin_delete",
        "safe",
        "x_safe_read",
        // White space, case, control characters.
        " admin_delete",
        "admin_delete ",
        "admin_delete\n",
        "admin_delete\u{0}",
        "\tsafe_read",
        "\u{feff}safe_read",
        "\u{a0}safe_read",
        "Admin_Delete",
        "ADMIN_DELETE",
        "SAFE_read",
        // Other spellings of the same letters: compatibility forms, invisible and combining characters.
        "\u{ff41}dmin_delete",
        "admin\u{ff3f}delete",
        "admin\u{200b}_delete",
        "admin\u{ad}_delete",
        "\u{430}dmin_delete",
        "\u{17f}afe_read",
        "sa\u{fb01}e_read",
        "cafe\u{301}",
        "caf\u{e9}",
        // Paths and wildcards.
        "../admin_delete",
        "admin_delete/",
        "admin%5fdelete",
        "*",
        "admin_*",
        "admin_delet?",
    ];
    let mut first: Option<(Value, Vec<String>)> = None;
    for name in names {
        let seen = world.send(&tool(name)).await;
        if name.contains(char::is_control) {
            // Some servers cut names there: no rule could be right about them.
            assert!(!seen.forwarded && seen.answer.status == 400, "{name:?}");
            continue;
        }
        let error = seen.denied(name);
        assert_eq!(error["message"], format!("Unknown tool: {name}"));
        // All but the name is the same for what exists and what does not.
        let mut body = seen.answer.json();
        body["error"]["message"] = Value::Null;
        let mut heads: Vec<String> = seen
            .answer
            .headers
            .keys()
            .map(ToString::to_string)
            .collect();
        heads.sort();
        let shape = (body, heads);
        match &first {
            None => first = Some(shape),
            Some(first) => assert_eq!(*first, shape, "{name:?}"),
        }
    }
    world.send(&tool("safe_read")).await.passed("the real one");
    let admin = json!({ "groups": ["admins"] });
    world
        .by(&admin, &tool("admin_delete"))
        .await
        .passed("an admin");
}

#[tokio::test]
async fn s24_the_name_is_what_the_parsed_body_says() {
    let world = World::start(HIDING).await;
    let url = world.proxy.url("/mcp");
    let token = world.token(&json!({}));
    let send = |body: &'static str| {
        world.ask(
            post(&url)
                .bearer(&token)
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream")
                .body(body),
        )
    };
    // Escapes are the same name.
    let seen = send(
        r#"{"jsonrpc":"2.0","id":7,"method":"tools\/call","params":{"name":"admin\u005fdelete"}}"#,
    )
    .await;
    assert_eq!(
        seen.denied("escapes")["message"],
        "Unknown tool: admin_delete"
    );
    for body in [
        // Two readers, two names.
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe_read","name":"admin_delete"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"admin_delete","n\u0061me":"safe_read"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call","params":{"name":"admin_delete"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe_read"},"params":{"name":"admin_delete"}}"#,
        // No name that could be judged.
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":["admin_delete"]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":["admin_delete"]}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"Name":"admin_delete"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"admin_delete"}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"admin_delete"}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"admin_delete"}}]"#,
    ] {
        assert!(!send(body).await.forwarded, "{body}");
    }
}

#[tokio::test]
async fn s25_a_rule_that_cannot_be_judged_denies_and_is_counted() {
    let world = World::start(
        "allow: { any_user: true }
tools:
  - { match: { names: query, arguments: { sql: ['*drop*'], opts.mode: [rw] } }, deny: true, name: no drops }
  - { match: admin, allow: { claims: { level: [3], org.unit: [ops] } }, name: level }
  - { match: '*' }",
    )
    .await;
    let canary = "canary-9f31";
    for arguments in [
        json!({ "sql": 7 }),
        json!({ "sql": [canary] }),
        json!({ "sql": { "text": canary } }),
        json!({ "sql": canary, "opts": canary }),
        json!({ "sql": canary, "opts": { "mode": ["rw"] } }),
    ] {
        let seen = world.send(&tool_with("query", &arguments)).await;
        let error = seen.denied(&arguments.to_string());
        assert_eq!(error["data"]["code"], "policy_denied");
        assert!(
            !seen.answer.text().contains(canary),
            "values are not repeated"
        );
    }
    for arguments in [json!([canary]), json!(canary)] {
        let seen = world.send(&tool_with("query", &arguments)).await;
        assert!(!seen.forwarded, "{arguments}");
    }
    // An absent argument makes the condition false, and is no error.
    for arguments in [
        json!({}),
        json!({ "sql": null }),
        json!({ "sql": "select 1" }),
    ] {
        world
            .send(&tool_with("query", &arguments))
            .await
            .passed(&arguments.to_string());
    }
    // Claims that are missing, or of another type, meet nothing.
    for claims in [
        json!({}),
        json!({ "level": 3 }),
        json!({ "level": "3", "org": { "unit": "ops" } }),
        json!({ "level": { "x": 3 }, "org": { "unit": "ops" } }),
        json!({ "level": 3, "org": "ops" }),
        json!({ "level": null, "org": { "unit": null } }),
    ] {
        world
            .by(&claims, &tool("admin"))
            .await
            .denied(&claims.to_string());
    }
    let right = json!({ "level": 3, "org": { "unit": "ops" } });
    world
        .by(&right, &tool("admin"))
        .await
        .passed("the right claims");
    let failed =
        r#"mcp_proxy_authz_decisions_total{policy="no drops",decision="error",stage="tool"}"#;
    assert!(world.measures(failed).await);
    assert!(!world.measures(canary).await);
}
