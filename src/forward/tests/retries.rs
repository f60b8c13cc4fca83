use tokio::io::AsyncReadExt;

use super::harness::{Backend, Front, OK, read_request, say, simple};

const GET: &str = "GET /app/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const POST: &str =
    "POST /mcp HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn connections_are_used_again() {
    let backend = Backend::serve(|mut stream, number, log| async move {
        while read_request(&mut stream).await.is_some() {
            log.lock().unwrap().push(number.to_string());
            say(&mut stream, OK).await;
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    for _ in 0..5 {
        assert_eq!(front.ask(POST).await.status, 200);
    }
    assert_eq!(backend.seen(), ["0"; 5]);
    let shown = front.metrics.render();
    assert!(
        shown.contains("mcp_proxy_upstream_connections{backend=\"b\",state=\"idle\"} 1"),
        "{shown}"
    );
    assert!(
        shown.contains("mcp_proxy_upstream_connections{backend=\"b\",state=\"active\"} 0"),
        "{shown}"
    );
}

/// The backend closes its side of an idle connection: the next request goes over a new one, a POST too.
#[tokio::test]
async fn a_stale_connection_is_left_alone() {
    let backend = Backend::serve(|mut stream, _, log| async move {
        if let Some(request) = read_request(&mut stream).await {
            log.lock().unwrap().push(request);
            say(&mut stream, OK).await;
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    for _ in 0..10 {
        assert_eq!(front.ask(POST).await.status, 200);
        // The end of the old connection is seen by its own task; give it its turn.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(backend.seen().len(), 10);
}

/// A request that a backend may have seen is repeated only if its method allows it.
#[tokio::test]
async fn what_may_have_been_seen_is_repeated_by_method_only() {
    let backend = Backend::serve(|mut stream, number, log| async move {
        let mut count = 0;
        while let Some(request) = read_request(&mut stream).await {
            log.lock()
                .unwrap()
                .push(request.split(' ').next().unwrap().to_owned());
            count += 1;
            if count == 2 && number % 2 == 0 {
                return; // Read, and then closed without a word.
            }
            say(&mut stream, OK).await;
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    assert_eq!(front.ask(GET).await.status, 200);
    assert_eq!(
        front.ask(GET).await.status,
        200,
        "repeated on a second connection"
    );
    assert_eq!(backend.seen(), ["GET", "GET", "GET"]);
    assert!(front.metrics.render().contains("reason=\"idempotent\"} 1"));

    let backend = Backend::serve(|mut stream, _, log| async move {
        for count in 0.. {
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            log.lock()
                .unwrap()
                .push(request.split(' ').next().unwrap().to_owned());
            if count == 1 {
                return;
            }
            say(&mut stream, OK).await;
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    assert_eq!(front.ask(POST).await.status, 200);
    let reply = front.ask(POST).await;
    assert_eq!((reply.status, &*reply.body), (502, "backend_failed"));
    assert_eq!(backend.seen(), ["POST", "POST"], "seen once, not repeated");
}

/// On a fresh connection nothing is repeated at all: a server that always closes is asked once.
#[tokio::test]
async fn a_fresh_connection_that_closes_is_not_tried_again() {
    let backend = Backend::serve(|mut stream, _, log| async move {
        let mut sink = [0; 1024];
        let _ = stream.read(&mut sink).await;
        log.lock().unwrap().push("asked".to_owned());
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    assert_eq!(front.ask(GET).await.status, 502);
    assert_eq!(backend.seen().len(), 1);
}

/// An early answer to an upload: the connection still carries the rest of the body and is not used again.
#[tokio::test]
async fn an_answer_before_the_end_of_the_request_ends_the_connection() {
    let backend = Backend::serve(|mut stream, number, log| async move {
        let mut seen = Vec::new();
        loop {
            if matches!(stream.read_buf(&mut seen).await, Ok(0) | Err(_)) {
                return;
            }
            while let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                seen.drain(..end + 4);
                log.lock().unwrap().push(number.to_string());
                say(&mut stream, OK).await;
            }
        }
    })
    .await;
    let front = Front::start(simple(backend.address, "", "")).await;
    let mut slow = front.connect().await;
    say(
        &mut slow,
        "POST /app/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
    )
    .await;
    assert_eq!(super::harness::Reply::read(&mut slow).await.status, 200);
    assert_eq!(front.ask(GET).await.status, 200);
    assert_eq!(backend.seen(), ["0", "1"]);
}
