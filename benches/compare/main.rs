//! The proxy and nginx side by side, in one run: what each unit of work costs them in CPU time.
//!
//! `make bench` (or `cargo bench --bench compare`) pins each of them, with one worker, to CPU 0, and load, backend,
//! identity provider and Redis to CPU 1. They take turns, and every figure is the median of several turns. nginx is
//! a plain TLS proxy that checks nothing. `-- --baseline` measures nginx against itself: the noise of this machine.
//! `-- --only TEXT` does the kinds of work whose names hold the text.
#![expect(
    clippy::print_stdout,
    reason = "a program for eyes: what it prints is what it is for"
)]

mod backend;
mod client;
mod process;
mod provider;
mod ready;
mod requests;
mod scenario;
mod subjects;
mod table;

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_rustls::rustls;

use self::backend::Backend;
use self::provider::Provider;
use self::scenario::Plan;
use self::subjects::{Certificate, Subjects};

/// Anything that went wrong, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What the functions here give back.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// The CPU of what is measured.
const SUBJECT_CPU: &str = "0";
/// The CPU of everything else.
const LOAD_CPU: &str = "1";
const FILES: u64 = 8192;
const PINNED: &str = "COMPARE_PINNED";

fn main() -> Outcome<()> {
    // `cargo test --all-targets` starts this program too, and then there is nothing to do.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("This is a benchmark: run `make bench`.");
        return Ok(());
    }
    if std::env::var_os(PINNED).is_none() {
        let error = Command::new("taskset")
            .args(["-c", LOAD_CPU])
            .arg(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(PINNED, "1")
            .exec();
        return Err(format!(
            "cannot pin to CPU {LOAD_CPU} with taskset (two CPUs are needed): {error}"
        )
        .into());
    }
    enough_files()?;
    let baseline = std::env::args().any(|argument| argument == "--baseline");
    let mut rest = std::env::args()
        .skip_while(|argument| argument != "--only")
        .skip(1);
    let only = rest.next().unwrap_or_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(baseline, &only))
}

/// Every stream is two files here, and two more in each process that is measured.
fn enough_files() -> Outcome<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|now| now < FILES) {
        if limit.maximum.is_some_and(|most| most < FILES) {
            return Err(format!(
                "{FILES} open files are needed: raise the hard limit (ulimit -Hn)"
            )
            .into());
        }
        limit.current = Some(FILES);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

async fn run(baseline: bool, only: &str) -> Outcome<()> {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return Err("another crypto provider is installed already".into());
    }
    let folder = tempfile::tempdir()?;
    let certificate = Certificate::make(folder.path())?;
    let backend = Backend::start().await?;
    let provider = Provider::start().await?;
    let subjects =
        Subjects::start(folder.path(), &certificate, &backend, &provider, baseline).await?;
    let tls = Arc::new(certificate.client_config()?);
    let plan = Plan::new(&subjects, &provider, tls).await?;
    let results = plan.run(&backend, only).await?;
    table::print(&results, &subjects.about, baseline);
    if !baseline {
        println!(
            "\nFrom the start of the process to its first accepted connection: {} ms.",
            subjects.start.as_millis()
        );
    }
    Ok(())
}
