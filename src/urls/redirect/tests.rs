use proptest::prelude::*;

use super::*;

fn schemes() -> Vec<String> {
    ["cursor", "vscode"].map(str::to_owned).to_vec()
}

fn judged(text: &str) -> Result<Place, RedirectError> {
    judge(text, &schemes())
}

#[test]
fn what_clients_register_is_taken() {
    let web = |host: &str| Ok(Place::Web(host.to_owned()));
    let loopback = |host: &str| Ok(Place::Loopback(host.to_owned()));
    for (text, place) in [
        ("https://claude.ai/api/mcp/auth_callback", web("claude.ai")),
        (
            "https://chatgpt.com/connector/oauth/a-b_c?x=%20y",
            web("chatgpt.com"),
        ),
        (
            "https://www.cursor.com/agents/mcp/oauth/callback",
            web("www.cursor.com"),
        ),
        ("https://app.example:8443", web("app.example")),
        ("https://app.example:443/cb", web("app.example")),
        ("https://app.example?x=1", web("app.example")),
        ("https://xn--e1afmkfd.example/", web("xn--e1afmkfd.example")),
        ("https://192.0.2.7/cb", web("192.0.2.7")),
        ("https://[2001:db8::1]:8443/cb", web("[2001:db8::1]")),
        ("http://127.0.0.1/", loopback("127.0.0.1")),
        ("http://127.0.0.1:33418/", loopback("127.0.0.1")),
        ("http://localhost", loopback("localhost")),
        ("http://localhost:80/cb", loopback("localhost")),
        ("http://[::1]:1/cb", loopback("[::1]")),
        ("https://localhost:8443/cb", loopback("localhost")),
    ] {
        assert_eq!(judged(text), place, "{text}");
    }
    for text in [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "cursor:/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
    ] {
        let scheme = text.split(':').next().unwrap().to_owned();
        assert_eq!(judged(text), Ok(Place::App(scheme)), "{text}");
    }
}

/// S6: nothing that one reader takes for another address than the next one does.
#[test]
fn attack_s6_addresses_that_readers_disagree_about_are_refused() {
    use RedirectError as E;
    let dangerous = |scheme: &str| E::Dangerous(scheme.to_owned());
    for (text, error) in [
        ("", E::Length),
        ("/cb", E::NoScheme),
        ("good.example/cb", E::NoScheme),
        ("//good.example/cb", E::NoScheme),
        ("HTTPS://good.example/cb", E::NoScheme),
        ("Cursor://x/cb", E::NoScheme),
        (" https://good.example/cb", E::Characters),
        ("\thttps://good.example/cb", E::Characters),
        ("https://good.example/cb\n", E::Characters),
        ("ht\ntps://good.example/cb", E::Characters),
        ("https://good.example\\@evil.example/cb", E::Characters),
        ("https:\\\\evil.example", E::Characters),
        ("https://g\u{43e}od.example/cb", E::Characters),
        ("https://good.example/\u{0}", E::Characters),
        ("https://good.example/cb#x", E::Fragment),
        ("https://good.example/cb#", E::Fragment),
        ("https://good@evil.example/cb", E::Userinfo),
        ("https://good.example:x@evil.example/", E::Userinfo),
        ("https://@evil.example/", E::Userinfo),
        ("cursor://good@evil/cb", E::Userinfo),
        ("https:good.example/cb", E::Host),
        ("https:/good.example/cb", E::Host),
        ("https:///good.example/cb", E::Host),
        ("https://", E::Host),
        ("https://:443/cb", E::Host),
        ("https://good.example:/cb", E::NotNormal),
        ("https://good.example:0443/cb", E::NotNormal),
        ("https://good.example:99999/cb", E::Host),
        ("https://Good.example/cb", E::NotNormal),
        ("https://ex%61mple.com/cb", E::NotNormal),
        ("https://2130706433/cb", E::NotNormal),
        ("https://0x7f.1/cb", E::NotNormal),
        ("http://127.1/cb", E::NotNormal),
        ("https://good.example/a/../b", E::NotNormal),
        ("https://good.example/a/./b", E::NotNormal),
        ("https://good.example/a/%2e%2E/b", E::NotNormal),
        ("https://good.example/%0d%0aLocation:x", E::NotNormal),
        ("https://good.example/%5cevil", E::NotNormal),
        ("https://good.example/?x=%00", E::NotNormal),
        ("http://good.example/cb", E::Plain),
        ("http://localhost.evil.example/cb", E::Plain),
        ("http://localhost./cb", E::Plain),
        ("http://127.0.0.2/cb", E::Plain),
        ("http://[::ffff:7f00:1]/cb", E::Plain),
        ("cursor:", E::Host),
        ("cursor://", E::Host),
        ("other://x/cb", E::Scheme("other".to_owned())),
        ("javascript:alert(1)", dangerous("javascript")),
        ("JaVaScript:alert(1)", dangerous("javascript")),
        ("data:text/html,x", dangerous("data")),
        ("file:///etc/passwd", dangerous("file")),
        ("vbscript:x", dangerous("vbscript")),
        ("blob:https://good.example/x", dangerous("blob")),
        ("about:blank", dangerous("about")),
    ] {
        assert_eq!(judged(text), Err(error), "{text:?}");
    }
    let long = format!("https://good.example/{}", "a".repeat(MAX));
    assert_eq!(judged(&long), Err(E::Length));
}

