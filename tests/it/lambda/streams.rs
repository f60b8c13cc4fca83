//! Event streams: piece by piece where they can be, and what becomes of them where they cannot.

use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::event::Sender;
use super::world::{Function, World};
use crate::harness::scripted::{Scripted, result, status, stream};

const PROGRESS: &str = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}\n\n";

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "slow", "arguments": {} } })
}

fn done() -> String {
    let answer = json!({ "jsonrpc": "2.0", "id": 2, "result": { "content": [] } });
    format!("event: message\ndata: {answer}\n\n")
}

/// A server whose event stream says what the test sends.
async fn streaming() -> (Scripted, mpsc::Sender<String>) {
    let (send, pieces) = mpsc::channel(16);
    let pieces = Mutex::new(Some(pieces));
    let server = Scripted::start(move |_| match pieces.lock().unwrap().take() {
        Some(pieces) => stream(pieces),
        None => status(StatusCode::GONE),
    })
    .await;
    (server, send)
}

/// A server that sends less than it announces.
async fn short() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // The connects of health checks send nothing.
                if matches!(socket.read(&mut [0; 4096]).await, Ok(1..)) {
                    let said = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 400000\r\n\r\nhalf";
                    let _ = socket.write_all(said).await;
                    let _ = socket.shutdown().await;
                }
            });
        }
    });
    url
}

async fn function(world: &World, server: &Scripted, env: &[(&str, &str)]) -> Function {
    let setup = world
        .setup()
        .route("/events", server.url(), "allow: { any_user: true }");
    Function::start(&setup, env).await
}

fn token(world: &World) -> String {
    let audience = format!("{}/events", super::world::PUBLIC);
    world.idp.access_token("bob", &audience, &json!({}))
}

#[tokio::test]
async fn events_arrive_one_by_one_before_the_end() {
    let world = World::new().await;
    for (sender, env) in [
        (Sender::Url, &[][..]),
        (
            Sender::RestApi,
            &[("MCP_PROXY_LAMBDA_RESPONSE", "stream")][..],
        ),
    ] {
        let (server, send) = streaming().await;
        let function = function(&world, &server, env).await;
        let asks = sender.rpc("/events", &call()).bearer(&token(&world));
        let mut delivery = function.platform.invoke(asks.event()).await;
        send.send(PROGRESS.to_owned()).await.unwrap();
        let (head, mut first) = delivery.head().await;
        assert_eq!(head["statusCode"], 200, "{head}");
        if !first.contains("notifications/progress") {
            first += &delivery.read_until("notifications/progress").await;
        }
        // The second is said only now, so the first did not wait for it.
        send.send(done()).await.unwrap();
        delivery.read_until("\"result\"").await;
        drop(send);
        let ended = delivery.end().await;
        assert!(ended.whole && ended.trailers.is_none(), "{ended:?}");
    }
}

#[tokio::test]
async fn a_whole_answer_has_all_events_and_no_stream_is_opened_to_listen_on() {
    let world = World::new().await;
    let server = Scripted::start(|message| {
        if message.is_null() {
            let (_, pieces) = mpsc::channel(1);
            return stream(pieces);
        }
        result(message, true, &json!({ "content": [] }))
    })
    .await;
    let function = function(&world, &server, &[("MCP_PROXY_LAMBDA_RESPONSE", "auto")]).await;
    let token = token(&world);
    for sender in [Sender::HttpApi, Sender::RestApi, Sender::Balancer] {
        let answer = function
            .ask(&sender.rpc("/events", &call()).bearer(&token))
            .await;
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert_eq!(
            answer.text().matches("data:").count(),
            2,
            "{}",
            answer.text()
        );
        assert_eq!(answer.rpc()["id"], 2);
        let listen = sender
            .get("/events")
            .bearer(&token)
            .header("accept", "text/event-stream");
        let answer = function.ask(&listen).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), "POST, DELETE");
        assert_eq!(answer.json()["error"], "no_stream");
    }
}

#[tokio::test]
async fn a_stream_ends_in_time_and_what_is_late_is_said_to_be() {
    let world = World::new().await;
    let (server, send) = streaming().await;
    let function = function(&world, &server, &[]).await;
    let asks = Sender::Url.rpc("/events", &call()).bearer(&token(&world));
    let time = Duration::from_secs(3);
    let mut delivery = function.platform.invoke_for(asks.event(), time).await;
    send.send(PROGRESS.to_owned()).await.unwrap();
    delivery.head().await;
    // A client that listens comes again; nothing has broken off.
    let ended = delivery.end().await;
    assert!(ended.whole && ended.trailers.is_none(), "{ended:?}");

    let (server, _send) = streaming().await;
    let setup = world
        .setup()
        .route("/events", server.url(), "allow: { any_user: true }");
    let function = Function::start(&setup, &[]).await;
    let asks = Sender::HttpApi
        .rpc("/events", &call())
        .bearer(&token(&world));
    let answer = function
        .platform
        .invoke_for(asks.event(), time)
        .await
        .whole()
        .await;
    assert_eq!(answer["statusCode"], 504, "{answer}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let world = World::new().await;
    let server = short().await;
    let setup = world
        .setup()
        .route("/events", &server, "kind: http\nallow: { any_user: true }");
    let function = Function::start(&setup, &[]).await;
    let jar = world.sign_in(&function, Sender::Url).await;
    let asks = Sender::Url.get("/events").cookies(&jar);
    let mut delivery = function.platform.invoke(asks.event()).await;
    let (head, _) = delivery.head().await;
    assert_eq!(head["statusCode"], 200, "{head}");
    let ended = delivery.end().await;
    assert!(ended.whole, "{ended:?}");
    let trailers = ended.trailers.expect("trailers that tell it");
    assert_eq!(
        trailers["lambda-runtime-function-error-type"],
        "Proxy.BrokenOff"
    );
    let asks = Sender::HttpApi.get("/events").cookies(&jar);
    assert_eq!(function.ask(&asks).await.status, 502);
}
