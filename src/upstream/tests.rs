use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

fn backend(yaml: &str) -> Backend {
    serde_yaml::from_str(yaml).unwrap()
}

fn upstream(yaml: &str) -> (Arc<Upstream>, Arc<Metrics>) {
    let metrics = Metrics::new();
    (Upstream::new(&backend(yaml), &metrics).unwrap(), metrics)
}

#[test]
fn what_cannot_be_used_is_named() {
    let metrics = Metrics::new();
    for (yaml, key, says) in [
        ("{ name: b, upstream: 'ftp://h' }", "upstream", "ftp://h"),
        (
            "{ name: b, upstream: 'https://h', tls: { ca_file: /nowhere/ca.pem } }",
            "tls.ca_file",
            "/nowhere/ca.pem",
        ),
        (
            "{ name: b, upstream: 'https://h', tls: { cert_file: /nowhere/c.pem } }",
            "tls.key_file",
            "both",
        ),
        (
            "{ name: b, upstream: 'https://h', tls: { server_name: 'a b' } }",
            "tls.server_name",
            "a b",
        ),
        (
            "{ name: b, upstream: 'http://h', headers: { 'a b': x } }",
            "headers",
            "a b",
        ),
        (
            "{ name: b, upstream: 'http://h', headers: { X-Key: \"se\\ncret\" } }",
            "headers",
            "X-Key",
        ),
        (
            "{ name: b, upstream: 'http://h', headers: { Content-Length: '1' } }",
            "headers",
            "Content-Length",
        ),
        (
            "{ name: b, upstream: 'http://h', host: \"a\\nb\" }",
            "host",
            "Host",
        ),
    ] {
        let error = Upstream::new(&backend(yaml), &metrics).unwrap_err();
        assert!(
            error.key == key && error.message.contains(says),
            "{yaml}: {error:?}"
        );
        assert!(!error.message.contains("cret"), "{error}");
    }
}

/// Says `status` to every request on every connection.
async fn server(status: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = stream
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                .await;
        }
    });
    (address, task)
}

async fn until(upstream: &Arc<Upstream>, wanted: Option<bool>) {
    let ended = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(upstream).watch(ended.clone()));
    while upstream.is_up() != wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ended.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_connect_decides_when_no_check_is_set() {
    let (address, task) = server("500 E").await;
    let (upstream, metrics) = upstream(&format!("{{ name: b, upstream: 'http://{address}' }}"));
    assert_eq!(upstream.is_up(), None);
    assert!(
        metrics
            .render()
            .contains("mcp_proxy_backend_up{backend=\"b\"} 0"),
        "shown from the start"
    );
    until(&upstream, Some(true)).await;
    assert!(
        metrics
            .render()
            .contains("mcp_proxy_backend_up{backend=\"b\"} 1")
    );
    assert!(upstream.probe().await[0].1.is_ok());
    task.abort();
}

#[tokio::test]
async fn a_check_by_path_takes_404_for_up_and_500_for_down() {
    for (status, up) in [
        ("204 N", true),
        ("404 N", true),
        ("302 F", true),
        ("500 E", false),
        ("503 E", false),
    ] {
        let (address, task) = server(status).await;
        let yaml =
            format!("{{ name: b, upstream: 'http://{address}', health: {{ path: /healthz }} }}");
        let (upstream, metrics) = upstream(&yaml);
        until(&upstream, Some(up)).await;
        let result = if up { "success" } else { "failure" };
        let line =
            format!("mcp_proxy_backend_health_checks_total{{backend=\"b\",result=\"{result}\"}} 1");
        assert!(
            metrics.render().contains(&line),
            "{status}: {}",
            metrics.render()
        );
        assert_eq!(upstream.probe().await[0].1.is_ok(), up, "{status}");
        task.abort();
    }
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_down() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (upstream, _) = upstream(&format!("{{ name: b, upstream: 'http://{gone}/mcp' }}"));
    until(&upstream, Some(false)).await;
    let error = upstream.probe().await.remove(0).1.unwrap_err();
    assert!(error.contains(&gone.to_string()), "{error}");
}

