//! Refusals that anybody can cause: the first ones of an address are written one by one, more of them are counted and
//! written as one record each minute. So none goes unrecorded, and nobody fills the log with them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::event::{Event, Kind, Outcome, Repeated};
use crate::clock::Timestamp;

/// Written one by one, of one kind and reason from one address in one window.
const SINGLE: u64 = 10;
/// A window.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are told apart in a window; those beyond are counted together.
const MAX_SOURCES: usize = 4096;
/// Texts that make up a source.
type Source = (Kind, String, Option<IpAddr>);

/// Counts.
#[derive(Default)]
pub(super) struct Flood {
    sources: HashMap<Source, Counted>,
    began: Option<Timestamp>,
}

struct Counted {
    seen: u64,
    /// The last one that was only counted, and since when.
    last: Option<(Box<Event>, Timestamp)>,
}

impl Flood {
    /// The event if it is to be written now.
    pub(super) fn pass(&mut self, event: Event, now: Timestamp) -> Option<Event> {
        if !is_cheap(&event) {
            return Some(event);
        }
        self.began.get_or_insert(now);
        let address = event.place.client.map(network);
        let reason = event.reason.as_deref().unwrap_or_default().to_owned();
        let full = self.sources.len() >= MAX_SOURCES;
        let source = (event.kind, reason, address);
        let counted = match self.sources.entry(source) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) if !full => place.insert(Counted {
                seen: 0,
                last: None,
            }),
            Entry::Vacant(place) => {
                let (kind, reason, _) = place.into_key();
                // Together with all that are beyond the bound: reasons come from a fixed set.
                self.sources.entry((kind, reason, None)).or_insert(Counted {
                    seen: SINGLE,
                    last: None,
                })
            }
        };
        counted.seen += 1;
        if counted.seen <= SINGLE {
            return Some(event);
        }
        let first = counted.last.take().map_or(now, |(_, first)| first);
        counted.last = Some((Box::new(event), first));
        None
    }

    /// What was counted in a window that is over.
    pub(super) fn due(&mut self, now: Timestamp, end: bool) -> Vec<Event> {
        let Some(began) = self.began else {
            return Vec::new();
        };
        if !end && now.since(began) < WINDOW && now >= began {
            return Vec::new();
        }
        self.began = None;
        std::mem::take(&mut self.sources)
            .into_iter()
            .filter_map(|((_, _, address), counted)| {
                let (mut event, first) = counted.last?;
                event.repeated = Some(Repeated {
                    count: counted.seen - SINGLE,
                    first,
                    last: event.at.unwrap_or(now),
                });
                event.at = Some(now);
                // What differs between them is not said of all.
                event.place.request = None;
                event.place.trace = None;
                event.place.client = address;
                event.detail = None;
                Some(*event)
            })
            .collect()
    }
}

/// Whether anybody can cause it without being anybody.
fn is_cheap(event: &Event) -> bool {
    match event.kind {
        Kind::Refused | Kind::TokenRefused | Kind::McpSessionRefused => true,
        Kind::Login | Kind::Logout | Kind::ClientRegistered => event.outcome != Outcome::Success,
        _ => false,
    }
}

/// The address, or for IPv6 the /64 that a source has as a whole.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::Place;

    fn refused(address: [u8; 4], reason: &'static str) -> Event {
        Event::new(Kind::Refused, Outcome::Failure)
            .because(reason)
            .at(Place {
                client: Some(address.into()),
                ..Place::default()
            })
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn none_of_a_flood_goes_unrecorded() {
        let mut flood = Flood::default();
        let single = (0..1000)
            .filter(|_| {
                flood
                    .pass(refused([10, 0, 0, 1], "expired"), at(1))
                    .is_some()
            })
            .count();
        assert_eq!(single as u64, SINGLE);
        assert!(
            flood
                .pass(refused([10, 0, 0, 2], "expired"), at(2))
                .is_some()
        );
        assert!(flood.due(at(30), false).is_empty());
        let due = flood.due(at(61), false);
        assert_eq!(due.len(), 1);
        let repeated = due[0].repeated.unwrap();
        assert_eq!(repeated.count + single as u64, 1000);
        assert_eq!(repeated.first, at(1));
        // A new window begins with single records again.
        assert!(
            flood
                .pass(refused([10, 0, 0, 1], "expired"), at(70))
                .is_some()
        );
    }

    #[test]
    fn sources_have_a_bound_and_are_counted_beyond_it() {
        let mut flood = Flood::default();
        let total = MAX_SOURCES as u64 + 500;
        let mut single = 0;
        for n in 0..total {
            let [a, b, c, d] = u32::try_from(n).unwrap().to_be_bytes();
            single += u64::from(flood.pass(refused([10 + a, b, c, d], "x"), at(1)).is_some());
        }
        assert!(flood.sources.len() <= MAX_SOURCES + 1);
        let counted: u64 = flood
            .due(at(2), true)
            .iter()
            .map(|event| event.repeated.unwrap().count)
            .sum();
        assert_eq!(single + counted, total);
    }

    #[test]
    fn what_only_somebody_can_do_is_never_counted_together() {
        let mut flood = Flood::default();
        for _ in 0..100 {
            assert!(flood.pass(Event::ok(Kind::Login), at(1)).is_some());
            assert!(
                flood
                    .pass(Event::new(Kind::Decision, Outcome::Denied), at(1))
                    .is_some()
            );
        }
    }
}
