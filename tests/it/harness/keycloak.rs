//! A real Keycloak. It takes half a minute and half a gigabyte to start, so the tests share one.

use std::process::Command;

use tokio::sync::OnceCell;

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
}
