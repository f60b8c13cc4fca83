//! "Use another account": this browser's session ends, and the person signs in again at the provider, who asks which
//! account it shall be.

use http::StatusCode;

use super::browser::{Browser, add_cookies, only, store_unavailable};
use super::login::{Wish, begin, return_address};
use super::site::Site;
use crate::http::{Request, Response};
use crate::reject::{Code, Fault, Reject};
use crate::urls::ReturnTo;

/// `POST /oauth2/switch_account` with `rd`: the page to come back to. Only a page of ours can send it, for it ends a
/// session.
pub(super) async fn switch_account(
    browser: &Browser,
    request: Request,
) -> Result<Response, Reject> {
    only(&request, "POST")?;
    if browser.site(request.headers()) != Site::Own {
        return Err(Reject::new(
            StatusCode::FORBIDDEN,
            Code::OriginRefused,
            Fault::Client,
            "Another site asked to change the account, so nothing was done. Use the button on a page of this service.",
        ));
    }
    let (headers, return_to) = return_address(request).await?;
    let wish = Wish {
        prompt: Some("select_account"),
        ui_locales: browser
            .pages
            .chosen(&headers)
            .map(super::super::config::pages::Language::tag),
    };
    // The sign-in is begun first: when the provider is away, nobody is signed out for nothing.
    let to = return_to.as_ref().map_or("/", ReturnTo::as_str);
    let mut response = begin(browser, &headers, to, wish).await?;
    if let Some(ticket) = browser.ticket(&headers) {
        browser
            .sessions
            .end(&ticket)
            .await
            .map_err(|error| store_unavailable(&error))?;
        browser.count("switch_account", "success", "none");
    }
    *response.status_mut() = StatusCode::SEE_OTHER;
    let gone = browser.names.clear_cookie(browser.names.session());
    add_cookies(&mut response, gone.into_iter().collect());
    Ok(response)
}
