//! Everything that pages say, in each language. A language that lacks a message does not compile.
//!
//! Rules of wording: sentence case, second person, present tense; what happened, why, what to do next. "App" is the
//! MCP client, "server" the MCP backend, "access" the grant.

mod en;
mod ja;

use std::borrow::Cow;

use http::StatusCode;
use time::Date;

use super::line::Line;
use crate::config::pages::Language;
use crate::reject::Code;

/// The words of a language.
pub(crate) fn words(language: Language) -> &'static dyn Words {
    match language {
        Language::En => &en::En,
        Language::Ja => &ja::Ja,
    }
}

/// How the operator's people know an app.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// The operator registered it.
    Operator,
    /// This host vouches for it.
    Host(&'a str),
    /// Nobody does.
    Nobody,
}

/// Where the person is sent after an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destination<'a> {
    /// A host of the web.
    Web(&'a str),
    /// An app on this computer, behind this loopback address.
    Loopback(&'a str),
    /// The app that opens links of this scheme.
    App(&'a str),
}

/// Why a form of ours was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It was answered before.
    Used,
    /// Its time is over.
    Expired,
    /// It was made for somebody else's session, or this browser's session is over.
    OtherSession,
    /// Another site sent it.
    OtherSite,
}

/// All messages. Names that come from outside are arguments, and are shown marked.
pub(crate) trait Words: Sync {
    fn language(&self) -> Language;
    /// The language's own name, for the switch.
    fn own_name(&self) -> &'static str;
    fn date(&self, date: Date) -> String;

    // The frame of all pages.
    fn help_from(&self) -> &'static str;
    fn reference(&self) -> &'static str;
    fn time(&self) -> &'static str;
    fn code(&self) -> &'static str;
    fn if_it_goes_on(&self) -> &'static str;
    fn details(&self) -> &'static str;

    // Errors.
    fn error_title(&self, code: Code) -> &'static str;
    /// `english` is what the rejection itself says.
    fn error_text<'a>(&self, code: Code, status: StatusCode, english: &'a str) -> Cow<'a, str>;
    fn sign_in(&self) -> &'static str;
    fn sign_in_again(&self) -> &'static str;
    fn try_again(&self) -> &'static str;

    // The account.
    fn signed_in_as(&self) -> &'static str;
    fn account_of(&self, issuer: &str) -> String;
    fn not_you(&self) -> &'static str;
    fn use_another_account(&self) -> &'static str;

    // Signing in and out.
    fn sign_in_text<'a>(&self, service: &'a str) -> Line<'a>;
    fn sign_in_with<'a>(&self, provider: &'a str) -> Line<'a>;
    fn sign_in_note(&self) -> &'static str;
    fn sign_out(&self) -> &'static str;
    fn sign_out_title(&self) -> &'static str;
    fn sign_out_text<'a>(&self, service: &'a str) -> Line<'a>;
    fn stay_signed_in(&self) -> &'static str;
    fn signed_out_title(&self) -> &'static str;
    fn signed_out_text<'a>(&self, service: &'a str) -> Line<'a>;
    fn signed_out_here_only(&self) -> &'static str;

    // Consent.
    fn unnamed_app(&self) -> &'static str;
    fn consent_title<'a>(&self, app: &'a str, server: &'a str) -> Line<'a>;
    fn consent_text<'a>(&self, app: &'a str, server: &'a str) -> Line<'a>;
    fn trust<'a>(&self, trust: Trust<'a>, app: &'a str) -> Line<'a>;
    fn destination<'a>(&self, destination: Destination<'a>) -> Line<'a>;
    fn caution(&self, destination: Destination<'_>) -> &'static str;
    fn what_it_gets(&self) -> &'static str;
    fn gets_tools<'a>(&self, server: &'a str) -> Line<'a>;
    fn gets_scope<'a>(&self, scope: &'a str) -> Line<'a>;
    fn keeps_access(&self, until: Date) -> String;
    fn until(&self, until: Date) -> String;
    fn remember(&self) -> &'static str;
    fn allow(&self) -> &'static str;
    fn deny(&self) -> &'static str;
    fn detail_app_id(&self) -> &'static str;
    fn detail_redirect(&self) -> &'static str;
    fn detail_registration(&self) -> &'static str;
    fn detail_kind(&self, trust: Trust<'_>) -> &'static str;
    fn detail_server(&self) -> &'static str;
    fn detail_scopes(&self) -> &'static str;
    fn detail_limit(&self) -> &'static str;
    fn detail_limit_text(&self, minutes: u64) -> String;

    // Back to the app.
    fn returning_title<'a>(&self, app: &'a str) -> Line<'a>;
    fn returning_text(&self) -> &'static str;
    fn not_allowed_text<'a>(&self, app: &'a str) -> Line<'a>;
    fn open_app<'a>(&self, app: &'a str) -> Line<'a>;
    fn wrong_request_title(&self) -> &'static str;
    fn wrong_request_text<'a>(&self, app: &'a str) -> Line<'a>;
    fn back_to<'a>(&self, app: &'a str, host: &'a str) -> Line<'a>;

    // Stopped before the app is known to be one.
    fn stopped_title(&self) -> &'static str;
    fn stopped_unknown_app(&self) -> &'static str;
    fn stopped_unknown_app_of<'a>(&self, host: &'a str) -> Line<'a>;
    fn stopped_redirect<'a>(&self, app: &'a str) -> Line<'a>;
    fn stopped_request(&self) -> &'static str;
    fn stopped_what_to_do(&self) -> &'static str;
    fn stopped_for_operator(&self) -> &'static str;

    // Refused.
    fn refused_title<'a>(&self, server: &'a str) -> Line<'a>;
    fn refused_text<'a>(&self, app: &'a str) -> Line<'a>;
    fn refused_what_to_do(&self) -> &'static str;

    // A form that was not taken.
    fn unanswered_title(&self, why: Unanswered) -> &'static str;
    fn unanswered_text(&self, why: Unanswered) -> &'static str;
    fn start_again(&self) -> &'static str;

    // The address of an MCP server, opened by a person.
    fn help_title(&self) -> &'static str;
    fn help_text<'a>(&self, server: &'a str) -> Line<'a>;
    fn help_sign_in(&self) -> &'static str;
    fn help_may(&self) -> &'static str;
    fn help_may_not(&self) -> &'static str;
    fn help_add(&self) -> &'static str;
    fn help_chatgpt(&self) -> [&'static str; 3];
    fn help_files(&self) -> &'static str;
    fn help_other(&self) -> &'static str;
    fn help_other_text(&self) -> &'static str;
}
