//! Names in the environment, spelt once, and what each sets.
//!
//! Every key has a name `MCP_PROXY__SECTION__KEY` too, with list indexes as in `MCP_PROXY__LISTEN__0__ADDRESS`.
//! Those win over the short names below. An empty variable counts as unset.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::layers::Layers;
use super::path::{KeyPath, Origin, Segment};
use super::problem::{Problem, nearest};
use super::shape::Shape;

/// A short name and what it means, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    /// The variable's name.
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// What it holds.
    pub help: &'static str,
}

const fn short(name: &'static str, key: &'static str, help: &'static str) -> Short {
    Short { name, key, help }
}

/// Host of the one MCP server, when no file has routes.
pub const MCP_TARGET_HOST: &str = "MCP_TARGET_HOST";
/// Its port.
pub const MCP_TARGET_PORT: &str = "MCP_TARGET_PORT";
/// Port of the first listener.
pub const PORT: &str = "PORT";
/// Port of the metrics listener, on all interfaces.
pub const METRICS_PORT: &str = "METRICS_PORT";
/// One API key.
pub const MCP_API_KEY: &str = "MCP_API_KEY";
/// The first root secret.
pub const MCP_ENCRYPTION_KEY: &str = "MCP_ENCRYPTION_KEY";
/// `false` turns metrics off.
pub const ENABLE_PROMETHEUS_METRICS: &str = "ENABLE_PROMETHEUS_METRICS";
/// `oidc` or `bypass`.
pub const AUTH_MODE: &str = "AUTH_MODE";
/// What the generated names begin with.
pub const PREFIX: &str = "MCP_PROXY__";

/// Short names that set one key to their text. A later one wins over an earlier one.
const PLAIN: [Short; 11] = [
    short(
        "OIDC_DISCOVERY_URL",
        "oidc.issuer",
        "The issuer, or its full well-known address.",
    ),
    short(
        "OIDC_CLIENT_ID",
        "oidc.client_id",
        "The client registered for this proxy at the provider.",
    ),
    short("SESSION_STORE", "sessions.store", "`memory` or `redis`."),
    short(AUTH_MODE, "auth.mode", "`oidc` or `bypass`."),
    short(
        "MCP_DEBUG_LEVEL",
        "logging.level",
        "The log level; `LOG_LEVEL` wins over it.",
    ),
    short(
        "LOG_LEVEL",
        "logging.level",
        "`error`, `warn`, `info`, `debug`, `trace`, or a filter.",
    ),
    short(
        "PUBLIC_URL",
        "public_url",
        "The origin under which the proxy is reached.",
    ),
    short(
        ENABLE_PROMETHEUS_METRICS,
        "metrics.enabled",
        "`false` turns the metrics listener off.",
    ),
    short(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "tracing.endpoint",
        "Where spans are sent, over OTLP/HTTP. `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_BSP_*` count too.",
    ),
    short(
        "OTEL_SERVICE_NAME",
        "tracing.service_name",
        "`service.name` of the spans.",
    ),
    short(
        "OTEL_TRACES_SAMPLER_ARG",
        "tracing.sample_ratio",
        "Share of the traces that are recorded, 0 to 1.",
    ),
];

/// Short names that hold a secret.
pub(super) const SECRET: [Short; 3] = [
    short(
        "OIDC_CLIENT_SECRET",
        "oidc.client_secret",
        "The client's secret at the provider.",
    ),
    short(
        "REDIS_URL",
        "sessions.redis.url",
        "`redis://host:6379/0`, or `rediss://` for TLS.",
    ),
    short(
        "AUDIT_LOG_KEY",
        "audit.signing_key",
        "The seed of the key that signs checkpoints of the audit log.",
    ),
];

/// Short names with a meaning of their own.
const SPECIAL: [Short; 6] = [
    short(
        MCP_TARGET_HOST,
        "backends, routes",
        "Host of the MCP server. Without routes in a file, the whole site `/*` goes to it, open to every signed-in user.",
    ),
    short(
        MCP_TARGET_PORT,
        "backends, routes",
        "Port of that server; default 3000.",
    ),
    short(
        PORT,
        "listen[0].address",
        "Port of the first listener; its host stays.",
    ),
    short(
        METRICS_PORT,
        "metrics.address",
        "Port of the metrics listener, then on all interfaces.",
    ),
    short(
        MCP_API_KEY,
        "auth.api_keys",
        "A further API key, of the principal `api-key`.",
    ),
    short(
        MCP_ENCRYPTION_KEY,
        "secret_keys",
        "A root secret that is put before those of the file.",
    ),
];

/// All short names, for the documentation.
pub fn short_names() -> impl Iterator<Item = &'static Short> {
    SPECIAL.iter().chain(&PLAIN).chain(&SECRET)
}

/// The generated name of a key: `MCP_PROXY__LISTEN__0__ADDRESS`.
pub fn generated_name(path: &KeyPath) -> String {
    let words: Vec<String> = path
        .segments()
        .iter()
        .map(|segment| match segment {
            Segment::Key(key) => key.to_ascii_uppercase(),
            Segment::Index(index) => index.to_string(),
        })
        .collect();
    format!("{PREFIX}{}", words.join("__"))
}

