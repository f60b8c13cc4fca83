//! English.

use std::borrow::Cow;

use http::StatusCode;
use time::Date;

use super::{Destination, Trust, Unanswered, Words};
use crate::config::pages::Language;
use crate::http::pages::line::Line;
use crate::http::pages::line::Part::{N, S, T};
use crate::reject::Code;

pub(super) struct En;

impl Words for En {
    fn language(&self) -> Language {
        Language::En
    }
    fn own_name(&self) -> &'static str {
        "English"
    }
    fn date(&self, date: Date) -> String {
        format!("{} {} {}", date.day(), date.month(), date.year())
    }

    fn help_from(&self) -> &'static str {
        "Help"
    }
    fn reference(&self) -> &'static str {
        "Reference ID"
    }
    fn time(&self) -> &'static str {
        "Time (UTC)"
    }
    fn code(&self) -> &'static str {
        "Code"
    }
    fn if_it_goes_on(&self) -> &'static str {
        "If it goes on, give this reference ID to the people who run this service."
    }
    fn details(&self) -> &'static str {
        "Technical details"
    }

    fn error_title(&self, code: Code) -> &'static str {
        match code {
            Code::BadRequest | Code::BadTarget | Code::HeadersTooLarge => {
                "This request cannot be answered"
            }
            Code::BodyTooLarge => "This is too large to send",
            Code::RequestTimeout => "The request took too long",
            Code::MethodNotAllowed => "This address cannot be used that way",
            Code::NotFound => "There is nothing at this address",
            Code::UnknownSession => "This session is not known",
            Code::Misdirected => "This request came to the wrong place",
            Code::OriginRefused => "The request came from another site",
            Code::Unauthenticated | Code::InvalidToken => "Please sign in",
            Code::InsufficientScope | Code::Forbidden | Code::PolicyDenied => {
                "You do not have access"
            }
            Code::LoginFailed => "The sign-in did not work",
            Code::LoginExpired => "This sign-in link no longer works",
            Code::ProviderUnavailable | Code::KeysUnavailable => {
                "The identity provider does not answer"
            }
            Code::StoreUnavailable => "Sign-ins cannot be looked up just now",
            Code::AuditUnavailable => "Nothing can be recorded just now",
            Code::BackendUnreachable | Code::BackendTimeout | Code::BackendFailed => {
                "The server behind this address has a problem"
            }
            Code::BackendBusy | Code::TooManyRequests | Code::TooManySessions => {
                "Too much is going on just now"
            }
            Code::Draining => "This service is restarting",
            Code::Internal => "Something went wrong here",
        }
    }
    fn error_text<'a>(&self, _: Code, _: StatusCode, english: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(english)
    }
    fn sign_in(&self) -> &'static str {
        "Sign in"
    }
    fn sign_in_again(&self) -> &'static str {
        "Sign in again"
    }
    fn try_again(&self) -> &'static str {
        "Try again"
    }

    fn signed_in_as(&self) -> &'static str {
        "You are signed in as"
    }
    fn account_of(&self, issuer: &str) -> String {
        format!("Account of {issuer}")
    }
    fn not_you(&self) -> &'static str {
        "Not you?"
    }
    fn use_another_account(&self) -> &'static str {
        "Use another account"
    }

    fn sign_in_text<'a>(&self, service: &'a str) -> Line<'a> {
        Line::of(&[
            T("You sign in to "),
            N(service),
            T(" with your organisation’s account."),
        ])
    }
    fn sign_in_with<'a>(&self, provider: &'a str) -> Line<'a> {
        Line::of(&[T("Sign in with "), N(provider)])
    }
    fn sign_in_note(&self) -> &'static str {
        "You come back here afterwards. This service never sees your password."
    }
    fn sign_out(&self) -> &'static str {
        "Sign out"
    }
    fn sign_out_title(&self) -> &'static str {
        "Sign out?"
    }
    fn sign_out_text<'a>(&self, service: &'a str) -> Line<'a> {
        Line::of(&[
            T("This ends your session with "),
            N(service),
            T(" in this browser."),
        ])
    }
    fn stay_signed_in(&self) -> &'static str {
        "Stay signed in"
    }
    fn signed_out_title(&self) -> &'static str {
        "You are signed out"
    }
    fn signed_out_text<'a>(&self, service: &'a str) -> Line<'a> {
        Line::of(&[
            T("Your session with "),
            N(service),
            T(" has ended in this browser."),
        ])
    }
    fn signed_out_here_only(&self) -> &'static str {
        "You may still be signed in at your identity provider, so the next sign-in may not ask for a password. On a shared computer, sign out there too."
    }

    fn unnamed_app(&self) -> &'static str {
        "App without a name"
    }
    fn consent_title<'a>(&self, app: &'a str, server: &'a str) -> Line<'a> {
        Line::of(&[T("Allow “"), N(app), T("” to use "), N(server), T("?")])
    }
    fn consent_text<'a>(&self, app: &'a str, server: &'a str) -> Line<'a> {
        Line::of(&[
            T("“"),
            N(app),
            T("” will be able to use the tools that your organisation allows you on "),
            N(server),
            T(", as you."),
        ])
    }
    fn trust<'a>(&self, trust: Trust<'a>, app: &'a str) -> Line<'a> {
        match trust {
            Trust::Operator => Line::of(&[T("Registered by your administrator.")]),
            Trust::Host(host) => Line::of(&[T("Verified web address: "), S(host)]),
            Trust::Nobody => {
                Line::of(&[T("It says it is “"), N(app), T("”. This is not verified.")])
            }
        }
    }
    fn destination<'a>(&self, destination: Destination<'a>) -> Line<'a> {
        match destination {
            Destination::Web(host) => Line::of(&[T("You will be sent to "), S(host), T(".")]),
            Destination::Loopback(host) => Line::of(&[
                T("You will be sent to an app on this computer ("),
                S(host),
                T(")."),
            ]),
            Destination::App(scheme) => Line::of(&[
                T("You will be sent to the app that opens "),
                S(scheme),
                T(" links."),
            ]),
        }
    }
    fn caution(&self, destination: Destination<'_>) -> &'static str {
        match destination {
            Destination::Web(_) => {
                "Only continue if you know this address and started this yourself."
            }
            Destination::Loopback(_) | Destination::App(_) => {
                "Any app on this computer could ask this way. Only continue if you started this yourself a moment ago."
            }
        }
    }
    fn what_it_gets(&self) -> &'static str {
        "What it gets"
    }
    fn gets_tools<'a>(&self, server: &'a str) -> Line<'a> {
        Line::of(&[T("Use of "), N(server), T(" in your name")])
    }
    fn gets_scope<'a>(&self, scope: &'a str) -> Line<'a> {
        Line::of(&[T("Permission "), S(scope)])
    }
    fn keeps_access(&self, until: Date) -> String {
        format!(
            "It keeps access while you are away, until {} at the latest",
            self.date(until)
        )
    }
    fn until(&self, until: Date) -> String {
        format!("Until {} at the latest", self.date(until))
    }
    fn remember(&self) -> &'static str {
        "Do not ask me again for this app when I start it myself"
    }
    fn allow(&self) -> &'static str {
        "Allow access"
    }
    fn deny(&self) -> &'static str {
        "Deny"
    }
    fn detail_app_id(&self) -> &'static str {
        "App ID"
    }
    fn detail_redirect(&self) -> &'static str {
        "Sent back to"
    }
    fn detail_registration(&self) -> &'static str {
        "Registration"
    }
    fn detail_kind(&self, trust: Trust<'_>) -> &'static str {
        match trust {
            Trust::Operator => "by the administrator",
            Trust::Host(_) => "by a document at its web address",
            Trust::Nobody => "by the app itself",
        }
    }
    fn detail_server(&self) -> &'static str {
        "Server"
    }
    fn detail_scopes(&self) -> &'static str {
        "Scopes"
    }
    fn detail_limit(&self) -> &'static str {
        "This page"
    }
    fn detail_limit_text(&self, minutes: u64) -> String {
        format!("can be answered for {minutes} minutes")
    }

    fn returning_title<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[T("Returning you to “"), N(app), T("”")])
    }
    fn returning_text(&self) -> &'static str {
        "If nothing happens, press the button. You can close this tab afterwards."
    }
    fn not_allowed_text<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[T("“"), N(app), T("” gets no access.")])
    }
    fn open_app<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[T("Open “"), N(app), T("”")])
    }
    fn wrong_request_title(&self) -> &'static str {
        "The app asked in a way that cannot be answered"
    }
    fn wrong_request_text<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[
            T("What “"),
            N(app),
            T(
                "” sent is incomplete or not allowed here. This is not your fault. Go back to the app and start again; if it goes on, tell its makers the code below.",
            ),
        ])
    }
    fn back_to<'a>(&self, app: &'a str, host: &'a str) -> Line<'a> {
        Line::of(&[T("Go back to “"), N(app), T("” ("), N(host), T(")")])
    }

    fn stopped_title(&self) -> &'static str {
        "We stopped this request"
    }
    fn stopped_unknown_app(&self) -> &'static str {
        "The app that sent you here is not known to this service, or is no longer."
    }
    fn stopped_unknown_app_of<'a>(&self, host: &'a str) -> Line<'a> {
        Line::of(&[
            T("The app of "),
            S(host),
            T(" cannot be used here: its description could not be accepted."),
        ])
    }
    fn stopped_redirect<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[
            T("“"),
            N(app),
            T(
                "” wanted to send you to an address that it has not registered. We did not go there.",
            ),
        ])
    }
    fn stopped_request(&self) -> &'static str {
        "What the app sent cannot be read."
    }
    fn stopped_what_to_do(&self) -> &'static str {
        "Go back to the app, remove this server there, and add it again. If you did not start this yourself, close this page."
    }
    fn stopped_for_operator(&self) -> &'static str {
        "For administrators"
    }

    fn refused_title<'a>(&self, server: &'a str) -> Line<'a> {
        Line::of(&[T("You do not have access to "), N(server)])
    }
    fn refused_text<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[
            T("“"),
            N(app),
            T(
                "” asked for access in your name, but this account may not use the server. The app got nothing.",
            ),
        ])
    }
    fn refused_what_to_do(&self) -> &'static str {
        "Use another account, or ask the people who run this service for access."
    }

    fn unanswered_title(&self, why: Unanswered) -> &'static str {
        match why {
            Unanswered::Used => "This page was already used",
            Unanswered::Expired => "This page has expired",
            Unanswered::OtherSession => "This page belongs to another sign-in",
            Unanswered::OtherSite => "The request came from another site",
        }
    }
    fn unanswered_text(&self, why: Unanswered) -> &'static str {
        match why {
            Unanswered::Used => {
                "Your answer was taken before, and it counts once. If the app still waits, go back to it and start again."
            }
            Unanswered::Expired => {
                "Nothing was allowed. Open the page again, or go back to the app and start again."
            }
            Unanswered::OtherSession => {
                "Nothing was allowed. You signed out or changed the account since the page was opened, or somebody else opened it."
            }
            Unanswered::OtherSite => {
                "Nothing was allowed. Only the page of this service itself can send this answer."
            }
        }
    }
    fn start_again(&self) -> &'static str {
        "Open the page again"
    }

    fn help_title(&self) -> &'static str {
        "This address is for an AI app"
    }
    fn help_text<'a>(&self, server: &'a str) -> Line<'a> {
        Line::of(&[
            T("It is the address of the MCP server "),
            S(server),
            T(", not a page to read. Add it to your app; the app then asks you to sign in."),
        ])
    }
    fn help_sign_in(&self) -> &'static str {
        "Sign in to see whether you have access"
    }
    fn help_may(&self) -> &'static str {
        "This account has access to the server."
    }
    fn help_may_not(&self) -> &'static str {
        "This account has no access to the server. Use another account, or ask the people who run this service."
    }
    fn help_add(&self) -> &'static str {
        "Add it to your app"
    }
    fn help_chatgpt(&self) -> [&'static str; 3] {
        [
            "Turn on developer mode in the settings.",
            "Under Apps (or Connectors), choose Create.",
            "Paste the address above and choose OAuth as authentication.",
        ]
    }
    fn help_files(&self) -> &'static str {
        "Settings files of other apps"
    }
    fn help_other(&self) -> &'static str {
        "My app is not in the list"
    }
    fn help_other_text(&self) -> &'static str {
        "Look for “MCP server” or “connector” in its settings and paste the address. Many apps read a file like this:"
    }
}
