//! How often one source address may register: a bucket for each, in bounded room.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;

use crate::clock::Timestamp;

/// Sources that are remembered. A source that is forgotten begins with a full bucket.
const SOURCES: usize = 10_000;

const HOUR_MILLIS: i64 = 3_600_000;

/// The generic cell rate algorithm: of each source, the moment at which its bucket will be full again.
pub(super) struct Limit {
    full_again: Cache<IpAddr, Arc<AtomicI64>>,
}

impl Limit {
    pub(super) fn new() -> Self {
        Self {
            full_again: Cache::new(SOURCES),
        }
    }

    /// Takes one of the `per_hour` (0 is no limit) of a source; when there is none left, the seconds until there is
    /// one. All that comes over a unix socket is one source.
    pub(super) fn admit(
        &self,
        source: Option<IpAddr>,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<(), u64> {
        if per_hour == 0 {
            return Ok(());
        }
        let source = source.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        let made = self
            .full_again
            .get_or_insert_with(&source, || Ok::<_, ()>(Arc::new(AtomicI64::new(0))));
        let Ok(cell) = made else {
            return Ok(());
        };
        let (now, cost) = (
            now.as_millis(),
            HOUR_MILLIS / i64::from(per_hour).min(HOUR_MILLIS),
        );
        let taken = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full| {
            let next = full.max(now) + cost;
            (next - now <= HOUR_MILLIS).then_some(next)
        });
        taken.map(drop).map_err(|full| {
            let wait = full + cost - HOUR_MILLIS - now;
            u64::try_from(wait).unwrap_or(0).div_ceil(1000).max(1)
        })
    }
}

/// What one customer has of IPv6 is a network (RFC 6177), so an address of it is no source of its own.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn attack_s19_a_source_gets_its_share_and_no_more() {
        let limit = Limit::new();
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let start = at(1_000_000);
        for n in 0..60 {
            assert_eq!(limit.admit(source, 60, start), Ok(()), "{n}");
        }
        assert_eq!(limit.admit(source, 60, start), Err(60));
        let later = start.plus(Duration::from_secs(59));
        assert_eq!(limit.admit(source, 60, later), Err(1));
        let later = start.plus(Duration::from_secs(60));
        assert_eq!(limit.admit(source, 60, later), Ok(()));
        assert_eq!(limit.admit(source, 60, later), Err(60));
        // Others are not bothered, and an hour later all is well again.
        assert_eq!(limit.admit(None, 60, start), Ok(()));
        let later = start.plus(Duration::from_secs(2 * 3600));
        for _ in 0..60 {
            assert_eq!(limit.admit(source, 60, later), Ok(()));
        }
        assert!(limit.admit(source, 60, later).is_err());
        assert_eq!(limit.admit(source, 0, later), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let limit = Limit::new();
        let six = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(limit.admit(six("2001:db8:1:2::1"), 1, at(0)), Ok(()));
        assert!(limit.admit(six("2001:db8:1:2:3::9"), 1, at(0)).is_err());
        assert_eq!(limit.admit(six("2001:db8:1:3::1"), 1, at(0)), Ok(()));
        assert_eq!(limit.admit(six("::ffff:192.0.2.1"), 1, at(0)), Ok(()));
        assert!(limit.admit(six("192.0.2.1"), 1, at(0)).is_err());
    }

    #[test]
    fn sources_are_bounded() {
        let limit = Limit::new();
        for n in 0..3 * u32::try_from(SOURCES).unwrap() {
            let _ = limit.admit(Some(IpAddr::V4(n.into())), 1, at(0));
        }
        assert!(limit.full_again.len() <= SOURCES);
    }
}
