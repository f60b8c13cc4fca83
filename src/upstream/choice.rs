//! Which of several endpoints gets a request.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::backend::Balance;

/// A set of endpoints, as bits by their place.
pub(super) type Set = u64;

/// Picks from a set.
pub(super) struct Choice {
    balance: Balance,
    count: AtomicU64,
}

impl Choice {
    pub(super) fn new(balance: Balance) -> Self {
        Self {
            balance,
            count: AtomicU64::new(0),
        }
    }

    /// One of the set; `load` says how busy an endpoint is. `None` of an empty set.
    pub(super) fn of(&self, set: Set, load: impl Fn(usize) -> usize) -> Option<usize> {
        let size = u64::from(set.count_ones());
        if size <= 1 {
            return nth(set, 0);
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        match self.balance {
            Balance::RoundRobin => nth(set, count % size),
            Balance::LeastRequests => {
                // Two different ones by chance: comparing all would send everybody to the same one at the same time.
                let chance = mix(count);
                let one = chance % size;
                let other = (one + 1 + (chance >> 32) % (size - 1)) % size;
                let (one, other) = (nth(set, one)?, nth(set, other)?);
                Some(if load(other) < load(one) { other } else { one })
            }
        }
    }
}

/// The place of the n-th member.
fn nth(mut set: Set, n: u64) -> Option<usize> {
    for _ in 0..n {
        set &= set.wrapping_sub(1);
    }
    (set != 0).then(|| set.trailing_zeros() as usize)
}

/// Spreads a counter over all bits (the finisher of `SplitMix64`). It need not be unforeseeable.
fn mix(count: u64) -> u64 {
    let mut z = count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn round_robin_takes_each_in_turn() {
        let choice = Choice::new(Balance::RoundRobin);
        let picked: Vec<_> = (0..6).map(|_| choice.of(0b1_0110, |_| 0)).collect();
        assert_eq!(picked, [1, 2, 4, 1, 2, 4].map(Some));
        assert_eq!(choice.of(0, |_| 0), None);
        assert_eq!(choice.of(1 << 63, |_| 0), Some(63));
    }

    #[test]
    fn the_less_busy_one_gets_more_and_equal_ones_get_alike() {
        let choice = Choice::new(Balance::LeastRequests);
        let mut loads = [0_usize; 4];
        for _ in 0..4000 {
            let at = choice.of(0b1111, |at| loads[at]).unwrap();
            loads[at] += 1;
        }
        assert!(
            loads.iter().all(|load| load.abs_diff(1000) < 10),
            "{loads:?}"
        );
        // The busiest of all is never the less busy one of two.
        for _ in 0..100 {
            assert_ne!(choice.of(0b1111, |at| usize::from(at == 2)), Some(2));
        }
    }

    proptest! {
        #[test]
        fn only_members_are_picked(set: u64, robin: bool, loads in proptest::collection::vec(0usize..9, 64)) {
            let choice = Choice::new(if robin { Balance::RoundRobin } else { Balance::LeastRequests });
            for _ in 0..8 {
                let picked = choice.of(set, |at| loads[at]);
                prop_assert_eq!(picked.is_none(), set == 0);
                prop_assert!(picked.is_none_or(|at| set & (1 << at) != 0));
            }
        }
    }
}
