use super::*;

const PLAIN: &str = "listen: [{ address: '127.0.0.1:0' }]";

#[tokio::test]
async fn requests_under_way_finish_and_idle_connections_end() {
    let running = start(PLAIN);
    let mut idle = running.connect().await;
    assert_eq!(ask(&mut idle, "/").await.0, 200);
    let mut busy = running.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.entered.notified().await;
    let mut silent = running.connect().await;
    let address = running.address();

    running.drain.closing.cancel();
    assert!(closed(&mut idle).await && closed(&mut silent).await);
    assert!(!running.serving.is_finished());
    let refused = async { while TcpStream::connect(&address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("it still accepts");

    running.handler.release.notify_one();
    let (status, head, _) = answer(&mut busy).await;
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    assert!(closed(&mut busy).await);
    running.ended().await;
}

/// Whoever connected before we closed was not refused; whether the head has come by then is chance.
#[tokio::test]
async fn a_request_that_is_late_by_a_moment_is_answered() {
    let running = start(PLAIN);
    let (mut silent, mut half) = (running.connect().await, running.connect().await);
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut known = running.connect().await;
    assert_eq!(ask(&mut known, "/").await.0, 200);
    // All three were accepted: the last of them has been answered.
    running.drain.closing.cancel();
    running
        .listeners
        .inner
        .shared
        .stages
        .reached(Stage::Closing)
        .await;
    half.write_all(b"st: a\r\n\r\n").await.unwrap();
    silent
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    for (status, head, _) in [answer(&mut half).await, answer(&mut silent).await] {
        assert_eq!(status, 200);
        assert!(head.contains("connection: close"), "{head}");
    }
    running.ended().await;
}

#[tokio::test]
async fn while_announced_clients_are_served_and_sent_elsewhere() {
    let running = start(PLAIN);
    let mut client = running.connect().await;
    assert!(!ask(&mut client, "/").await.1.contains("connection: close"));
    running.drain.announced.cancel();
    running
        .listeners
        .inner
        .shared
        .stages
        .reached(Stage::Announced)
        .await;
    let (status, head, _) = ask(&mut client, "/").await;
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    assert!(closed(&mut client).await);
    assert_eq!(
        ask(&mut running.connect().await, "/").await.0,
        200,
        "it still accepts"
    );
}

#[tokio::test]
async fn http2_gets_a_goaway_and_finishes_its_streams() {
    let running = start(PLAIN);
    let (mut sender, connection) = h2(running.connect().await).await;
    let slow = tokio::spawn(sender.send_request(get("http://a.example/slow")));
    running.handler.entered.notified().await;
    running.drain.closing.cancel();
    running
        .listeners
        .inner
        .shared
        .stages
        .reached(Stage::Closing)
        .await;
    running.handler.release.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    drop(sender);
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("it stayed open")
        .unwrap()
        .unwrap();
    running.ended().await;
}

#[tokio::test]
async fn what_never_ends_is_cut() {
    let running = start(PLAIN);
    let mut stuck = running.connect().await;
    stuck
        .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    running.handler.entered.notified().await;
    let (mut sender, _connection) = h2(running.connect().await).await;
    let stuck_stream = tokio::spawn(sender.send_request(get("http://a.example/never")));
    running.handler.entered.notified().await;
    // A handshake of HTTP/2 that never goes on would keep hyper waiting for ever.
    let mut half = running.connect().await;
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();

    running.drain.closing.cancel();
    running
        .listeners
        .inner
        .shared
        .stages
        .reached(Stage::Closing)
        .await;
    assert!(!running.serving.is_finished());
    running.drain.cut.cancel();
    assert!(closed(&mut stuck).await);
    assert!(stuck_stream.await.unwrap().is_err());
    running.ended().await;
}

#[tokio::test]
async fn the_cut_alone_ends_everything() {
    let running = start(PLAIN);
    let mut client = running.connect().await;
    assert_eq!(ask(&mut client, "/").await.0, 200);
    running.drain.cut.cancel();
    assert!(closed(&mut client).await);
    running.ended().await;
}
