//! Processes started for the comparison: pinned, measured, ended with it.

use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::{Failure, Outcome};

const START_WITHIN: Duration = Duration::from_secs(10);

/// A process of ours, ended when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `program` on one CPU.
    pub(crate) fn start<A: AsRef<OsStr>>(
        cpu: &str,
        program: &str,
        arguments: &[A],
        log: &std::path::Path,
    ) -> Outcome<Self> {
        let log = fs::File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", cpu, program])
            .args(arguments)
            .stdin(Stdio::null())
            // Access records are written, as in production, but kept nowhere.
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| Failure::from(format!("cannot start {program}: {error}")))?;
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it accepts connections.
    pub(crate) async fn listening(&mut self, name: &str, port: u16) -> Outcome<()> {
        let deadline = tokio::time::Instant::now() + START_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("{name} ended at once with {status}").into());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(format!("{name} does not listen on port {port} after 10 s").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // Not SIGKILL: nginx has to end its worker.
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// The only child of a process, as nginx has one worker; the master listens before it makes it.
pub(crate) async fn child_of(id: u32) -> Outcome<u32> {
    let deadline = tokio::time::Instant::now() + START_WITHIN;
    loop {
        let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        if let Some(first) = text.split_whitespace().next() {
            return Ok(first.parse()?);
        }
        if tokio::time::Instant::now() > deadline {
            return Err("nginx has no worker after 10 s".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// CPU time that a process has had, in nanoseconds: the first figure of `schedstat`, over all its threads.
pub(crate) fn cpu_nanos(id: u32) -> Outcome<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        total += text
            .split_whitespace()
            .next()
            .ok_or("empty schedstat")?
            .parse::<u64>()?;
    }
    Ok(total)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(id: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
