//! The function of AWS Lambda: the real binary against a stand-in for the platform's runtime API, with recorded events.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests say what they expect by failing"
)]

#[expect(
    dead_code,
    unused_imports,
    reason = "it is shared with the other integration tests, which use more of it"
)]
mod harness;

#[path = "lambda/answers.rs"]
mod answers;
#[path = "lambda/calls.rs"]
mod calls;
#[path = "lambda/event.rs"]
mod event;
#[path = "lambda/people.rs"]
mod people;
#[path = "lambda/platform.rs"]
mod platform;
#[path = "lambda/start.rs"]
mod start;
#[path = "lambda/streams.rs"]
mod streams;
#[path = "lambda/world.rs"]
mod world;
