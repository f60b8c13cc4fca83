//! As much of a browser as a sign-in needs: cookies, redirects, forms, and the headers that say who navigates.

use bytes::Bytes;
use cookie::{Cookie, SameSite};
use hyper::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderValue, LOCATION, ORIGIN, SET_COOKIE};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::wire::{self, Answer};
use crate::{Failure, Outcome};

const MAX_REDIRECTS: usize = 10;

/// A page, and where it was found.
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    answer: Answer,
}

impl Page {
    pub(crate) fn is_at(&self, origin: &str) -> bool {
        self.url.origin().ascii_serialization() == origin
    }

    pub(crate) fn text(&self) -> String {
        self.answer.text()
    }

    pub(crate) fn json(&self) -> Outcome<Value> {
        self.answer.json()
    }
}

/// A browser with its cookies.
#[derive(Default)]
pub(crate) struct Browser {
    /// Host and cookie. Ports share cookies (RFC 6265 section 8.5).
    jar: Vec<(String, Cookie<'static>)>,
    /// Where a navigation ends without asking the server: an MCP client listens there.
    pub(crate) stop_at: Option<Url>,
}

impl Browser {
    /// The address typed by hand.
    pub(crate) async fn open(&mut self, url: &str) -> Outcome<Page> {
        self.navigate(None, Method::GET, Url::parse(url)?, String::new())
            .await
    }

    /// Sends the page's first form: its hidden fields and those given.
    pub(crate) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Outcome<Page> {
        self.submit_to(page, "", fields).await
    }

    /// Sends the page's form that goes to this path.
    pub(crate) async fn submit_to(
        &mut self,
        page: &Page,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Outcome<Page> {
        let html = page.text();
        let form = html
            .split("<form")
            .skip(1)
            .filter_map(|rest| rest.split_once("</form>"))
            .map(|(form, _)| form)
            .find(|form| {
                attribute(form, "action")
                    .unwrap_or_default()
                    .ends_with(path)
            })
            .ok_or_else(|| Failure::from(format!("no form to `{path}` at {}: {html}", page.url)))?;
        let (tag, inside) = form.split_once('>').ok_or("the form's tag does not end")?;
        let target = page
            .url
            .join(&attribute(tag, "action").unwrap_or_default())?;
        let mut all: Vec<(String, String)> = Vec::new();
        for input in inside
            .split("<input")
            .skip(1)
            .filter_map(|rest| rest.split_once('>'))
            .map(|(tag, _)| tag)
        {
            if let (Some("hidden"), Some(name)) = (
                attribute(input, "type").as_deref(),
                attribute(input, "name"),
            ) {
                all.push((name, attribute(input, "value").unwrap_or_default()));
            }
        }
        all.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let pairs: Vec<(&str, &str)> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.navigate(
            Some(page.url.clone()),
            Method::POST,
            target,
            wire::encode(&pairs),
        )
        .await
    }

    async fn navigate(
        &mut self,
        from: Option<Url>,
        method: Method,
        url: Url,
        form: String,
    ) -> Outcome<Page> {
        let (mut method, mut url, mut form) = (method, url, form);
        let mut foreign = false;
        for _ in 0..MAX_REDIRECTS {
            let arrived = |stop: &Url| stop.origin() == url.origin() && stop.path() == url.path();
            if self.stop_at.as_ref().is_some_and(arrived) {
                let answer = Answer {
                    status: StatusCode::OK,
                    headers: HeaderMap::new(),
                    body: Bytes::new(),
                };
                return Ok(Page {
                    url,
                    status: answer.status,
                    answer,
                });
            }
            foreign |= from
                .as_ref()
                .is_some_and(|from| from.origin() != url.origin());
            let headers = self.headers(from.as_ref(), foreign, &method, &url)?;
            let answer = wire::send(method.clone(), &url, headers, form.clone()).await?;
            self.keep_cookies(&url, &answer);
            let Some(location) = answer
                .headers
                .get(LOCATION)
                .filter(|_| answer.status.is_redirection())
            else {
                return Ok(Page {
                    url,
                    status: answer.status,
                    answer,
                });
            };
            url = url.join(location.to_str()?)?;
            if !matches!(
                answer.status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            ) {
                method = Method::GET;
                form.clear();
            }
        }
        Err(Failure::from(format!(
            "more than {MAX_REDIRECTS} redirects, the last to {url}"
        )))
    }

    /// What Chromium sends with a top-level navigation. One that a page began stays `cross-site` from the first
    /// foreign hop on, also on its way back.
    fn headers(
        &self,
        from: Option<&Url>,
        foreign: bool,
        method: &Method,
        url: &Url,
    ) -> Outcome<HeaderMap> {
        let site = match from {
            None => "none",
            Some(_) if foreign => "cross-site",
            Some(_) => "same-origin",
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8"),
        );
        headers.insert("sec-fetch-site", HeaderValue::from_static(site));
        headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
        headers.insert("sec-fetch-dest", HeaderValue::from_static("document"));
        if *method == Method::POST {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            if let Some(from) = from {
                headers.insert(
                    ORIGIN,
                    HeaderValue::from_str(&from.origin().ascii_serialization())?,
                );
            }
        }
        let cookies: Vec<String> = self
            .jar
            .iter()
            .filter(|(host, cookie)| {
                Some(host.as_str()) == url.host_str()
                    && url.path().starts_with(cookie.path().unwrap_or("/"))
                    && !(foreign && cookie.same_site() == Some(SameSite::Strict))
            })
            .map(|(_, cookie)| format!("{}={}", cookie.name(), cookie.value()))
            .collect();
        if !cookies.is_empty() {
            headers.insert(COOKIE, HeaderValue::from_str(&cookies.join("; "))?);
        }
        Ok(headers)
    }

    fn keep_cookies(&mut self, url: &Url, answer: &Answer) {
        let host = url.host_str().unwrap_or_default().to_owned();
        for value in answer.headers.get_all(SET_COOKIE) {
            let Some(cookie) = value
                .to_str()
                .ok()
                .and_then(|text| Cookie::parse(text.to_owned()).ok())
            else {
                continue;
            };
            self.jar.retain(|(known, old)| {
                (known, old.name(), old.path()) != (&host, cookie.name(), cookie.path())
            });
            let ended = cookie
                .max_age()
                .is_some_and(|age| age.is_zero() || age.is_negative());
            // A loopback page without TLS must not rely on these: browsers differ.
            if !ended && !cookie.secure().unwrap_or(false) {
                self.jar.push((host.clone(), cookie));
            }
        }
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("&#38;", "&")
            .replace("&amp;", "&")
            .replace("&#x2f;", "/")
            .replace("&#47;", "/"),
    )
}
