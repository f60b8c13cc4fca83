//! S16: ids of clients as addresses to fetch. What must not be reached is not dialled, which a listener would have
//! seen, and nobody is told why.

use std::collections::HashSet;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::documents::Documents;
use super::visit::World;
use crate::harness::browser::Browser;
use crate::harness::echo::Echo;
use crate::harness::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use crate::harness::proxy::{Proxy, proxy};

/// A request by hand, to a proxy whose public name does not lead to this machine.
async fn raw(proxy: &Proxy, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: mcp.example.com\r\nAccept: text/html\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// The page without the request's id and time, and without the host that it names.
fn without_what_is_of_this_request(answer: &str, id: &str) -> String {
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    let request = head
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "))
        .unwrap();
    let mut page = page.replace(request, "");
    if let Some(host) = url::Url::parse(id)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
    {
        page = page.replace(&host, "");
    }
    if let Some((from, to)) = page.find("<time").zip(page.find("</time>")) {
        page.replace_range(from..to, "");
    }
    page
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn attack_s16_ids_that_lead_inside_are_not_dialled() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let idp = Idp::start(mcp_oidc_proxy::clock::Ambient::system()).await;
    let backend = Echo::start().await;
    let proxy = proxy()
        .oidc_yaml(&format!(
            "issuer: \"{}\"\nclient_id: {CLIENT_ID}\nclient_secret: \"{CLIENT_SECRET}\"\n",
            idp.issuer()
        ))
        .route(
            "/mcp",
            &format!("{}/mcp", backend.url()),
            "allow: { any_user: true }",
        )
        .yaml("public_url: https://mcp.example.com")
        .try_start()
        .await
        .unwrap();
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let (mut pages, mut tokens) = (HashSet::new(), HashSet::new());
    for id in [
        format!("https://127.0.0.1:{port}/c.json"),
        format!("https://localhost:{port}/c.json"),
        format!("https://[::1]:{port}/c.json"),
        format!("https://[::ffff:7f00:1]:{port}/c.json"),
        format!("https://[64:ff9b::7f00:1]:{port}/c.json"),
        format!("https://2130706433:{port}/c.json"),
        format!("https://0x7f000001:{port}/c.json"),
        format!("https://0177.0.0.1:{port}/c.json"),
        format!("https://127.1:{port}/c.json"),
        format!("https://u@localhost:{port}/c.json"),
        format!("http://localhost:{port}/c.json"),
        "https://127.0.0.1/c.json".to_owned(),
        "https://localhost/c.json".to_owned(),
        "https://[::1]/c.json".to_owned(),
        "https://[::ffff:7f00:1]:443/c.json".to_owned(),
        "https://2130706433/c.json".to_owned(),
        "https://0.0.0.0/c.json".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://100.64.0.1/c.json".to_owned(),
        "https://10.0.0.1/c.json".to_owned(),
        "https://no-such-host.invalid/c.json".to_owned(),
    ] {
        let query = format!(
            "GET /oauth2/authorize?response_type=code&client_id={}&redirect_uri=https%3A%2F%2Fa.example%2Fcb&code_challenge={}&code_challenge_method=S256",
            encoded(&id),
            "A".repeat(43)
        );
        let (status, answer) = raw(&proxy, &query, "").await;
        assert_eq!(status, 400, "{id}: {answer}");
        assert!(
            !answer.to_ascii_lowercase().contains("\r\nlocation:"),
            "{id}"
        );
        let page = without_what_is_of_this_request(&answer, &id);
        let form = format!(
            "grant_type=refresh_token&refresh_token=x&client_id={}",
            encoded(&id)
        );
        let (status, answer) = raw(&proxy, "POST /oauth2/token", &form).await;
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        tokens.insert((status, body.to_string()));
        if status == 503 {
            pages.insert(page);
        }
    }
    // What can never be an address of a document is unknown; of all others nobody knows just now.
    assert_eq!(pages.len(), 1, "{pages:#?}");
    let statuses: HashSet<u16> = tokens.iter().map(|(status, _)| *status).collect();
    assert_eq!(
        (tokens.len(), statuses),
        (2, HashSet::from([401, 503])),
        "{tokens:#?}"
    );
    assert!(inside.accept().now_or_never().is_none(), "nobody came");
}

/// The proxy is on loopback here, so documents on loopback may be fetched; what is wrong with them looks the same.
#[tokio::test]
async fn attack_s16_documents_that_lie_or_burst_look_the_same() {
    let documents = Documents::start().await;
    let world = World::with(&documents.section()).await;
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside_port = inside.local_addr().unwrap().port();
    let good = json!({ "redirect_uris": ["https://a.example/cb"] });
    documents.answer(
        "/redirect",
        format!("HTTP/1.1 302 Found\r\nLocation: https://localhost:{inside_port}/c\r\nContent-Length: 0\r\n\r\n"),
    );
    documents.answer("/text", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    documents.answer(
        "/huge",
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{}",
            " ".repeat(100_000)
        ),
    );
    documents.show("/gzip", "Content-Encoding: gzip\r\n", good.clone());
    documents.show(
        "/other",
        "",
        json!({ "client_id": documents.url("/good"), "redirect_uris": ["https://a.example/cb"] }),
    );
    documents.show(
        "/secret",
        "",
        json!({ "client_secret": "x", "redirect_uris": ["https://a.example/cb"] }),
    );
    documents.show(
        "/none",
        "",
        json!({ "redirect_uris": ["javascript:alert(1)"] }),
    );
    let browser = Browser::default();
    let mut seen = HashSet::new();
    for path in [
        "/redirect",
        "/text",
        "/huge",
        "/gzip",
        "/other",
        "/secret",
        "/none",
        "/missing",
    ] {
        let app = world.app_of(&documents.url(path), "https://a.example/cb");
        let answer = world
            .open_as(&browser, &app.authorize_url(&[]), Some("none"))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{path}"
        );
        // But for what is of this request.
        let text = answer.text().replace(answer.header("x-request-id"), "");
        seen.insert(text.replace(path, ""));
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert!(inside.accept().now_or_never().is_none(), "nobody followed");
    documents.show("/good", "", good);
    let app = world.app_of(&documents.url("/good"), "https://a.example/cb");
    let answer = world
        .open_as(&browser, &app.authorize_url(&[]), Some("none"))
        .await;
    assert!(answer.status.is_redirection(), "{}", answer.text());
}
