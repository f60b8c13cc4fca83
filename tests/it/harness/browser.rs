//! A scripted browser: keeps cookies, follows redirects, fills forms, and says about its requests what a
//! real one says (`Sec-Fetch-*`, `Origin` on posts).

use cookie::Cookie;
use http::{Method, StatusCode};
use url::Url;

use super::client::{Answer, Ask};

/// Longest chain of redirects; the longest real one (sign-in with a provider that asks twice) has nine.
const REDIRECTS: usize = 20;

/// One profile of a browser.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    cookies: Vec<Kept>,
}

/// A cookie. Ports do not separate cookies, hosts do (RFC 6265 section 8.5).
#[derive(Clone)]
struct Kept {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// A page: where the browser is, and what is there.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) answer: Answer,
    /// The addresses that led here, the first one that was asked for included.
    pub(crate) trail: Vec<Url>,
}

impl Page {
    pub(crate) fn status(&self) -> StatusCode {
        self.answer.status
    }

    pub(crate) fn text(&self) -> String {
        self.answer.text()
    }

    /// The first form on the page: method, absolute address, fields.
    pub(crate) fn form(&self) -> Form {
        self.forms().into_iter().next().unwrap_or_else(|| {
            panic!(
                "{} ({}) has no form: {}",
                self.url,
                self.status(),
                self.text()
            )
        })
    }

    /// The form that is sent to an address with this path.
    pub(crate) fn form_to(&self, path: &str) -> Form {
        self.forms()
            .into_iter()
            .find(|form| form.action.path() == path)
            .unwrap_or_else(|| {
                panic!(
                    "{} ({}) has no form to {path}: {}",
                    self.url,
                    self.status(),
                    self.text()
                )
            })
    }

    fn forms(&self) -> Vec<Form> {
        let html = self.text();
        html.match_indices("<form")
            .map(|(start, _)| self.form_at(&html, start))
            .collect()
    }

    fn form_at(&self, html: &str, start: usize) -> Form {
        let end = html[start..]
            .find("</form>")
            .map_or(html.len(), |n| start + n);
        let form = &html[start..end];
        let head = &form[..form.find('>').unwrap()];
        let mut fields = Vec::new();
        let mut rest = form;
        while let Some(at) = rest.find("<input") {
            rest = &rest[at + 6..];
            let tag = &rest[..rest.find('>').unwrap()];
            if let Some(name) = attribute(tag, "name") {
                fields.push((name, attribute(tag, "value").unwrap_or_default()));
            }
        }
        let action = attribute(head, "action").unwrap_or_default();
        Form {
            post: attribute(head, "method").is_some_and(|m| m.eq_ignore_ascii_case("post")),
            action: self.url.join(&action).unwrap(),
            from: self.url.clone(),
            fields,
        }
    }
}

/// A form that can be sent.
pub(crate) struct Form {
    post: bool,
    action: Url,
    from: Url,
    fields: Vec<(String, String)>,
}

