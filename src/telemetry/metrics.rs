//! Metrics: an owned Prometheus recorder; modules ask for their handles once and keep them.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio_util::sync::CancellationToken;

pub mod catalogue;
pub mod process;
mod shown;

use catalogue::Kind;
pub use catalogue::Name;
pub use shown::Shown;

/// The process's metrics.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    shown: Arc<shown::Registry>,
}

const METADATA: Metadata<'static> = Metadata::new("mcp_oidc_proxy", Level::INFO, None);

/// How often histograms are folded into their buckets, so that their raw values do not pile up between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// How a line ends whose gauge has no number.
const NOTHING: &str = " NaN\n";

impl Metrics {
    /// An empty registry with the buckets and help texts of the catalogue, and what is running as
    /// `mcp_proxy_build_info`.
    pub fn new() -> Arc<Self> {
        let builder = Name::ALL
            .iter()
            .copied()
            .fold(PrometheusBuilder::new(), with_buckets);
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        for name in Name::ALL {
            let (key, help) = (KeyName::from_const_str(name.as_str()), name.help().into());
            match name.kind() {
                Kind::Counter => recorder.describe_counter(key, None, help),
                Kind::Gauge => recorder.describe_gauge(key, None, help),
                Kind::Histogram => recorder.describe_histogram(key, None, help),
            }
        }
        let metrics = Self {
            recorder,
            handle,
            shown: Arc::default(),
        };
        metrics
            .gauge(
                Name::BuildInfo,
                &[
                    ("version", VERSION),
                    ("revision", REVISION),
                    ("rustc", RUSTC),
                ],
            )
            .set(1.0);
        metrics.counter(Name::Panics, &[]).absolute(0);
        metrics.counter(Name::LogDropped, &[]).absolute(0);
        metrics.gauge(Name::Draining, &[]).set(0.0);
        Arc::new(metrics)
    }

    /// A counter. Ask once and keep the handle; labels come from config or from fixed sets only.
    pub fn counter(&self, name: Name, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder
            .register_counter(&key(name, labels), &METADATA)
    }

    /// A gauge.
    pub fn gauge(&self, name: Name, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// A gauge of something that can go away: it is shown as long as it is held.
    pub fn shown(&self, name: Name, labels: &[(&'static str, &str)]) -> Shown {
        Shown::new(&self.shown, key(name, labels), self.gauge(name, labels))
    }

    /// A histogram.
    pub fn histogram(&self, name: Name, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder
            .register_histogram(&key(name, labels), &METADATA)
    }

    /// The Prometheus text format: the catalogue, then the process and its runtime as they are now. A gauge without
    /// a number is left out: it stands for what is no more, and would make the sum of all others none as well.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        if text.contains(NOTHING) {
            text = text
                .split_inclusive('\n')
                .filter(|line| !line.ends_with(NOTHING))
                .collect();
        }
        process::render(&mut text);
        text
    }

    /// Keeps histograms small until cancelled; one task for the process.
    pub async fn upkeep(self: Arc<Self>, until: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                _ = tick.tick() => self.handle.run_upkeep(),
            }
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision that was built: `BUILD_REVISION` in the environment of the build.
pub const REVISION: &str = match option_env!("BUILD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
/// The compiler: `BUILD_RUSTC` in the environment of the build.
pub const RUSTC: &str = match option_env!("BUILD_RUSTC") {
    Some(version) => version,
    None => "unknown",
};

/// What is refused are empty lists; a metric without buckets is shown as a summary, and the others keep theirs.
fn with_buckets(builder: PrometheusBuilder, name: Name) -> PrometheusBuilder {
    let buckets = name.buckets().unwrap_or_default();
    if buckets.is_empty() {
        return builder;
    }
    let matcher = Matcher::Full(name.as_str().to_owned());
    // Its only error has been ruled out, and takes the builder along.
    builder
        .set_buckets_for_metric(matcher, buckets)
        .unwrap_or_else(|_| PrometheusBuilder::new())
}

fn key(name: Name, labels: &[(&'static str, &str)]) -> Key {
    debug_assert!(
        labels
            .iter()
            .all(|(label, _)| name.labels().contains(label)),
        "a label of {} is not in the catalogue: {labels:?}",
        name.as_str()
    );
    let labels: Vec<Label> = labels
        .iter()
        .map(|(k, v)| Label::new(*k, (*v).to_owned()))
        .collect();
    Key::from_parts(name.as_str(), labels)
}

#[cfg(test)]
mod tests;
