//! The audit log over the wire: what a visit leaves in it, that it can be proven, and what happens when it is full.

mod canary;
mod command;
mod full;
mod schema;
mod visit;
mod world;
