//! How often strangers may let us fetch: without a limit for each of them, one could take all of
//! [`crate::upstream::guarded`]'s places, or let us bother a host that did nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::clock::{Ambient, Timestamp};
use crate::issuer::limit::{Limit, Share, source};

/// Fetches that one source may cause: less than half of those that can be under way at once. A whole organisation may
/// be one source, but what its clients name is remembered from the first fetch on.
const BY_SOURCE: Share = Share {
    count: 30,
    within: Duration::from_secs(60),
};

/// Fetches from one host, whoever causes them.
const BY_HOST: Share = Share {
    count: 30,
    within: Duration::from_secs(60),
};

/// Counts them, over reloads too.
pub(super) struct Fetches {
    sources: Limit<IpAddr>,
    hosts: Limit<Box<str>>,
    ambient: Ambient,
}

/// Who causes a fetch: the address of the request's client, by [`crate::http::Inbound::client`].
pub(super) type Cause = Option<IpAddr>;

impl Fetches {
    pub(super) fn new(ambient: &Ambient) -> Arc<Self> {
        Arc::new(Self {
            sources: Limit::new(),
            hosts: Limit::new(),
            ambient: ambient.clone(),
        })
    }

    /// Counts a fetch; when there were too many, the seconds until the next one.
    pub(super) fn admit(&self, cause: Cause, url: &Url) -> Result<(), u64> {
        let now: Timestamp = self.ambient.now();
        // The source first: who has used up its own share takes nothing of a host's.
        self.sources.admit(&source(cause), BY_SOURCE, now)?;
        let host = url.host_str().unwrap_or_default();
        self.hosts.admit(&host.into(), BY_HOST, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SystemRandom};

    #[test]
    fn attack_s16_sources_and_hosts_have_their_shares() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        let fetches = Fetches::new(&Ambient::new(clock.clone(), Arc::new(SystemRandom)));
        let url = |host: u32| Url::parse(&format!("https://h{host}.example/c")).unwrap();
        let from = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        for host in 0..30 {
            assert_eq!(fetches.admit(from(1), &url(host)), Ok(()));
        }
        assert_eq!(fetches.admit(from(1), &url(99)), Err(2));
        assert_eq!(fetches.admit(from(2), &url(99)), Ok(()), "another source");
        for n in 0..29 {
            assert_eq!(fetches.admit(from(10 + n), &url(99)), Ok(()), "{n}");
        }
        assert_eq!(fetches.admit(from(99), &url(99)), Err(2), "one host");
        assert_eq!(fetches.admit(from(99), &url(98)), Ok(()));
        clock.advance(Duration::from_secs(2));
        assert_eq!(fetches.admit(from(1), &url(99)), Ok(()));
    }
}
