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

#[test]
fn what_nobody_holds_is_not_shown() {
    let metrics = Metrics::new();
    let of = |backend| metrics.shown(Name::BackendUp, &[("backend", backend)]);
    let (kept, gone) = (of("kept"), of("gone"));
    kept.set(1.0);
    gone.set(0.0);
    // As a reload does: the next one is held before the last one is let go.
    let next = of("kept");
    next.set(0.0);
    drop((kept, gone));
    let text = metrics.render();
    assert!(
        text.contains("mcp_proxy_backend_up{backend=\"kept\"} 0\n"),
        "{text}"
    );
    assert!(!text.contains("gone"), "{text}");
    // What comes back is shown again.
    let back = of("gone");
    back.set(1.0);
    assert!(
        metrics
            .render()
            .contains("mcp_proxy_backend_up{backend=\"gone\"} 1\n")
    );
}

#[test]
fn a_gauge_without_a_number_is_left_out() {
    let metrics = Metrics::new();
    metrics
        .gauge(Name::SecretRefresh, &[("source", "vault")])
        .set(f64::NAN);
    let text = metrics.render();
    assert!(
        !text.contains("NaN") && !text.contains("source=\"vault\""),
        "{text}"
    );
}
