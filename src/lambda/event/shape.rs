//! The parts of events that are read, of all kinds together.

use serde::Deserialize;
use serde_json::Map;

/// One to one, in the order in which they were written.
pub(super) type Single = Map<String, serde_json::Value>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// `1.0` or `2.0`; load balancers and REST APIs write none.
    pub(super) version: Option<String>,
    pub(super) request_context: Context,
    /// Payload 2.0.
    pub(super) raw_path: Option<String>,
    /// Payload 2.0.
    pub(super) raw_query_string: Option<String>,
    /// Payload 2.0.
    pub(super) cookies: Option<Vec<String>>,
    pub(super) http_method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) headers: Option<Single>,
    pub(super) multi_value_headers: Option<Single>,
    pub(super) query_string_parameters: Option<Single>,
    pub(super) multi_value_query_string_parameters: Option<Single>,
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Context {
    /// There when a load balancer wrote the event.
    pub(super) elb: Option<serde::de::IgnoredAny>,
    /// There in payload 2.0.
    pub(super) http: Option<Http>,
    /// There in payload 1.0 and in events of REST APIs.
    pub(super) identity: Option<Identity>,
    pub(super) stage: Option<String>,
    pub(super) domain_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Http {
    pub(super) method: String,
    pub(super) source_ip: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) source_ip: Option<String>,
}

/// The texts of a member: of a list each, of anything else none.
pub(super) fn texts(value: &serde_json::Value) -> impl Iterator<Item = &str> {
    let one = value.as_str();
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    one.into_iter()
        .chain(list.iter().filter_map(serde_json::Value::as_str))
}