impl Form {
    pub(crate) fn fill(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Browser {
    /// Types an address into the address bar, and follows redirects.
    pub(crate) async fn open(&mut self, url: &str) -> Page {
        self.walk(Method::GET, Url::parse(url).unwrap(), Vec::new(), None)
            .await
    }

    /// Sends a form, and follows redirects.
    pub(crate) async fn submit(&mut self, form: Form) -> Page {
        let Form {
            post,
            mut action,
            from,
            fields,
        } = form;
        if post {
            return self.walk(Method::POST, action, fields, Some(from)).await;
        }
        action.query_pairs_mut().clear().extend_pairs(&fields);
        self.walk(Method::GET, action, Vec::new(), Some(from)).await
    }

    /// Signs in at whatever provider's login form a page leads to: `page` is where the proxy sent us.
    pub(crate) async fn sign_in(&mut self, page: Page, login: &str) -> Page {
        let field = if page.text().contains("name=\"username\"") {
            "username"
        } else {
            "login"
        };
        let form = page.form().fill(field, login).fill("password", login);
        self.submit(form).await
    }

    /// A cookie's value by name, on a host.
    pub(crate) fn cookie(&self, host: &str, name: &str) -> Option<&str> {
        self.cookies
            .iter()
            .find(|kept| kept.host == host && kept.name == name)
            .map(|kept| kept.value.as_str())
    }

    /// The `Cookie` header for an address, as a request by script would send it.
    pub(crate) fn cookies_for(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let mut fitting: Vec<&Kept> = self
            .cookies
            .iter()
            .filter(|kept| kept.host == host && path_fits(&kept.path, url.path()))
            .collect();
        fitting.sort_by_key(|kept| std::cmp::Reverse(kept.path.len()));
        let pairs: Vec<String> = fitting
            .iter()
            .map(|kept| format!("{}={}", kept.name, kept.value))
            .collect();
        pairs.join("; ")
    }

    async fn walk(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut fields: Vec<(String, String)>,
        from: Option<Url>,
    ) -> Page {
        let mut trail = vec![url.clone()];
        // A real browser calls a navigation cross-site once any step of it crossed sites.
        let mut site = match &from {
            None => "none",
            Some(from) if from.origin() == url.origin() => "same-origin",
            Some(from) if from.host() == url.host() => "same-site",
            Some(_) => "cross-site",
        };
        for _ in 0..REDIRECTS {
            let mut ask = Ask::new(method.clone(), url.as_str())
                .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document")
                .header("sec-fetch-site", site)
                .header("upgrade-insecure-requests", "1")
                .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Test/1.0");
            let cookies = self.cookies_for(&url);
            if !cookies.is_empty() {
                ask = ask.header("cookie", &cookies);
            }
            if method == Method::POST {
                if let Some(from) = &from {
                    ask = ask.header("origin", &from.origin().ascii_serialization());
                }
                ask = ask.form(&fields);
            }
            let answer = ask.send().await;
            self.keep(&url, &answer);
            let location = answer.header("location");
            if !answer.status.is_redirection() || location.is_empty() {
                return Page { url, answer, trail };
            }
            let next = url
                .join(location)
                .unwrap_or_else(|e| panic!("{location}: {e}"));
            if next.origin() != url.origin() && site != "none" {
                site = if next.host() == url.host() && site != "cross-site" {
                    "same-site"
                } else {
                    "cross-site"
                };
            }
            if answer.status != StatusCode::TEMPORARY_REDIRECT
                && answer.status != StatusCode::PERMANENT_REDIRECT
            {
                method = Method::GET;
                fields.clear();
            }
            url = next;
            trail.push(url.clone());
        }
        panic!("too many redirects: {trail:?}")
    }

    fn keep(&mut self, url: &Url, answer: &Answer) {
        let host = url.host_str().unwrap_or_default().to_owned();
        for text in answer.headers.get_all("set-cookie") {
            let cookie = Cookie::parse(text.to_str().unwrap().to_owned()).unwrap();
            let path = match cookie.path() {
                Some(path) if path.starts_with('/') => path.to_owned(),
                _ => default_path(url.path()),
            };
            // Loopback counts as trustworthy for `Secure`, but not for a name that starts with `__Host-`
            // unless all its conditions hold (RFC 6265bis section 4.1.3.2).
            if cookie.name().starts_with("__Host-") {
                assert!(
                    cookie.secure() == Some(true) && path == "/" && cookie.domain().is_none(),
                    "a browser refuses {text:?}"
                );
            }
            self.cookies.retain(|kept| {
                !(kept.host == host && kept.name == cookie.name() && kept.path == path)
            });
            let gone = cookie.max_age().is_some_and(|age| age.whole_seconds() <= 0)
                || cookie
                    .expires_datetime()
                    .is_some_and(|at| at.unix_timestamp() <= 86_400);
            if !gone {
                self.cookies.push(Kept {
                    host: host.clone(),
                    path,
                    name: cookie.name().to_owned(),
                    value: cookie.value().to_owned(),
                });
            }
        }
    }
}

/// RFC 6265 section 5.1.4.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

/// RFC 6265 section 5.1.4.
fn path_fits(cookie: &str, path: &str) -> bool {
    path == cookie
        || path
            .strip_prefix(cookie)
            .is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}

/// An attribute of a tag, with the few entities that forms use undone.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        let at = rest.find(&format!("{name}="))?;
        let before = rest[..at].chars().next_back();
        rest = &rest[at + name.len() + 1..];
        if before.is_none_or(char::is_whitespace) {
            break;
        }
    }
    let quote = rest.chars().next()?;
    let value = if quote == '"' || quote == '\'' {
        rest[1..].split(quote).next()?
    } else {
        rest.split([' ', '>', '/']).next()?
    };
    let value = [
        ("&#38;", "&"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(value.to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    });
    Some(value)
}
