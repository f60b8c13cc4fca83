//! Every attack that has worked on software of this kind, against the whole proxy over the wire. Each test is
//! named after the advisory that it comes from.

mod answers;
mod edge;
mod headers;
mod messages;
mod people;
mod routing;
mod rules;
mod sessions;
mod tokens;
mod told;
mod world;
