use tokio::io::AsyncWriteExt;

use super::harness::{Backend, Front, OK, Reply, read_request, say, simple};

#[tokio::test]
async fn bodies_beyond_the_bound_are_413_declared_or_not() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(backend.address, "", "limits: { max_body: 8 }\n")).await;
    let reply = front
        .ask("POST /app/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        .await;
    assert_eq!((reply.status, &*reply.body), (413, "body_too_large"));
    let reply = front
        .ask("POST /app/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\naaaaaa\r\n6\r\naaaaaa\r\n0\r\n\r\n")
        .await;
    assert_eq!((reply.status, &*reply.body), (413, "body_too_large"));
    assert!(
        backend.seen().is_empty(),
        "no whole request arrived: {:?}",
        backend.seen()
    );
    let reply = front
        .ask("POST /app/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\naaaa\r\n4\r\naaaa\r\n0\r\n\r\n")
        .await;
    assert_eq!(reply.status, 200);
    assert!(backend.seen()[0].ends_with("\r\n\r\naaaaaaaa"));
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(
        backend.address,
        "",
        "limits: { body_timeout: 30ms }\n",
    ))
    .await;
    let reply = front
        .ask("POST /app/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        .await;
    assert_eq!((reply.status, &*reply.body), (408, "request_timeout"));
}

#[tokio::test]
async fn a_short_body_arrives_whole_however_it_came() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let mut stream = front.connect().await;
    for pieces in [
        &["hello world"][..],
        &["hello", " world"],
        &["", "hello world"],
        &["h", "ello", " world"],
    ] {
        let head = "POST /app/ HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n";
        say(&mut stream, &format!("{head}{}", pieces[0])).await;
        for piece in &pieces[1..] {
            // Whether it is read by itself makes no difference to the outcome.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            say(&mut stream, piece).await;
        }
        assert_eq!(Reply::read(&mut stream).await.status, 200, "{pieces:?}");
        let seen = backend.seen().pop().unwrap();
        assert!(seen.contains("content-length: 11\r\n"), "{seen}");
        assert!(seen.ends_with("\r\n\r\nhello world"), "{seen}");
    }
    assert_eq!(backend.seen().len(), 4);
}

#[tokio::test]
async fn a_collected_body_is_bounded_too() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let reply = front
        .ask("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 4194305\r\n\r\n")
        .await;
    assert_eq!(reply.status, 413);
    let pieces = "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n";
    assert_eq!(front.ask(pieces).await.status, 200);
    assert!(
        backend.seen()[0].ends_with("\r\n\r\n{} "),
        "{:?}",
        backend.seen()
    );
}

#[tokio::test]
async fn a_backend_that_says_nothing_is_504() {
    let backend = Backend::serve(|mut stream, _, _| async move {
        let _ = read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let front = Front::start(simple(
        backend.address,
        ", timeouts: { response: 30ms }",
        "",
    ))
    .await;
    let reply = front
        .ask("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        .await;
    assert_eq!((reply.status, &*reply.body), (504, "backend_timeout"));
    assert_eq!(front.upstreams[0].is_up(), Some(false));
}

/// The time for the answer runs from the end of the request, however long that takes.
#[tokio::test]
async fn a_slow_upload_is_not_a_slow_answer() {
    let backend = Backend::answering(OK).await;
    let front = Front::start(simple(
        backend.address,
        ", timeouts: { response: 40ms }",
        "",
    ))
    .await;
    let mut stream = front.connect().await;
    say(
        &mut stream,
        "POST /app/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    for _ in 0..5 {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        say(&mut stream, "x").await;
    }
    assert_eq!(Reply::read(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_502() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let front = Front::start(simple(gone, "", "")).await;
    let reply = front.ask("GET /app/ HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((reply.status, &*reply.body), (502, "backend_unreachable"));
    assert_eq!(front.upstreams[0].is_up(), Some(false));
}

#[tokio::test]
async fn a_backend_that_does_not_speak_http_is_502() {
    let backend = Backend::answering("SSH-2.0-x\r\n\r\n").await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let reply = front.ask("GET /app/ HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((reply.status, &*reply.body), (502, "backend_failed"));
    assert_eq!(backend.seen().len(), 1, "not asked twice");
}

#[tokio::test]
async fn an_answer_that_pauses_or_breaks_off_is_cut_not_ended() {
    let backend = Backend::serve(|mut stream, number, _| async move {
        let _ = read_request(&mut stream).await;
        say(
            &mut stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        )
        .await;
        if number == 0 {
            std::future::pending::<()>().await;
        }
    })
    .await;
    let front = Front::start(simple(
        backend.address,
        ", timeouts: { body_idle: 30ms }",
        "",
    ))
    .await;
    for _ in 0..2 {
        let mut stream = front.connect().await;
        stream
            .write_all(b"GET /app/ HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        let mut seen = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut seen).await;
        let seen = String::from_utf8(seen).unwrap();
        assert!(
            seen.contains("2\r\nab\r\n") && !seen.contains("\r\n0\r\n"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn requests_beyond_the_bound_on_connections_wait_and_are_503() {
    let backend = Backend::serve(|mut stream, _, _| async move {
        while let Some(request) = read_request(&mut stream).await {
            if request.contains("/slow") {
                std::future::pending::<()>().await;
            }
            say(&mut stream, OK).await;
        }
    })
    .await;
    let front = Front::start(simple(
        backend.address,
        ", max_connections: 1, timeouts: { connect: 50ms }",
        "",
    ))
    .await;
    for _ in 0..3 {
        assert_eq!(
            front
                .ask("GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                .await
                .status,
            200
        );
    }
    let mut held = front.connect().await;
    say(&mut held, "GET /app/slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let reply = loop {
        // The slow one may not have come through yet.
        let reply = front
            .ask("GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!((reply.status, &*reply.body), (503, "backend_busy"));
    assert_ne!(
        front.upstreams[0].is_up(),
        Some(false),
        "being busy is not being down"
    );
    drop(held);
    loop {
        if front
            .ask("GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await
            .status
            == 200
        {
            break;
        }
    }
}
