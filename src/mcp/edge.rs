//! What is judged before anybody is asked who they are: `Host`, `Origin`, and the CORS protocol.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::config::Config;
use crate::http::{Body, Response};
use crate::reject::{Code, Fault, Reject};
use crate::urls::PublicUrl;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, Retry-After, X-Request-Id",
);
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Longest list of requested headers that is echoed.
const MAX_REQUESTED: usize = 4096;

/// The rules on `Host` and `Origin`.
#[derive(Debug)]
pub struct Edge {
    authority: String,
    hosts: Vec<String>,
    loopback: bool,
    origin: String,
    origins: Vec<String>,
}

/// A judged `Origin`: absent, or one that may talk to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No browser, or a browser's navigation.
    Absent,
    /// A page of ours.
    Own(HeaderValue),
    /// A page of another origin that is allowed.
    Allowed(HeaderValue),
}

impl Edge {
    /// The rules for an origin of ours.
    pub fn new(config: &Config, public_url: &PublicUrl) -> Self {
        let host = Url::parse(public_url.as_str())
            .ok()
            .and_then(|url| url.host().map(|host| host.to_owned()));
        Self {
            authority: public_url.authority().to_owned(),
            hosts: config
                .allowed_hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            loopback: host.is_some_and(|host| is_loopback(&host)),
            origin: public_url.as_str().to_owned(),
            origins: config
                .mcp
                .allowed_origins
                .iter()
                .map(|origin| written(origin))
                .collect(),
        }
    }

    /// Judges the authority that a request was sent to: 400 when there is none or there are several, 421 when it
    /// is not ours (a page of another name that was made to resolve to this machine). Probes ask for `/health`, `/ready`
    /// and `/metrics` under any name; they are not judged here.
    pub fn host(&self, parts: &Parts) -> Result<(), Reject> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let header = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if hosts.next().is_some() {
            return Err(Reject::bad_request("The request has several Host headers."));
        }
        let target = parts.uri.authority().map(http::uri::Authority::as_str);
        let asked = match (target, header) {
            (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => {
                return Err(Reject::bad_request(
                    "The Host header and the address of the request name different hosts.",
                ));
            }
            (Some(asked), _) | (None, Some(asked)) => asked,
            (None, None) => return Err(Reject::bad_request("The request has no Host header.")),
        };
        if self.is_ours(asked) {
            return Ok(());
        }
        Err(Reject::new(
            StatusCode::MISDIRECTED_REQUEST,
            Code::Misdirected,
            Fault::Client,
            "This proxy does not answer under that host name. Use the address that it was set up with (public_url).",
        )
        .because(format!("the Host is none of public_url ({}) and allowed_hosts", self.authority)))
    }

    fn is_ours(&self, asked: &str) -> bool {
        if asked.eq_ignore_ascii_case(&self.authority)
            || self
                .hosts
                .iter()
                .any(|host| asked.eq_ignore_ascii_case(host))
        {
            return true;
        }
        // What a name for this machine is most often; the rest is for the parser.
        if self.loopback && is_plain_loopback(asked) {
            return true;
        }
        // The same with the default port written out, and other spellings that mean the same host.
        if asked.contains(['@', '/', '\\', '?', '#']) {
            return false;
        }
        let scheme = self
            .origin
            .split_once("://")
            .map_or("http", |(scheme, _)| scheme);
        let Ok(url) = Url::parse(&format!("{scheme}://{asked}")) else {
            return false;
        };
        if url.origin().ascii_serialization() == self.origin {
            return true;
        }
        self.loopback && url.host().is_some_and(|host| is_loopback(&host.to_owned()))
    }

    /// Judges `Origin` on an `mcp` route: absent, ours, a loopback page or a listed one; everything else is 403,
    /// `null` and several headers too.
    pub fn origin(&self, headers: &HeaderMap) -> Result<Origin, Reject> {
        let Some(origin) = single(headers)? else {
            return Ok(Origin::Absent);
        };
        let text = origin.to_str().map_err(|_| refused())?;
        if text == self.origin {
            return Ok(Origin::Own(origin.clone()));
        }
        if self.origins.iter().any(|allowed| allowed == text) || is_loopback_origin(text) {
            return Ok(Origin::Allowed(origin.clone()));
        }
        Err(refused())
    }

