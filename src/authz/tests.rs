mod agrees;

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::authn::Credential;
use crate::config::oidc::ClaimMap;
use crate::ids::Subject;
use crate::mcp::{Call, Era, Reach};
use crate::route::{Matched, Table};
use crate::urls::PublicUrl;

/// A policy of one route at `/x`, and its metrics.
struct Bench {
    policy: Policy,
    table: Table,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(route: &Value) -> Self {
        let mut route = route.clone();
        for (key, value) in [
            ("path", json!("/x")),
            ("name", json!("r")),
            ("backend", json!("b")),
        ] {
            route[key] = value;
        }
        if route.get("allow").is_none() && route.get("public").is_none() {
            route["allow"] = json!({"any_user": true});
        }
        let config: Config = serde_json::from_value(json!({
            "version": 1,
            "backends": [{"name": "b", "upstream": "http://127.0.0.1:1"}],
            "routes": [route],
        }))
        .unwrap();
        let public = PublicUrl::parse("https://mcp.example.com").unwrap();
        let metrics = Metrics::new();
        Self {
            policy: Policy::compile(&config, &metrics),
            table: Table::compile(&config, &public),
            metrics,
        }
    }

    fn decide(&self, caller: Caller, calls: Vec<Call>) -> Result<Permit, Denied> {
        self.decide_in(Era::Legacy, caller, calls)
    }

    fn decide_in(&self, era: Era, caller: Caller, calls: Vec<Call>) -> Result<Permit, Denied> {
        let found = self.table.find(&Method::POST, &"/x".parse().unwrap());
        let Ok(Matched::Backend(target)) = found else {
            panic!("no route")
        };
        let batch = calls.len() > 1;
        self.policy
            .decide(caller, target, &Message::for_test(era, calls, batch))
    }

    /// `ok`, or the rule that denied; `scope: …` for a step-up.
    fn says(&self, caller: Caller, call: Call) -> String {
        match self.decide(caller, vec![call]) {
            Ok(_) => "ok".to_owned(),
            Err(Denied::Route(_)) => "route".to_owned(),
            Err(Denied::StepUp { scopes, .. }) => format!("scope: {scopes}"),
            Err(Denied::SignIn { rule, .. }) => format!("sign in: {rule}"),
            Err(Denied::Call(refusal)) => refusal.rule.to_string(),
        }
    }

    fn counted(&self, policy: &str, decision: &str, stage: &str) -> bool {
        let line = format!(
            "mcp_proxy_authz_decisions_total{{policy=\"{policy}\",decision=\"{decision}\",stage=\"{stage}\"}} 1"
        );
        self.metrics.render().contains(&line)
    }
}

fn identity(claims: &Value) -> Identity {
    let subject = Subject {
        issuer: "https://idp".into(),
        subject: "ann".into(),
    };
    let all = serde_json::from_value(claims.clone()).unwrap();
    Identity::for_test(Arc::new(Claims::read(subject, all, &ClaimMap::default())))
}

fn member(group: &str) -> Caller {
    Caller::Known(identity(&json!({ "groups": [group] })))
}

fn granted(scopes: &[&str]) -> Caller {
    Caller::Known(identity(&json!({"groups": ["eng"]})).with(Credential::AccessToken, scopes, None))
}

fn call(method: &str, reach: Vec<Reach>) -> Call {
    Call {
        id: Some("1".into()),
        method: Some(method.into()),
        reach,
        ..Call::default()
    }
}

fn tool(name: &str) -> Call {
    call("tools/call", vec![Reach::Tool(name.into())])
}

fn tool_with(name: &str, arguments: &str) -> Call {
    Call {
        arguments: Some(arguments.to_owned().into()),
        ..tool(name)
    }
}

mod on_routes {
    use super::*;

