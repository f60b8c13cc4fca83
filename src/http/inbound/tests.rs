use std::net::SocketAddr;

use http::HeaderValue;

use super::*;
use crate::peer::TokenMemo;

fn trusted() -> TrustedProxies {
    TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
}

fn conn(peer: &str) -> Arc<Conn> {
    let peer = peer.parse::<SocketAddr>().map_or(Peer::Unix, Peer::Tcp);
    Arc::new(Conn {
        peer,
        listener: "test".into(),
        tls: None,
        memo: TokenMemo::default(),
    })
}

fn seen(peer: &str, lines: &[(&'static str, &str)]) -> (Option<String>, bool) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let inbound = Inbound::new(&Ambient::system(), conn(peer), &headers, &trusted());
    (inbound.client.map(|ip| ip.to_string()), inbound.https)
}

#[test]
fn advisory_cve_2023_36456_an_untrusted_peer_is_not_believed() {
    let lines = [
        ("x-forwarded-for", "1.1.1.1"),
        ("forwarded", "for=2.2.2.2;proto=https"),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(
        seen("203.0.113.5:1", &lines),
        (Some("203.0.113.5".into()), false)
    );
}

#[test]
fn the_first_untrusted_address_from_the_right_is_the_client() {
    for (list, client) in [
        ("1.1.1.1", "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1, 10.0.0.3", "1.1.1.1"),
        ("9.9.9.9, 10.0.0.3", "9.9.9.9"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("evil, 10.0.0.3", "10.0.0.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("1.1.1.1:5050", "1.1.1.1"),
        ("::ffff:1.1.1.1", "1.1.1.1"),
        ("nonsense", "10.0.0.9"),
        ("", "10.0.0.9"),
    ] {
        assert_eq!(
            seen("10.0.0.9:1", &[("x-forwarded-for", list)])
                .0
                .as_deref(),
            Some(client),
            "{list}"
        );
    }
    let several = [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-for", "1.1.1.1, 10.0.0.3"),
    ];
    assert_eq!(seen("10.0.0.9:1", &several).0.as_deref(), Some("1.1.1.1"));
}

#[test]
fn rfc_7239_is_read_with_its_quotes() {
    for (list, client, https) in [
        ("for=1.1.1.1;proto=https", "1.1.1.1", true),
        (
            "For=\"[2001:db8::1]:47\";Proto=\"https\"",
            "2001:db8::1",
            true,
        ),
        (
            "for=9.9.9.9, for=\"1.1.1.1\";by=\"a,b\", for=10.0.0.2;proto=http",
            "1.1.1.1",
            false,
        ),
        ("for=_hidden", "10.0.0.9", false),
        ("for=unknown;proto=https", "10.0.0.9", true),
        ("\"", "10.0.0.9", false),
    ] {
        let (seen_client, seen_https) = seen("10.0.0.9:1", &[("forwarded", list)]);
        assert_eq!(
            (seen_client.as_deref(), seen_https),
            (Some(client), https),
            "{list}"
        );
    }
}

#[test]
fn two_stories_about_the_client_are_none() {
    let lines = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")];
    assert_eq!(seen("10.0.0.9:1", &lines).0.as_deref(), Some("10.0.0.9"));
}

#[test]
fn a_unix_socket_counts_as_loopback() {
    assert_eq!(
        seen("unix", &[("x-forwarded-for", "1.1.1.1")]).0.as_deref(),
        Some("1.1.1.1")
    );
    assert_eq!(seen("unix", &[]).0, None);
}

#[test]
fn long_lists_cost_a_bounded_walk() {
    let list = vec!["10.0.0.3"; 2000].join(",");
    assert_eq!(
        seen(
            "10.0.0.9:1",
            &[("x-forwarded-for", &format!("1.1.1.1,{list}"))]
        )
        .0
        .as_deref(),
        Some("10.0.0.3")
    );
}
