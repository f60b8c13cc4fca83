use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::harness::{
    Backend, Front, read_chunk, read_chunks, read_head, read_request, say, simple,
};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A backend that opens an event stream and hands it over to the test.
async fn streaming() -> (Backend, mpsc::Receiver<TcpStream>) {
    let (give, take) = mpsc::channel(4);
    let backend = Backend::serve(move |mut stream, _, _| {
        let give = give.clone();
        async move {
            if read_request(&mut stream).await.is_some() {
                say(&mut stream, EVENTS).await;
                let _ = give.send(stream).await;
            }
        }
    })
    .await;
    (backend, take)
}

async fn open(front: &Front, path: &str, caller: &str) -> (TcpStream, Vec<u8>, String) {
    let mut client = front.connect().await;
    let caller = if caller.is_empty() {
        String::new()
    } else {
        format!("X-Test-Caller: {caller}\r\n")
    };
    say(
        &mut client,
        &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{caller}\r\n"),
    )
    .await;
    let mut seen = Vec::new();
    let head = read_head(&mut client, &mut seen).await;
    (client, seen, head)
}

async fn next(client: &mut TcpStream, seen: &mut Vec<u8>) -> Option<String> {
    read_chunk(client, seen)
        .await
        .map(|chunk| String::from_utf8(chunk).unwrap())
}

#[tokio::test]
async fn heads_come_before_the_first_event_and_events_at_once() {
    let (backend, mut streams) = streaming().await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let (mut client, mut seen, head) = open(&front, "/mcp", "ann").await;
    assert!(
        head.contains("x-accel-buffering: no\r\n") && head.contains("text/event-stream"),
        "{head}"
    );
    let mut server = streams.recv().await.unwrap();
    for event in ["data: 1\n\n", "data: 2\r\n\r\n", ": theirs\n\n"] {
        say(&mut server, &chunk(event)).await;
        assert_eq!(next(&mut client, &mut seen).await.unwrap(), event);
    }
    assert!(
        front
            .metrics
            .render()
            .contains("mcp_active_connections{kind=\"sse_get\",backend=\"b\"} 1")
    );
    say(&mut server, "0\r\n\r\n").await;
    assert_eq!(next(&mut client, &mut seen).await, None);
    assert!(front.metrics.render().contains("close_reason=\"backend\"}"));
}

