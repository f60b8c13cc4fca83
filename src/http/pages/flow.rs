//! Pages on the way of an app's authorization request: consent, back to the app, and what goes wrong there.

use askama::Template;
use http::StatusCode;

use super::error::Reference;
use super::{
    Account, Destination, Frame, Line, PageKind, Pages, Trust, Unanswered, View, day, shown_time,
};
use crate::clock::Timestamp;
use crate::http::Response;
use crate::ids::RequestId;
use crate::scope::ScopeSet;

/// The consent page.
pub(crate) struct Consent<'a> {
    /// What the app calls itself, made fit for a page; `None` when it has no name.
    pub(crate) app: Option<&'a str>,
    pub(crate) trust: Trust<'a>,
    pub(crate) destination: Destination<'a>,
    /// What the server is called.
    pub(crate) server: &'a str,
    pub(crate) account: Account,
    /// Names of the scopes.
    pub(crate) scopes: &'a ScopeSet,
    /// When access ends at the latest.
    pub(crate) until: Timestamp,
    /// Whether the app can renew its access while the person is away.
    pub(crate) keeps: bool,
    /// Whether the answer may be remembered.
    pub(crate) may_remember: bool,
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) resource: &'a str,
    /// Minutes for which the form is good.
    pub(crate) minutes: u64,
    /// Where the form goes.
    pub(crate) action: &'a str,
    /// The sealed request.
    pub(crate) request: &'a str,
    /// The address of this page, to come back to.
    pub(crate) again: &'a str,
}

/// The page that hands the answer to an app that no plain redirect reaches, or should reach.
pub(crate) struct HandOff<'a> {
    pub(crate) app: Option<&'a str>,
    /// The address with the answer.
    pub(crate) href: &'a str,
    /// Whether access was given.
    pub(crate) allowed: bool,
    /// Whether the browser goes there by itself.
    pub(crate) at_once: bool,
}

/// The page for a request that was wrong, of an app that is known but not trusted enough to be sent to unasked.
pub(crate) struct Failed<'a> {
    pub(crate) app: Option<&'a str>,
    /// The host that it leads to.
    pub(crate) host: &'a str,
    /// The address with the error.
    pub(crate) href: &'a str,
    /// The error's code and description, for the makers of the app.
    pub(crate) code: &'static str,
    pub(crate) description: &'static str,
}

/// Why a request was stopped before there was an address to send anybody to.
#[derive(Clone, Debug)]
pub(crate) enum Stop<'a> {
    /// The client is not known. With the host of its document, and what is wrong in the words of the register.
    UnknownApp {
        host: Option<&'a str>,
        detail: &'a str,
    },
    /// The redirect URI is not one of the client's. With the host that it has.
    Redirect {
        app: Option<&'a str>,
        host: Option<&'a str>,
    },
    /// The request cannot be read.
    Request { detail: &'static str },
}

/// The page for a request that was stopped.
pub(crate) struct Stopped<'a> {
    pub(crate) why: Stop<'a>,
    pub(crate) request_id: RequestId,
    pub(crate) at: Timestamp,
}

/// The page for somebody who may not use the server.
pub(crate) struct Refused<'a> {
    pub(crate) app: Option<&'a str>,
    pub(crate) server: &'a str,
    pub(crate) account: Account,
    /// The address of this request, to come back to as somebody else.
    pub(crate) again: &'a str,
    /// The app's address with `access_denied`.
    pub(crate) href: &'a str,
    pub(crate) host: &'a str,
    pub(crate) request_id: RequestId,
    pub(crate) at: Timestamp,
}

/// The page for a form that was not taken.
pub(crate) struct Unanswerable<'a> {
    pub(crate) why: Unanswered,
    /// The address that shows the form anew, if it is known.
    pub(crate) again: Option<&'a str>,
    pub(crate) status: StatusCode,
    pub(crate) request_id: RequestId,
    pub(crate) at: Timestamp,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentTemplate<'a> {
    frame: Frame<'a>,
    app: &'a str,
    page: &'a Consent<'a>,
    account: &'a Account,
    return_to: &'a str,
}

#[derive(Template)]
#[template(path = "hand_off.html")]
struct HandOffTemplate<'a> {
    frame: Frame<'a>,
    app: &'a str,
    page: &'a HandOff<'a>,
    refresh: String,
}

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedTemplate<'a> {
    frame: Frame<'a>,
    app: &'a str,
    page: &'a Failed<'a>,
}

#[derive(Template)]
#[template(path = "stopped.html")]
struct StoppedTemplate<'a> {
    frame: Frame<'a>,
    what: Line<'a>,
    detail: &'a str,
    host: &'a str,
    reference: Reference,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedTemplate<'a> {
    frame: Frame<'a>,
    app: &'a str,
    page: &'a Refused<'a>,
    account: &'a Account,
    return_to: &'a str,
    reference: Reference,
}

