//! What comes out, as Markdown that reads well in a terminal.

use crate::scenario::Result;

/// Prints all results.
pub(crate) fn print(results: &[Result], about: &str, baseline: bool) {
    println!("\n{about}");
    println!(
        "Load, backend, provider and Redis on CPU 1, the measured one on CPU 0 with one worker. Median of the turns; in brackets the smallest and the largest ratio.\n"
    );
    println!(
        "| {:<37} | {:>10} | {:>10} | {:>7} | {:>13} | {:>8} | {:<6} |",
        "work", "nginx", "proxy", "× nginx", "range", "bar", ""
    );
    println!(
        "|{:-<39}|{:->11}:|{:->11}:|{:->8}:|{:->14}:|{:->9}:|{:-<8}|",
        "", "", "", "", "", "", ""
    );
    for result in results {
        let [low, middle, high] = result.ratio;
        let unit = result.unit.split(' ').next().unwrap_or_default();
        let bar = match (result.bar, result.limit) {
            (Some(bar), _) => format!("≤ {bar:.2}×"),
            (None, Some(limit)) => format!("≤ {limit:.0} {unit}"),
            (None, None) => String::new(),
        };
        let holds = result
            .bar
            .map(|bar| middle <= bar)
            .or_else(|| result.limit.map(|limit| result.proxy <= limit));
        let verdict = match holds {
            _ if baseline => "",
            Some(true) => "holds",
            Some(false) => "missed",
            None => "",
        };
        println!(
            "| {:<37} | {:>7.1} {unit} | {:>7.1} {unit} | {middle:>7.2} | {:>13} | {bar:>8} | {verdict:<6} |",
            result.name,
            result.nginx,
            result.proxy,
            format!("({low:.2}-{high:.2})"),
        );
    }
}
