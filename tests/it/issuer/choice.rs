//! Two real providers: people choose where to sign in, and what they get rests on that one.

use serde_json::json;

use crate::harness::browser::{Browser, Page};
use crate::harness::client::{get, post};
use crate::harness::echo::Echo;
use crate::harness::oauth::{App, Returned, Tokens};
use crate::harness::provider::{CLIENT_SECRET, RealProvider};
use crate::harness::proxy::{Proxy, proxy};

struct World {
    main: RealProvider,
    partners: RealProvider,
    backend: Echo,
    proxy: Proxy,
}

impl World {
    async fn start() -> Self {
        let options = json!({ "registration": false });
        let (main, partners) = (
            RealProvider::start(&options).await,
            RealProvider::start(&options).await,
        );
        let backend = Echo::start().await;
        let proxy = proxy()
            .oidc(&main.issuer(), "proxy", CLIENT_SECRET)
            .yaml(&format!(
                "further_providers:\n  - name: partners\n    label: Partner companies\n    issuer: \"{}\"\n    client_id: proxy\n    client_secret: \"{CLIENT_SECRET}\"\n    claims: {{ groups: [groups] }}\n",
                partners.issuer()
            ))
            .route("/app/*", backend.url(), "kind: http\nallow: { any_user: true }")
            .route("/mcp", &format!("{}/mcp", backend.url()), "allow: { any_user: true }")
            .start()
            .await;
        Self {
            main,
            partners,
            backend,
            proxy,
        }
    }

    /// Presses a provider's button on the page with the choice, and signs in there.
    async fn choose(&self, browser: &mut Browser, page: &Page, name: &str, login: &str) -> Page {
        let form = browser.open(&self.button(page, name)).await;
        browser.sign_in(form, login).await
    }

    fn button(&self, page: &Page, name: &str) -> String {
        assert_eq!(page.url.path(), "/oauth2/sign_in", "{}", page.text());
        let text = page.text().replace("&#38;", "&").replace("&amp;", "&");
        let at = text
            .find(&format!("/oauth2/start?provider={name}"))
            .unwrap_or_else(|| panic!("no choice {name}: {text}"));
        self.proxy.url(text[at..].split('"').next().unwrap())
    }

    fn told_issuer(&self) -> String {
        let seen = self.backend.seen().pop().unwrap();
        assert_eq!(seen.headers["x-forwarded-user"], "ann");
        seen.headers["x-forwarded-issuer"]
            .to_str()
            .unwrap()
            .to_owned()
    }
}

#[tokio::test]
async fn a_session_belongs_to_the_provider_that_was_chosen() {
    let world = World::start().await;
    let mut browser = Browser::default();
    let page = browser.open(&world.proxy.url("/app/page?x=1")).await;
    let page = world.choose(&mut browser, &page, "partners", "ann").await;
    assert_eq!(page.url.as_str(), world.proxy.url("/app/page?x=1"));
    assert_eq!(world.told_issuer(), world.partners.issuer());
    assert_eq!(world.main.asked("/token").await, 0);
    let who = browser.open(&world.proxy.url("/oauth2/userinfo")).await;
    assert_eq!(who.answer.json()["issuer"], world.partners.issuer());

    // The same name at the other provider is somebody else.
    let mut browser = Browser::default();
    let page = browser.open(&world.proxy.url("/app/page")).await;
    world.choose(&mut browser, &page, "main", "ann").await;
    assert_eq!(world.told_issuer(), world.main.issuer());

    for query in ["provider=evil", "provider=", "provider=MAIN"] {
        let url = world.proxy.url(&format!("/oauth2/start?{query}"));
        let answer = get(&url).send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (400, ""),
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_apps_tokens_rest_on_the_provider_that_was_chosen() {
    let world = World::start().await;
    let callback = format!("{}/callback", world.backend.url());
    let app = App::discover(&world.proxy.url("/mcp"), &callback).await;
    let mut browser = Browser::default();
    let page = app.consent_page(&mut browser, "ann").await;

    // Another language keeps the way back and the choice.
    let text = page.text().replace("&#38;", "&").replace("&amp;", "&");
    let at = text
        .find("/oauth2/language?to=ja")
        .expect("other languages");
    let to = world.proxy.url(text[at..].split('"').next().unwrap());
    let page = browser.open(&to).await;
    assert!(
        page.text().contains("<html lang=\"ja\">"),
        "{}",
        page.text()
    );
    world.button(&page, "main");

    let page = world.choose(&mut browser, &page, "partners", "ann").await;
    assert!(
        page.text().contains("<html lang=\"ja\">"),
        "{}",
        page.text()
    );
    let form = page.form_to("/oauth2/consent").fill("decision", "approve");
    let returned = Returned::of(&browser.submit(form).await);
    let tokens = Tokens::of(&app.redeem(&returned.code()).await);
    let refreshed = Tokens::of(&app.refresh(tokens.refresh.as_deref().unwrap()).await);
    for each in [&tokens, &refreshed] {
        let answer = post(&app.resource)
            .bearer(&each.access)
            .rpc(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(world.told_issuer(), world.partners.issuer());
    }
    assert_eq!(world.main.asked("/token").await, 0);
}
