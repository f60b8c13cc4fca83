//! What an MCP client does that knows nothing but the server's URL (MCP authorization, RFC 9728, 8414, 7591, 8707).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use mcp_oidc_proxy::clock::Ambient;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ProgressNotificationParam, ProtocolVersion,
};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde_json::{Value, json};
use url::Url;

use super::browser::Browser;
use super::{Report, expect, wire};
use crate::Outcome;
use crate::stack::Addresses;

/// Where this client would listen for the answer. The port is any: nobody connects, the browser stops here.
const CALLBACK: &str = "http://127.0.0.1:33418/callback";

pub(crate) async fn run(
    addresses: &Addresses,
    browser: &mut Browser,
    report: &mut Report,
) -> Outcome<()> {
    report.part("An MCP client that knows only the URL");
    let mcp = format!("{}/mcp", addresses.proxy);
    let server = discover(&mcp, &addresses.proxy, report).await?;
    let client = register(&server, report).await?;
    let tokens = authorize(&server, &client, &mcp, browser, report).await?;

    work(&mcp, text(&tokens, "access_token")?, report).await?;
    work_stateless(&mcp, text(&tokens, "access_token")?, report).await?;
    let tokens = refresh(&server, &client, &mcp, tokens, report).await?;
    revoke(&server, &client, &mcp, &tokens, report).await?;
    browser.stop_at = None;
    let status = initialize(&mcp, Some("nonsense")).await?.status;
    expect(
        status == StatusCode::UNAUTHORIZED,
        format!("nonsense got {status}"),
    )?;
    report.step("nonsense in place of a token is refused with 401");
    Ok(())
}

async fn initialize(mcp: &str, token: Option<&str>) -> Outcome<wire::Answer> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}"))?,
        );
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "demo", "version": "1" } } });
    wire::post_json(mcp, headers, &body).await
}