    fn decide(route: &Value, group: Option<&str>) -> Result<bool, u16> {
        let bench = Bench::new(route);
        let decision = bench.decide(group.map_or(Caller::Anonymous, member), Vec::new());
        let label = if decision.is_ok() { "allow" } else { "deny" };
        assert!(bench.counted("r", label, "route"));
        decision
            .map(|permit| permit.identity().is_some())
            .map_err(|denied| {
                let Denied::Route(reject) = denied else {
                    panic!("{denied:?}")
                };
                assert_eq!(
                    (reject.code(), reject.headers().len(), reject.wants_login()),
                    (Code::Forbidden, 0, false)
                );
                reject.status().as_u16()
            })
    }

    #[test]
    fn silence_denies() {
        assert_eq!(decide(&json!({"allow": null}), Some("eng")), Err(403));
        assert_eq!(decide(&json!({"allow": null}), None), Err(403));
    }

    #[test]
    fn public_means_everybody() {
        assert_eq!(decide(&json!({"public": true}), None), Ok(false));
        assert_eq!(decide(&json!({"public": true}), Some("x")), Ok(true));
    }

    #[test]
    fn members_may_and_others_may_not() {
        let route = json!({"allow": {"groups": ["eng"]}});
        assert_eq!(decide(&route, Some("eng")), Ok(true));
        assert_eq!(decide(&route, Some("ops")), Err(403));
        assert_eq!(decide(&route, None), Err(403));
        assert_eq!(decide(&json!({}), Some("x")), Ok(true));
        assert_eq!(decide(&json!({}), None), Err(403));
    }
}

#[test]
fn deny_first_then_the_first_that_matches() {
    let bench = Bench::new(&json!({"tools": [
        {"match": "read_*"},
        {"match": "delete_*", "allow": {"groups": ["admins"]}},
        {"match": "*_secret", "deny": true},
        {"match": "*", "name": "rest", "allow": {"groups": ["eng"]}},
    ]}));
    for (group, name, expected) in [
        ("x", "read_a", "ok"),
        ("x", "read_secret", "r.tools[2]"),
        ("admins", "delete_secret", "r.tools[2]"),
        ("admins", "delete_a", "ok"),
        ("eng", "delete_a", "r.tools[1]"),
        ("eng", "other", "ok"),
        ("admins", "other", "rest"),
        ("eng", "", "ok"),
    ] {
        assert_eq!(
            bench.says(member(group), tool(name)),
            expected,
            "{group} {name}"
        );
    }
    let permit = bench.decide(member("eng"), vec![tool("other")]).unwrap();
    assert_eq!(permit.rule(), Some("rest"));
    assert!(bench.counted("r.tools[0]", "allow", "tool"));
    assert!(bench.counted("r.tools[1]", "deny", "tool"));
}

#[test]
fn defaults() {
    let rules = json!([{"match": "a"}]);
    for (route, tool_b, prompt, method) in [
        (json!({ "tools": rules }), "r", "ok", "ok"),
        (
            json!({ "tools": rules, "default": "allow" }),
            "ok",
            "ok",
            "ok",
        ),
        (json!({ "tools": rules, "default": "deny" }), "r", "r", "r"),
        (json!({ "default": "deny" }), "r", "r", "r"),
        (json!({}), "ok", "ok", "ok"),
        (json!({ "methods": [{"match": "x/y"}] }), "r", "r", "ok"),
        (
            json!({ "methods": [{"match": "x/y"}], "tools": rules }),
            "r",
            "r",
            "ok",
        ),
    ] {
        let bench = Bench::new(&route);
        let ask = |call| bench.says(member("eng"), call);
        assert_eq!(ask(tool("b")), tool_b, "{route}");
        let get = call("prompts/get", vec![Reach::Prompt("p".into())]);
        assert_eq!(ask(get), prompt, "{route}");
        assert_eq!(ask(call("x/y", vec![])), method, "{route}");
        for open in [
            "initialize",
            "server/discover",
            "ping",
            "notifications/initialized",
            "tools/list",
            "logging/setLevel",
            "subscriptions/listen",
        ] {
            assert_eq!(ask(call(open, vec![])), "ok", "{route} {open}");
        }
        // The answer to a question of the backend's.
        assert_eq!(ask(Call::default()), "ok", "{route}");
    }
    let bench = Bench::new(&json!({ "tools": rules, "methods": [{"match": "x/y"}] }));
    assert_eq!(
        bench.says(member("eng"), tool("a")),
        "ok",
        "the tool's own list decided"
    );
}

