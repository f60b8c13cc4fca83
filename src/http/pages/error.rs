//! An error, as a person is told about it.

use std::borrow::Cow;

use askama::Template;
use http::StatusCode;

use super::{Account, Frame, PageKind, Pages, View, shown_time};
use crate::clock::Timestamp;
use crate::http::Response;
use crate::ids::RequestId;
use crate::paths::Own;
use crate::reject::Code;

/// An error, as a person is told about it.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// The status.
    pub status: StatusCode,
    /// The stable code.
    pub code: Code,
    /// What happened, why, what to do next, in English. Shown as it is.
    pub message: &'a str,
    /// Names the request in the log.
    pub request_id: RequestId,
    /// When it happened.
    pub at: Timestamp,
    /// Who is signed in, as far as the request told.
    pub account: Option<&'a Account>,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    frame: Frame<'a>,
    title: &'static str,
    message: Cow<'a, str>,
    account: Option<&'a Account>,
    return_to: &'a str,
    /// A link that goes on: its text and address.
    action: Option<(&'static str, String)>,
    reference: Reference,
}

/// What the people who run the service need to find the case.
pub(super) struct Reference {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) code: &'static str,
    pub(super) status: u16,
}

impl Pages {
    /// An error page.
    pub fn error(&self, view: &View, page: &ErrorPage<'_>) -> Response {
        let frame = self.frame(view);
        // Who may not do something may do so as somebody else.
        let account = page
            .account
            .filter(|_| matches!(page.code, Code::Forbidden | Code::InsufficientScope));
        let template = ErrorTemplate {
            frame,
            title: frame.w.error_title(page.code),
            message: frame.w.error_text(page.code, page.status, page.message),
            account,
            return_to: frame.here.unwrap_or("/"),
            action: action(page.code, &frame),
            reference: Reference {
                id: page.request_id.to_string(),
                time: shown_time(page.at),
                code: page.code.as_str(),
                status: page.status.as_u16(),
            },
        };
        let kind = if account.is_some() {
            PageKind::Form
        } else {
            PageKind::Plain
        };
        frame.answer(page.status, kind, &template)
    }
}

fn action(code: Code, frame: &Frame<'_>) -> Option<(&'static str, String)> {
    let w = frame.w;
    let sign_in = |label| Some((label, frame.path(Own::SignIn)));
    match code {
        Code::Unauthenticated | Code::InvalidToken => sign_in(w.sign_in()),
        Code::LoginFailed | Code::LoginExpired => sign_in(w.sign_in_again()),
        Code::RequestTimeout
        | Code::ProviderUnavailable
        | Code::KeysUnavailable
        | Code::StoreUnavailable
        | Code::AuditUnavailable
        | Code::BackendUnreachable
        | Code::BackendTimeout
        | Code::BackendFailed
        | Code::BackendBusy
        | Code::TooManyRequests
        | Code::TooManySessions
        | Code::Draining
        | Code::Internal => Some((w.try_again(), frame.here.unwrap_or_default().to_owned())),
        Code::InsufficientScope
        | Code::Forbidden
        | Code::PolicyDenied
        | Code::BadRequest
        | Code::BadTarget
        | Code::HeadersTooLarge
        | Code::BodyTooLarge
        | Code::MethodNotAllowed
        | Code::NotFound
        | Code::UnknownSession
        | Code::Misdirected
        | Code::OriginRefused => None,
    }
}