/// Lays the environment over the files.
pub(super) fn apply(
    env: &BTreeMap<String, String>,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let mut report = |name: &str, key: &str, message: String| {
        problems.push(Problem {
            path: key.to_owned(),
            origin: Origin::Env(name.to_owned()),
            message,
        });
    };
    for each in &PLAIN {
        if let Some(text) = env.get(each.name) {
            set(layers, each.name, each.key, text, &mut report);
        }
    }
    for each in &SECRET {
        if env.contains_key(each.name) {
            set_value(
                layers,
                each.name,
                each.key,
                secret_source(each.name),
                &mut report,
            );
        }
    }
    if let Some(text) = env.get(PORT) {
        match text.parse() {
            Ok(port) => {
                if let Err(message) = set_port(layers, port, &Origin::Env(PORT.to_owned())) {
                    report(PORT, "listen[0].address", message);
                }
            }
            Err(_) => report(PORT, "listen[0].address", not_a_port(text)),
        }
    }
    if let Some(text) = env.get(METRICS_PORT) {
        match text.parse::<u16>() {
            Ok(port) => {
                let address = Value::String(format!("0.0.0.0:{port}"));
                set_value(
                    layers,
                    METRICS_PORT,
                    "metrics.address",
                    address,
                    &mut report,
                );
            }
            Err(_) => report(METRICS_PORT, "metrics.address", not_a_port(text)),
        }
    }
    if env.contains_key(MCP_API_KEY) && !refers_to(layers, "auth.api_keys", MCP_API_KEY) {
        let mut key = Mapping::new();
        key.insert("name".into(), "api-key".into());
        key.insert("key".into(), secret_source(MCP_API_KEY));
        insert(
            layers,
            MCP_API_KEY,
            "auth.api_keys",
            false,
            Value::Mapping(key),
            &mut report,
        );
    }
    if env.contains_key(MCP_ENCRYPTION_KEY) && !refers_to(layers, "secret_keys", MCP_ENCRYPTION_KEY)
    {
        let source = secret_source(MCP_ENCRYPTION_KEY);
        insert(
            layers,
            MCP_ENCRYPTION_KEY,
            "secret_keys",
            true,
            source,
            &mut report,
        );
    }
    for (name, text) in env {
        if let Some(words) = name.strip_prefix(PREFIX) {
            match path_of(words) {
                Ok((path, shape)) => {
                    let value = read_value(shape, text);
                    let result = value
                        .and_then(|value| layers.set(&path, value, &Origin::Env(name.clone())));
                    if let Err(message) = result {
                        report(name, &path.to_string(), message);
                    }
                }
                Err(message) => report(name, "", message),
            }
        }
    }
    target(env, layers, &mut report, warnings);
}

/// Sets the port of the first listener; its host stays.
pub(super) fn set_port(layers: &mut Layers, port: u16, origin: &Origin) -> Result<(), String> {
    let path = KeyPath::root().key("listen").index(0).key("address");
    let address = match layers.get(&path) {
        Some(Value::String(address)) => address.clone(),
        _ => super::listen::default_listeners()
            .into_iter()
            .next()
            .map(|first| first.address)
            .unwrap_or_default(),
    };
    if address.starts_with("unix:") {
        return Err(
            "the first listener is a unix socket, which has no port; remove the one or the other"
                .to_owned(),
        );
    }
    let host = address
        .rsplit_once(':')
        .map_or(address.as_str(), |(host, _)| host);
    layers.set(&path, Value::String(format!("{host}:{port}")), origin)
}

/// A value from an environment variable or a flag: a text where a text is expected, else YAML.
pub(super) fn read_value(shape: Shape, text: &str) -> Result<Value, String> {
    if shape.is_secret() || (shape.takes_text() && !shape.takes_other_than_text()) {
        return Ok(Value::String(text.to_owned()));
    }
    match serde_yaml::from_str::<Value>(text) {
        Ok(value) => Ok(value),
        Err(_) if shape.takes_text() => Ok(Value::String(text.to_owned())),
        Err(error) => Err(format!("the value cannot be read as YAML: {error}")),
    }
}

