//! Remembered consent, where the operator switched it on: for a person, a client, the place it leads to, and a
//! resource. The record says which scopes, and until when.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::client::{Place, RedirectUri};
use super::desk::Desk;
use super::grant::About;
use crate::clock::Timestamp;
use crate::keys::Purpose;
use crate::scope::ScopeSet;
use crate::store::{Key, Space, Unavailable, records};

/// How much longer than the record says the store may keep it.
const SLACK: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Remembered {
    scopes: ScopeSet,
    until: Timestamp,
}

/// Keeps an answer for as long as the operator said.
pub(super) async fn keep(
    desk: &Desk,
    about: &About,
    redirect_uri: &RedirectUri,
) -> Result<(), Unavailable> {
    let Some(time) = desk.remember else {
        return Ok(());
    };
    let Some(key) = keys(desk, about, redirect_uri).next() else {
        return Ok(());
    };
    let record = Remembered {
        scopes: about.scopes.clone(),
        until: desk.ambient.now().plus(time),
    };
    let blob = records::seal(&desk.sealer, &key, &record);
    desk.store.put(&key, blob, time + SLACK).await.map(drop)
}

/// Whether an answer that was kept holds for all that is asked for now.
pub(super) async fn covers(
    desk: &Desk,
    about: &About,
    redirect_uri: &RedirectUri,
) -> Result<bool, Unavailable> {
    let now = desk.ambient.now();
    for key in keys(desk, about, redirect_uri) {
        let Some(stored) = desk.store.get(&key).await? else {
            continue;
        };
        let record: Option<Remembered> = records::open(&desk.sealer, &key, &stored);
        if record.is_some_and(|record| now < record.until && record.scopes.covers(&about.scopes)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name of the record, under every key of the ring, newest first.
fn keys<'a>(
    desk: &'a Desk,
    about: &About,
    redirect_uri: &RedirectUri,
) -> impl Iterator<Item = Key> + use<'a> {
    let (kind, place) = match redirect_uri.place() {
        Place::Web(host) => ("web", host.as_str()),
        // The port and the spelling of loopback change from run to run.
        Place::Loopback(_) => ("loopback", ""),
        Place::App(scheme) => ("app", scheme.as_str()),
    };
    let mut data = Vec::new();
    for part in [
        "remembered",
        &*about.subject.issuer,
        &*about.subject.subject,
        &about.client,
        kind,
        place,
        &about.resource,
    ] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    let macs: Vec<_> = desk.keys.macs(Purpose::Consent, &data).collect();
    macs.into_iter()
        .map(|mac| Key::new(Space::Consent, URL_SAFE_NO_PAD.encode(mac)))
}