/// A connection that lay idle for `keep_alive` is closed, whether requests come or not.
#[tokio::test]
async fn idle_connections_are_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = format!(
        "{{ name: b, upstream: 'http://{}', timeouts: {{ keep_alive: 100ms }} }}",
        listener.local_addr().unwrap()
    );
    let (upstream, metrics) = upstream(&yaml);
    let mut request = http::Request::new(crate::http::RequestBody::Empty);
    request
        .headers_mut()
        .insert(http::header::HOST, HeaderValue::from_static("h"));
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 1024];
        assert_ne!(stream.read(&mut seen).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 204 N\r\n\r\n").await.unwrap();
        stream
    };
    let (mut stream, answer) = tokio::join!(serving, upstream.exchange(request, None, Pick::Any));
    answer.ok().unwrap().lease.finish();
    let idle = || metrics.render().contains("state=\"idle\"} 1");
    assert!(idle());
    let ended = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&upstream).watch(ended.clone()));
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "closed by us");
    assert!(!idle());
    ended.cancel();
    watch.await.unwrap();
}

fn asking() -> http::Request<crate::http::RequestBody> {
    http::Request::new(crate::http::RequestBody::Empty)
}

/// What belongs to an endpoint goes there, whatever is thought of its health, and nowhere else.
#[tokio::test]
async fn a_session_stays_at_its_endpoint() {
    let (one, first) = server("204 N").await;
    let (two, second) = server("503 S").await;
    let gone = "http://127.0.0.1:1/x";
    let urls = [format!("http://{one}/x"), format!("http://{two}/x")];
    let (upstream, metrics) = upstream(&format!(
        "{{ name: b, endpoints: ['{}', '{}', '{gone}'] }}",
        urls[0], urls[1]
    ));
    for _ in 0..6 {
        for (url, status) in urls.iter().zip([204, 503]) {
            let tag = EndpointTag::of(url);
            let answer = upstream.exchange(asking(), None, Pick::Only(tag)).await;
            let answer = answer.ok().unwrap();
            assert_eq!(
                (answer.response.status().as_u16(), answer.endpoint),
                (status, tag)
            );
        }
        let only = Pick::Only(EndpointTag::of(gone));
        let refused = upstream.exchange(asking(), None, only).await;
        assert!(matches!(refused, Err(ExchangeError::Unreachable(_))));
    }
    assert!(
        metrics.render().contains("reason=\"other_endpoint\"} 0"),
        "never tried elsewhere"
    );
    let unknown = Pick::Only(EndpointTag::of("http://127.0.0.1:2/x"));
    let refused = upstream.exchange(asking(), None, unknown).await;
    assert!(matches!(refused, Err(ExchangeError::NoEndpoint)));
    first.abort();
    second.abort();
}

#[tokio::test]
async fn endpoints_that_stay_keep_their_connections_and_health() {
    let (one, first) = server("204 N").await;
    let config = |more: &str| {
        backend(&format!(
            "{{ name: b, endpoints: ['http://{one}/x', {more}] }}"
        ))
    };
    let metrics = Metrics::new();
    let before = Upstream::new(&config("'http://127.0.0.1:1/x'"), &metrics).unwrap();
    let tag = EndpointTag::of(&format!("http://{one}/x"));
    let answer = before.exchange(asking(), None, Pick::Only(tag)).await;
    answer.ok().unwrap().lease.finish();
    let after = Upstream::with_endpoints_of(&before, &config("'http://127.0.0.1:2/x'")).unwrap();
    assert!(Arc::ptr_eq(
        before.endpoint(tag).unwrap(),
        after.endpoint(tag).unwrap()
    ));
    assert_eq!(after.is_up(), Some(true));
    assert!(
        after
            .endpoint(EndpointTag::of("http://127.0.0.1:1/x"))
            .is_none()
    );
    first.abort();
}

#[tokio::test]
async fn checks_find_each_endpoint() {
    let (one, first) = server("204 N").await;
    let (two, second) = server("500 E").await;
    let (upstream, metrics) = upstream(&format!(
        "{{ name: b, endpoints: ['http://{one}', 'http://{two}'], health: {{ path: /h }} }}"
    ));
    until(&upstream, Some(true)).await;
    let shown = metrics.render();
    for line in [
        "mcp_proxy_backend_endpoints{backend=\"b\",state=\"healthy\"} 1",
        "mcp_proxy_backend_endpoints{backend=\"b\",state=\"unhealthy\"} 1",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let probed = upstream.probe().await;
    assert_eq!(probed[0].0, one.to_string());
    assert!(probed[0].1.is_ok() && probed[1].1.is_err());
    for _ in 0..4 {
        let answer = upstream.exchange(asking(), None, Pick::Any).await;
        assert_eq!(
            answer.ok().unwrap().response.status(),
            204,
            "the one that is well"
        );
    }
    first.abort();
    second.abort();
}