#[test]
fn no_list_allows_a_dangerous_scheme() {
    let all: Vec<String> = DANGEROUS.iter().map(|each| (*each).to_owned()).collect();
    for scheme in DANGEROUS {
        assert!(is_dangerous(&scheme.to_ascii_uppercase()));
        let found = judge(&format!("{scheme}:x"), &all);
        assert!(
            matches!(found, Err(RedirectError::Dangerous(_))),
            "{scheme}"
        );
    }
}

#[test]
fn only_the_port_of_http_on_loopback_floats() {
    for (registered, asked, fits) in [
        ("http://127.0.0.1/", "http://127.0.0.1:51234/", true),
        ("http://127.0.0.1:33418/", "http://127.0.0.1:1/", true),
        ("http://localhost:8787/cb", "http://localhost/cb", true),
        ("http://[::1]/cb", "http://[::1]:7/cb", true),
        ("http://127.0.0.1:1?x", "http://127.0.0.1:2?x", true),
        ("http://127.0.0.1/", "http://127.0.0.1:51234", false),
        ("http://127.0.0.1", "http://127.0.0.1:51234/", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb/", false),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb?x=1", false),
        ("http://127.0.0.1/cb", "http://localhost:1/cb", false),
        ("http://[::1]/cb", "http://127.0.0.1:1/cb", false),
        ("https://localhost:1/cb", "https://localhost:2/cb", false),
        ("http://localhost/cb", "https://localhost/cb", false),
        (
            "https://good.example/cb",
            "https://good.example:443/cb",
            false,
        ),
        ("https://good.example/cb", "https://good.example/cb/", false),
        ("https://good.example/cb", "https://good.example/cb", true),
    ] {
        assert_eq!(is_match(registered, asked), fits, "{registered} {asked}");
    }
}

/// A part of an address, and whether an address with it is good.
fn part(choices: &'static [(&'static str, bool)]) -> impl Strategy<Value = (&'static str, bool)> {
    proptest::sample::select(choices)
}

proptest! {
    /// The oracle: an address put together from parts that are known to be good or bad.
    #[test]
    fn an_address_is_as_good_as_its_parts(
        scheme in part(&[("https", true), ("http", false), ("HTTPS", false), ("javascript", false), ("ftp", false)]),
        user in part(&[("", true), ("", true), ("", true), ("u@", false), ("u:p@", false)]),
        host in part(&[("a.example", true), ("a-b.example.org", true), ("203.0.113.9", true), ("[2001:db8::9]", true), ("A.example", false), ("a b", false), ("0x10", false), ("", false)]),
        port in part(&[("", true), (":443", true), (":8443", true), (":08", false), (":x", false)]),
        path in part(&[("", true), ("/", true), ("/a/b", true), ("/a%20b", true), ("/a/..", false), ("/%2e", false), ("/\\", false), ("/%0a", false)]),
        query in part(&[("", true), ("?a=b&c=%20", true), ("? ", false)]),
        fragment in part(&[("", true), ("", true), ("#", false), ("#x", false)]),
    ) {
        let parts = [scheme, user, host, port, path, query, fragment];
        let text = format!("{}://{}", scheme.0, parts[1..].iter().map(|each| each.0).collect::<String>());
        let good = parts.iter().all(|each| each.1);
        prop_assert_eq!(judged(&text).is_ok(), good, "{}", text);
    }

    /// Another reader of addresses sees the host that we show.
    #[test]
    fn another_reader_sees_the_same_host(text in "(https?|cursor|[a-zA-Z]{1,8})://[a-z0-9.:@%\\[\\]/?#\\\\ -]{0,40}") {
        if let Ok(Place::Web(host) | Place::Loopback(host)) = judged(&text) {
            let other: http::Uri = text.parse().unwrap();
            prop_assert_eq!(other.host(), Some(&*host));
            prop_assert!(!other.authority().unwrap().as_str().contains('@'));
        }
    }

    /// What fits is the same address, or differs in the digits of a loopback port alone.
    #[test]
    fn matching_is_equality_but_for_a_loopback_port(
        scheme in proptest::sample::select(&["http", "https"][..]),
        hosts in proptest::array::uniform2(proptest::sample::select(&["localhost", "127.0.0.1", "[::1]", "a.example"][..])),
        ports in proptest::array::uniform2(proptest::option::of(1u16..)),
        paths in proptest::array::uniform2(proptest::sample::select(&["", "/", "/a", "/a?b", "?b"][..])),
    ) {
        let text = |at: usize| {
            let port = ports[at].map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}://{}{port}{}", hosts[at], paths[at])
        };
        let floats = scheme == "http" && hosts[0] != "a.example";
        let expected = hosts[0] == hosts[1] && paths[0] == paths[1] && (floats || ports[0] == ports[1]);
        prop_assert_eq!(is_match(&text(0), &text(1)), expected);
    }

    #[test]
    fn anything_is_judged_without_a_panic(text in ".{0,60}", tail in "\\PC*") {
        let _ = judged(&text);
        let _ = judged(&format!("https://{tail}"));
        let _ = is_match(&text, &tail);
    }
}