#[test]
fn methods_are_denied_by_rules_that_match_them() {
    let bench = Bench::new(&json!({"default": "allow", "methods": [
        {"match": ["*/list", "ping", "tasks/*"], "deny": true},
        {"match": ["i*", "s*"], "deny": true},
    ]}));
    let ask = |method: &str, reach| bench.says(member("eng"), call(method, reach));
    assert_eq!(ask("tools/list", vec![]), "r.methods[0]");
    assert_eq!(ask("ping", vec![]), "r.methods[0]");
    assert_eq!(
        ask("tasks/get", vec![Reach::Task("t".into())]),
        "r.methods[0]"
    );
    assert_eq!(ask("initialize", vec![]), "ok");
    assert_eq!(ask("server/discover", vec![]), "ok");
    assert_eq!(ask("prompts/get", vec![Reach::Prompt("p".into())]), "ok");
}

#[test]
fn everything_that_a_call_reaches_is_judged() {
    let bench = Bench::new(&json!({"resources": [{"match": "file:///docs/*"}]}));
    let listen = |uris: &[&str]| {
        let reach = uris.iter().map(|uri| Reach::Resource((*uri).into()));
        bench.says(member("eng"), call("subscriptions/listen", reach.collect()))
    };
    assert_eq!(listen(&["file:///docs/a", "file:///docs/b"]), "ok");
    assert_eq!(listen(&["file:///docs/a", "file:///etc/passwd"]), "r");
    // What is reached cannot be told.
    for method in ["resources/read", "resources/subscribe"] {
        assert_eq!(bench.says(member("eng"), call(method, vec![])), "r");
    }
    // In 2026-07-28 there is no subscribing to one resource: what names none reaches none.
    let gone = |reach| {
        let calls = vec![call("resources/subscribe", reach)];
        bench.decide_in(Era::Modern, member("eng"), calls).is_ok()
    };
    assert!(gone(vec![]));
    assert!(!gone(vec![Reach::Resource("file:///etc/passwd".into())]));
    let open = Bench::new(&json!({"tools": [{"match": "*"}], "default": "allow"}));
    assert_eq!(open.says(member("eng"), call("tools/call", vec![])), "r");
}

#[test]
fn one_denied_element_refuses_the_batch() {
    let bench = Bench::new(&json!({"tools": [{"match": "a"}]}));
    let denied = bench.decide(member("eng"), vec![tool("a"), tool("b"), tool("a")]);
    let Err(Denied::Call(refusal)) = denied else {
        panic!("{denied:?}")
    };
    assert_eq!((refusal.call, &*refusal.name), (1, "b"));
    assert!(
        bench
            .decide(member("eng"), vec![tool("a"), tool("a")])
            .is_ok()
    );
}