#[derive(Template)]
#[template(path = "unanswerable.html")]
struct UnanswerableTemplate<'a> {
    frame: Frame<'a>,
    page: &'a Unanswerable<'a>,
    reference: Reference,
}

impl ConsentTemplate<'_> {
    fn cautious(&self) -> bool {
        !matches!(
            (self.page.trust, self.page.destination),
            (Trust::Operator | Trust::Host(_), Destination::Web(_))
        )
    }

    fn trust(&self) -> Line<'_> {
        self.frame.w.trust(self.page.trust, self.app)
    }

    fn kind(&self) -> &'static str {
        self.frame.w.detail_kind(self.page.trust)
    }

    fn destination(&self) -> Line<'_> {
        self.frame.w.destination(self.page.destination)
    }

    fn caution(&self) -> &'static str {
        self.frame.w.caution(self.page.destination)
    }

    fn limit(&self) -> String {
        self.frame.w.detail_limit_text(self.page.minutes)
    }

    fn duration(&self) -> String {
        let until = day(self.page.until);
        if self.page.keeps {
            self.frame.w.keeps_access(until)
        } else {
            self.frame.w.until(until)
        }
    }
}

impl UnanswerableTemplate<'_> {
    fn title(&self) -> &'static str {
        self.frame.w.unanswered_title(self.page.why)
    }

    fn text(&self) -> &'static str {
        self.frame.w.unanswered_text(self.page.why)
    }
}

impl Pages {
    pub(crate) fn consent(&self, view: &View, page: &Consent<'_>) -> Response {
        let frame = self.frame(view);
        let template = ConsentTemplate {
            frame,
            app: page.app.unwrap_or(frame.w.unnamed_app()),
            account: &page.account,
            return_to: page.again,
            page,
        };
        frame.answer(StatusCode::OK, PageKind::Flow, &template)
    }

    pub(crate) fn hand_off(&self, view: &View, page: &HandOff<'_>) -> Response {
        let frame = self.frame(view);
        let template = HandOffTemplate {
            frame,
            app: page.app.unwrap_or(frame.w.unnamed_app()),
            refresh: format!("0;url={}", page.href),
            page,
        };
        frame.answer(StatusCode::OK, PageKind::HandOff, &template)
    }

    pub(crate) fn failed(&self, view: &View, page: &Failed<'_>) -> Response {
        let frame = self.frame(view);
        let template = FailedTemplate {
            frame,
            app: page.app.unwrap_or(frame.w.unnamed_app()),
            page,
        };
        frame.answer(StatusCode::BAD_REQUEST, PageKind::Flow, &template)
    }

    pub(crate) fn stopped(&self, view: &View, page: &Stopped<'_>) -> Response {
        let frame = self.frame(view);
        let w = frame.w;
        let (what, detail, host) = match page.why {
            Stop::UnknownApp { host, detail } => {
                let what = match host {
                    Some(host) => w.stopped_unknown_app_of(host),
                    None => Line::of(&[super::line::Part::T(w.stopped_unknown_app())]),
                };
                (what, detail, "")
            }
            Stop::Redirect { app, host } => (
                w.stopped_redirect(app.unwrap_or(w.unnamed_app())),
                "",
                host.unwrap_or_default(),
            ),
            Stop::Request { detail } => (
                Line::of(&[super::line::Part::T(w.stopped_request())]),
                detail,
                "",
            ),
        };
        let template = StoppedTemplate {
            frame,
            what,
            detail,
            host,
            reference: reference(page.request_id, page.at, "stopped", StatusCode::BAD_REQUEST),
        };
        frame.answer(StatusCode::BAD_REQUEST, PageKind::Flow, &template)
    }

    pub(crate) fn refused(&self, view: &View, page: &Refused<'_>) -> Response {
        let frame = self.frame(view);
        let template = RefusedTemplate {
            frame,
            app: page.app.unwrap_or(frame.w.unnamed_app()),
            account: &page.account,
            return_to: page.again,
            reference: reference(page.request_id, page.at, "forbidden", StatusCode::FORBIDDEN),
            page,
        };
        frame.answer(StatusCode::FORBIDDEN, PageKind::Flow, &template)
    }

    pub(crate) fn unanswerable(&self, view: &View, page: &Unanswerable<'_>) -> Response {
        let frame = self.frame(view);
        let code = match page.why {
            Unanswered::Used => "consent_used",
            Unanswered::Expired => "consent_expired",
            Unanswered::OtherSession => "consent_of_another_session",
            Unanswered::OtherSite => "origin_refused",
        };
        let template = UnanswerableTemplate {
            frame,
            page,
            reference: reference(page.request_id, page.at, code, page.status),
        };
        frame.answer(page.status, PageKind::Flow, &template)
    }
}

fn reference(id: RequestId, at: Timestamp, code: &'static str, status: StatusCode) -> Reference {
    Reference {
        id: id.to_string(),
        time: shown_time(at),
        code,
        status: status.as_u16(),
    }
}
