use proptest::prelude::*;

use super::*;

fn config(routes: &str) -> Config {
    let text = format!(
        "{{\"version\": 1, \"backends\": [{{\"name\": \"b\", \"upstream\": \"http://127.0.0.1:1/base\"}}], \"routes\": {routes}}}"
    );
    serde_json::from_str(&text).unwrap()
}

fn routes(paths: &[&str]) -> Config {
    let list: Vec<String> = paths
        .iter()
        .map(|path| format!("{{\"path\": \"{path}\", \"backend\": \"b\"}}"))
        .collect();
    config(&format!("[{}]", list.join(",")))
}

fn table(paths: &[&str]) -> Table {
    let config = routes(paths);
    assert_eq!(Table::problems(&config), []);
    Table::compile(
        &config,
        &PublicUrl::parse("https://mcp.example.com").unwrap(),
    )
}

fn find(table: &Table, target: &str) -> Result<Matched, u16> {
    table
        .find(&Method::GET, &target.parse().unwrap())
        .map_err(|reject| reject.status().as_u16())
}

fn show(table: &Table, target: &str) -> String {
    match find(table, target) {
        Ok(Matched::Own(own)) => own.name().to_owned(),
        Ok(Matched::ResourceMetadata(target)) => format!("metadata {}", target.resource()),
        Ok(Matched::Backend(target)) => format!(
            "{} + {} = {}",
            target.route().name,
            target.upstream(),
            target.resource()
        ),
        Err(status) => status.to_string(),
    }
}

#[test]
fn exact_and_subtree_routes() {
    let table = table(&["/x", "/t/*", "/t/deep/*", "/t/deep/one"]);
    for (target, expected) in [
        ("/x", "/x +  = https://mcp.example.com/x"),
        ("/x/", "/x +  = https://mcp.example.com/x"),
        ("/x?a=/../b", "/x + ?a=/../b = https://mcp.example.com/x"),
        ("/x/y", "404"),
        ("/xy", "404"),
        ("/", "404"),
        ("/t", "/t/* +  = https://mcp.example.com/t"),
        ("/t/", "/t/* + / = https://mcp.example.com/t"),
        ("/t?q", "/t/* + ?q = https://mcp.example.com/t"),
        (
            "/t/a/b/?q=%2f",
            "/t/* + /a/b/?q=%2f = https://mcp.example.com/t/a/b",
        ),
        ("/t/deep", "/t/deep/* +  = https://mcp.example.com/t/deep"),
        (
            "/t/deep/two",
            "/t/deep/* + /two = https://mcp.example.com/t/deep/two",
        ),
        (
            "/t/deep/one/",
            "/t/deep/one +  = https://mcp.example.com/t/deep/one",
        ),
        (
            "/t/deeper",
            "/t/* + /deeper = https://mcp.example.com/t/deeper",
        ),
        ("/oauth2/callback?code=x", "own:callback"),
        ("/oauth2/nothing", "own:unknown"),
        ("/health", "own:health"),
        ("/metrics", "404"),
        (
            "http://other.example/x?q",
            "/x + ?q = https://mcp.example.com/x",
        ),
    ] {
        assert_eq!(show(&table, target), expected, "{target}");
    }
}

#[test]
fn the_whole_site() {
    let table = table(&["/*"]);
    for (target, expected) in [
        ("/", "/* + / = https://mcp.example.com"),
        ("/mcp/?q", "/* + /mcp/?q = https://mcp.example.com/mcp"),
        ("/%20x", "/* + /%20x = https://mcp.example.com/%20x"),
        ("/ready", "own:ready"),
        (
            "/.well-known/mcp",
            "/* + /.well-known/mcp = https://mcp.example.com/.well-known/mcp",
        ),
        (
            "/.well-known/oauth-protected-resource",
            "metadata https://mcp.example.com",
        ),
        (
            "/.well-known/oauth-protected-resource/mcp/",
            "metadata https://mcp.example.com/mcp",
        ),
        (
            "/.well-known/oauth-protected-resource-evil",
            "/* + /.well-known/oauth-protected-resource-evil = https://mcp.example.com/.well-known/oauth-protected-resource-evil",
        ),
        ("/.well-known/oauth-authorization-server", "404"),
        ("/.well-known/oauth-authorization-server/mcp", "404"),
        ("/.well-known/openid-configuration", "404"),
    ] {
        assert_eq!(show(&table, target), expected, "{target}");
    }
}

