//! `policy explain`: the decision, the rule, the reasons, the exit code.

use std::process::Command;

use serde_json::Value;

const CONFIG: &str = "version: 1
public_url: https://mcp.example.com
oidc: { issuer: https://login.example.com, client_id: p, client_secret: a-long-client-secret }
auth: { api_keys: [{ name: ci, key: 0123456789abcdef-key, groups: [bots] }] }
backends: [{ name: b, upstream: 'http://127.0.0.1:1/mcp' }]
routes:
  - path: /x
    name: r
    backend: b
    allow: { groups: [eng, bots] }
    tools:
      - { match: '*_prod', deny: true, name: no prod }
      - { match: { names: query, arguments: { table: ['public_*'] } }, name: public tables }
      - { match: [query, write], allow: { groups: [admins], scopes: ['mcp:write'] } }
      - { match: 'read_*', hide: false }
";

/// The exit code, standard output and standard error.
fn explain(args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
        .env_clear()
        .envs(crate::harness::parts::measured())
        .args(["policy", "explain", "--config"])
        .arg(&file)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn says_which_rule_decides_and_why_earlier_ones_do_not() {
    let (code, text, _) = explain(&[
        "--route",
        "r",
        "--tool",
        "query",
        "--arguments",
        r#"{"table":"secret"}"#,
        "--groups",
        "eng",
    ]);
    assert_eq!(code, 1, "{text}");
    for line in [
        "denied on route `r`",
        "in lists: shown",
        "route `r`: permitted",
        "groups: eng, bots: met",
        "tool `query`: denied",
        "rule `no prod` passed over: none of its patterns fits the name",
        "rule `public tables` passed over: an argument is absent or has another value",
        "rule `r.tools[2]` decides: not in a group that the rule allows",
        "groups: admins: not met",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn exit_codes_and_json() {
    for (args, code, decision) in [
        (&["--tool", "read_a", "--groups", "eng"][..], 0, "allow"),
        (&["--tool", "read_prod", "--groups", "eng"], 1, "deny"),
        (&["--tool", "read_a", "--groups", "x"], 1, "deny"),
        (&["--tool", "read_a", "--anonymous"], 1, "deny"),
        (&["--tool", "read_a", "--api-key", "ci"], 0, "allow"),
        (&["--tool", "write", "--groups", "eng,admins"], 1, "step_up"),
        (
            &[
                "--tool",
                "write",
                "--groups",
                "eng,admins",
                "--scopes",
                "mcp:write",
            ],
            0,
            "allow",
        ),
        (
            &["--tool", "write", "--groups", "eng,admins", "--session"],
            1,
            "deny",
        ),
        (
            &[
                "--tool",
                "query",
                "--groups",
                "eng",
                "--arguments",
                r#"{"table":7}"#,
            ],
            1,
            "error",
        ),
        (
            &[
                "--tool",
                "query",
                "--groups",
                "eng",
                "--arguments",
                r#"{"table":"public_a"}"#,
            ],
            0,
            "allow",
        ),
        (&["--prompt", "p", "--groups", "eng"], 0, "allow"),
        (
            &[
                "--resource",
                "file:///x",
                "--claims",
                r#"{"groups":["eng"]}"#,
            ],
            0,
            "allow",
        ),
        (&["--method", "tasks/get", "--groups", "eng"], 0, "allow"),
        (&["--groups", "eng"], 0, "allow"),
    ] {
        let all = [args, &["--format", "json"]].concat();
        let (found, text, errors) = explain(&all);
        assert_eq!(found, code, "{args:?} {text} {errors}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["decision"], decision, "{args:?} {report:#}");
        assert_eq!(report["route"], "r");
    }
    let (_, text, _) = explain(&[
        "--tool",
        "write",
        "--groups",
        "eng,admins",
        "--format",
        "json",
    ]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["scopes"], serde_json::json!(["mcp:write"]));
    assert_eq!(report["steps"][1]["rule"], "r.tools[2]");
    assert_eq!(report["steps"][1]["conditions"][1]["met"], false);
}

#[test]
fn mistakes_are_told() {
    for (args, code, what) in [
        (
            &["--route", "y"][..],
            2,
            "there is no route `y`; use one of: r",
        ),
        (&["--tool", "a", "--prompt", "b"], 2, "cannot be used with"),
        (&["--arguments", "{}"], 2, "name one"),
        (&["--tool", "a", "--arguments", "{"], 2, "no JSON"),
        (&["--tool", "a", "--claims", "[]"], 2, "no JSON object"),
        (&["--api-key", "x"], 2, "use one of: ci"),
        (&["--set", "routes=[]"], 78, "there is no route"),
    ] {
        let (found, _, errors) = explain(args);
        assert!(
            found == code && errors.contains(what),
            "{args:?} {found} {errors}"
        );
    }
}
