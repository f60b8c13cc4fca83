//! `tracing`: spans of requests and MCP calls, over OTLP.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// Traces over OTLP/HTTP. They are on when there is an `endpoint`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// `false` turns traces off, whatever else is set.
    pub enabled: bool,
    /// Base address of the collector (`http://localhost:4318`); `/v1/traces` is put behind it unless it ends so.
    /// Default: no traces.
    pub endpoint: Option<String>,
    /// Headers sent to the collector. A value may be a secret source.
    pub headers: BTreeMap<String, SecretRef>,
    /// PEM file with the authorities that the collector's certificate is checked against, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Share of the traces begun here that are recorded, 0 to 1. Requests that fail by a fault of ours or of a backend's
    /// are recorded always.
    pub sample_ratio: Ratio,
    /// Record what clients say they record (the flag in their `traceparent`), instead of `sample_ratio`.
    pub follow_clients: bool,
    /// Hand the clients' `baggage` header on to backends.
    pub forward_baggage: bool,
    /// `service.name` of the spans.
    pub service_name: String,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: None,
            headers: BTreeMap::new(),
            ca_file: None,
            sample_ratio: Ratio(0.1),
            follow_clients: true,
            forward_baggage: false,
            service_name: "mcp-oidc-proxy".to_owned(),
        }
    }
}

/// A share of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Ratio(f64);

impl Ratio {
    /// The share of 2^63, which is how OpenTelemetry compares it with a trace id.
    pub fn threshold(self) -> u64 {
        const WHOLE: f64 = 9_223_372_036_854_775_808.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the product lies between 0 and 2^63"
        )]
        let threshold = (self.0 * WHOLE) as u64;
        threshold
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(serde::de::Error::custom(format!(
                "{share} is not a share; write a number from 0 to 1, such as 0.1"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lie_between_nothing_and_all() {
        let read = |text| serde_json::from_str::<Ratio>(text).map(Ratio::threshold);
        assert_eq!(read("0").unwrap(), 0);
        assert_eq!(read("0.5").unwrap(), 1 << 62);
        assert_eq!(read("1").unwrap(), 1 << 63);
        for bad in ["-0.1", "1.1", "\"x\""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
