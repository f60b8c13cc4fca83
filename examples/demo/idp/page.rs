//! The provider's pages.

use std::fmt::Write as _;

use super::{PEOPLE, Person};
use crate::web::escape;

const STYLE: &str = "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}\
h1{font-size:1.4rem}code{background:#f0f0f0;padding:.1em .3em;overflow-wrap:anywhere}input{font:inherit;padding:.4rem;width:100%;box-sizing:border-box}\
button{font:inherit;padding:.6rem 1rem;margin:.3rem .3rem .3rem 0;cursor:pointer}p.note{color:#555;font-size:.9rem}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1b}code{background:#333}p.note{color:#aaa}}</style>";

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} - demo identity provider</title>{STYLE}</head><body><h1>{title}</h1>{body}\
         <p class=\"note\">Demo identity provider, on this machine only. It forgets everything when the demo ends.</p></body></html>"
    )
}

/// Who are you?
pub(super) fn sign_in(transaction: &str, here: Option<&Person>) -> String {
    let mut buttons = String::new();
    for person in &PEOPLE {
        let verb = if here == Some(person) {
            "Continue"
        } else {
            "Sign in"
        };
        let (id, groups) = (person.id, person.groups.join(", "));
        let _ = write!(
            buttons,
            "<button name=\"user\" value=\"{id}\">{verb} as {id} ({groups})</button>"
        );
    }
    page(
        "Sign in",
        &format!(
            "<p>The proxy asks who you are.</p><form method=\"post\" action=\"/sign-in\"><input type=\"hidden\" name=\"transaction\" value=\"{}\">\
             <p><label>Password (any will do)<br><input type=\"password\" name=\"password\" value=\"demo\" autocomplete=\"off\"></label></p>\
             <p>{buttons}</p><p><button name=\"decision\" value=\"cancel\">No, go back</button></p></form>",
            escape(transaction)
        ),
    )
}

/// Nothing can be done with this request.
pub(super) fn refusal(text: &str) -> String {
    page("This did not work", &format!("<p>{}</p>", escape(text)))
}

/// After sign-out, when there is nowhere to go on to.
pub(super) fn signed_out() -> String {
    page("Signed out", "<p>You are signed out here.</p>")
}

/// Somebody opened the bare address.
pub(super) fn home() -> String {
    page(
        "Nothing to do here",
        "<p>Open the proxy's page instead; it sends you here when somebody has to sign in.</p>",
    )
}
