//! The pages that people see: rendered from compiled templates, without scripts, with one style sheet, in the
//! person's language, under the operator's name.
//!
//! Text goes into text nodes and quoted attributes only, where the templates escape it. What a provider or a
//! client said about an error is never shown.

mod account;
mod brand;
mod connect;
mod error;
mod flow;
mod help;
mod kind;
mod lang;
mod line;
mod name;
mod session;
mod text;

use askama::Template;
use http::header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE, COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::pages::{Contact, Language, Logo};
use crate::http::cookie::{self, CookieNames};
use crate::http::{Body, Response};
use crate::paths::{Own, OwnPaths};
use crate::secret::Digest;
use crate::urls::{PublicUrl, ReturnTo};

pub use self::account::Account;
pub use self::error::ErrorPage;
pub(crate) use self::flow::{Consent, Failed, HandOff, Refused, Stop, Stopped, Unanswerable};
pub use self::help::Help;
pub use self::kind::PageKind;
pub(crate) use self::line::Line;
pub(crate) use self::name::shown;
pub use self::session::{Choice, SignIn, SignOut, SignedOut};
pub(crate) use self::text::{Destination, Trust, Unanswered, Words};

pub(crate) use self::lang::of_ui_locales;

use self::brand::Brand;

/// The style sheet, before the operator's colour.
pub const STYLE: &str = include_str!("../../templates/style.css");

/// What all pages have in common: whose they are, and where.
#[derive(Debug)]
pub struct Pages {
    paths: OwnPaths,
    host: Box<str>,
    names: CookieNames,
    brand: Brand,
    default: Language,
    style: String,
    style_href: String,
}

/// How one person sees a page.
#[derive(Clone, Debug)]
pub struct View {
    language: Language,
    here: Option<String>,
}

/// What a template needs besides its own matter.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pages: &'a Pages,
    here: Option<&'a str>,
    w: &'static dyn Words,
}

impl Pages {
    /// With the operator's settings, which were checked when they were loaded. A logo that cannot be read any more
    /// is left out.
    pub fn new(config: &Config, public_url: &PublicUrl) -> Self {
        let brand = Brand::new(&config.pages);
        let style = format!("{STYLE}{}", brand.style());
        let paths = OwnPaths::new(&config.own_prefix, config.is_authorization_server());
        // The address changes with the content, so that no page meets the style of another version.
        let tag = Digest::of(&style);
        let tag = u32::from_be_bytes([
            tag.as_bytes()[0],
            tag.as_bytes()[1],
            tag.as_bytes()[2],
            tag.as_bytes()[3],
        ]);
        Self {
            style_href: format!("{}?v={tag:08x}", paths.path(Own::Style)),
            style,
            host: public_url.authority().into(),
            names: CookieNames::new(public_url, &config.sessions.cookie_name),
            default: config.pages.default_language,
            brand,
            paths,
        }
    }

    /// The style sheet.
    pub fn style(&self) -> &str {
        &self.style
    }

    /// The operator's logo.
    pub fn logo(&self) -> Option<&Logo> {
        self.brand.logo.as_ref()
    }

    /// How the person behind a request sees pages: the language that they chose, else one of `ui_locales`, else one
    /// that their browser accepts. `here` is where a change of the language leads back to.
    pub fn view(&self, headers: &HeaderMap, ui_locales: Option<&str>, here: Option<&str>) -> View {
        let language = self
            .chosen(headers)
            .or_else(|| ui_locales.and_then(of_ui_locales))
            .or_else(|| lang::accepted(headers))
            .unwrap_or(self.default);
        View {
            language,
            here: here
                .and_then(ReturnTo::parse)
                .map(|to| to.as_str().to_owned()),
        }
    }

    /// The language that the person chose on one of our pages.
    pub fn chosen(&self, headers: &HeaderMap) -> Option<Language> {
        cookie::find(headers, &self.names.language()).and_then(lang::of_tag)
    }

    /// The words of a view's language.
    pub(crate) fn words(view: &View) -> &'static dyn Words {
        text::words(view.language)
    }

    pub(crate) fn frame<'a>(&'a self, view: &'a View) -> Frame<'a> {
        Frame {
            pages: self,
            here: view.here.as_deref(),
            w: Self::words(view),
        }
    }

    /// What the page calls this service.
    pub(crate) fn brand(&self) -> &str {
        self.brand.name.as_deref().unwrap_or(&self.host)
    }
}

impl View {
    /// The language.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The same, where a change of the language leads elsewhere.
    #[must_use]
    pub(crate) fn at(mut self, here: Option<&str>) -> Self {
        self.here = here
            .and_then(ReturnTo::parse)
            .map(|to| to.as_str().to_owned());
        self
    }
}

impl Frame<'_> {
    fn lang(&self) -> &'static str {
        self.w.language().tag()
    }

    fn brand(&self) -> &str {
        self.pages.brand()
    }

    #[expect(clippy::misnamed_getters, reason = "the word that templates use")]
    fn style(&self) -> &str {
        &self.pages.style_href
    }

    fn logo(&self) -> Option<String> {
        let path = self.pages.paths.path(Own::Logo);
        self.pages
            .brand
            .logo
            .as_ref()
            .map(|logo| format!("{path}?v={}", logo.tag()))
    }

    fn notice(&self) -> Option<&str> {
        self.pages.brand.notice.text(self.w.language())
    }

    fn contact(&self) -> Option<&Contact> {
        self.pages.brand.contact.as_ref()
    }

    /// The path of an endpoint of ours.
    fn path(&self, own: Own) -> String {
        self.pages.paths.path(own)
    }

    fn switch_account(&self) -> String {
        self.path(Own::SwitchAccount)
    }

    /// The other languages, with the addresses that choose them.
    fn languages(&self) -> Vec<(&'static dyn Words, String)> {
        let Some(here) = self.here else {
            return Vec::new();
        };
        Language::ALL
            .into_iter()
            .filter(|language| *language != self.w.language())
            .map(|language| {
                let query: String = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("to", language.tag())
                    .append_pair("rd", here)
                    .finish();
                let path = self.path(Own::Language);
                (text::words(language), format!("{path}?{query}"))
            })
            .collect()
    }

    /// The whole answer.
    pub(crate) fn answer(
        &self,
        status: StatusCode,
        kind: PageKind,
        page: &impl Template,
    ) -> Response {
        // Writing into a String does not fail, and no template calls what could.
        let mut response = http::Response::new(Body::full(page.render().unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.extend(kind.headers());
        headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(self.lang()));
        headers.append(VARY, HeaderValue::from(ACCEPT_LANGUAGE));
        headers.append(VARY, HeaderValue::from(COOKIE));
        response
    }
}

/// A moment for people: UTC, whole seconds.
fn shown_time(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.as_secs())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The day of a moment, in UTC.
fn day(at: Timestamp) -> time::Date {
    OffsetDateTime::from_unix_timestamp(at.as_secs()).map_or(time::Date::MIN, OffsetDateTime::date)
}

#[cfg(test)]
mod tests;
