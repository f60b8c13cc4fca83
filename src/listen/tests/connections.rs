use tokio::net::UnixStream;

use super::*;

const PLAIN: &str = "listen: [{ address: '127.0.0.1:0' }]";

#[tokio::test]
async fn plain_connections_speak_http1_and_http2() {
    let running = start(PLAIN);
    let mut client = running.connect().await;
    for _ in 0..2 {
        let (status, head, body) = ask(&mut client, "/").await;
        assert_eq!((status, &*body), (200, "hello"));
        assert!(
            head.contains("x-version: http/1.1") && head.contains("x-tls: none"),
            "{head}"
        );
    }

    let (mut sender, _connection) = h2(running.connect().await).await;
    let response = sender.send_request(get("http://a.example/")).await.unwrap();
    assert_eq!(response.headers()["x-version"], "HTTP/2.0");
    assert_eq!(response.headers()["x-listener"], "127.0.0.1:0");
}

#[tokio::test]
async fn the_protocol_is_recognised_from_the_smallest_pieces() {
    let running = start(PLAIN);
    let mut client = running.connect().await;
    client.set_nodelay(true).unwrap();
    // `P` could still become HTTP/2's preface, `PR` too, `PRO` no more.
    for piece in ["P", "R", "O", "PFIND / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        client.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&mut client).await.0, 200);
}

#[tokio::test]
async fn unix_sockets_serve_and_vanish() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    let running = start(&format!(
        "listen: [{{ address: 'unix:{}' }}]",
        path.display()
    ));
    assert_eq!(running.address(), format!("unix:{}", path.display()));
    let mut client = UnixStream::connect(&path).await.unwrap();
    assert_eq!(ask(&mut client, "/").await.0, 200);
    drop(client);
    running.drain.closing.cancel();
    running.ended().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_panic_ends_its_request_only() {
    let running = start(PLAIN);
    let mut client = running.connect().await;
    let (status, _, body) = ask(&mut client, "/panic").await;
    assert_eq!(status, 500);
    assert!(
        body.contains("internal_error") && !body.contains("on purpose"),
        "{body}"
    );
    assert_eq!(
        ask(&mut client, "/").await.0,
        200,
        "the connection lives on"
    );

    let (mut sender, _connection) = h2(running.connect().await).await;
    let response = sender
        .send_request(get("http://a.example/panic"))
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
    assert!((running.metric("mcp_proxy_panics_total") - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn redirecting_listeners_lead_to_the_public_url_whatever_host_says() {
    let running = start("listen: [{ address: '127.0.0.1:0', redirect_to_https: true }]");
    let mut client = running.connect().await;
    client
        .write_all(b"GET /a%20b/../c?d=%2F HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await
        .unwrap();
    let (status, head, _) = answer(&mut client).await;
    assert_eq!(status, 301);
    assert!(
        head.contains("location: https://mcp.example.com/a%20b/../c?d=%2f\r\n"),
        "{head}"
    );
    client
        .write_all(b"POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(answer(&mut client).await.0, 308);
    assert_eq!(
        *running.handler.led.lock().unwrap(),
        [
            ("127.0.0.1:0 GET /a%20b/../c".to_owned(), 301),
            ("127.0.0.1:0 POST /mcp".to_owned(), 308)
        ]
    );
    let counted = "mcp_proxy_requests_total{status=\"301\",method=\"GET\",route=\"_redirect\"}";
    assert!((running.metric(counted) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place_until_it_ends() {
    let running = start(PLAIN);
    let mut client = running.connect().await;
    let request = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.0, 101);
    let mut echoed = [0; 4];
    client.write_all(b"ping").await.unwrap();
    client.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
    let open = "mcp_proxy_connections{listener=\"127.0.0.1:0\"}";
    assert!((running.metric(open) - 1.0).abs() < 0.1);

    // Closing waits for it.
    running.drain.closing.cancel();
    client.write_all(b"pong").await.unwrap();
    client.read_exact(&mut echoed).await.unwrap();
    assert!(!running.serving.is_finished());
    drop(client);
    let metrics = Arc::clone(&running.metrics);
    running.ended().await;
    assert!(metrics.render().contains(&format!("{open} 0\n")));
}

#[tokio::test]
async fn a_reload_adds_takes_away_and_changes_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| folder.path().join(name);
    let listener =
        |name: &str, rest: &str| format!("{{ address: 'unix:{}'{rest} }}", socket(name).display());
    let [a, b, c] = [listener("a", ""), listener("b", ""), listener("c", "")];
    let running = start(&format!("listen: [{a}, {b}]"));
    let mut kept = UnixStream::connect(socket("b")).await.unwrap();
    assert_eq!(ask(&mut kept, "/").await.0, 200);

    let redirecting = listener("a", ", redirect_to_https: true");
    running
        .listeners
        .reload(&config(&format!("listen: [{redirecting}, {c}]")))
        .unwrap();
    let mut client = UnixStream::connect(socket("a")).await.unwrap();
    assert_eq!(ask(&mut client, "/").await.0, 301);
    let mut client = UnixStream::connect(socket("c")).await.unwrap();
    assert_eq!(ask(&mut client, "/").await.0, 200);
    assert_eq!(
        ask(&mut kept, "/").await.0,
        200,
        "what was connected goes on"
    );
    let gone = async {
        while UnixStream::connect(socket("b")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("the old listener stayed");
}

#[tokio::test]
async fn a_socket_that_was_passed_stays_whatever_its_address_is_called() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut inherited = Inherited::default();
    let passed = InheritedSocket::Tcp(socket);
    inherited.add("http".to_owned(), passed).unwrap();
    let running = start_over("listen: [{ address: 'proxy.example:80' }]", inherited);
    assert_eq!(running.listeners.addresses(), [address.to_string()]);
    let ask_it = async || {
        let mut client = TcpStream::connect(address).await.unwrap();
        ask(&mut client, "/").await.0
    };
    assert_eq!(ask_it().await, 200);
    for address in ["127.0.0.1:1", "proxy.example:80"] {
        let yaml = format!("listen: [{{ address: '{address}' }}]");
        running.listeners.reload(&config(&yaml)).unwrap();
        assert_eq!(ask_it().await, 200);
    }
    let none = running.listeners.reload(&config("listen: []")).unwrap_err();
    assert!(none.message.contains("0 listeners without TLS"), "{none}");
    assert_eq!(ask_it().await, 200);
}

#[tokio::test]
async fn a_reload_that_cannot_be_done_changes_nothing() {
    let running = start(PLAIN);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let yaml = format!(
        "listen: [{{ address: '127.0.0.1:0', redirect_to_https: true }}, {{ address: '{address}' }}]"
    );
    let error = running.listeners.reload(&config(&yaml)).unwrap_err();
    assert_eq!(error.key, "listen[1].address");
    assert!(error.message.contains("already in use"), "{error}");
    assert_eq!(ask(&mut running.connect().await, "/").await.0, 200);
}

#[tokio::test]
async fn addresses_that_cannot_be_bound_are_explained() {
    let refused = |address: &str| {
        let yaml = format!("listen: [{{ address: '{address}' }}]");
        Listeners::bind(
            &config(&yaml),
            Inherited::default(),
            &Metrics::new(),
            &Ambient::system(),
        )
        .unwrap_err()
    };
    assert!(
        refused("192.0.2.1:8080")
            .message
            .contains("not an address of this machine")
    );
    assert!(refused("8080").message.contains("write host:port"));
    assert!(
        refused("unix:relative.sock")
            .message
            .contains("not an absolute path")
    );
    assert_eq!(refused("unix:relative.sock").key, "listen[0].address");
}
