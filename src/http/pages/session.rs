//! Signing in and out.

use askama::Template;
use http::StatusCode;

use super::{Account, Frame, PageKind, Pages, View};
use crate::http::Response;

/// The sign-in page.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The providers.
    pub choices: Vec<Choice>,
}

/// A provider to sign in at.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What people call it; may be empty when there is only one.
    pub label: String,
    /// The address that begins a sign-in there.
    pub href: String,
}

/// The page that asks whether to sign out.
#[derive(Clone, Debug)]
pub struct SignOut<'a> {
    /// Who is signed in.
    pub account: Account,
    /// Path that the form posts to.
    pub action: &'a str,
    /// Where to go afterwards; may be empty.
    pub return_to: &'a str,
}

/// The page after sign-out.
#[derive(Clone, Copy, Debug)]
pub struct SignedOut<'a> {
    /// Whether the provider's own session was ended too.
    pub at_provider: bool,
    /// Path of the sign-in page.
    pub sign_in: &'a str,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInTemplate<'a> {
    frame: Frame<'a>,
    choices: &'a [Choice],
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutTemplate<'a> {
    frame: Frame<'a>,
    account: &'a Account,
    action: &'a str,
    return_to: &'a str,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutTemplate<'a> {
    frame: Frame<'a>,
    at_provider: bool,
    sign_in: &'a str,
}

impl Pages {
    /// The sign-in page. It may stand on the way of an app's request.
    pub fn sign_in(&self, view: &View, page: &SignIn) -> Response {
        let frame = self.frame(view);
        let template = SignInTemplate {
            frame,
            choices: &page.choices,
        };
        frame.answer(StatusCode::OK, PageKind::Flow, &template)
    }

    /// The page that asks whether to sign out.
    pub fn sign_out(&self, view: &View, page: &SignOut<'_>) -> Response {
        let frame = self.frame(view);
        let template = SignOutTemplate {
            frame,
            account: &page.account,
            action: page.action,
            return_to: page.return_to,
        };
        frame.answer(StatusCode::OK, PageKind::Form, &template)
    }

    /// The page after sign-out.
    pub fn signed_out(&self, view: &View, page: &SignedOut<'_>) -> Response {
        let frame = self.frame(view);
        let template = SignedOutTemplate {
            frame,
            at_provider: page.at_provider,
            sign_in: page.sign_in,
        };
        frame.answer(StatusCode::OK, PageKind::Plain, &template)
    }
}
