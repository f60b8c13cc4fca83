//! `process_*` and `mcp_proxy_tokio_*`: read when somebody asks, so that they cost nothing in between.

use std::fmt::Write;
use std::fs;

/// Names, kinds and help texts, in the order in which they are written.
pub const FAMILIES: [(&str, &str, &str); 11] = [
    (
        "process_cpu_seconds_total",
        "counter",
        "CPU time used, user and system.",
    ),
    ("process_resident_memory_bytes", "gauge", "Memory in RAM."),
    ("process_virtual_memory_bytes", "gauge", "Address space."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    (
        "process_max_fds",
        "gauge",
        "File descriptors that may be open.",
    ),
    (
        "process_start_time_seconds",
        "gauge",
        "When the process started, since the Unix epoch.",
    ),
    ("process_threads", "gauge", "Threads of the process."),
    (
        "mcp_proxy_tokio_workers",
        "gauge",
        "Worker threads of the runtime.",
    ),
    (
        "mcp_proxy_tokio_alive_tasks",
        "gauge",
        "Tasks of the runtime that have not ended.",
    ),
    (
        "mcp_proxy_tokio_global_queue_depth",
        "gauge",
        "Tasks that wait in the runtime's common queue.",
    ),
    (
        "mcp_proxy_tokio_busy_seconds_total",
        "counter",
        "Time that the workers were busy, all together.",
    ),
];

/// Ticks a second in `/proc/self/stat`; Linux shows 100 to programs on every platform (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Appends what can be read now. What the system does not show is left out, never written as 0.
pub fn render(out: &mut String) {
    let process = Process::read();
    let values = [
        process.cpu_seconds,
        process.resident_bytes,
        process.virtual_bytes,
        process.open_fds,
        process.max_fds,
        process.start_seconds,
        process.threads,
    ];
    for ((name, kind, help), value) in FAMILIES.iter().zip(values.into_iter().chain(runtime())) {
        let Some(value) = value else { continue };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n"
        );
    }
}

#[derive(Default)]
struct Process {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    start_seconds: Option<f64>,
    threads: Option<f64>,
}

impl Process {
    fn read() -> Self {
        let mut process = Self::default();
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            // The second field is the program's name and may hold spaces and parentheses; count from its end.
            // What follows is field 3 of proc_pid_stat(5).
            let fields: Vec<&str> = stat
                .rsplit_once(')')
                .map_or("", |(_, rest)| rest)
                .split_ascii_whitespace()
                .collect();
            let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
            process.cpu_seconds = field(14)
                .zip(field(15))
                .map(|(user, system)| (user + system) / TICKS);
            process.threads = field(20);
            process.virtual_bytes = field(23);
            process.start_seconds = field(22)
                .zip(boot_seconds())
                .map(|(ticks, boot)| boot + ticks / TICKS);
        }
        process.resident_bytes = line_number("/proc/self/status", "VmRSS:").map(|kib| kib * 1024.0);
        process.max_fds = line_number("/proc/self/limits", "Max open files");
        process.open_fds = fs::read_dir("/proc/self/fd")
            .ok()
            // The look itself holds one open.
            .map(|entries| f64::from(u32::try_from(entries.count()).unwrap_or(u32::MAX)) - 1.0);
        process
    }
}

fn boot_seconds() -> Option<f64> {
    line_number("/proc/stat", "btime")
}

/// The first number of the line that begins with `start`.
fn line_number(path: &str, start: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn runtime() -> [Option<f64>; 4] {
    let Ok(handle) = tokio::runtime::Handle::try_current() else {
        return [None; 4];
    };
    let metrics = handle.metrics();
    let count = |n: usize| Some(f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
    [
        count(metrics.num_workers()),
        count(metrics.num_alive_tasks()),
        count(metrics.global_queue_depth()),
        Some(
            (0..metrics.num_workers())
                .map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64())
                .sum(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_linux_process_shows_all_of_them() {
        let mut text = String::new();
        render(&mut text);
        for (name, kind, _) in FAMILIES {
            assert!(
                text.contains(&format!("# TYPE {name} {kind}\n{name} ")),
                "{name}\n{text}"
            );
        }
        assert!(
            !text.contains("NaN") && !text.contains("process_open_fds 0\n"),
            "{text}"
        );
    }
}
