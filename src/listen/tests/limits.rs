use std::fmt::Write;
use std::time::Instant;

use super::*;

fn limited(limits: &str) -> Running {
    start(&format!(
        "listen: [{{ address: '127.0.0.1:0' }}]\nlimits: {{ {limits} }}"
    ))
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_a_pause_between_requests_is_not() {
    let running = limited("header_timeout: 400ms, idle_timeout: 1500ms");
    let mut slow = running.connect().await;
    let mut silent = running.connect().await;
    let mut pausing = running.connect().await;
    let began = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
        .await
        .unwrap();
    assert_eq!(ask(&mut pausing, "/").await.0, 200);
    let answered = Instant::now();
    let (status, head, body) = answer(&mut slow).await;
    assert_eq!(status, 408);
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert!(body.contains("request_timeout"), "{body}");
    // Nobody asked anything there, so nothing is answered.
    assert!(closed(&mut slow).await && closed(&mut silent).await);
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(closed(&mut pausing).await);
    assert!(
        answered.elapsed() >= Duration::from_millis(1500),
        "closed after {:?}",
        answered.elapsed()
    );
}

#[tokio::test]
async fn bytes_one_by_one_do_not_prolong_a_head() {
    let running = limited("header_timeout: 300ms, idle_timeout: 60s");
    let mut client = running.connect().await;
    assert_eq!(ask(&mut client, "/").await.0, 200);
    let (mut read, mut write) = client.into_split();
    let dripping = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(answer(&mut read).await.0, 408);
    assert!(closed(&mut read).await);
    tokio::time::timeout(PATIENCE, dripping)
        .await
        .expect("the server still reads")
        .unwrap();
}

#[tokio::test]
async fn a_long_request_is_not_a_pause() {
    let running = limited("header_timeout: 100ms, idle_timeout: 100ms");
    let mut client = running.connect().await;
    client
        .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.entered.notified().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    running.handler.release.notify_one();
    assert_eq!(answer(&mut client).await.0, 200);
}

#[tokio::test]
async fn http2_connections_end_when_nothing_is_asked() {
    let running = limited("header_timeout: 100ms, idle_timeout: 400ms");
    let (mut sender, connection) = h2(running.connect().await).await;
    assert_eq!(
        sender
            .send_request(get("http://a.example/"))
            .await
            .unwrap()
            .status(),
        200
    );
    // A GOAWAY without an error ends the client's side in order.
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it stayed open")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn large_heads_and_many_headers_are_431() {
    let running = limited("max_header_bytes: 16KiB, max_headers: 20");
    let head = |fields: usize, size: usize| {
        let mut head = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
        for field in 0..fields {
            write!(head, "x-{field}: {}\r\n", "v".repeat(size)).unwrap();
        }
        head + "\r\n"
    };
    for (head, expected) in [
        (head(5, 2000), 200),
        (head(5, 4000), 431),
        (head(25, 1), 431),
    ] {
        let mut client = running.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut client).await.0, expected);
    }

    let (mut sender, _connection) = h2(running.connect().await).await;
    let mut request = get("http://a.example/");
    for field in 0..25 {
        let name = HeaderName::try_from(format!("x-{field}")).unwrap();
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("v"));
    }
    assert_eq!(sender.send_request(request).await.unwrap().status(), 431);
}

#[tokio::test]
async fn the_cap_on_connections_makes_further_ones_wait() {
    let running = limited("max_connections: 1");
    let mut first = running.connect().await;
    assert_eq!(ask(&mut first, "/").await.0, 200);
    let mut second = running.connect().await;
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(200), second.read(&mut byte)).await;
    assert!(early.is_err(), "it was served beyond the cap");
    drop(first);
    assert_eq!(answer(&mut second).await.0, 200);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped() {
    let running = limited("idle_timeout: 300ms");
    let mut client = running.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    // Answers pile up until neither side can write any more; then the clock runs.
    let asking = async { while client.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("it was never dropped");
}