/// From the URL to the authorization server's metadata.
async fn discover(mcp: &str, proxy: &str, report: &mut Report) -> Outcome<Value> {
    let answer = initialize(mcp, None).await?;
    expect(
        answer.status == StatusCode::UNAUTHORIZED,
        format!("{mcp} without a token answered {}", answer.status),
    )?;
    let challenge = answer
        .headers
        .get(WWW_AUTHENTICATE)
        .ok_or("401 without WWW-Authenticate")?
        .to_str()?;
    let metadata_url = challenge
        .strip_prefix("Bearer ")
        .and_then(|rest| rest.split_once("resource_metadata=\""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(url, _)| url.to_owned())
        .ok_or_else(|| format!("no resource_metadata in `{challenge}`"))?;
    report.step("without a token the answer is 401, and its challenge names the resource metadata");

    let metadata = wire::get(&metadata_url).await?.json()?;
    expect(
        metadata["resource"] == mcp,
        format!("the resource metadata says {metadata}"),
    )?;
    let issuer = metadata["authorization_servers"][0]
        .as_str()
        .ok_or_else(|| format!("no authorization server in {metadata}"))?;
    expect(
        issuer == proxy,
        format!("the authorization server is {issuer}, not {proxy}"),
    )?;
    let provider = wire::get(&format!("{issuer}/.well-known/oauth-authorization-server"))
        .await?
        .json()?;
    expect(
        provider["issuer"] == issuer,
        format!(
            "the authorization server calls itself {}",
            provider["issuer"]
        ),
    )?;
    report.step("the resource metadata names the proxy as authorization server, and its own metadata agrees");
    Ok(provider)
}

async fn register(server: &Value, report: &mut Report) -> Outcome<Value> {
    let body = json!({
        "client_name": "demo client", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "application_type": "native",
    });
    let answer = wire::post_json(
        text(server, "registration_endpoint")?,
        HeaderMap::new(),
        &body,
    )
    .await?;
    expect(
        answer.status == StatusCode::CREATED,
        format!("registration answered {}: {}", answer.status, answer.text()),
    )?;
    report.step("the client registers itself at the proxy; the provider never hears of it");
    answer.json()
}

async fn authorize(
    server: &Value,
    client: &Value,
    resource: &str,
    browser: &mut Browser,
    report: &mut Report,
) -> Outcome<Value> {
    let ambient = Ambient::system();
    let random = || URL_SAFE_NO_PAD.encode(ambient.random::<32>());
    let (state, verifier, client_id) = (random(), random(), text(client, "client_id")?);
    let challenge = URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        verifier.as_bytes(),
    ));
    let fields = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", CALLBACK),
        ("state", &state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", resource),
    ];
    let page = browser
        .open(&format!(
            "{}?{}",
            text(server, "authorization_endpoint")?,
            wire::encode(&fields)
        ))
        .await?;
    expect(
        page.status == StatusCode::OK,
        format!("authorize answered {}: {}", page.status, page.text()),
    )?;
    for shown in ["demo client", "127.0.0.1", "ann@example.com"] {
        expect(
            page.text().contains(shown),
            format!("the consent page does not name {shown}: {}", page.text()),
        )?;
    }
    report.step("the browser shows ann, who is signed in, what the client asks for and where its answer goes");
    browser.stop_at = Some(Url::parse(CALLBACK)?);
    let page = browser
        .submit_to(&page, "/oauth2/consent", &[("decision", "approve")])
        .await?;
    let parameter = |name: &str| {
        page.url
            .query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    expect(
        parameter("state").as_deref() == Some(&state),
        format!("the answer came to {}", page.url),
    )?;
    expect(
        parameter("iss").as_deref() == server["issuer"].as_str(),
        format!("iss is wrong in {}", page.url),
    )?;
    let code = parameter("code").ok_or_else(|| format!("no code in {}", page.url))?;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("client_id", client_id),
        ("redirect_uri", CALLBACK),
        ("code_verifier", &verifier),
        ("resource", resource),
    ];
    let answer = wire::post_form(text(server, "token_endpoint")?, &fields).await?;
    expect(
        answer.status == StatusCode::OK,
        format!(
            "the token endpoint answered {}: {}",
            answer.status,
            answer.text()
        ),
    )?;
    report.step("she allows access; the client redeems its code (PKCE, iss checked) for tokens of this resource");
    answer.json()
}

/// The revisions with a handshake and a session (2025-11-25 and before).
async fn work(mcp: &str, token: &str, report: &mut Report) -> Outcome<()> {
    let watcher = Watcher::default();
    let session = connect(mcp, token, watcher.clone(), ClientLifecycleMode::Initialize).await?;
    report.step("rmcp initializes a session (2025-11-25) through the proxy");
    let tools: Vec<String> = session
        .list_all_tools()
        .await?
        .into_iter()
        .map(|tool| tool.name.into_owned())
        .collect();
    expect(
        tools.iter().any(|name| name == "echo"),
        format!("the tools are {tools:?}"),
    )?;
    report.step(&format!("tools/list: {}", tools.join(", ")));
    let said = call(
        &session,
        "echo",
        json!({ "text": "hello through the proxy" }),
    )
    .await?;
    expect(
        said == "hello through the proxy",
        format!("echo said {said}"),
    )?;
    report.step("tools/call echo comes back unchanged");
    let said = call(&session, "whoami", json!({})).await?;
    expect(
        said.contains("user: ann") && said.contains("groups: engineering"),
        format!("whoami said {said}"),
    )?;
    expect(
        said.contains("stayed with the proxy"),
        format!("whoami said {said}"),
    )?;
    report.step(
        "tools/call whoami: the server was told ann and engineering, and never saw the token",
    );
    let began = Instant::now();
    call(&session, "count", json!({ "to": 3 })).await?;
    let seen = watcher.seen();
    expect(
        seen.len() == 3,
        format!("{} of 3 progress notes arrived", seen.len()),
    )?;
    let early = seen
        .first()
        .map(|first| began.elapsed().saturating_sub(first.duration_since(began)));
    expect(
        early.is_some_and(|early| early.as_millis() >= 200),
        "progress came only with the answer, so something buffers",
    )?;
    report.step("tools/call count: three progress notes arrive one by one, before the answer");
    session.cancel().await?;
    Ok(())
}

