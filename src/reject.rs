//! `Reject`: why a request goes no further, whose fault it is, and what the client may know.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

/// Whose fault a rejection is: a metric label, and the level of its log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// The identity provider's.
    Provider,
    /// The backend's.
    Backend,
    /// Ours, or of what we depend on (the session store).
    Proxy,
}

impl Fault {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Provider => "provider",
            Self::Backend => "backend",
            Self::Proxy => "proxy",
        }
    }
}

/// A stable code that clients, logs and metrics share. Never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the codes are explained where they are written out, in `as_str`"
)]
pub enum Code {
    BadRequest,
    BadTarget,
    HeadersTooLarge,
    BodyTooLarge,
    RequestTimeout,
    MethodNotAllowed,
    NotFound,
    UnknownSession,
    Misdirected,
    OriginRefused,
    Unauthenticated,
    InvalidToken,
    InsufficientScope,
    Forbidden,
    PolicyDenied,
    LoginFailed,
    LoginExpired,
    ProviderUnavailable,
    StoreUnavailable,
    AuditUnavailable,
    KeysUnavailable,
    BackendUnreachable,
    BackendTimeout,
    BackendFailed,
    BackendBusy,
    TooManyRequests,
    TooManySessions,
    Draining,
    Internal,
}

impl Code {
    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadTarget => "bad_request_target",
            Self::HeadersTooLarge => "headers_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotFound => "not_found",
            Self::UnknownSession => "unknown_session",
            Self::Misdirected => "misdirected_request",
            Self::OriginRefused => "origin_refused",
            Self::Unauthenticated => "unauthenticated",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::Forbidden => "forbidden",
            Self::PolicyDenied => "policy_denied",
            Self::LoginFailed => "login_failed",
            Self::LoginExpired => "login_expired",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::StoreUnavailable => "session_store_unavailable",
            Self::AuditUnavailable => "audit_log_unavailable",
            Self::KeysUnavailable => "keys_unavailable",
            Self::BackendUnreachable => "backend_unreachable",
            Self::BackendTimeout => "backend_timeout",
            Self::BackendFailed => "backend_failed",
            Self::BackendBusy => "backend_busy",
            Self::TooManyRequests => "too_many_requests",
            Self::TooManySessions => "too_many_sessions",
            Self::Draining => "draining",
            Self::Internal => "internal_error",
        }
    }
}

/// Why a request goes no further. `http::respond` turns it into the answer; nothing else does.
#[derive(Debug)]
pub struct Reject {
    status: StatusCode,
    code: Code,
    fault: Fault,
    message: Cow<'static, str>,
    reason: Option<Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    login: bool,
    rpc: Option<Rpc>,
}

/// How an answer is written for JSON-RPC clients, where it is not by its HTTP status.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// A code of the specification, used with its own meaning only.
    pub code: i32,
    /// The request's `id` as its original JSON text.
    pub id: Option<Box<str>>,
}

impl Reject {
    /// A rejection with a message that the client may read: what happened, why, what to do next. No
    /// internals: addresses, claims and causes go to [`Self::because`].
    pub fn new(
        status: StatusCode,
        code: Code,
        fault: Fault,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            fault,
            message: message.into(),
            reason: None,
            headers: Vec::new(),
            login: false,
            rpc: None,
        }
    }

    /// 400, the client's fault.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Code::BadRequest,
            Fault::Client,
            message,
        )
    }

    /// 503 with `Retry-After`: something that we need is away; nobody is logged out by it.
    pub fn unavailable(code: Code, fault: Fault, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, fault, message)
            .retry_after(Duration::from_secs(5))
    }

    /// 500: we are wrong.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            Fault::Proxy,
            "The proxy met an error of its own. The request id names it in the log.",
        )
    }

    /// The cause, for the log only.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// A header of the answer (a challenge, `Allow`).
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// For JSON-RPC clients: a code of the specification instead of the HTTP status.
    #[must_use]
    pub fn in_rpc(mut self, code: i32, id: Option<Box<str>>) -> Self {
        self.rpc = Some(Rpc { code, id });
        self
    }

    /// How the answer is written for JSON-RPC clients, where it is not by its HTTP status.
    pub fn rpc(&self) -> Option<&Rpc> {
        self.rpc.as_ref()
    }

    /// `Retry-After`, in whole seconds.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        self.header(
            http::header::RETRY_AFTER,
            HeaderValue::from(after.as_secs().max(1)),
        )
    }

    /// A browser that navigates here is sent to login instead of seeing the error.
    #[must_use]
    pub fn or_login(mut self) -> Self {
        self.login = true;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whose fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// What the client may read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The cause, for the log.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Headers of the answer.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether a navigating browser is sent to login.
    pub fn wants_login(&self) -> bool {
        self.login
    }
}
