//! What has to happen before there is anything to measure: keys found, a browser signed in.

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, LOCATION, SET_COOKIE};
use url::Url;

use crate::Outcome;
use crate::client::Target;
use crate::requests::{call, post};

/// Waits until the proxy has found its provider's keys.
pub(crate) async fn discovered(proxy: &Target, token: &str) -> Outcome<()> {
    let mut last = None;
    for _ in 0..200 {
        let mut connection = proxy.connect().await?;
        let request = post("/mcp")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(call(0)))?;
        let status = connection.send_request(request).await?.status();
        if status.is_success() {
            return Ok(());
        }
        last = Some(status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("the proxy did not accept a good token within 10 s, last: {last:?}").into())
}

/// Signs in as a browser would, and gives the session's cookies.
pub(crate) async fn sign_in(proxy: &Target) -> Outcome<String> {
    let origin = format!("https://localhost:{}", proxy.port);
    let mut cookies: Vec<String> = Vec::new();
    let mut url = Url::parse(&format!("{origin}/page"))?;
    for _ in 0..6 {
        let ours = url.origin().ascii_serialization() == origin;
        let port = url.port_or_known_default().ok_or("no port")?;
        let target = if ours {
            proxy.clone()
        } else {
            Target { port, tls: None }
        };
        let mut request = Request::builder()
            .uri(&url[url::Position::BeforePath..])
            .header(HOST, url.authority())
            .header(ACCEPT, "text/html")
            .header("sec-fetch-site", "none")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        if ours && !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let response = target
            .connect()
            .await?
            .send_request(request.body(Full::default())?)
            .await?;
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie
                .to_str()?
                .split(';')
                .next()
                .unwrap_or_default()
                .to_owned();
            let name = pair.split('=').next().unwrap_or_default().to_owned() + "=";
            cookies.retain(|known| !known.starts_with(&name));
            if !cookie.to_str()?.contains("Max-Age=0") {
                cookies.push(pair);
            }
        }
        match response.headers().get(LOCATION) {
            Some(location) => url = url.join(location.to_str()?)?,
            None if response.status().is_success() && ours => return Ok(cookies.join("; ")),
            None => return Err(format!("sign-in ended at {url} with {}", response.status()).into()),
        }
    }
    Err("sign-in goes round in circles".into())
}