#[tokio::test]
async fn quiet_streams_get_comments_between_events_only() {
    let (backend, mut streams) = streaming().await;
    let front = Front::start(simple(backend.address, "", "mcp: { keep_alive: 20ms }\n")).await;
    let (mut client, mut seen, _) = open(&front, "/mcp", "").await;
    let mut server = streams.recv().await.unwrap();
    assert_eq!(
        next(&mut client, &mut seen).await.unwrap(),
        ": keep-alive\n\n"
    );
    say(&mut server, &chunk("data: a\n\ndata: b")).await;
    // Held back behind the first event are comments alone; now the stream stands inside an event.
    let mut got = String::new();
    while !got.ends_with("data: b") {
        got += &next(&mut client, &mut seen).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    say(&mut server, &chunk("\n\n")).await;
    assert_eq!(
        next(&mut client, &mut seen).await.unwrap(),
        "\n\n",
        "no comment inside the event"
    );
    assert_eq!(
        next(&mut client, &mut seen).await.unwrap(),
        ": keep-alive\n\n"
    );
}

#[tokio::test]
async fn draining_ends_streams_between_two_events() {
    let (backend, mut streams) = streaming().await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let (mut client, mut seen, _) = open(&front, "/mcp", "").await;
    let mut server = streams.recv().await.unwrap();
    say(&mut server, &chunk("data: a\n\ndata: b")).await;
    let mut got = next(&mut client, &mut seen).await.unwrap();
    assert_eq!(got, "data: a\n\ndata: b");
    front.drain.cancel();
    say(&mut server, &chunk("\n\ndata: c\n\n")).await;
    got = String::from_utf8(read_chunks(&mut client, &mut seen).await).unwrap();
    assert_eq!(
        got, "\n\n",
        "the event is completed, and nothing comes after it"
    );
    let mut rest = Vec::new();
    let _ = server.read_to_end(&mut rest).await;
    assert!(front.metrics.render().contains("close_reason=\"drain\"}"));
}

#[tokio::test]
async fn a_bearers_stream_has_a_greatest_age_and_a_silent_one_an_end() {
    let (backend, _streams) = streaming().await;
    let front = Front::start(simple(
        backend.address,
        "",
        "mcp: { max_stream_age: 30ms }\n",
    ))
    .await;
    let (mut client, mut seen, _) = open(&front, "/mcp", "ann").await;
    assert_eq!(next(&mut client, &mut seen).await, None);
    assert!(front.metrics.render().contains("close_reason=\"max_age\"}"));

    let front = Front::start(simple(
        backend.address,
        ", timeouts: { stream_idle: 30ms }",
        "",
    ))
    .await;
    let (mut client, mut seen, _) = open(&front, "/mcp", "").await;
    assert_eq!(next(&mut client, &mut seen).await, None);
    assert!(front.metrics.render().contains("close_reason=\"idle\"}"));
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_by_the_backend() {
    // On an open stream, in the middle of a plain answer, and before the head of an answer.
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    for (head, path) in [(EVENTS, "/mcp"), (plain, "/app/"), ("", "/app/")] {
        let (give, mut gone) = mpsc::channel(1);
        let (arrived, mut arrival) = mpsc::channel(1);
        let backend = Backend::serve(move |mut stream, _, _| {
            let (give, arrived) = (give.clone(), arrived.clone());
            async move {
                let _ = read_request(&mut stream).await;
                say(&mut stream, head).await;
                let _ = arrived.send(()).await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                let _ = give.send(()).await;
            }
        })
        .await;
        let front = Front::start(simple(backend.address, "", "")).await;
        let mut client = front.connect().await;
        say(
            &mut client,
            &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"),
        )
        .await;
        arrival.recv().await.unwrap();
        if !head.is_empty() {
            read_head(&mut client, &mut Vec::new()).await;
        }
        drop(client);
        gone.recv().await.unwrap();
    }
}

/// Backpressure: a client that does not read stops the backend, and nothing is piled up in between.
#[tokio::test]
async fn a_client_that_does_not_read_stops_the_backend() {
    const PIECE: usize = 64 << 10;
    let (give, mut stopped) = mpsc::channel(1);
    let backend = Backend::serve(move |mut stream, _, _| {
        let give = give.clone();
        async move {
            let _ = read_request(&mut stream).await;
            say(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n",
            )
            .await;
            let piece = vec![b'x'; PIECE];
            let mut written = 0usize;
            while let Ok(Ok(())) = tokio::time::timeout(
                std::time::Duration::from_millis(300),
                stream.write_all(&piece),
            )
            .await
            {
                written += PIECE;
            }
            let _ = give.send(written).await;
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let (_client, _, _) = open(&front, "/app/", "").await;
    let written = stopped.recv().await.unwrap();
    assert!(written < 64 << 20, "{written} bytes went somewhere");
}

#[tokio::test]
async fn the_endpoint_of_a_subtree_is_mapped_below_its_prefix() {
    let (backend, mut streams) = streaming().await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let (mut client, mut seen, _) = open(&front, "/sse/stream", "ann").await;
    let mut server = streams.recv().await.unwrap();
    say(&mut server, &chunk("event: endpoint\nda")).await;
    say(&mut server, &chunk("ta: /base/message?sessionId=1\n\nda")).await;
    let mut got = next(&mut client, &mut seen).await.unwrap();
    assert_eq!(got, "event: endpoint\ndata: /sse/message?sessionId=1\n\nda");
    say(&mut server, &chunk("ta: x\n\n")).await;
    got = next(&mut client, &mut seen).await.unwrap();
    assert_eq!(got, "ta: x\n\n");
}

#[tokio::test]
async fn the_endpoint_of_an_exact_route_is_sealed_to_its_caller() {
    let posted = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::serve(move |mut stream, _, log| async move {
        while let Some(request) = read_request(&mut stream).await {
            let is_get = request.starts_with("GET");
            log.lock().unwrap().push(request);
            if is_get {
                say(&mut stream, EVENTS).await;
                say(
                    &mut stream,
                    &chunk("event: endpoint\ndata: /elsewhere?sessionId=1\n\n"),
                )
                .await;
            } else {
                say(&mut stream, posted).await;
            }
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let (mut client, mut seen, _) = open(&front, "/mcp", "ann").await;
    let event = next(&mut client, &mut seen).await.unwrap();
    let url = event
        .strip_prefix("event: endpoint\ndata: ")
        .unwrap()
        .strip_suffix("\n\n")
        .unwrap();
    assert!(
        url.starts_with("/mcp?mcp_endpoint=") && !url.contains("elsewhere"),
        "{url}"
    );
    let post = |url: String, caller: &'static str| {
        let front = &front;
        async move {
            let head = format!(
                "POST {url} HTTP/1.1\r\nHost: h\r\n{caller}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            front.ask(&head).await
        }
    };
    assert_eq!(
        post(url.to_owned(), "X-Test-Caller: ann\r\n").await.status,
        202
    );
    assert!(
        backend.seen()[1].starts_with("POST /elsewhere?sessionId=1 HTTP/1.1\r\n"),
        "{:?}",
        backend.seen()
    );
    for (url, caller) in [
        (url.to_owned(), "X-Test-Caller: bob\r\n"),
        (url.to_owned(), ""),
        (url.replace("/mcp?", "/sse?"), "X-Test-Caller: ann\r\n"),
        (format!("{url}AAAA"), "X-Test-Caller: ann\r\n"),
        ("/mcp?mcp_endpoint=".to_owned(), "X-Test-Caller: ann\r\n"),
        ("/mcp?mcp_endpoint=%00".to_owned(), "X-Test-Caller: ann\r\n"),
    ] {
        assert_eq!(
            post(url.clone(), caller).await.status,
            404,
            "{url} {caller}"
        );
    }
    assert_eq!(backend.seen().len(), 2, "none of them arrived");
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_not_handed_on() {
    let (backend, mut streams) = streaming().await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let (mut client, mut seen, _) = open(&front, "/sse/stream", "").await;
    let mut server = streams.recv().await.unwrap();
    say(
        &mut server,
        &chunk("event: endpoint\ndata: https://evil.example/message\n\n"),
    )
    .await;
    client.read_to_end(&mut seen).await.unwrap();
    assert!(!String::from_utf8_lossy(&seen).contains("evil"), "{seen:?}");
}

/// A large answer arrives whole, and empty answers have no body.
#[tokio::test]
async fn answers_of_all_shapes_are_relayed() {
    let large = "y".repeat(300_000);
    let length = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    );
    for (answer, status, body) in [
        (length, 200, large.as_str()),
        (format!("HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk("abc")), 500, "abc"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, ""),
        ("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n".to_owned(), 304, ""),
        ("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(), 202, ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz".to_owned(), 200, "z"),
    ] {
        let answer: &'static str = Box::leak(answer.into_boxed_str());
        let backend = Backend::answering(answer).await;
        let front = Front::start(simple(backend.address, "", "")).await;
        for _ in 0..2 {
            let reply = front.ask("GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
            assert_eq!(reply.status, status);
            assert!(reply.body == body, "{} bytes", reply.body.len());
        }
    }
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n").await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let mut client = front.connect().await;
    for _ in 0..2 {
        say(&mut client, "HEAD /app/ HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let head = read_head(&mut client, &mut Vec::new()).await;
        assert!(head.contains("content-length: 77\r\n"), "{head}");
    }
}

/// Compressed bytes are nobody's to put comments into or to cut at what looks like an empty line.
#[tokio::test]
async fn an_encoded_stream_is_left_alone() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let (give, mut take) = mpsc::channel(1);
    let backend = Backend::serve(move |mut stream, _, _| {
        let give = give.clone();
        async move {
            let _ = read_request(&mut stream).await;
            say(&mut stream, head).await;
            let _ = give.send(stream).await;
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "mcp: { keep_alive: 10ms }\n")).await;
    let (mut client, mut seen, _) = open(&front, "/app/", "").await;
    let mut server = take.recv().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    say(&mut server, &chunk("zip\n\nzip")).await;
    assert_eq!(next(&mut client, &mut seen).await.unwrap(), "zip\n\nzip");
    front.drain.cancel();
    assert_eq!(next(&mut client, &mut seen).await, None);
}
