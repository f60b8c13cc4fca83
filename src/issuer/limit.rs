//! How often something may be done for one source, or one host: a bucket for each, in bounded room.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::clock::Timestamp;

/// Those that are remembered. One that is forgotten begins with a full bucket.
const BOUND: usize = 10_000;

/// What everybody gets: so many at once, and so many again in a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// 0 is no limit.
    pub(super) count: u32,
    pub(super) within: Duration,
}

/// The generic cell rate algorithm: of each of those who are limited, the moment at which the bucket will be full
/// again.
pub(super) struct Limit<K> {
    full_again: Cache<K, Arc<AtomicI64>>,
}

impl<K: Eq + Hash + Clone> Limit<K> {
    pub(super) fn new() -> Self {
        Self {
            full_again: Cache::new(BOUND),
        }
    }

    /// Takes one out of a bucket; when there is none left, the seconds until there is one.
    pub(super) fn admit(&self, who: &K, share: Share, now: Timestamp) -> Result<(), u64> {
        if share.count == 0 {
            return Ok(());
        }
        let made = self
            .full_again
            .get_or_insert_with(who, || Ok::<_, ()>(Arc::new(AtomicI64::new(0))));
        let Ok(cell) = made else {
            return Ok(());
        };
        let now = now.as_millis();
        let whole = i64::try_from(share.within.as_millis()).unwrap_or(i64::MAX / 4);
        let cost = whole / i64::from(share.count).clamp(1, whole.max(1));
        let taken = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full| {
            let next = full.max(now) + cost;
            (next - now <= whole).then_some(next)
        });
        taken.map(drop).map_err(|full| {
            let wait = full + cost - whole - now;
            u64::try_from(wait).unwrap_or(0).div_ceil(1000).max(1)
        })
    }
}

/// The source of a request as it is limited. All that comes over a unix socket is one. What one customer has of IPv6
/// is a network (RFC 6177), so an address of it is no source of its own.
pub(super) fn source(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V6(address)) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        Some(four @ IpAddr::V4(_)) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Limit<IpAddr> {
        fn hourly(&self, address: Option<IpAddr>, count: u32, now: Timestamp) -> Result<(), u64> {
            let within = Duration::from_secs(3600);
            self.admit(&source(address), Share { count, within }, now)
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn attack_s19_a_source_gets_its_share_and_no_more() {
        let limit = Limit::new();
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        let start = at(1_000_000);
        for n in 0..60 {
            assert_eq!(limit.hourly(client, 60, start), Ok(()), "{n}");
        }
        assert_eq!(limit.hourly(client, 60, start), Err(60));
        let later = start.plus(Duration::from_secs(59));
        assert_eq!(limit.hourly(client, 60, later), Err(1));
        let later = start.plus(Duration::from_secs(60));
        assert_eq!(limit.hourly(client, 60, later), Ok(()));
        assert_eq!(limit.hourly(client, 60, later), Err(60));
        // Others are not bothered, and an hour later all is well again.
        assert_eq!(limit.hourly(None, 60, start), Ok(()));
        let later = start.plus(Duration::from_secs(2 * 3600));
        for _ in 0..60 {
            assert_eq!(limit.hourly(client, 60, later), Ok(()));
        }
        assert!(limit.hourly(client, 60, later).is_err());
        assert_eq!(limit.hourly(client, 0, later), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let limit = Limit::new();
        let six = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(limit.hourly(six("2001:db8:1:2::1"), 1, at(0)), Ok(()));
        assert!(limit.hourly(six("2001:db8:1:2:3::9"), 1, at(0)).is_err());
        assert_eq!(limit.hourly(six("2001:db8:1:3::1"), 1, at(0)), Ok(()));
        assert_eq!(limit.hourly(six("::ffff:192.0.2.1"), 1, at(0)), Ok(()));
        assert!(limit.hourly(six("192.0.2.1"), 1, at(0)).is_err());
    }

    #[test]
    fn sources_are_bounded() {
        let limit = Limit::new();
        for n in 0..3 * u32::try_from(BOUND).unwrap() {
            let _ = limit.hourly(Some(IpAddr::V4(n.into())), 1, at(0));
        }
        assert!(limit.full_again.len() <= BOUND);
    }
}