#[test]
fn resource_metadata_of_each_route_and_of_the_only_one() {
    let one = table(&["/a/mcp"]);
    let two = table(&["/a/mcp", "/b/*"]);
    assert_eq!(
        show(&one, "/.well-known/oauth-protected-resource"),
        "metadata https://mcp.example.com/a/mcp"
    );
    assert_eq!(
        show(&one, "/.well-known/oauth-protected-resource/a/mcp"),
        "metadata https://mcp.example.com/a/mcp"
    );
    assert_eq!(
        show(&one, "/.well-known/oauth-protected-resource/a/mcp/"),
        "metadata https://mcp.example.com/a/mcp"
    );
    assert_eq!(
        show(&one, "/.well-known/oauth-protected-resource/other"),
        "404"
    );
    assert_eq!(show(&two, "/.well-known/oauth-protected-resource"), "404");
    assert_eq!(
        show(&two, "/.well-known/oauth-protected-resource/b/x"),
        "metadata https://mcp.example.com/b/x"
    );
    let site = table(&["/*", "/b/*"]);
    assert_eq!(
        show(&site, "/.well-known/oauth-protected-resource"),
        "metadata https://mcp.example.com"
    );
    let http = Table::compile(
        &config(
            r#"[{"path": "/p/*", "backend": "b", "kind": "http"}, {"path": "/m", "backend": "b"}]"#,
        ),
        &PublicUrl::parse("https://mcp.example.com").unwrap(),
    );
    assert_eq!(
        show(&http, "/.well-known/oauth-protected-resource/p/x"),
        "404"
    );
    assert_eq!(
        show(&http, "/.well-known/oauth-protected-resource"),
        "metadata https://mcp.example.com/m"
    );
}

#[test]
fn methods_and_forms_without_a_path() {
    let table = table(&["/*"]);
    let status = |method: Method, uri: &str| {
        table
            .find(&method, &uri.parse().unwrap())
            .map_err(|r| r.status().as_u16())
            .err()
    };
    assert_eq!(status(Method::CONNECT, "mcp.example.com:443"), Some(405));
    assert_eq!(status(Method::TRACE, "/x"), Some(405));
    assert_eq!(status(Method::OPTIONS, "*"), Some(404));
    assert_eq!(status(Method::GET, "*"), Some(400));
    assert_eq!(status(Method::GET, "mcp.example.com:443"), Some(400));
}

#[test]
fn attack_s22_odd_spellings_never_reach_another_rule() {
    let table = table(&["/*", "/admin/*", "/Api"]);
    for target in [
        "/ADMIN/x",
        "/Admin",
        "/%61dmin/x",
        "/admin./x",
        "/admin%20/x",
        "/admin%2e/x",
        "/api",
        "/OAUTH2/callback",
        "/oauth2%2e/x",
        "/%6fauth2/start",
        "/HEALTH",
        "/.Well-Known/oauth-protected-resource",
        "/.well-known/%6fauth-authorization-server",
        "//admin/x",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/admin;x/y",
        "/;/admin",
        "/admin%3b/y",
        "/x%2fadmin",
        "/x%5cadmin",
        "/%252e%252e/admin",
        "/%c0%afadmin",
        "/x%00",
        "/%EF%BC%8E%EF%BC%8E/admin",
    ] {
        assert_eq!(find(&table, target).err(), Some(400), "{target}");
    }
}

#[test]
fn advisory_cve_2026_41059_what_stands_behind_a_hash_is_neither_judged_nor_forwarded() {
    let table = table(&["/secret/*"]);
    assert_eq!(
        show(&table, "/secret/a#/public"),
        "/secret/* + /a = https://mcp.example.com/secret/a"
    );
    assert_eq!(show(&table, "/secret%23/public"), "400");
}

#[test]
fn advisory_cve_2025_54576_the_query_takes_no_part_in_the_judgement() {
    let table = table(&["/admin", "/public/*"]);
    assert!(show(&table, "/admin?x=/public/y").starts_with("/admin + ?x=/public/y"));
}

fn target(table: &Table, path: &str) -> Target {
    let Ok(Matched::Backend(target)) = find(table, path) else {
        panic!("{path} leads nowhere")
    };
    target
}