#[test]
fn arguments_decide_and_errors_deny() {
    let bench = Bench::new(&json!({"tools": [
        {"match": {"names": "query", "arguments": {"mode": ["drop"]}}, "deny": true, "name": "no drop"},
        {"match": {"names": "query", "arguments": {"table": ["public_*"]}}, "name": "public"},
        {"match": "query", "allow": {"groups": ["admins"]}, "name": "rest"},
    ]}));
    for (group, arguments, expected) in [
        ("x", r#"{"table":"public_a"}"#, "ok"),
        ("x", r#"{"table":"a"}"#, "rest"),
        ("x", "{}", "rest"),
        ("admins", "{}", "ok"),
        ("admins", r#"{"table":"a","mode":"drop"}"#, "no drop"),
        ("admins", r#"{"mode":1}"#, "no drop"),
        ("admins", r#"{"table":["public_a"]}"#, "public"),
        ("admins", r#"{"table":"public_a","table":"a"}"#, "no drop"),
        ("admins", "nonsense", "no drop"),
    ] {
        assert_eq!(
            bench.says(member(group), tool_with("query", arguments)),
            expected,
            "{group} {arguments}"
        );
    }
    assert_eq!(
        bench.says(member("admins"), tool("query")),
        "ok",
        "none are given"
    );
    assert!(bench.counted("public", "error", "tool"));
    let denied = bench.decide(member("x"), vec![tool_with("query", r#"{"table":7}"#)]);
    let Err(Denied::Call(refusal)) = denied else {
        panic!("{denied:?}")
    };
    assert_eq!(refusal.argument.as_deref(), Some("table"));
}

#[test]
fn credentials_are_conditions() {
    let bench = Bench::new(&json!({"tools": [
        {"match": "c", "allow": {"clients": ["https://app.example/client.json"]}},
        {"match": "k", "allow": {"api_keys": ["ci"]}},
        {"match": "s", "allow": {"scopes": ["tools:s"]}},
    ]}));
    let by = |credential, client: Option<&str>| {
        Caller::Known(identity(&json!({})).with(credential, &[], client))
    };
    let app = Some("https://app.example/client.json");
    assert_eq!(
        bench.says(by(Credential::AccessToken, app), tool("c")),
        "ok"
    );
    assert_eq!(
        bench.says(by(Credential::Bearer, Some("other")), tool("c")),
        "r.tools[0]"
    );
    assert_eq!(
        bench.says(by(Credential::Session, None), tool("c")),
        "r.tools[0]"
    );
    // The name counts for keys only: a person of that name is no key.
    let named = |credential| {
        let subject = Subject {
            issuer: "https://idp".into(),
            subject: "ci".into(),
        };
        let claims = Claims::read(subject, serde_json::Map::new(), &ClaimMap::default());
        Caller::Known(Identity::for_test(Arc::new(claims)).with(credential, &[], None))
    };
    assert_eq!(bench.says(named(Credential::ApiKey), tool("k")), "ok");
    assert_eq!(
        bench.says(named(Credential::Bearer), tool("k")),
        "r.tools[1]"
    );
    // Neither sessions nor keys could ever be granted a scope.
    assert_eq!(
        bench.says(by(Credential::Session, None), tool("s")),
        "r.tools[2]"
    );
    assert_eq!(
        bench.says(named(Credential::ApiKey), tool("s")),
        "r.tools[2]"
    );
    assert_eq!(bench.says(Caller::Anonymous, tool("s")), "route");
}

#[test]
fn one_challenge_names_all_scopes() {
    let bench = Bench::new(&json!({
        "scopes": ["mcp:use"],
        "allow": {"scopes": ["mcp:use"], "groups": ["eng"]},
        "tools": [
            {"match": "write", "allow": {"scopes": ["w:all", "w:one w:two"]}},
            {"match": "both", "allow": {"scopes": ["b"], "groups": ["admins"]}},
            {"match": "*"},
        ],
        "methods": [{"match": "tools/call", "allow": {"scopes": ["call"]}}],
    }));
    for (scopes, name, expected) in [
        (&["mcp:use", "call", "w:all"][..], "write", "ok"),
        (&["mcp:use", "call", "w:one", "w:two"], "write", "ok"),
        (
            &["mcp:use", "call", "other"],
            "write",
            "scope: mcp:use call w:all",
        ),
        (&["mcp:use"], "write", "scope: mcp:use w:all call"),
        (
            &["w:one", "mcp:use"],
            "write",
            "scope: w:one mcp:use w:all call",
        ),
        (&[], "write", "scope: mcp:use w:all call"),
        (&["mcp:use"], "read", "scope: mcp:use call"),
        // A scope alone would not help.
        (&["mcp:use"], "both", "r.tools[1]"),
        // Nothing of the rules is told to those who may not use the route.
        (&[], "both", "scope: mcp:use"),
    ] {
        assert_eq!(
            bench.says(granted(scopes), tool(name)),
            expected,
            "{scopes:?} {name}"
        );
    }
    let outsider = Caller::Known(identity(&json!({})).with(Credential::Bearer, &[], None));
    assert_eq!(bench.says(outsider, tool("write")), "route");
}

#[test]
fn bypass_meets_every_allow_and_no_deny() {
    let bench = Bench::new(&json!({"allow": {"groups": ["eng"]}, "tools": [
        {"match": "a", "allow": {"scopes": ["s"]}},
        {"match": "b", "deny": true},
    ]}));
    let bypass = || Caller::Known(identity(&json!({})).with(Credential::Bypass, &[], None));
    assert_eq!(bench.says(bypass(), tool("a")), "ok");
    assert_eq!(bench.says(bypass(), tool("b")), "r.tools[1]");
    assert_eq!(bench.says(bypass(), tool("c")), "r");
}

#[test]
fn public_routes_keep_tools_for_people() {
    let bench = Bench::new(&json!({"public": true, "tools": [
        {"match": "free"},
        {"match": "*", "allow": {"any_user": true}},
    ]}));
    assert_eq!(bench.says(Caller::Anonymous, tool("free")), "ok");
    assert_eq!(
        bench.says(Caller::Anonymous, tool("x")),
        "sign in: r.tools[1]"
    );
    assert_eq!(bench.says(member("x"), tool("x")), "ok");
}

#[test]
fn lists_show_what_some_arguments_could_be_permitted_for() {
    let bench = Bench::new(&json!({"tools": [
        {"match": {"names": "query", "arguments": {"mode": ["drop"]}}, "deny": true},
        {"match": {"names": "query", "arguments": {"table": ["public_*"]}}},
        {"match": {"names": "dump", "arguments": {"table": ["*"]}}, "allow": {"groups": ["admins"]}},
        {"match": "scoped", "allow": {"scopes": ["s"]}},
        {"match": "scoped too", "allow": {"scopes": ["s"], "groups": ["admins"]}},
        {"match": {"names": "mixed", "arguments": {"x": [1]}}, "allow": {"scopes": ["s"]}},
        {"match": "covert", "allow": {"scopes": ["s"]}, "hide": true},
        {"match": "gone", "deny": true},
    ], "resources": [
        {"match": "db://secret/*", "deny": true},
        {"match": "db://public/*"},
        {"match": "db://ops/*", "allow": {"groups": ["admins"]}},
    ]}));
    let permit = bench.decide(member("eng"), Vec::new()).unwrap();
    let sight = permit.sight().unwrap().clone();
    let shows = |name: &str| sight.shows(&Reach::Tool(name.into()));
    assert!(shows("query") && !shows("dump") && !shows("gone") && !shows("x"));
    // Nobody would ask for the scope of a tool that nobody sees.
    assert!(shows("scoped") && shows("mixed") && !shows("scoped too") && !shows("covert"));
    assert_eq!(bench.says(member("eng"), tool("scoped")), "scope: s");
    assert_eq!(bench.says(member("eng"), tool("covert")), "r.tools[6]");
    assert!(sight.shows(&Reach::Prompt("any".into())) && sight.shows(&Reach::Task("t".into())));
    assert!(sight.shows(&Reach::Resource("db://public/a".into())));
    for (template, shown) in [
        ("db://{schema}/{table}", true),
        ("db://public/{table}", true),
        ("db://secret/{table}", false),
        ("db://ops/{table}", false),
        ("file:///{path}", false),
        ("db://{", false),
    ] {
        assert_eq!(sight.shows_template(template), shown, "{template}");
    }
    let open = Bench::new(&json!({}));
    let permit = open.decide(member("eng"), Vec::new()).unwrap();
    assert!(permit.sight().is_none());
}
