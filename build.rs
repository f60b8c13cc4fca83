//! Tells the program its own revision and compiler. Everything is optional: without git the build goes on.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=MCP_OIDC_PROXY_REVISION");
    // An unoptimised build does not ask git, or each commit would compile the whole crate again.
    let optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = match std::env::var("MCP_OIDC_PROXY_REVISION") {
        Ok(given) if !given.is_empty() => Some(given),
        _ if optimised => {
            for file in ["HEAD", "logs/HEAD"] {
                if let Some(path) = output("git", &["rev-parse", "--git-path", file]) {
                    println!("cargo:rerun-if-changed={path}");
                }
            }
            output("git", &["describe", "--always", "--dirty", "--abbrev=12"])
        }
        _ => Some("dev".to_owned()),
    };
    if let Some(revision) = revision {
        println!("cargo:rustc-env=MCP_OIDC_PROXY_REVISION={revision}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = output(&rustc, &["--version"]) {
        println!("cargo:rustc-env=MCP_OIDC_PROXY_RUSTC={version}");
    }
}

/// The one line that a program prints; `None` when it fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty() && !line.contains('\n')).then_some(line)
}