#[test]
fn attack_s9_audiences_belong_to_one_route() {
    let table = table(&["/a/mcp", "/b/mcp", "/t/*", "/t/deep"]);
    let exact = target(&table, "/a/mcp/");
    let subtree = target(&table, "/t/x");
    for (audience, on_exact, on_subtree) in [
        ("https://mcp.example.com/a/mcp", true, false),
        ("https://mcp.example.com/a/mcp/", true, false),
        ("HTTPS://MCP.example.com:443/a/mcp", true, false),
        ("https://mcp.example.com/b/mcp", false, false),
        ("https://mcp.example.com", false, false),
        ("https://mcp.example.com/", false, false),
        ("https://mcp.example.com/t", false, true),
        ("https://mcp.example.com/t/", false, true),
        ("https://mcp.example.com/t/y/z", false, true),
        ("https://mcp.example.com/t/deep", false, false),
        ("https://mcp.example.com/tt", false, false),
        ("https://mcp.example.com/a/mcp?x", false, false),
        ("https://mcp.example.com/a/mcp#x", false, false),
        ("https://mcp.example.com/b/../a/mcp", false, false),
        ("HTTPS://mcp.example.com/b/../a/mcp", false, false),
        ("https://mcp.example.com/a/%6dcp", false, false),
        ("https://mcp.example.com.evil/a/mcp", false, false),
        ("https://mcp.example.com@evil/a/mcp", false, false),
        ("https://x@mcp.example.com/a/mcp", false, false),
        ("http://mcp.example.com/a/mcp", false, false),
        ("https://mcp.example.com:8443/a/mcp", false, false),
        ("mcp.example.com/a/mcp", false, false),
        ("", false, false),
    ] {
        assert_eq!(exact.accepts_audience(audience), on_exact, "{audience}");
        assert_eq!(subtree.accepts_audience(audience), on_subtree, "{audience}");
    }
}

#[test]
fn a_resource_indicator_names_the_route_that_holds_it() {
    let table = table(&["/a/mcp", "/t/*", "/t/deep"]);
    let resource = |url: &str| {
        table.resource(url).map(|target| {
            (
                target.route().name.to_string(),
                target.resource().to_string(),
            )
        })
    };
    for (url, route, named) in [
        (
            "https://mcp.example.com/a/mcp",
            "/a/mcp",
            "https://mcp.example.com/a/mcp",
        ),
        (
            "HTTPS://MCP.example.com:443/a/mcp/",
            "/a/mcp",
            "https://mcp.example.com/a/mcp",
        ),
        (
            "https://mcp.example.com/t",
            "/t/*",
            "https://mcp.example.com/t",
        ),
        (
            "https://mcp.example.com/t/y/",
            "/t/*",
            "https://mcp.example.com/t/y",
        ),
        (
            "https://mcp.example.com/t/deep",
            "/t/deep",
            "https://mcp.example.com/t/deep",
        ),
    ] {
        assert_eq!(
            resource(url),
            Some((route.to_owned(), named.to_owned())),
            "{url}"
        );
    }
    for foreign in [
        "https://mcp.example.com",
        "https://mcp.example.com/a",
        "https://mcp.example.com/a/mcp?x",
        "https://mcp.example.com/t/../a/mcp",
        "https://evil.test/a/mcp",
        "/a/mcp",
        "",
    ] {
        assert_eq!(resource(foreign), None, "{foreign}");
    }
    assert!(table.default_resource(None).is_none());
    assert!(table.default_resource(Some("/a/mcp")).is_some());
    assert!(self::table(&["/a/mcp"]).default_resource(None).is_some());
}

#[test]
fn an_authorization_server_has_its_documents_and_root_paths() {
    let text = r#"{"version": 1, "public_url": "https://mcp.example.com",
        "oidc": {"issuer": "https://id.example.com", "client_id": "c"},
        "backends": [{"name": "b", "upstream": "http://127.0.0.1:1"}],
        "routes": [{"path": "/*", "backend": "b"}]}"#;
    let mut config: Config = serde_json::from_str(text).unwrap();
    let public = PublicUrl::parse("https://mcp.example.com").unwrap();
    let with = Table::compile(&config, &public);
    for (path, name) in [
        (
            "/.well-known/oauth-authorization-server",
            "own:server_metadata",
        ),
        ("/.well-known/openid-configuration", "own:server_metadata"),
        ("/token", "own:token"),
        ("/oauth2/token", "own:token"),
    ] {
        assert_eq!(show(&with, path), name);
    }
    assert_eq!(
        find(&with, "/.well-known/oauth-authorization-server/x").err(),
        Some(404)
    );
    config.routes[0].path = "/token".to_owned();
    assert_eq!(Table::problems(&config).len(), 1);
    config.authorization_server.enabled = false;
    assert_eq!(Table::problems(&config), []);
    let without = Table::compile(&config, &public);
    assert_eq!(
        find(&without, "/.well-known/openid-configuration").err(),
        Some(404)
    );
}

