use proptest::prelude::*;

use super::*;

fn rewriter(prefix: &str, subtree: bool, base: &str) -> Rewriter {
    let keys = KeyRing::ephemeral(crate::clock::Ambient::system());
    Rewriter {
        facts: Arc::new(Facts {
            name: "/x".into(),
            prefix: prefix.into(),
            subtree,
        }),
        sealer: keys.sealer(Purpose::Endpoint, None),
        subject: None,
        stream: format!("http://10.0.0.1:3000{base}/sse"),
        also: [
            "http://inner.example".into(),
            "https://mcp.example.com".into(),
        ],
        base: base.to_owned(),
        endpoint: EndpointTag::of("http://10.0.0.1:3000"),
        sticks: false,
        held: Vec::new(),
    }
}

fn translated(url: &str) -> String {
    rewriter("/x", true, "/base")
        .translate(url)
        .unwrap_or_else(str::to_owned)
}

#[test]
fn urls_are_put_into_our_terms() {
    for (theirs, ours) in [
        ("/base/message?sessionId=1", "/x/message?sessionId=1"),
        ("message?sessionId=1", "/x/message?sessionId=1"),
        ("?sessionId=1", "/x/sse?sessionId=1"),
        ("/base?s=1", "/x?s=1"),
        (
            "/base/messages/?session_id=ab",
            "/x/messages/?session_id=ab",
        ),
        ("http://10.0.0.1:3000/base/m", "/x/m"),
        ("http://inner.example/base/m", "/x/m"),
        ("https://mcp.example.com/base/m", "/x/m"),
    ] {
        assert_eq!(translated(theirs), ours, "{theirs}");
    }
    for sealed in ["/elsewhere", "/based/m", "/base/a%2fb", "/base//m", "/"] {
        assert!(
            translated(sealed).starts_with("/x?mcp_endpoint="),
            "{sealed}"
        );
    }
    for foreign in [
        "https://evil.example/base/m",
        "//evil.example/base/m",
        "http://10.0.0.1:3001/base/m",
        "data:x",
    ] {
        assert_eq!(
            translated(foreign),
            "its URL is of another origin than the stream",
            "{foreign}"
        );
    }
    let whole_site = rewriter("", true, "");
    assert_eq!(
        whole_site.translate("/message?s=1").unwrap(),
        "/message?s=1"
    );
    assert!(
        rewriter("/x", false, "/base")
            .translate("/base/m")
            .unwrap()
            .starts_with("/x?mcp_endpoint=")
    );
}

#[test]
fn only_the_first_event_and_only_endpoint_is_rewritten() {
    let push = |text: &str| match rewriter("/x", true, "/base").push(text.as_bytes()) {
        Rewritten::Done(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => format!("{other:?}"),
    };
    assert_eq!(
        push("event: endpoint\r\ndata: /base/m\r\n\r\n"),
        "event: endpoint\r\ndata: /x/m\r\n\r\n"
    );
    assert_eq!(
        push(": hi\n\nid: 1\nevent:endpoint\ndata:/base/m\n\nevent: endpoint\ndata: /base/n\n\n"),
        ": hi\n\nid: 1\nevent:endpoint\ndata: /x/m\n\nevent: endpoint\ndata: /base/n\n\n"
    );
    for untouched in [
        "data: /base/m\n\n",
        "event: message\ndata: /base/m\n\n",
        "event: endpoints\ndata: /base/m\n\n",
    ] {
        assert_eq!(push(untouched), untouched);
    }
    assert_eq!(push(": hi\n\nevent"), "Released(b\": hi\\n\\n\")");
    assert_eq!(push("event: endpoint\ndata: /base/m\n"), "Held");
    assert!(push("event: endpoint\n\n").starts_with("Refused"));
    assert!(push("event: endpoint\ndata: /a\ndata: /b\n\n").starts_with("Refused"));
    let long = format!("event: endpoint\ndata: /base/{}", "m".repeat(MAX_EVENT));
    assert_eq!(push(&long), long, "no endless holding back");
}

proptest! {
    /// However the stream is cut, what comes out is the same; and without an `endpoint` event it is what came in.
    #[test]
    fn cuts_do_not_matter(
        stream in prop_oneof!["[a:\n\r]{0,40}", "(: c\n\n){0,2}event: endpoint\ndata: /base/m\n\n[a:\n]{0,9}"],
        cut in 0usize..60,
    ) {
        let run = |pieces: &[&[u8]]| {
            let mut out = Vec::new();
            let mut rewriter = Some(rewriter("/x", true, "/base"));
            for piece in pieces {
                let Some(active) = &mut rewriter else {
                    out.extend_from_slice(piece);
                    continue;
                };
                match active.push(piece) {
                    Rewritten::Held => {}
                    Rewritten::Released(bytes) => out.extend_from_slice(&bytes),
                    Rewritten::Done(bytes) => {
                        out.extend_from_slice(&bytes);
                        rewriter = None;
                    }
                    Rewritten::Refused(why) => panic!("{why}"),
                }
            }
            if let Some(rest) = rewriter {
                out.extend_from_slice(&rest.into_rest());
            }
            String::from_utf8(out).unwrap()
        };
        let cut = cut.min(stream.len());
        let whole = run(&[stream.as_bytes()]);
        prop_assert_eq!(&whole, &run(&[&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]]));
        if !stream.contains("endpoint") {
            prop_assert_eq!(whole, stream);
        }
    }
}
