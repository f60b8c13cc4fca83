use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::harness::{Backend, Front, OK, all, simple};

async fn echoing() -> Backend {
    Backend::serve(|stream, _, log| async move {
        #[expect(
            clippy::result_large_err,
            reason = "the shape that the library asks for"
        )]
        let note = move |request: &http::Request<()>, response| {
            log.lock().unwrap().push(format!("{request:?}"));
            Ok(response)
        };
        let accepted = tokio_tungstenite::accept_hdr_async(stream, note).await;
        let Ok(mut socket) = accepted else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn messages_go_both_ways_until_the_drain() {
    let backend = echoing().await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let mut request = format!("ws://{}/app/ws?x=1", front.address)
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("x-test-caller", "ann".parse().unwrap());
    request
        .headers_mut()
        .insert("x-forwarded-user", "forged".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let seen = backend.seen().pop().unwrap();
    assert!(
        seen.contains("\"x-forwarded-user\": \"ann\"") && seen.contains("/base/ws?x=1"),
        "{seen}"
    );
    assert!(
        front
            .metrics
            .render()
            .contains("mcp_active_connections{kind=\"websocket\",backend=\"b\"} 1")
    );
    front.drain.cancel();
    assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_)))));
}

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let backend = echoing().await;
    let front = Front::start(simple(
        backend.address,
        ", timeouts: { stream_idle: 40ms }",
        "",
    ))
    .await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/app/", front.address))
        .await
        .unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_)))));
}

#[tokio::test]
async fn upgrades_stay_out_of_mcp_routes_and_where_they_are_off() {
    let backend = Backend::answering(OK).await;
    let mut config = simple(backend.address, "", "");
    config.routes[2].websocket = false;
    let front = Front::start(config).await;
    for path in ["/mcp", "/app/"] {
        let reply = front
            .ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
        assert_eq!(reply.status, 200);
        let seen = backend.seen().pop().unwrap();
        assert!(
            all(&seen, "upgrade").is_empty() && all(&seen, "connection").is_empty(),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn a_backend_that_does_not_switch_is_relayed() {
    let backend = Backend::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let reply = front
        .ask("GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!((reply.status, &*reply.body), (403, "no"));
    assert_eq!(reply.all("content-security-policy"), ["sandbox"]);
}

/// A 101 that nobody asked for would leave the client's connection in an unknown state.
#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_502() {
    let backend = Backend::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    )
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    for request in [
        "GET /app/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(front.ask(request).await.status, 502);
    }
}

#[tokio::test]
async fn a_bearers_socket_has_a_greatest_age() {
    let backend = echoing().await;
    let front = Front::start(simple(
        backend.address,
        "",
        "mcp: { max_stream_age: 50ms }\n",
    ))
    .await;
    let mut request = format!("ws://{}/app/", front.address)
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("x-test-caller", "ann".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    while let Some(Ok(_)) = {
        let _ = socket.send(Message::text("x")).await;
        socket.next().await
    } {}
    let max_age = || {
        front
            .metrics
            .render()
            .contains("kind=\"websocket\",close_reason=\"max_age\"}")
    };
    while !max_age() {
        tokio::task::yield_now().await;
    }
}