#[test]
fn a_route_by_name_is_its_own_resource() {
    let table = table(&["/t/*", "/x"]);
    let named = table.named("/t/*").unwrap();
    assert_eq!(
        (&**named.resource(), named.upstream()),
        ("https://mcp.example.com/t", "")
    );
    assert!(named.accepts_audience("https://mcp.example.com/t/a"));
    assert!(table.named("/y").is_none());
}

#[test]
fn problems_name_the_route_and_the_key() {
    for (paths, at) in [
        (&["/x", "/x/"][..], 1),
        (&["/x/*", "/X/*"], 1),
        (&["/oauth2"], 0),
        (&["/oauth2/start"], 0),
        (&["/OAuth2/x/*"], 0),
        (&["/health"], 0),
        (&["/.well-known/oauth-protected-resource/x"], 0),
        (&["x"], 0),
        (&["/a", "/b*"], 1),
    ] {
        let found = Table::problems(&routes(paths));
        assert_eq!(
            found
                .iter()
                .map(|(at, key, _)| (*at, *key))
                .collect::<Vec<_>>(),
            [(at, "path")],
            "{paths:?}"
        );
    }
    assert_eq!(
        Table::problems(&routes(&["/x", "/x/*", "/*", "/", "/.well-known/*"])),
        []
    );
    let names = config(
        r#"[{"path": "/a", "name": "n", "backend": "b"}, {"path": "/b", "name": "n", "backend": "b"}]"#,
    );
    assert_eq!(Table::problems(&names)[0].1, "name");
}

/// The most lenient reader that there could be: decodes until nothing changes, turns backslashes and full-width
/// forms, cuts parameters, resolves dots, ignores empty segments, case and what Windows ignores.
fn lenient(path: &str) -> String {
    let mut path = path.to_owned();
    loop {
        let decoded = percent_encoding::percent_decode_str(&path)
            .decode_utf8_lossy()
            .into_owned();
        if decoded == path {
            break;
        }
        path = decoded;
    }
    let path = path
        .replace(['\\', '\u{ff0f}', '\u{ff3c}'], "/")
        .replace('\u{ff0e}', ".")
        .to_lowercase();
    let path = path.split(['?', '#', '\0']).next().unwrap_or_default();
    let mut out: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        let segment = segment.split(';').next().unwrap_or_default();
        if segment == ".." {
            out.pop();
            continue;
        }
        let segment = segment.trim_end_matches(['.', ' ']);
        if !segment.is_empty() {
            out.push(segment);
        }
    }
    let slash = if path.ends_with('/') && !out.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", out.join("/"))
}

fn odd_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["admin", "public", "a", "oauth2", "start", "health", ".well-known", "x"]).prop_map(str::to_owned),
        4 => prop::sample::select(vec!["/", "/", "/", "//", "%2f", "\\", "%5c", ";", "%3b", ".", "..", "%2e", "%2E", "%252e", "%25", "%00", "%20", "?", "%3f", "%23", "%ef%bc%8f", "%c0%af"]).prop_map(str::to_owned),
        1 => "[A-Za-z%.~]{1,3}",
        1 => (0u8..=255).prop_map(|byte| format!("%{byte:02x}")),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Authorize exactly the bytes that are forwarded: base and remainder make the target again, and the most
    /// lenient reader of it comes to the same place.
    #[test]
    fn advisory_cve_2023_33189_what_is_judged_is_what_is_forwarded(text in odd_path()) {
        let table = table(&["/*", "/admin/*", "/public/a"]);
        let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
        let Ok(matched) = table.find(&Method::GET, &uri) else { return Ok(()) };
        let seen = lenient(uri.path());
        match matched {
            Matched::Backend(target) => {
                let sent = format!("{}{}", target.route().base(), target.upstream());
                if target.route().pattern.subtree {
                    prop_assert_eq!(&sent, uri.path_and_query().unwrap().as_str());
                }
                let place = table.place(&seen, &table.shared.own, &table.shared.index);
                prop_assert_eq!(place, Place::Route(u32::try_from(target.route().index).unwrap()), "{}", seen);
            }
            Matched::Own(own) => prop_assert_eq!(table.shared.own.find(&seen), Some(own)),
            Matched::ResourceMetadata(_) => prop_assert!(seen.starts_with(RESOURCE_METADATA)),
        }
    }

    #[test]
    fn no_target_makes_it_panic(text in "\\PC{0,60}") {
        let table = table(&["/*", "/admin/*"]);
        if let Ok(uri) = text.parse::<Uri>() {
            let _ = table.find(&Method::GET, &uri);
        }
        let _ = check::path(&text);
        let _ = target(&table, "/").accepts_audience(&text);
    }
}
