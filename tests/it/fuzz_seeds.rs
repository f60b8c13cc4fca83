//! What fuzzing runs, over its seeds and over seeds that were changed a little. The full search is `make fuzz`.

use std::path::Path;

use mcp_oidc_proxy::fuzz::TARGETS;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The seeds of a target: name and bytes.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// `good-…` is taken for what it should be, `bad-…` is not.
#[test]
fn seeds_are_what_their_names_say() {
    for (target, read) in TARGETS {
        let seeds = seeds(target);
        for start in ["good", "bad"] {
            assert!(
                seeds.iter().any(|(name, _)| name.starts_with(start)),
                "{target} has no {start} seed"
            );
        }
        for (name, bytes) in seeds {
            assert_eq!(
                read(&bytes),
                name.starts_with("good"),
                "{target}/{name}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

/// One change to a seed, at a place given as a fraction of its length.
#[derive(Clone, Debug)]
enum Change {
    Put(u16, Vec<u8>),
    Cut(u16, usize),
    Again(u16, usize),
    Flip(u16, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<u16>(), proptest::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, new)| Change::Put(at, new)),
        (any::<u16>(), 1..32usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<u16>(), 1..64usize).prop_map(|(at, length)| Change::Again(at, length)),
        (any::<u16>(), 1..=255u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    let place = |length: usize, at: u16| length * usize::from(at) / 65_536;
    for change in changes {
        let length = bytes.len();
        match change {
            Change::Put(at, new) => {
                let at = place(length + 1, *at);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Cut(at, count) => {
                let at = place(length, *at);
                bytes.drain(at..length.min(at + count));
            }
            Change::Again(at, count) => {
                let at = place(length, *at);
                let piece = bytes[at..length.min(at + count)].to_vec();
                bytes.splice(at..at, piece);
            }
            Change::Flip(at, bits) => {
                let at = place(length, *at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
        }
    }
    bytes
}

#[test]
fn changed_seeds_are_read_to_the_end() {
    for (target, read) in TARGETS {
        let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
        let some = (
            proptest::sample::select(seeds),
            proptest::collection::vec(change(), 1..6),
        );
        let mut runner = TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        });
        runner
            .run(&some, |(seed, changes)| {
                read(&changed(seed, &changes));
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}
