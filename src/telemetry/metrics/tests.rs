use super::*;

/// Every family: `# HELP`, `# TYPE`, and samples whose names belong to it.
fn families(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

fn use_all(metrics: &Metrics) {
    for name in Name::ALL {
        let labels: Vec<_> = name.labels().iter().map(|label| (*label, "x")).collect();
        match name.kind() {
            Kind::Counter => metrics.counter(*name, &labels).increment(1),
            Kind::Gauge => metrics.gauge(*name, &labels).set(1.0),
            Kind::Histogram => metrics.histogram(*name, &labels).record(0.01),
        }
    }
}

#[test]
fn the_whole_catalogue_is_exposed_with_help_and_kind() {
    let metrics = Metrics::new();
    use_all(&metrics);
    let text = metrics.render();
    let families = families(&text);
    for name in Name::ALL {
        let kind = match name.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(
            families.contains(&(name.as_str().to_owned(), kind.to_owned())),
            "{name:?}\n{text}"
        );
        assert!(
            text.contains(&format!("# HELP {} {}", name.as_str(), name.help())),
            "{name:?}"
        );
    }
    assert!(text.contains("http_request_duration_seconds_bucket{method=\"x\",route=\"x\",status_code=\"x\",le=\"80\"} 1"));
}

#[test]
fn every_line_is_a_comment_or_a_sample() {
    let metrics = Metrics::new();
    use_all(&metrics);
    for line in metrics
        .render()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{line}"
        );
    }
}

#[test]
fn a_label_value_cannot_forge_a_line() {
    let metrics = Metrics::new();
    metrics
        .gauge(Name::BackendUp, &[("backend", "a\"} 1\nforged 2\\")])
        .set(0.0);
    let text = metrics.render();
    assert!(
        !text.lines().any(|line| line.starts_with("forged")),
        "{text}"
    );
}

#[test]
fn what_is_running_can_be_read() {
    let text = Metrics::new().render();
    assert!(
        text.contains("mcp_proxy_build_info{version=\"0.1.0\""),
        "{text}"
    );
    assert!(text.contains("mcp_proxy_draining 0"), "{text}");
}