    /// Judges `Origin` on an `http` route, where only WebSocket upgrades are bound to it: a browser lets every
    /// page open one with our cookies. Without an `Origin` no cookie counts (see `authn`).
    pub fn websocket(&self, headers: &HeaderMap) -> Result<(), Reject> {
        match single(headers)? {
            Some(origin) if origin.as_bytes() != self.origin.as_bytes() => Err(refused()),
            _ => Ok(()),
        }
    }

    /// The answer to a CORS preflight, which never needs a credential; `None` when the request is none.
    pub fn preflight(&self, parts: &Parts, origin: &Origin) -> Option<Response> {
        let (Origin::Own(_) | Origin::Allowed(_)) = origin else {
            return None;
        };
        if parts.method != Method::OPTIONS
            || !parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = http::Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested(&parts.headers));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        cors(origin, headers);
        headers.append(
            VARY,
            HeaderValue::from_static("Access-Control-Request-Headers"),
        );
        Some(response)
    }
}

/// Puts the CORS headers on an answer of an `mcp` route, in place of the backend's: refusals need them as much
/// as anything else. Cookies are not allowed along: what a page of another origin sends with them never counts.
pub fn cors(origin: &Origin, headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let (Origin::Own(value) | Origin::Allowed(value)) = origin else {
        return;
    };
    headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value.clone());
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// CORS for documents that everybody may read: any origin, any requested header. For OPTIONS it is the whole
/// answer; otherwise the headers are added.
pub fn open_cors(method: &Method, asked: &HeaderMap, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if *method == Method::OPTIONS {
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, OPTIONS"),
        );
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested(asked));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.append(
            VARY,
            HeaderValue::from_static("Access-Control-Request-Headers"),
        );
    }
}

/// The requested headers, echoed: every `Mcp-Param-*` is allowed, and their names are not known here.
fn requested(headers: &HeaderMap) -> HeaderValue {
    let list = |value: &&HeaderValue| {
        value.len() <= MAX_REQUESTED
            && value
                .as_bytes()
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(b))
    };
    headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(list)
        .cloned()
        .unwrap_or(REQUEST_HEADERS)
}

fn single(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Reject> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let first = origins.next();
    if origins.next().is_some() {
        Err(refused())
    } else {
        Ok(first)
    }
}

fn refused() -> Reject {
    Reject::new(
        StatusCode::FORBIDDEN,
        Code::OriginRefused,
        Fault::Client,
        "Pages of this origin may not use this address. An operator can list the origin in mcp.allowed_origins.",
    )
}

/// An origin as browsers write it, from how an operator wrote it.
fn written(origin: &str) -> String {
    let canonical = Url::parse(origin)
        .ok()
        .map(|url| url.origin())
        .filter(url::Origin::is_tuple);
    canonical.map_or_else(
        || origin.trim_end_matches('/').to_owned(),
        |origin| origin.ascii_serialization(),
    )
}

/// Browsers write origins in one way only; another spelling is no browser's.
fn is_loopback_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    matches!(url.scheme(), "http" | "https")
        && url.origin().ascii_serialization() == text
        && url.host().is_some_and(|host| is_loopback(&host.to_owned()))
}

/// `localhost`, `127.0.0.1` or `[::1]`, with or without a port.
fn is_plain_loopback(asked: &str) -> bool {
    let is_port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let (host, rest) = asked.split_at_checked(name.len()).unwrap_or_default();
        host.eq_ignore_ascii_case(name)
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
    })
}

fn is_loopback(host: &url::Host<String>) -> bool {
    match host {
        url::Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        url::Host::Ipv4(address) => IpAddr::from(*address).is_loopback(),
        url::Host::Ipv6(address) => IpAddr::from(*address).is_loopback(),
    }
}

#[cfg(test)]
mod tests;
