//! What the command ends in Redis itself, and streams of other kinds.

use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::command::run;
use super::streams::{setup, status, stream};
use super::ticking::Ticking;
use super::{ended, revoke};
use crate::harness::browser::Browser;
use crate::harness::client::PATIENCE;
use crate::harness::echo::Echo;
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::proxy;
use crate::harness::redis::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_command_ends_in_redis_is_over_on_the_proxies_that_run() {
    let provider = RealProvider::start(&json!({})).await;
    let (events, pages) = (Ticking::start().await, Echo::start().await);
    let redis = Server::plain().await;
    let proxy = setup(&provider, &events, &pages)
        .on_redis(redis.port)
        .start()
        .await;
    let (mut ann, mut bob) = (Browser::default(), Browser::default());
    for (browser, login) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        let form = browser.open(&proxy.url("/app/")).await;
        assert_eq!(browser.sign_in(form, login).await.status(), 200);
    }
    let open = stream(&proxy, &proxy, &ann).await;
    let file = proxy.file().to_str().unwrap();
    let ask = async |what: &str, whom: &str| -> Value {
        let done = run(&[
            "sessions",
            what,
            "--subject",
            whom,
            "--direct",
            "--config",
            file,
        ])
        .await;
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let listed = ask("list", "ann").await;
    assert_eq!(listed["logins"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        ask("revoke", "ann").await,
        json!({ "logins": 1, "grants": 0 })
    );
    open.end().await;
    assert_eq!(status(&proxy, &proxy, &ann).await, 401);
    assert_eq!(status(&proxy, &proxy, &bob).await, 200, "somebody else");
    assert_eq!(ask("list", "ann").await["logins"], json!([]));
    assert_eq!(
        ask("revoke", "nobody").await,
        json!({ "logins": 0, "grants": 0 })
    );
}

/// A WebSocket server that sends everything back.
async fn echoing() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        // Whoever only looks whether the server is there says nothing.
        let mut socket = loop {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(socket) = tokio_tungstenite::accept_async(socket).await {
                break socket;
            }
        };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                break;
            }
        }
    });
    (url, server)
}

#[tokio::test]
async fn s29_websockets_and_http2_streams_end_too() {
    let provider = RealProvider::start(&json!({})).await;
    let events = Ticking::start().await;
    let (sockets, server) = echoing().await;
    let pages = Echo::start().await;
    let allow = "kind: http\nallow: { any_user: true }";
    let proxy = proxy()
        .oidc(&provider.issuer(), "proxy", CLIENT_SECRET)
        .route("/app/*", pages.url(), allow)
        .route("/events/*", &events.url, allow)
        .route("/sockets/*", &sockets, allow)
        .yaml("metrics: { address: \"127.0.0.1:0\" }\nadmin: { address: \"127.0.0.1:0\" }")
        .start()
        .await;
    let mut ann = Browser::default();
    let form = ann.open(&proxy.url("/app/")).await;
    assert_eq!(ann.sign_in(form, "ann").await.status(), 200);
    let cookies = ann.cookies_for(proxy.base());
    let authority = proxy.base().authority();

    let mut request = format!("ws://{authority}/sockets/")
        .into_client_request()
        .unwrap();
    let origin = format!("http://{authority}");
    for (name, value) in [("cookie", &cookies), ("origin", &origin)] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let heard = socket.next().await.unwrap().unwrap();
    assert_eq!(heard, Message::text("hello"));

    let tcp = TcpStream::connect(authority).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
        .await
        .unwrap();
    // Ends with its sender.
    tokio::spawn(connection);
    let request = Request::get(proxy.url("/events/"))
        .header("cookie", &cookies)
        .header("accept", "text/event-stream")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&first[..], b"data: hello\n\n");

    let told = revoke(&proxy, &provider.issuer(), "ann").await;
    assert_eq!(told["logins"], 1);
    let over = async {
        while let Some(frame) = body.frame().await {
            frame.expect("an end, not a cut");
        }
        while let Some(Ok(message)) = socket.next().await {
            assert!(!message.is_text(), "{message:?}");
        }
        server.await.unwrap();
    };
    timeout(PATIENCE, over).await.expect("a stream goes on");
    events.released().await;
    assert_eq!(ended(&proxy, "revoked").await, 2);
    assert_eq!(status(&proxy, &proxy, &ann).await, 401);
}
