//! The page for a person who opened the address of an MCP server in a browser.

use askama::Template;
use http::StatusCode;

use super::connect::{Link, Server, Snippet, key_of};
use super::{Account, Frame, PageKind, Pages, View};
use crate::http::Response;
use crate::paths::Own;

/// What is known of the server and of the person.
#[derive(Clone, Debug)]
pub struct Help<'a> {
    /// The server's name in the configuration, if it has one.
    pub name: Option<&'a str>,
    /// Its address.
    pub url: &'a str,
    /// Who is signed in, and whether they may use it.
    pub who: Option<(Account, bool)>,
    /// Whether people sign in here at all.
    pub login: bool,
}

#[derive(Template)]
#[template(path = "help.html")]
struct HelpTemplate<'a> {
    frame: Frame<'a>,
    name: &'a str,
    url: &'a str,
    links: Vec<Link>,
    commands: Vec<Snippet>,
    files: Vec<Snippet>,
    generic: String,
    account: Option<&'a Account>,
    return_to: &'a str,
    /// Whether the person of the account may use it.
    may: bool,
    /// Where to sign in.
    sign_in: Option<String>,
}

impl Pages {
    /// How to connect an app to this server: 401, for nobody has come in.
    pub fn help(&self, view: &View, page: &Help<'_>) -> Response {
        let frame = self.frame(view);
        let server = self.server(page);
        let account = page.who.as_ref().map(|(account, _)| account);
        let return_to = frame.here.unwrap_or_default();
        let template = HelpTemplate {
            frame,
            name: &server.name,
            url: page.url,
            links: server.links(),
            commands: server.commands(),
            files: server.files(),
            generic: server.generic(),
            may: page.who.as_ref().is_some_and(|(_, may)| *may),
            sign_in: (account.is_none() && page.login).then(|| {
                let query: String = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("rd", return_to)
                    .finish();
                format!("{}?{query}", frame.path(Own::SignIn))
            }),
            account,
            return_to,
        };
        let kind = if account.is_some() {
            PageKind::Form
        } else {
            PageKind::Plain
        };
        frame.answer(StatusCode::UNAUTHORIZED, kind, &template)
    }

    /// The names of a server: its own, else what its path says, else what the host says.
    fn server(&self, page: &Help<'_>) -> Server {
        let path = page
            .url
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        let segments: Vec<&str> = path
            .split('/')
            .filter(|segment| !segment.is_empty() && *segment != "mcp")
            .collect();
        let told = segments.join("-");
        let own = page.name.unwrap_or(&told);
        let brand = self.brand.name.as_deref();
        let name = match (brand, own) {
            (Some(brand), "") => brand.to_owned(),
            (Some(brand), own) => format!("{brand} {own}"),
            (None, "") => self.host.to_string(),
            (None, own) => own.to_owned(),
        };
        Server {
            key: key_of([name.as_str(), own, &self.host]),
            name,
            url: page.url.to_owned(),
        }
    }
}
