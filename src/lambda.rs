//! The proxy as a function of AWS Lambda: events in, the same way through the house, answers out.
//!
//! ```text
//! runtime API --api--> Invocation --event--> Request --proxy--> Response --answer--> runtime API
//! ```
//!
//! There are no listeners, and nothing runs between two invocations: the platform lets the process stand still as soon
//! as an answer has ended. So everything that was left behind is written before the next event is asked for
//! ([`Running::settle`](crate::app::Running::settle)), and nothing that was remembered of logins and grants counts
//! afterwards ([`Running::awake`](crate::app::Running::awake)).
//!
//! The runtime API is spoken to directly. The official crate writes an answer that breaks off into the body as if it
//! belonged there, gives answers without a body a content type, and cannot be told to wait before it asks for more.

mod answer;
mod api;
mod event;
mod fit;
mod pause;
mod serve;
mod start;
mod stream;

use std::process::ExitCode;

use crate::cli::Exit;

/// Where the runtime API is (`host:port`); the platform sets it.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// The folder of the function's code; the platform sets it.
const TASK_ROOT: &str = "LAMBDA_TASK_ROOT";
/// How the process came to start; the platform sets it.
const INITIALIZATION_TYPE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";
/// How answers are given: `auto`, `stream` or `buffer`.
const RESPONSE: &str = "MCP_PROXY_LAMBDA_RESPONSE";

/// Reads the configuration and serves invocations until the platform ends the process. What keeps it from starting is
/// told to the platform and printed.
pub fn run() -> ExitCode {
    // One provider of cryptography for the whole process; an error would mean that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Err(error) = start::run() {
        start::tell(&error);
        return error.exit().into();
    }
    Exit::Ok.into()
}