/// The stateless family (2026-07-28).
async fn work_stateless(mcp: &str, token: &str, report: &mut Report) -> Outcome<()> {
    let mode = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let session = connect(mcp, token, Watcher::default(), mode).await?;
    let sum = call(&session, "add", json!({ "a": 2, "b": 40 })).await?;
    expect(sum == "42", format!("2 + 40 was {sum}"))?;
    report
        .step("the same with revision 2026-07-28, stateless: server/discover, then tools/call add");
    session.cancel().await?;
    Ok(())
}

async fn refresh(
    server: &Value,
    client: &Value,
    mcp: &str,
    tokens: Value,
    report: &mut Report,
) -> Outcome<Value> {
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")?),
        ("client_id", text(client, "client_id")?),
        ("resource", mcp),
    ];
    let endpoint = text(server, "token_endpoint")?;
    let fresh = wire::post_form(endpoint, &fields).await?.json()?;
    let answer = initialize(mcp, Some(text(&fresh, "access_token")?)).await?;
    expect(
        answer.status == StatusCode::OK,
        format!(
            "the refreshed token got {}: {}",
            answer.status,
            answer.text()
        ),
    )?;
    let again = wire::post_form(endpoint, &fields).await?.json()?;
    expect(
        again["refresh_token"] == fresh["refresh_token"],
        format!("the same refresh token gave another successor: {again}"),
    )?;
    report.step(
        "the client refreshes its tokens; asked twice, as by two of its processes, it gets the same successor",
    );
    Ok(fresh)
}

async fn revoke(
    server: &Value,
    client: &Value,
    mcp: &str,
    tokens: &Value,
    report: &mut Report,
) -> Outcome<()> {
    let fields = [
        ("token", text(tokens, "refresh_token")?),
        ("client_id", text(client, "client_id")?),
    ];
    let status = wire::post_form(text(server, "revocation_endpoint")?, &fields)
        .await?
        .status;
    expect(
        status == StatusCode::OK,
        format!("revocation answered {status}"),
    )?;
    let status = initialize(mcp, Some(text(tokens, "access_token")?))
        .await?
        .status;
    expect(
        status == StatusCode::UNAUTHORIZED,
        format!("after revocation the access token got {status}"),
    )?;
    report.step("the client gives its access back, and its access token ends with it: 401");
    Ok(())
}

async fn connect(
    mcp: &str,
    token: &str,
    watcher: Watcher,
    mode: ClientLifecycleMode,
) -> Outcome<RunningService<RoleClient, Watcher>> {
    let config = StreamableHttpClientTransportConfig::with_uri(mcp).auth_header(token);
    let transport = StreamableHttpClientTransport::from_config(config);
    Ok(Box::pin(watcher.serve_with_lifecycle(transport, mode)).await?)
}

async fn call(
    session: &RunningService<RoleClient, Watcher>,
    name: &'static str,
    arguments: Value,
) -> Outcome<String> {
    let mut parameters = CallToolRequestParams::new(name);
    parameters.arguments = arguments.as_object().cloned();
    let result: CallToolResult = session.call_tool(parameters).await?;
    let said: Vec<&str> = result
        .content
        .iter()
        .filter_map(|part| part.as_text())
        .map(|part| part.text.as_str())
        .collect();
    expect(
        result.is_error != Some(true),
        format!("{name} failed: {said:?}"),
    )?;
    Ok(said.join("\n"))
}

/// Notes when progress arrived.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<Instant>>>);

impl Watcher {
    fn seen(&self) -> Vec<Instant> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ClientHandler for Watcher {
    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Outcome<&'a str> {
    value[name]
        .as_str()
        .ok_or_else(|| format!("no {name} in {value}").into())
}
