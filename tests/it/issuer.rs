//! The authorization server for MCP clients.

mod authorize;
mod bearers;
mod choice;
mod chromium;
mod clients;
mod conformance;
mod consent;
mod documents;
mod endpoints;
mod flow;
mod machines;
mod official;
mod people;
mod races;
mod registration;
mod replicas;
mod ssrf;
mod tokens;
mod visit;
mod visits;
mod weeks;