/// The one backend and route of a start without a file.
fn target(
    env: &BTreeMap<String, String>,
    layers: &mut Layers,
    report: &mut impl FnMut(&str, &str, String),
    warnings: &mut Vec<String>,
) {
    let (host, port) = (env.get(MCP_TARGET_HOST), env.get(MCP_TARGET_PORT));
    let name = match (host, port) {
        (None, None) => return,
        (Some(_), _) => MCP_TARGET_HOST,
        (None, Some(_)) => MCP_TARGET_PORT,
    };
    let routes = KeyPath::root().key("routes");
    if layers
        .get(&routes)
        .and_then(Value::as_sequence)
        .is_some_and(|list| !list.is_empty())
    {
        warnings.push(format!(
            "{name} is set but not used, because routes are configured ({}); unset it, or remove the routes",
            layers.origins.near(&routes)
        ));
        return;
    }
    let port = match port.map_or(Ok(3000), |text| {
        text.parse::<u16>().map_err(|_| not_a_port(text))
    }) {
        Ok(port) if port > 0 => port,
        Ok(_) => return report(MCP_TARGET_PORT, "", not_a_port("0")),
        Err(message) => return report(MCP_TARGET_PORT, "", message),
    };
    let host = host.map_or("localhost", String::as_str);
    if host.contains(['/', '@', '?', '#', ' ']) {
        let message = format!(
            "`{host}` is not a host name or address; write the host only, such as mcp-server"
        );
        return report(MCP_TARGET_HOST, "", message);
    }
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let authority = if bare_v6 {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut backend = Mapping::new();
    backend.insert("name".into(), "target".into());
    backend.insert("upstream".into(), format!("http://{authority}").into());
    insert(
        layers,
        name,
        "backends",
        false,
        Value::Mapping(backend),
        report,
    );
    let mut allow = Mapping::new();
    allow.insert("any_user".into(), true.into());
    let mut route = Mapping::new();
    route.insert("path".into(), "/*".into());
    route.insert("backend".into(), "target".into());
    route.insert("allow".into(), Value::Mapping(allow));
    insert(layers, name, "routes", false, Value::Mapping(route), report);
}

fn set(
    layers: &mut Layers,
    name: &str,
    key: &str,
    text: &str,
    report: &mut impl FnMut(&str, &str, String),
) {
    let value = match KeyPath::parse(key).ok().and_then(|path| Shape::at(&path)) {
        Some(shape) => read_value(shape, text),
        None => Err("this key does not exist".to_owned()),
    };
    match value {
        Ok(value) => set_value(layers, name, key, value, report),
        Err(message) => report(name, key, message),
    }
}

fn set_value(
    layers: &mut Layers,
    name: &str,
    key: &str,
    value: Value,
    report: &mut impl FnMut(&str, &str, String),
) {
    let result = KeyPath::parse(key)
        .and_then(|path| layers.set(&path, value, &Origin::Env(name.to_owned())));
    if let Err(message) = result {
        report(name, key, message);
    }
}

fn insert(
    layers: &mut Layers,
    name: &str,
    key: &str,
    front: bool,
    value: Value,
    report: &mut impl FnMut(&str, &str, String),
) {
    let result = KeyPath::parse(key)
        .and_then(|path| layers.insert(&path, front, value, &Origin::Env(name.to_owned())));
    if let Err(message) = result {
        report(name, key, message);
    }
}

/// `{ env: NAME }`.
pub(super) fn secret_source(name: &str) -> Value {
    let mut source = Mapping::new();
    source.insert("env".into(), name.into());
    Value::Mapping(source)
}

/// Whether a list already takes a secret from this variable.
pub(super) fn refers_to(layers: &Layers, list: &str, name: &str) -> bool {
    let list = KeyPath::parse(list)
        .ok()
        .and_then(|path| layers.get(&path).and_then(Value::as_sequence));
    list.is_some_and(|list| {
        list.iter().any(|entry| {
            let source = entry.get("key").unwrap_or(entry);
            source.get("env").and_then(Value::as_str) == Some(name)
        })
    })
}

/// The place that a generated name means. Keys of free maps cannot be spelt in upper case and are set as a whole.
pub(super) fn path_of(words: &str) -> Result<(KeyPath, Shape), String> {
    let (mut path, mut shape) = (KeyPath::root(), Shape::root());
    for word in words.split("__") {
        let next = match shape.properties() {
            _ if shape.is_list() => word.parse().ok().map(Segment::Index),
            Some(properties) => properties
                .keys()
                .find(|key| key.eq_ignore_ascii_case(word))
                .map(|key| Segment::Key(key.clone())),
            None if shape.is_secret() => Some(Segment::Key(word.to_ascii_lowercase())),
            None => None,
        };
        let child = next.and_then(|segment| shape.child(&segment).map(|child| (segment, child)));
        let Some((segment, child)) = child else {
            let place = if path.is_root() {
                "the configuration".to_owned()
            } else {
                format!("`{path}`")
            };
            if shape.is_list() {
                return Err(format!(
                    "{place} is a list, and `{word}` is no index; write a number from 0"
                ));
            }
            let near = shape.properties().and_then(|keys| {
                nearest(word, keys.keys().map(String::as_str))
                    .map(|near| generated_name(&path.key(near)))
            });
            let hint = near.map_or_else(
                || "unset it, or look the name up in docs/configuration.md".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            return Err(format!(
                "{place} has no key `{}`; {hint}",
                word.to_ascii_lowercase()
            ));
        };
        path = path.then(segment);
        shape = child;
    }
    Ok((path, shape))
}

fn not_a_port(text: &str) -> String {
    format!("`{text}` is not a port; write a number from 1 to 65535")
}
