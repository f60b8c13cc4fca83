//! A real Keycloak. It takes half a minute and half a gigabyte to start, so the tests share one.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::client::{Answer, Ask, post};
use super::parts::{self, Part};

/// The client's secret in the realm's file.
pub(crate) const CLIENT_SECRET: &str = "a-secret-of-the-proxy-at-the-provider";

/// Never dropped: it ends when this process does, for its standard input closes then.
static SHARED: OnceCell<Keycloak> = OnceCell::const_new();

/// The running server.
pub(crate) struct Keycloak {
    part: Part,
}

/// The server that all tests share.
pub(crate) async fn keycloak() -> &'static Keycloak {
    SHARED
        .get_or_init(|| async {
            let _place = parts::heavy().await;
            let script = parts::folder().join("keycloak/start.sh");
            Keycloak {
                part: Part::start("keycloak", Command::new(script)).await,
            }
        })
        .await
}

impl Keycloak {
    pub(crate) fn issuer(&self) -> String {
        self.part.said("issuer")
    }

    /// The client is told at this address that a session has ended.
    pub(crate) async fn tell_at(&self, url: &str) {
        let found = self
            .ask(Method::GET, "clients?clientId=mcp-proxy", None)
            .await;
        let mut client = found.json()[0].clone();
        client["attributes"]["backchannel.logout.url"] = url.into();
        client["attributes"]["backchannel.logout.session.required"] = "true".into();
        let place = format!("clients/{}", client["id"].as_str().unwrap());
        self.ask(Method::PUT, &place, Some(&client)).await;
    }

    /// A person more, whose password is their name; gives the person's id.
    pub(crate) async fn add_person(&self, name: &str) -> String {
        let person = json!({
            "username": name, "enabled": true, "email": format!("{name}@example.com"), "emailVerified": true,
            "firstName": name, "lastName": "Example",
            "credentials": [{"type": "password", "value": name, "temporary": false}],
        });
        let made = self.ask(Method::POST, "users", Some(&person)).await;
        made.header("location")
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }

    /// Ends all sessions of a person, as an administrator does.
    pub(crate) async fn sign_out(&self, person: &str) {
        let place = format!("users/{person}/logout");
        self.ask(Method::POST, &place, Some(&json!({}))).await;
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let admin = self.part.said("admin");
        let fields = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "admin"),
            ("password", "admin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let place = format!("{admin}/realms/master/protocol/openid-connect/token");
        let answer = post(&place).form(&fields).send().await.json();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let mut ask = Ask::new(method, &format!("{admin}/admin/realms/corp/{path}")).bearer(&token);
        if let Some(body) = body {
            ask = ask.json(body);
        }
        let answer = ask.send().await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer
    }
}
