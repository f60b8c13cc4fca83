//! `--once`: a person's browser and an MCP client go the whole way over the wire, and every step is checked.

mod agent;
mod browser;
mod wire;

use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::json;

use self::browser::Browser;
use crate::stack::Addresses;
use crate::{Failure, Outcome};

const PATIENCE: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Goes the whole way, printing each step.
pub(crate) async fn run(addresses: &Addresses) -> Outcome<()> {
    tokio::time::timeout(PATIENCE, all(addresses))
        .await
        .map_err(|_| Failure::from("it took longer than a minute"))?
}

async fn all(addresses: &Addresses) -> Outcome<()> {
    let mut report = Report::new();
    ready(addresses, &mut report).await?;
    let mut browser = Browser::default();
    sign_in(addresses, &mut browser, &mut report).await?;
    agent::run(addresses, &mut browser, &mut report).await?;
    sign_out(addresses, &mut browser, &mut report).await?;
    turned_away(addresses, &mut report).await?;
    report.end();
    Ok(())
}

/// Prints what happened, and how long each step took.
pub(crate) struct Report {
    last: Instant,
    steps: u32,
}

impl Report {
    fn new() -> Self {
        Self {
            last: Instant::now(),
            steps: 0,
        }
    }

    /// A step went as it should.
    pub(crate) fn step(&mut self, text: &str) {
        self.steps += 1;
        println!(
            "  ok {:>2}  {text}  ({} ms)",
            self.steps,
            self.last.elapsed().as_millis()
        );
        self.last = Instant::now();
    }

    /// What follows belongs together.
    pub(crate) fn part(&mut self, title: &str) {
        println!("\n{title}");
        self.last = Instant::now();
    }

    fn end(&self) {
        println!("\nAll {} steps went as they should.", self.steps);
    }
}

/// Fails the demo unless what was seen is what was expected.
pub(crate) fn expect(holds: bool, what: impl Into<String>) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::from(what.into()))
    }
}

async fn ready(addresses: &Addresses, report: &mut Report) -> Outcome<()> {
    report.part("The proxy");
    // Ready at once; healthy as soon as the provider's documents have been read, a moment later.
    let url = format!("{}/health", addresses.proxy);
    let since = Instant::now();
    loop {
        let ready = wire::get(&format!("{}/ready", addresses.proxy)).await;
        let health = wire::get(&url).await.and_then(|answer| answer.json());
        if ready.is_ok_and(|answer| answer.status == StatusCode::OK)
            && health
                .as_ref()
                .is_ok_and(|health| health["status"] == "healthy")
        {
            break;
        }
        expect(
            since.elapsed() < READY_WITHIN,
            format!("the proxy was not ready and healthy within 10 s; {url} says {health:?}"),
        )?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report.step("is ready and healthy");
    Ok(())
}

async fn sign_in(addresses: &Addresses, browser: &mut Browser, report: &mut Report) -> Outcome<()> {
    report.part("A person with a browser");
    let app = format!("{}/app?from=demo", addresses.proxy);
    let page = browser.open(&app).await?;
    expect(
        page.is_at(&addresses.idp),
        format!(
            "{app} should lead to the provider, but led to {} ({})",
            page.url, page.status
        ),
    )?;
    report.step("opens /app, is not known, and is sent to the provider's sign-in page");

    let page = browser
        .submit(&page, &[("user", "ann"), ("password", "demo")])
        .await?;
    expect(
        page.status == StatusCode::OK,
        format!(
            "after sign-in {} answered {}: {}",
            page.url,
            page.status,
            page.text()
        ),
    )?;
    expect(
        page.url.as_str() == app,
        format!("after sign-in the browser is at {}, not at {app}", page.url),
    )?;
    expect(
        page.text().contains("ann@example.com"),
        format!("the page does not name ann: {}", page.text()),
    )?;
    report.step(
        "signs in as ann, and comes back to the page first asked for, which shows who she is",
    );

    let userinfo = browser
        .open(&format!("{}/oauth2/userinfo", addresses.proxy))
        .await?;
    let person = userinfo.json()?;
    expect(
        person["email"] == "ann@example.com",
        format!("/oauth2/userinfo says {person}"),
    )?;
    expect(
        person["groups"] == json!(["engineering"]),
        format!("/oauth2/userinfo says {person}"),
    )?;
    expect(!userinfo.text().contains("eyJ"), "userinfo shows a token")?;
    report.step("/oauth2/userinfo names her and her groups, and shows no token");

    let room = browser
        .open(&format!("{}/engineering", addresses.proxy))
        .await?;
    expect(
        room.status == StatusCode::OK,
        format!("/engineering answered {}", room.status),
    )?;
    report.step("enters /engineering, which only the group engineering may");
    Ok(())
}

async fn sign_out(
    addresses: &Addresses,
    browser: &mut Browser,
    report: &mut Report,
) -> Outcome<()> {
    report.part("The browser again");
    let mut page = browser
        .open(&format!("{}/oauth2/sign_out", addresses.proxy))
        .await?;
    if page.text().contains("<form") {
        page = browser.submit(&page, &[]).await?;
    }
    expect(
        page.status == StatusCode::OK,
        format!("after sign-out {} answered {}", page.url, page.status),
    )?;
    report.step("signs out, here and at the provider");
    let page = browser.open(&format!("{}/app", addresses.proxy)).await?;
    expect(
        page.is_at(&addresses.idp),
        format!("after sign-out /app led to {} ({})", page.url, page.status),
    )?;
    report.step("opens /app again and has to sign in again: the session has ended on both sides");
    Ok(())
}

async fn turned_away(addresses: &Addresses, report: &mut Report) -> Outcome<()> {
    report.part("Somebody else");
    let mut browser = Browser::default();
    let page = browser
        .open(&format!("{}/engineering", addresses.proxy))
        .await?;
    let page = browser
        .submit(&page, &[("user", "bob"), ("password", "demo")])
        .await?;
    expect(
        page.status == StatusCode::FORBIDDEN,
        format!("bob got {} at {}", page.status, page.url),
    )?;
    report.step("bob (sales) signs in and may not enter /engineering: 403");
    let answer = wire::get(&format!("{}/not-configured", addresses.proxy)).await?;
    expect(
        answer.status == StatusCode::NOT_FOUND,
        format!("an unknown path answered {}", answer.status),
    )?;
    report.step("a path that no route has is 404 and reaches no server");
    Ok(())
}
